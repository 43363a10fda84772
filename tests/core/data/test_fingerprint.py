"""One fingerprint, one way to turn text into ids."""

from __future__ import annotations

import copy
import subprocess
import sys

from tokenizer_families import FAMILIES

from autocoa_plugin.testing import CharTokenizer
from autocoa_plugin.tokenization import fingerprint


def test_families_have_one_fingerprint_exactly_when_they_give_the_same_ids():
    names = {family: fingerprint(build()) for family, build in FAMILIES.items()}
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names.values())
    # the same vocabulary in both: whether tags are special, or BOS stands before a bare encode, changes no id of a text
    assert names["byte_bpe_added_tags"] == names["byte_bpe_special_tags"]
    assert names["byte_bpe_bos"] == names["byte_bpe"]
    assert len(set(names.values())) == len(FAMILIES) - 2


def test_a_copy_has_the_same_fingerprint_and_an_added_token_changes_it():
    tokenizer = FAMILIES["byte_bpe"]()
    other = copy.deepcopy(tokenizer)
    assert fingerprint(other) == fingerprint(tokenizer)
    other.add_tokens(["<begin_search>"])
    assert fingerprint(other) != fingerprint(tokenizer)


def test_a_saved_and_loaded_tokenizer_has_the_same_fingerprint(tmp_path):
    from transformers import PreTrainedTokenizerFast

    tokenizer = FAMILIES["unigram"]()
    tokenizer.save_pretrained(tmp_path)
    assert fingerprint(PreTrainedTokenizerFast.from_pretrained(tmp_path)) == fingerprint(tokenizer)


def test_the_chat_template_does_not_count():
    tokenizer = copy.deepcopy(FAMILIES["byte_bpe"]())
    before = fingerprint(tokenizer)
    tokenizer.chat_template = "{{ messages }}"
    assert fingerprint(tokenizer) == before


def test_merges_of_the_character_tokenizer_count():
    assert fingerprint(CharTokenizer()) == fingerprint(CharTokenizer())
    assert fingerprint(CharTokenizer()) != fingerprint(CharTokenizer(["think"]))


def test_another_process_gives_the_same_fingerprint():
    code = (
        "from autocoa_plugin.testing import CharTokenizer; from autocoa_plugin.tokenization import fingerprint\n"
        "print(fingerprint(CharTokenizer()))"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert told == fingerprint(CharTokenizer())
