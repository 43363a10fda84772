"""Ids that can be read, with a chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autocoa_plugin.testing import CharTokenizer


class ChatTokenizer(CharTokenizer):
    """One id per character; a conversation is `<role>content` for each message, then `<assistant>` and `opening`.

    R1-Distill's template opens the thought: its `opening` is `<think>`.
    """

    def __init__(self, opening: str = "", *, merges: Sequence[str] = ()) -> None:
        super().__init__(merges)
        self.opening = opening

    def apply_chat_template(self, conversation: Sequence[Mapping[str, str]], *, tokenize: bool, **_: Any) -> Any:
        text = "".join(f"<{each['role']}>{each['content']}" for each in conversation) + f"<assistant>{self.opening}"
        return self.encode(text) if tokenize else text
