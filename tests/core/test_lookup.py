"""Objects that a configuration names: found by their path, or refused in one sentence that says what is there."""

from __future__ import annotations

import pytest

from autocoa_plugin.errors import ConfigError
from autocoa_plugin.lookup import is_path, named, published
from autocoa_plugin.protocol import REACT, get_protocol
from autocoa_plugin.tinyworld.tokenizer import TINYWORLD


def test_a_path_leads_to_the_object_it_names():
    assert is_path("autocoa_plugin.protocol:REACT") and not is_path("react")
    assert named("autocoa_plugin.protocol:REACT", where="x") is REACT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("autocoa_plugin.protocol", r"^lab\.x must be spelled package\.module:Name, got 'autocoa_plugin\.protocol'$"),
        (":REACT", r"^lab\.x must be spelled package\.module:Name"),
        ("autocoa_plugin.protocol:", r"^lab\.x must be spelled package\.module:Name"),
        ("autocoa_plugin.protocol:RE ACT", r"^lab\.x must be spelled package\.module:Name"),
        ("no_such_package:REACT", r"^lab\.x: 'no_such_package:REACT' cannot be imported: No module named"),
        (
            "autocoa_plugin.protocol:REACTS",
            r"^lab\.x: autocoa_plugin\.protocol has no 'REACTS' \(did you mean 'REACT'\?\)$",
        ),
    ],
    ids=["no name", "no module", "empty name", "no identifier", "no such module", "no such name"],
)
def test_a_path_that_leads_nowhere_is_refused_in_one_sentence(path, message):
    with pytest.raises(ConfigError, match=message):
        named(path, where="lab.x")


def test_a_protocol_is_found_by_its_path_or_by_the_name_that_a_package_publishes():
    assert get_protocol("autocoa_plugin.tinyworld.tokenizer:TINYWORLD") is TINYWORLD
    assert "tinyworld" in published("autocoa.protocols") and get_protocol("tinyworld") is TINYWORLD


def test_a_path_to_something_else_than_a_protocol_is_refused():
    with pytest.raises(ConfigError, match=r"'autocoa_plugin\.protocol:Tool' must name a Protocol, got type"):
        get_protocol("autocoa_plugin.protocol:Tool")


def test_an_unknown_protocol_names_the_nearest_of_ours_and_of_the_published_ones():
    with pytest.raises(
        ConfigError, match=r"\['autocoa', 'react', 'search_r1', 'tinyworld'\].*did you mean 'tinyworld'"
    ):
        get_protocol("tinywrld")


def test_a_group_that_nobody_publishes_in_is_empty():
    assert dict(published("autocoa.no_such_group")) == {}
