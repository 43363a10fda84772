"""Fixtures that more than one test file uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from tokenizer_families import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from autocoa_plugin.tinyworld.world import World

# a shared machine may take a second for anything; tests that measure do so themselves
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.fixture(params=sorted(FAMILIES))
def any_tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """Each tokenizer family in turn."""
    return FAMILIES[request.param]()


@pytest.fixture(scope="session")
def tokenizer_of() -> Callable[[str], PreTrainedTokenizerFast]:
    """`tokenizer_of("byte_bpe")`: the tokenizer of one family."""
    return lambda family: FAMILIES[family]()


@pytest.fixture(scope="session")
def world() -> World:
    """The embedded world."""
    from autocoa_plugin.tinyworld import generate

    return generate()
