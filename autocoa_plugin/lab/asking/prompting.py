"""Spell a question as prompt ids: system prompt, demonstrations, conversation, chat template.

    [system of the question, or the method's]  [demonstrations]  the question's conversation

Which demonstrations a method has is said in `methods.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...engines.model_folder import first_line
from ...errors import ConfigError, nearest
from ...lookup import Plug, is_path, named
from ...prompts import check_template, get_prompt, prompt_ids, prompt_name
from ...protocol import REACT, Protocol
from ...runs.identity import digest
from .question import Message, Question

_FIXED: tuple[Message, ...] = (
    {"role": "user", "content": "Who ?"},
    {"role": "assistant", "content": "It ."},
    {"role": "user", "content": "Where ?"},
)


@dataclass(frozen=True)
class Prompting:
    """Prompts of questions for one model; raises `ConfigError` when its chat template cannot spell a conversation.

    `protocol` says which tools the model is told of (`prompts.prompt_ids`); None: no tool.
    """

    tokenizer: Any
    system_prompt: str | Plug | None = None
    shots: tuple[Message, ...] = ()
    protocol: Protocol | None = None

    def __post_init__(self) -> None:
        self._ids(_FIXED)
        if self.protocol is not None:
            check_template(self.tokenizer, self.protocol, system_prompt=self.system_prompt)

    def ids(self, question: Question) -> list[int]:
        """Spell one question; a system message of its own goes first and replaces the method's."""
        conversation = list(question.conversation())
        own = [message for message in conversation[:1] if message["role"] == "system"]
        return self._ids([*own, *self.shots, *conversation[len(own) :]])

    def identity(self) -> dict[str, Any]:
        """Everything that prompts depend on beside the question, JSON-ready."""
        # the template itself where there is one: what it writes may hold today's date, and a run may take two days
        template = getattr(self.tokenizer, "chat_template", None) or self.tokenizer.apply_chat_template(
            list(_FIXED), add_generation_prompt=True, tokenize=False
        )
        return {
            "system_prompt": prompt_name(self.system_prompt),
            "system_text": digest(get_prompt(self.system_prompt)) if self.system_prompt else None,
            "shots": digest([dict(shot) for shot in self.shots]) if self.shots else None,
            "chat_template": digest(template),
        }

    def _ids(self, conversation: Sequence[Message]) -> list[int]:
        try:
            return prompt_ids(self.tokenizer, conversation, system_prompt=self.system_prompt, protocol=self.protocol)
        except ConfigError:
            raise
        except Exception as error:  # templates are programs of the model's author and raise what they like
            roles = ", ".join(message["role"] for message in conversation)
            raise ConfigError(
                f"the model's chat template cannot spell a conversation of {roles}"
                f"{' with a system prompt' if self.system_prompt else ''}: {first_line(error)}"
            ) from error


# ---------------------------------------------------- worked examples before a question, as turns of user and assistant


Documents = Sequence[tuple[str, str]]
"""Title and text, best first; none: the search found nothing."""


@dataclass(frozen=True)
class Example:
    """Worked example: a question with the policy's turns, and what is observed after each turn but the last.

    It is spelled as the rollout loop would have spelled it, observations included.
    """

    question: str
    turns: tuple[str, ...]
    observed: tuple[Documents, ...]

    def messages(self, protocol: Protocol) -> tuple[Message, Message]:
        """The question as a user's turn, the whole response as the assistant's."""
        response = self.turns[0]
        for documents, turn in zip(self.observed, self.turns[1:], strict=True):
            response += _observation(protocol, documents) + turn
        return {"role": "user", "content": self.question}, {"role": "assistant", "content": response}


def shot_messages(name: str | None) -> tuple[Message, ...]:
    """Worked examples as messages, () for None: one of `SHOTS`, or a function `package.module:name` that returns them.

    Raises `ConfigError` naming the nearest name.
    """
    if name is None:
        return ()
    if is_path(name):
        return tuple(named(name, where="shots")())
    if name not in SHOTS:
        raise ConfigError(f"shots must be one of {list(SHOTS)}, got {name!r}{nearest(name, SHOTS)}")
    return SHOTS[name]()


def _observation(protocol: Protocol, documents: Documents) -> str:
    tags = protocol.tool("search").observation
    body = protocol.spell_documents(list(documents)) if documents else protocol.notices.empty_result
    framed = f"{tags.open}{protocol.body_before}{body}{protocol.body_after}{tags.close}"
    return f"{protocol.observation_before}{framed}{protocol.observation_after}"


def _search(thought: str, query: str) -> str:
    action = REACT.tool("search").action
    return f"Thought: {thought}\nAction: search\n{action.open} {query}\n{action.close}"


def _finish(thought: str, answer: str) -> str:
    return f"Thought: {thought}\nFinal Answer: \\boxed{{{answer}}}"


REACT_EXAMPLES = (
    Example(
        "What is the capital of the country in which Mount Kilimanjaro lies?",
        (
            _search("I need the country of Mount Kilimanjaro first, then its capital.", "Mount Kilimanjaro country"),
            _search("Kilimanjaro lies in Tanzania. Next I need the capital of Tanzania.", "Tanzania capital city"),
            _finish("The capital of Tanzania is Dodoma, not its largest city, Dar es Salaam.", "Dodoma"),
        ),
        (
            [
                (
                    "Mount Kilimanjaro",
                    "Mount Kilimanjaro is a dormant volcano in Tanzania and Africa's highest mountain.",
                )
            ],
            [("Dodoma", "Dodoma is the capital of Tanzania. Dar es Salaam, on the coast, is the largest city.")],
        ),
    ),
    Example(
        "Was the University of Vienna founded before the University of Heidelberg?",
        (
            _search("I need the founding years of both. First Vienna.", "University of Vienna founded"),
            _search("Vienna was founded in 1365. Now Heidelberg.", "University of Heidelberg founded"),
            _finish("1365 is before 1386, so the answer is yes.", "yes"),
        ),
        (
            [("University of Vienna", "The University of Vienna was founded by Duke Rudolf IV in 1365.")],
            [("Heidelberg University", "Heidelberg University, founded in 1386, is the oldest university in Germany.")],
        ),
    ),
    Example(
        "Who wrote the novel on which the film Blade Runner is based?",
        (
            _search("I need the novel behind the film, and its author.", "film Blade Runner 1982 based on which novel"),
            _search("Nothing was found. I try a shorter query.", "Blade Runner film"),
            _finish("The film is based on a novel by Philip K. Dick.", "Philip K. Dick"),
        ),
        (
            [],
            [
                ("Blade Runner", "Blade Runner is a film of 1982, adapted from Philip K. Dick's novel of 1968."),
                ("Ridley Scott", "Ridley Scott is an English film director."),
            ],
        ),
    ),
)

SHOTS: Mapping[str, Callable[[], tuple[Message, ...]]] = MappingProxyType(
    {"react": lambda: example_messages(REACT_EXAMPLES, REACT)}
)
"""Every set of examples by name.

"react": three by hand, ours: two facts in a row, a comparison, a search that finds nothing.
"""


def example_messages(examples: Sequence[Example], protocol: Protocol) -> tuple[Message, ...]:
    """Examples one after the other, each as a question and the whole response."""
    return tuple(message for example in examples for message in example.messages(protocol))
