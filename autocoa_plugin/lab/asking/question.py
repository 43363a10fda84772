"""Question with its gold answers, in one form for every source it can be read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = Mapping[str, str]
"""A chat message: role and content."""


@dataclass(frozen=True)
class Question:
    """Question to a model, with what counts as right.

    `id` is unique within a set. `golds` are alternatives of which the best counts. `group` is what results are broken
    down by (a data set's name, a number of hops). `messages` is the whole conversation where a file holds one;
    None: the question is the only user message. `needs_search` says where acting is right, where that is known: per hop
    (one bool each) or for the whole question; None: unknown. `meta` is everything else the file says; it is stored with
    the result and never shown to policy or environment.
    """

    id: str
    question: str
    golds: tuple[str, ...]
    group: str = "all"
    messages: tuple[Message, ...] | None = None
    needs_search: bool | tuple[bool, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def conversation(self) -> Sequence[Message]:
        """Messages that are put to the policy, a system prompt excepted."""
        return self.messages or ({"role": "user", "content": self.question},)
