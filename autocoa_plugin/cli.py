"""Command line `autocoa <command>`: finds the command's module and nothing else.

Every command lives next to the code it drives and registers itself with `add_parser(subparsers)`.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import sys
from collections.abc import Callable, Sequence

from . import __version__
from .errors import AutoCoAError

# each module registers its command with `add_parser`; importing it must cost nothing
COMMANDS = (
    "tinyworld.demo",
    "stages.cli",
    "tinyworld.cli",
    "retrieval.cli",
    "cassette.cli",
    "lab.scorecard.cli",
    "lab.evaluate.cli",
    "lab.compare.cli",
    "lab.report.cli",
    "lab.explore.cli",
    "lab.chat.cli",
    "lab.prepare.cli",
    "lab.synthesize.cli",
)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the user's share of it, what one file may hold


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status."""
    parser = argparse.ArgumentParser(prog="autocoa", description="AutoCoA: chain-of-action training on verl")
    parser.add_argument("--version", action="version", version=f"autocoa_plugin {__version__}")
    subparsers = parser.add_subparsers(required=True, metavar="command")
    for module in COMMANDS:
        importlib.import_module(f".{module}", __package__).add_parser(subparsers)
    arguments = parser.parse_args(argv)
    return exit_status(lambda: arguments.run(arguments))


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
