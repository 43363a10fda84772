"""`autocoa tinyworld build FOLDER`: its options, and the `BuildConfig` they make."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from .manifest import BuildConfig
from .pairs import PairSpan
from .stage_config import StageConfig

_DEFAULTS = BuildConfig()
_STAGES = _DEFAULTS.stages
_OWN = "each set's own"  # of an option that sets two sets whose defaults may differ


def add_build(commands: Any) -> None:
    """Register `build` with the subparsers of `tinyworld`."""
    parser = commands.add_parser("build", help="write corpus, questions, stage data and base model to a folder")
    parser.add_argument("folder", type=Path)
    _number(parser, "--seed", int, _DEFAULTS.seed, "of the teacher's draws and the order of training questions")
    _number(parser, "--coa", int, _STAGES.coa.count, "chains of action, stage 2")
    _number(parser, "--cot", int, _STAGES.cot.count, "chains of thought, stages 2 and 3")
    _number(parser, "--coa-stage3", int, _STAGES.coa_stage3.count, "chains of action, stage 3")
    _number(parser, "--pairs", int, _STAGES.pairs.count, "contrastive pairs, stage 1")
    _number(parser, "--replay", int, _STAGES.replay, "replayed lines of pre-training")
    _shares(parser, "--hop-shares", None, "of 1, 2, 3 hops in coa and pairs")
    _shares(parser, "--hop-shares-cot", _STAGES.cot.mix.hop_shares, "of 1, 2, 3 hops in cot")
    _shares(parser, "--hop-shares-stage3", _STAGES.coa_stage3.mix.hop_shares, "of 1, 2, 3 hops in coa_stage3")
    _number(parser, "--distractors", float, None, "share of observations, coa and pairs")
    _number(parser, "--distractors-stage3", float, _STAGES.coa_stage3.mix.distractor_share, "the same for coa_stage3")
    _number(parser, "--known-searched", float, _STAGES.coa.mix.known_searched, "share of known hops searched, coa")
    _number(parser, "--tail-recalled", float, _STAGES.coa.mix.tail_recalled, "share of tail hops recalled, coa")
    _number(parser, "--act-chosen-share", float, _STAGES.pairs.act_chosen_share, "of pairs in which acting is right")
    _number(parser, "--misled-share", float, _STAGES.pairs.misled_share, "of needless searches, span trajectory")
    spans = get_args(PairSpan)
    parser.add_argument("--pair-span", choices=spans, default=_STAGES.pairs.span, help="where both sides of a pair end")
    parser.set_defaults(run=run_build)


def _number(parser: argparse.ArgumentParser, name: str, kind: type, default: float | None, text: str) -> None:
    told = _OWN if default is None else default
    parser.add_argument(name, type=kind, default=default, metavar="N", help=f"{text} (default: {told})")


def _shares(parser: argparse.ArgumentParser, name: str, default: tuple[float, ...] | None, text: str) -> None:
    told = _OWN if default is None else " ".join(map(str, default))
    parser.add_argument(name, type=float, nargs=3, default=default, metavar="S", help=f"{text} (default: {told})")


def run_build(arguments: argparse.Namespace) -> int:
    """Build the folder and say where it is."""
    from .files import build

    files = build(
        arguments.folder, build_config(arguments), report=lambda text: print(f"tinyworld: {text}", flush=True)
    )
    print(f"tinyworld: files in {files.folder}")
    return 0


def build_config(arguments: argparse.Namespace) -> BuildConfig:
    """The config of parsed arguments; raises `ConfigError` for a share or a count out of range."""
    return BuildConfig(seed=arguments.seed, stages=stage_config(arguments))


def stage_config(arguments: argparse.Namespace) -> StageConfig:
    """The stage data of parsed arguments; raises `ConfigError` as `build_config` does."""
    a = arguments
    given = {"hop_shares": a.hop_shares and tuple(a.hop_shares), "distractor_share": a.distractors}
    shared = {name: value for name, value in given.items() if value is not None}
    cot = replace(_STAGES.cot.mix, hop_shares=tuple(a.hop_shares_cot))
    coa = replace(_STAGES.coa.mix, known_searched=a.known_searched, tail_recalled=a.tail_recalled, **shared)
    stage3 = replace(
        _STAGES.coa_stage3.mix, hop_shares=tuple(a.hop_shares_stage3), distractor_share=a.distractors_stage3
    )
    pairs = replace(
        _STAGES.pairs,
        count=a.pairs,
        act_chosen_share=a.act_chosen_share,
        misled_share=a.misled_share,
        span=a.pair_span,
        **shared,
    )
    return StageConfig(
        cot=replace(_STAGES.cot, count=a.cot, mix=cot),
        coa=replace(_STAGES.coa, count=a.coa, mix=coa),
        coa_stage3=replace(_STAGES.coa_stage3, count=a.coa_stage3, mix=stage3),
        pairs=pairs,
        replay=a.replay,
    )
