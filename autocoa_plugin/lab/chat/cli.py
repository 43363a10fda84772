"""`autocoa chat MODEL`: ask a checkpoint one's own questions and watch it think, act and answer.

    autocoa chat outputs/demo/stages/sft1-sft2/model --settings outputs/demo/world/settings.yaml
    autocoa chat runs/sft3/model --corpus wiki.jsonl --question "Who wrote Kim?" --question "Where was he born?"
    autocoa chat Qwen/Qwen2.5-7B-Instruct --server http://127.0.0.1:8000/v1 --method react --web --save chat.jsonl
    autocoa chat gpt-4o-mini --chat-server https://api.openai.com/v1 --web

Ctrl-C ends the rollout that runs, and only that; Ctrl-D or /quit end the program.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from ...engines.text_tokenizer import TEXT_NOTE
from ...errors import ConfigError, EngineError, nearest
from ..asking.model import Model, add_server_arguments, open_engine, served_of
from ..asking.player import SamplingOptions
from ..asking.question import Question
from ..asking.world import World, add_world_arguments, world_of
from .screen import Screen, summary_line
from .session import SaveFile, Session


def add_parser(subparsers: Any) -> None:
    """Register `autocoa chat`."""
    parser = subparsers.add_parser("chat", help="ask a checkpoint your own questions and watch its chain of action")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a model's folder; with --server, that of its tokenizer; with --chat-server, its name there",
    )
    add_server_arguments(parser)
    add_world_arguments(parser.add_argument_group("who answers actions"))
    asked = parser.add_argument_group("what is asked")
    asked.add_argument(
        "--question", action="append", default=[], metavar="TEXT", help="ask this and end; may be repeated"
    )
    asked.add_argument("--temperature", type=float, default=0.0, help="default: 0, greedy")
    asked.add_argument("--seed", type=int, default=0, help="of the draws at a temperature above 0 (default: 0)")
    asked.add_argument("--save", type=Path, metavar="FILE", help="append the trajectories as JSON lines")
    parser.set_defaults(run=run_command)


# ------------------------------------------------------------- check, load, then ask until there is no further question


_COMMANDS = {"/help": "this list", "/quit": "end; so does Ctrl-D. Ctrl-C ends the answer that is being written"}


def run_command(arguments: argparse.Namespace) -> None:
    """Run the command; raises the errors of ours that `cli.main` prints as one line."""
    from rich.console import Console

    for text in arguments.question:
        if not text.strip():
            raise ConfigError("--question is blank, expected a question")
    world, model = world_of(arguments), read_model(arguments)
    sampling = SamplingOptions(arguments.temperature, seed=arguments.seed)
    model.check()
    save = SaveFile(arguments.save)
    console = Console()
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            with console.status("loading the model"):
                session = runner.run(open_session(model, world, sampling, stack))
            tokenizer, screen = session.codec.tokenizer, Screen(console)
            if model.is_text:
                screen.line(f"{model.name} at {model.url}: {TEXT_NOTE}", "yellow")
            spell: Spell = (
                (lambda text: (text, [])) if model.is_text else lambda text: world.lab.spelled(text, tokenizer)
            )
            chat = Chat(session, screen, save, spell, runner)
            if arguments.question:
                for text in arguments.question:
                    chat.ask(text)
            else:
                chat.talk(_typed())
        finally:
            runner.run(stack.aclose())


class Chat:
    """Chat that asks one question after the other; each rollout runs in `runner` by itself."""

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


# ------------------------------------------------------------------------------------------ from arguments to a session


Spell = Callable[[str], tuple[str, list[str]]]
"""Function that puts a question into the words of a model: the question, and the words it does not know."""


def read_model(arguments: argparse.Namespace) -> Model:
    """Turn the arguments into the model that is asked, one question at a time; raises `ConfigError`."""
    served = served_of(arguments)
    is_served = served["server"] or served["chat_server"]
    return Model(**served, engine="auto" if is_served else "transformers", concurrency=1)


async def open_session(model: Model, world: World, sampling: SamplingOptions, stack: AsyncExitStack) -> Session:
    """Load tokenizer, environment and engine; what has to be closed goes on the stack.

    Raises `ConfigError`, `TokenizerError`, and `EngineError` for a server that cannot be reached.
    """
    ready = world.prepare(world.codec(model))
    engine = await stack.enter_async_context(open_engine(model, model.url, protocol=ready.codec.protocol))
    return Session(
        engine,
        ready.environment,
        ready.codec,
        ready.prompting,
        world.settings.limits,
        sampling.sampling(),
        sampling.seed,
    )
