"""From a question to the ids that a response follows: system prompt, demonstrations, conversation, chat template.

    [system of the question, or the method's]  [demonstrations]  the question's conversation

What demonstrations say is `methods.py`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..engines.model_folder import first_line
from ..errors import ConfigError
from ..prompts import get_prompt, prompt_ids
from ..questions.question import Message, Question
from .fingerprint import digest

_FIXED: tuple[Message, ...] = (
    {"role": "user", "content": "Who ?"},
    {"role": "assistant", "content": "It ."},
    {"role": "user", "content": "Where ?"},
)


@dataclass(frozen=True)
class Prompting:
    """How questions are put to one model; raises `ConfigError` when its chat template cannot spell a conversation."""

    tokenizer: Any
    system_prompt: str | None = None
    shots: tuple[Message, ...] = ()

    def __post_init__(self) -> None:
        self._ids(_FIXED)

    def ids(self, question: Question) -> list[int]:
        """Spell one question; a system message of its own goes first and replaces the method's."""
        conversation = list(question.conversation())
        own = [message for message in conversation[:1] if message["role"] == "system"]
        return self._ids([*own, *self.shots, *conversation[len(own) :]])

    def identity(self) -> dict[str, Any]:
        """What prompts depend on beside the question, JSON-ready."""
        # the template itself where there is one: what it writes may hold today's date, and a run may take two days
        template = getattr(self.tokenizer, "chat_template", None) or self.tokenizer.apply_chat_template(
            list(_FIXED), add_generation_prompt=True, tokenize=False
        )
        return {
            "system_prompt": self.system_prompt,
            "system_text": digest(get_prompt(self.system_prompt)) if self.system_prompt else None,
            "shots": digest([dict(shot) for shot in self.shots]) if self.shots else None,
            "chat_template": digest(template),
        }

    def _ids(self, conversation: Sequence[Message]) -> list[int]:
        try:
            return prompt_ids(self.tokenizer, conversation, system_prompt=self.system_prompt)
        except ConfigError:
            raise
        except Exception as error:  # templates are programs of the model's author and raise what they like
            roles = ", ".join(message["role"] for message in conversation)
            raise ConfigError(
                f"the model's chat template cannot spell a conversation of {roles}"
                f"{' with a system prompt' if self.system_prompt else ''}: {first_line(error)}"
            ) from error
