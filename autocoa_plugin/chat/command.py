"""What `autocoa chat` does: check, load, then ask, until nobody has a question any more.

Ctrl-C ends the rollout that runs, and only that; Ctrl-D or /quit end the program.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack

from ..errors import ConfigError, EngineError, nearest
from ..questions.question import Question
from .prepare import Spell, open_session, read_job, world_spelling
from .screen import Screen, summary_line
from .session import SaveFile, Session

_COMMANDS = {"/help": "this list", "/quit": "end; so does Ctrl-D. Ctrl-C ends the answer that is being written"}


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    from rich.console import Console

    for text in arguments.question:
        if not text.strip():
            raise ConfigError("--question is blank, expected a question")
    job = read_job(arguments)
    job.check()
    save = SaveFile(arguments.save)
    console = Console()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            with console.status("loading the model"):
                session = runner.run(open_session(job, stack))
            spell = world_spelling(session) if arguments.tinyworld else lambda text: (text, [])
            chat = Chat(session, Screen(console), save, spell, runner)
            if arguments.question:
                for text in arguments.question:
                    chat.ask(text)
            else:
                chat.talk(_typed())
        finally:
            runner.run(stack.aclose())


class Chat:
    """Asks one question after the other; each rollout runs in `runner` by itself."""

    def __init__(self, session: Session, screen: Screen, save: SaveFile, spell: Spell, runner: asyncio.Runner) -> None:
        self._session, self._screen, self._save = session, screen, save
        self._spell, self._runner = spell, runner
        self._asked = 0

    def talk(self, lines: Iterator[str]) -> None:
        """Answer what is typed until it ends or says /quit; an engine that fails may be back for the next question."""
        for line in lines:
            text = line.strip()
            if text == "/quit":
                return
            if text.startswith("/"):
                self._help(text)
            elif text:
                try:
                    self.ask(text, is_shown=sys.stdin.isatty())
                except KeyboardInterrupt:
                    self._screen.line("interrupted", "yellow")
                except EngineError as error:
                    self._screen.line(f"autocoa: {error}", "red")

    def ask(self, text: str, *, is_shown: bool = False) -> None:
        """Answer one question and show how; `is_shown`: the terminal shows it already.

        Raises what the rollout raises, and `KeyboardInterrupt` at Ctrl-C.
        """
        spelled, unknown = self._spell(text)
        if not is_shown or spelled != text:
            self._screen.line(f"> {spelled}", "bold")
        if unknown:
            self._screen.line(f"not in this model's vocabulary: {', '.join(unknown)}", "yellow")
        question = Question(f"chat-{self._asked}", spelled, ())
        self._asked += 1
        answered = self._runner.run(self._session.ask(question, self._screen))
        self._screen.line(summary_line(answered.trajectory, answered.answer, answered.seconds), "bold")
        self._save.add(answered)

    def _help(self, text: str) -> None:
        if text not in _COMMANDS:
            self._screen.line(f"unknown command {text}{nearest(text, _COMMANDS)}", "yellow")
        for name, meaning in _COMMANDS.items():
            self._screen.line(f"{name:<8} {meaning}")


def _typed() -> Iterator[str]:
    """Yield the lines that are typed, or piped in; Ctrl-C at the prompt drops the line."""
    prompt = "> " if sys.stdin.isatty() else ""
    if prompt:
        import readline  # noqa: F401  # lines can be edited and called back
    while True:
        try:
            yield input(prompt)
        except EOFError:
            print(end="\n" if prompt else "")
            return
        except KeyboardInterrupt:
            print()
