"""The `autocoa:` key of a recipe: what is wrong is named when it is loaded."""

from __future__ import annotations

import pytest

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.settings import Settings, load_settings

GOOD = {"search": {"backend": "search_r1", "url": "http://127.0.0.1:1/retrieve"}}


def test_the_response_length_is_verls_own_key():
    assert load_settings(GOOD, max_response_tokens=777).limits.max_response_tokens == 777


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({**GOOD, "protocl": "autocoa"}, r"autocoa: unknown key protocl \(did you mean 'protocol'\?\)"),
        ({**GOOD, "limits": {"max_action": 3}}, r"unknown key limits.max_action \(did you mean 'max_actions'\?\)"),
        ({**GOOD, "limits": {"max_response_tokens": 9}}, "set by data.max_response_length"),
        ({**GOOD, "limits": {"max_actions": "three"}}, "limits.max_actions must be int, got str 'three'"),
        ({**GOOD, "limits": {"answer_reserve_tokens": 5000}}, "answer_reserve_tokens must be < max_response_tokens"),
        ({**GOOD, "protocol": "autocao"}, "did you mean 'autocoa'"),
        ({**GOOD, "tools": ["serch"]}, "did you mean 'search'"),
        ({"search": {"backend": "index"}}, "search.corpus is required for search.backend=index"),
        ({"search": {"backend": "flashrag"}}, "search.url is required for search.backend=flashrag"),
        ({"search": {"backend": "googel"}}, "search.backend must be one of"),
        ({}, "search is required when tools include 'search'"),
        ({**GOOD, "reward": {"format_penalty": -1}}, "format_penalty must be >= 0 and finite, got -1"),
        ({**GOOD, "dump": {"train_share": 2}}, "train_share must be between 0 and 1"),
    ],
)
def test_wrong_settings_are_refused_in_one_line_that_names_them(mapping, message):
    with pytest.raises(ConfigError, match=message) as caught:
        load_settings(mapping, max_response_tokens=1000)
    assert "\n" not in str(caught.value)


def test_a_tool_that_nothing_builds_is_refused_and_never_taken_for_search():
    with pytest.raises(ConfigError, match=r"^tools must be one of \[.*'calculate'.*got 'calculator' \(did you mean"):
        Settings(tools=("calculator",))
