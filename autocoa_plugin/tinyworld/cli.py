"""`autocoa tinyworld build | show | question | evaluate`: make the files of the embedded world, and look into it."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING, Any

from .build_command import add_build
from .evaluate_command import add_evaluate
from .questions import Question, all_questions, train_questions, validation_questions
from .relations import KINDS
from .teacher import teacher_turns
from .world import GROUPS, World, generate

if TYPE_CHECKING:
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
    """Entities by group and kind, questions by set and source, as a table."""
    lines = [f"{'entities':<12}" + "".join(f"{kind:>9}" for kind in KINDS)]
    for group in GROUPS:
        lines.append(f"{group:<12}" + "".join(f"{len(world.group(group, kind)):>9}" for kind in KINDS))
    lines.append(f"\n{'questions':<24}{'train':>6}{'val':>6}")
    train = Counter(each.source for each in train_questions(world))
    val = Counter(each.source for group in validation_questions(world).values() for each in group)
    lines += [f"{source:<24}{train[source]:>6}{val[source]:>6}" for source in sorted(train)]
    return "\n".join(lines)


def question_text(world: World, question: Question) -> str:
    """A question with its plan and its gold trajectory, each observation spelled as the search tool would."""
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
