"""The options of `autocoa tinyworld build`: each changes what it says, and nothing else."""

from __future__ import annotations

import argparse

import pytest

from autocoa_plugin.cli import main
from autocoa_plugin.config import to_mapping
from autocoa_plugin.tinyworld.base_model import BuildConfig
from autocoa_plugin.tinyworld.cli import add_build, build_config


def config_of(*words: str) -> BuildConfig:
    parser = argparse.ArgumentParser()
    add_build(parser.add_subparsers())
    return build_config(parser.parse_args(["build", "folder", *words]))


def changed(config: BuildConfig) -> dict[str, object]:
    """The settings that differ from the defaults, by dotted name."""
    before, after = flat(to_mapping(BuildConfig())), flat(to_mapping(config))
    return {name: value for name, value in after.items() if value != before[name]}


def flat(mapping, path: str = "") -> dict[str, object]:
    if not isinstance(mapping, dict):
        return {path: mapping}
    return {name: value for key in mapping for name, value in flat(mapping[key], f"{path}.{key}".strip(".")).items()}


def test_without_options_everything_is_the_default():
    assert config_of() == BuildConfig()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--seed 3", {"seed": 3}),
        ("--coa 7", {"stages.coa.count": 7}),
        ("--cot 7", {"stages.cot.count": 7}),
        ("--coa-stage3 7", {"stages.coa_stage3.count": 7}),
        ("--pairs 7", {"stages.pairs.count": 7}),
        ("--replay 7", {"stages.replay": 7}),
        (
            "--hop-shares .5 .5 0",
            {"stages.coa.mix.hop_shares": [0.5, 0.5, 0.0], "stages.pairs.hop_shares": [0.5, 0.5, 0.0]},
        ),
        ("--hop-shares-cot 1 0 0", {"stages.cot.mix.hop_shares": [1.0, 0.0, 0.0]}),
        ("--hop-shares-stage3 1 0 0", {"stages.coa_stage3.mix.hop_shares": [1.0, 0.0, 0.0]}),
        (
            "--distractors .15",
            {"stages.coa.mix.distractor_share": 0.15, "stages.pairs.distractor_share": 0.15},
        ),
        ("--distractors-stage3 .15", {"stages.coa_stage3.mix.distractor_share": 0.15}),
        ("--known-searched .5", {"stages.coa.mix.known_searched": 0.5}),
        ("--tail-recalled .2", {"stages.coa.mix.tail_recalled": 0.2}),
        ("--act-chosen-share .9", {"stages.pairs.act_chosen_share": 0.9}),
        ("--misled-share .4", {"stages.pairs.misled_share": 0.4}),
        ("--pair-span trajectory", {"stages.pairs.span": "trajectory"}),
    ],
)
def test_an_option_changes_what_it_says_and_nothing_else(words, expected):
    assert changed(config_of(*words.split())) == expected


def test_a_share_that_cannot_be_is_one_line_and_builds_nothing(tmp_path, capsys):
    assert main(["tinyworld", "build", str(tmp_path / "w"), "--distractors", "2"]) == 2
    assert capsys.readouterr().err == "autocoa: distractor_share must be between 0 and 1, got 2.0\n"
    assert not (tmp_path / "w").exists()
