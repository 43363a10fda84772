"""One tokenizer and one search tool for all tests of the embedded world."""

from __future__ import annotations

import pytest

from autocoa_plugin.tinyworld.tokenizer import TINYWORLD, build_tokenizer
from autocoa_plugin.tinyworld.world_files import Files, open_environment, open_teacher_environment, write_corpus
from autocoa_plugin.tokenization import Codec


@pytest.fixture(scope="session")
def tokenizer(world):
    return build_tokenizer(world)


@pytest.fixture(scope="session")
def codec(tokenizer):
    return Codec(tokenizer, TINYWORLD)


@pytest.fixture(scope="session")
def corpus(world, tmp_path_factory):
    files = Files(tmp_path_factory.mktemp("tinyworld"))
    write_corpus(world, files.corpus)
    return files


@pytest.fixture(scope="session")
def environment(corpus):
    return open_environment(corpus)


@pytest.fixture(scope="session")
def teacher_environment(corpus):
    """The search tool that shows distractors where a plan asks for them."""
    return open_teacher_environment(corpus)
