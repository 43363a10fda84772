"""`autocoa tinyworld build | show | question | evaluate`: make the files of the embedded world, and look into it."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..errors import AutoCoAError, ConfigError
from ..runs.files import write_json
from .base_model import BuildConfig
from .pairs import PairSpan
from .questions import Question, all_questions, train_questions, validation_questions
from .stage_config import StageConfig
from .teacher import teacher_turns
from .world import GROUPS, KINDS, World, generate

if TYPE_CHECKING:
    from .held_out import Progress

    Subparsers = argparse._SubParsersAction[Any]


def add_parser(subparsers: Subparsers) -> None:
    """Register `tinyworld`; each command sets `run`, a function of the parsed arguments that returns an exit status."""
    parser = subparsers.add_parser("tinyworld", help="the embedded world: generate its files, look into it")
    commands = parser.add_subparsers(dest="tinyworld_command", required=True)
    add_build(commands)
    show = commands.add_parser("show", help="counts and examples")
    show.set_defaults(run=_run_show)
    question = commands.add_parser("question", help="questions with plan and gold trajectory")
    question.add_argument("about", nargs="?", help="part of the question's text, such as a name")
    question.add_argument("--hops", type=int, choices=(1, 2, 3))
    question.add_argument("--group", choices=GROUPS, default="held", help="where the question starts (default: held)")
    question.add_argument("--limit", type=int, default=3, help="how many to print (default: 3)")
    question.set_defaults(run=_run_question)
    add_evaluate(commands)


def _run_show(arguments: argparse.Namespace) -> int:
    world = generate()
    print(counts_text(world))
    entity = world.group("held", "person")[0]
    print(f"\n{entity.name} ({entity.kind}, {entity.group})\n  {dict(entity.facts)}\n  {entity.text}")
    for hops in (1, 2, 3):
        print("\n" + question_text(world, all_questions(world, "held", hops)[0]))
    return 0


def _run_question(arguments: argparse.Namespace) -> int:
    world = generate()
    hops = (arguments.hops,) if arguments.hops else (1, 2, 3)
    found = [each for count in hops for each in all_questions(world, arguments.group, count)]
    found = [each for each in found if (arguments.about or "") in each.text]
    if not found:
        print(f"no question of group {arguments.group!r} contains {arguments.about!r}")
        return 1
    step = max(1, len(found) // arguments.limit)  # spread over the kinds of questions
    print("\n\n".join(question_text(world, each) for each in found[::step][: arguments.limit]))
    return 0


def counts_text(world: World) -> str:
    """Lay out entities by group and kind, questions by set and source, as a table."""
    lines = [f"{'entities':<12}" + "".join(f"{kind:>9}" for kind in KINDS)]
    for group in GROUPS:
        lines.append(f"{group:<12}" + "".join(f"{len(world.group(group, kind)):>9}" for kind in KINDS))
    lines.append(f"\n{'questions':<24}{'train':>6}{'val':>6}")
    train = Counter(each.source for each in train_questions(world))
    val = Counter(each.source for group in validation_questions(world).values() for each in group)
    lines += [f"{source:<24}{train[source]:>6}{val[source]:>6}" for source in sorted(train)]
    return "\n".join(lines)


def question_text(world: World, question: Question) -> str:
    """Spell a question with its plan and its gold trajectory, each observation spelled as the search tool would."""
    lines = [f"{question.text}  [{question.source}]"]
    for number, hop in enumerate(question.hops, 1):
        how = "search" if hop.needs_search else "known"
        lines.append(f"  hop {number}: {hop.relation} of {hop.subject} = {hop.object}  ({how})")
    searched = [hop for hop in question.hops if hop.needs_search]
    turns = teacher_turns(question, question.needs_search)
    for turn, hop in zip(turns, searched, strict=False):
        article = world.entities[hop.subject]
        lines += [f"  policy      {turn}", f"  environment {article.name} : {article.text}"]
    return "\n".join([*lines, f"  policy      {turns[-1]}"])


# --------------------------------------- `autocoa tinyworld build FOLDER`: its options, and the `BuildConfig` they make


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
    shown = _OWN if default is None else default
    parser.add_argument(name, type=kind, default=default, metavar="N", help=f"{text} (default: {shown})")


def _shares(parser: argparse.ArgumentParser, name: str, default: tuple[float, ...] | None, text: str) -> None:
    shown = _OWN if default is None else " ".join(map(str, default))
    parser.add_argument(name, type=float, nargs=3, default=default, metavar="S", help=f"{text} (default: {shown})")


def run_build(arguments: argparse.Namespace) -> int:
    """Build the folder and say where it is."""
    from .world_files import build

    files = build(
        arguments.folder, build_config(arguments), report=lambda text: print(f"tinyworld: {text}", flush=True)
    )
    print(f"tinyworld: files in {files.folder}")
    return 0


def build_config(arguments: argparse.Namespace) -> BuildConfig:
    """Make the build's config from parsed arguments; raises `ConfigError` for a share or a count out of range."""
    return BuildConfig(seed=arguments.seed, stages=stage_config(arguments))


def stage_config(arguments: argparse.Namespace) -> StageConfig:
    """Make the stage data's config from parsed arguments; raises `ConfigError` as `build_config` does."""
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


# ---------------------------------- `autocoa tinyworld evaluate MODEL`: judge a model folder, print tables, write files


def add_evaluate(commands: Subparsers) -> None:
    """Register `evaluate`."""
    parser = commands.add_parser("evaluate", help="judge a model folder without a server")
    parser.add_argument("model", type=Path, help="a Hugging Face folder: <checkpoint>/global_step_90/huggingface")
    parser.add_argument(
        "--world",
        type=Path,
        default=Path("outputs/tinyworld"),
        help="the world's files, built when missing (default: outputs/tinyworld)",
    )
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    parser.add_argument("--limit", type=int, help="at most so many questions of each group, and facts")
    parser.add_argument("--trajectories", type=Path, help="dump the trajectories under this folder, as validation does")
    parser.set_defaults(run=run_evaluate)


def run_evaluate(arguments: argparse.Namespace) -> int:
    """Run the command; an error of ours is one line and exit status 1."""
    try:
        _evaluate(arguments)
    except AutoCoAError as error:
        print(f"autocoa: {error}", file=sys.stderr)
        return 1
    return 0


def _evaluate(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from ..dump import TrajectoryDump
    from ..engines.model_folder import check_model_folder
    from .held_out import evaluate, print_evaluation
    from .world_files import Files

    check_model_folder(arguments.model)  # before anything is imported that takes seconds
    _refuse_what_is_there(arguments.trajectories)
    dump = TrajectoryDump(arguments.trajectories) if arguments.trajectories else None
    console = Console()
    with _progress(console) as progress:
        files = Files(arguments.world)
        evaluation = evaluate(arguments.model, files, limit=arguments.limit, dump=dump, progress=progress)
    console.print(f"{arguments.model}: {evaluation.parameters:,} parameters")
    print_evaluation(evaluation, console)
    if arguments.out:
        write_json(arguments.out, evaluation.to_dict())


def _refuse_what_is_there(folder: Path | None) -> None:
    """Refuse a folder with a dump: a dump appends, so trajectories of two models would be read as one."""
    found = next(folder.glob("val/step_*.jsonl"), None) if folder else None
    if found:
        raise ConfigError(f"--trajectories {folder} already holds {found.name}: give a folder without trajectories")


@contextmanager
def _progress(console: Any) -> Iterator[Progress]:
    """Show one bar, whose text is the part of the work; nothing where the output is no terminal."""
    from transformers.utils import logging

    from ..runs.progress import ShownProgress

    logging.disable_progress_bar()  # "Loading weights" is over before it can be read
    with ShownProgress("loading the model", has_lines=False, console=console, transient=True) as shown:

        def show(part: str, done: int, total: int) -> None:
            shown.say(part)
            shown.show(done, total)

        yield show
