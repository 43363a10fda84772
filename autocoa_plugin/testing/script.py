"""Scripted rollouts in any protocol: what a policy that keeps every rule would write, played through the real loop."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..engines.scripted import ScriptedEngine
from ..environments.scripted import ScriptedEnvironment
from ..errors import AutoCoAError
from ..limits import Limits
from ..lookup import described
from ..loop import rollout
from ..protocol import Tool, ToolSpec
from ..tokenization import Codec
from ..trajectory import Trajectory
from .trial import rule, run

_LIMIT_S = 30.0
ROOMY = Limits(max_response_tokens=16_000, max_turn_tokens=8_000, answer_reserve_tokens=400)


@dataclass(frozen=True)
class Script:
    """A rollout that asks `query`, is told `observation` (default: the answer) and answers `answer`.

    `calls` are the arguments of tools that need more than one text.
    """

    codec: Codec
    query: str
    answer: str
    observation: str | None = None
    calls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def prompt_ids(self) -> list[int]:
        """The ids of the question; they open the thought where the protocol has one."""
        thought = self.codec.protocol.thought
        return self.codec.encode(f"{self.query} {thought.open if thought else ''}")

    @property
    def end(self) -> list[int]:
        """The end of the sequence, where the tokenizer has one."""
        return sorted(self.codec.end_ids)[:1]

    def action(self, tool: Tool) -> str:
        """A turn that thinks and acts."""
        return f" {self.query} . {self.call(tool)[0]}"

    def call(self, tool: Tool) -> tuple[str, str]:
        """An action of a tool as the protocol has it spelled, and the parameters that are to be read in it."""
        spec, arguments = tool.spec or ToolSpec(tool.name), self.calls.get(tool.name)
        if arguments is None:
            rule(spec.needs_text, f"tool {tool.name!r} needs more than one text: pass calls={{{tool.name!r}: {{..}}}}")
            arguments = {spec.schema["required"][0]: self.query}
        is_text = {*arguments} == {spec.text_name}  # as a protocol reads it
        body = parameters = str(arguments[str(spec.text_name)]) if is_text else _json(arguments)
        if self.codec.protocol.call_format == "json":
            body = _json({"name": tool.name, "arguments": arguments})
        return f"{tool.action.open} {body} {tool.action.close}", parameters

    def answering(self) -> str:
        """A turn that thinks and answers."""
        protocol = self.codec.protocol
        return f"{self.giving_up()}{protocol.answer.open} {self.answer} {protocol.answer.close}"

    def giving_up(self) -> str:
        """A turn that thinks, ends the thought and gives no answer."""
        thought = self.codec.protocol.thought
        return f" {self.query} . {f'{thought.close} ' if thought else ''}"

    def play(self, turns: Sequence[str], *, what: str, limits: Limits = ROOMY) -> tuple[Trajectory, ScriptedEngine]:
        """Play the turns, the last one up to the end of the sequence; a rollout that cannot go on breaks a rule."""
        codec = self.codec
        *others, last = [codec.encode(turn) for turn in turns]
        engine = ScriptedEngine([*others, [*last, *self.end]], encode=codec.encode, decode=codec.decode)
        tool = ScriptedEnvironment(lambda action: self.observation or self.answer)

        async def main() -> Trajectory:
            return await rollout(self.prompt_ids, engine=engine, environment=tool, codec=codec, limits=limits)

        try:
            return run(main, what=what, limit_s=_LIMIT_S), engine
        except AutoCoAError as error:
            raise AssertionError(f"{what}: a scripted rollout ended with {described(error)}") from error


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def letters(text: str) -> str:
    """A text without white space: where a tokenizer puts some is its own affair."""
    return "".join(text.split())
