"""Command line `autocoa <command>`: finds the command's module and nothing else.

Every command lives next to the code it drives and registers itself with `add_parser(subparsers)`.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence

from . import __version__
from .errors import AutoCoAError, nearest

# command -> the module that adds it with `add_parser`, and its line in `autocoa --help`, for which nothing is imported
COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("tinyworld.demo", "train and evaluate on the embedded world, without an accelerator"),
    "stages": ("stages.cli", "train a model through the stages, each from the checkpoint of the one before"),
    "tinyworld": ("tinyworld.cli", "the embedded world: generate its files, look into it"),
    "index": ("retrieval.cli", "the embedded index: build it, search it"),
    "serve": ("retrieval.cli", "serve an index over HTTP (Search-R1's and FlashRAG's /retrieve)"),
    "cassette": ("cassette.cli", "recorded observations: inspect, merge, export, import"),
    "scorecard": ("lab.scorecard.cli", "compare imagined with real observations"),
    "evaluate": ("lab.evaluate.cli", "ask a model questions, with intervals and honest metrics"),
    "compare": ("lab.compare.cli", "test whether two evaluated runs differ"),
    "report": ("lab.report.cli", "show evaluations, trainings and scorecards as one page"),
    "explore": ("lab.explore.cli", "write trajectories as one page to read"),
    "chat": ("lab.chat.cli", "ask a checkpoint your own questions and watch its chain of action"),
    "prepare": ("lab.prepare.cli", "questions to prompt files for RL: HotpotQA, NQ, TriviaQA, ..., or your own"),
    "synthesize": (
        "lab.synthesize.cli",
        "make training data from questions: CoT, CoA and contrastive pairs, with data cards",
    ),
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's share of it, what one file may hold


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    arguments = parser_for(argv).parse_args(argv)
    return exit_status(lambda: arguments.run(arguments))


def parser_for(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser of a command line: it knows every command, and the options of the one that is named.

    Only that command's module is imported. An unknown command ends the program with status 2 and the nearest known one.
    """
    parser = argparse.ArgumentParser(prog="autocoa", description="AutoCoA: chain-of-action training on verl")
    parser.add_argument("--version", action="version", version=f"autocoa_plugin {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="command")
    named = next((word for word in argv if not word.startswith("-")), None)
    if named is not None and named not in COMMANDS:
        parser.error(f"no command {named!r}{nearest(named, COMMANDS)}; there are {', '.join(COMMANDS)}")
    used = COMMANDS[named][0] if named is not None else None
    for name, (module, summary) in COMMANDS.items():
        if module != used:
            subparsers.add_parser(name, help=summary)
        elif name == named:  # a module may add several commands
            importlib.import_module(f".{module}", __package__).add_parser(subparsers)
    return parser


def exit_status(command: Callable[[], int | None]) -> int:
    """Run a command; an error of ours or about a file is one line on standard error and exit status 2."""
    try:
        return int(command() or 0)
    except AutoCoAError as error:
        print(f"autocoa: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None and error.errno not in _FULL:  # not about a file: a mistake of ours
            raise
        print(f"autocoa: {error.filename or 'writing'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("autocoa: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
