"""Word-level tokenizer of the world: one token per white-space separated word, one per tag.

Tags are added tokens with special=False, because skip_special_tokens=True would otherwise remove them before a reward
reads the text. The end-of-sequence token is therefore not removed by decoding either.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import TokenizerError
from ..protocol import AUTOCOA
from .lines import vocabulary_words
from .world import World

TINYWORLD = replace(
    AUTOCOA, name="tinyworld", observation_before=" ", observation_after=" ", document="{title} : {text}"
)
"""AutoCoA's tags; white space around everything, because each token is a word."""

PAD, END, UNKNOWN, USER, ASSISTANT = "<|pad|>", "<|im_end|>", "<unk>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}<|user|> {{ message['content'] }} "
    "{% elif message['role'] == 'assistant' %}<|assistant|> {{ message['content'] }} <|im_end|> "
    "{% elif message['content'] %}{{ message['content'] }} {% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# everything that is one token wherever it stands, even without white space around it
TAGS = (
    *(PAD, END, UNKNOWN, USER, ASSISTANT),
    *("<think>", "</think>", "\\boxed{", "}"),
    *("<begin_search>", "</end_search>", "<search_result>", "</search_result>"),
    *("<begin_calculate>", "</end_calculate>", "<calculate_result>", "</calculate_result>"),
)
# the sentences the environment may inject; a copy, because the shipped base model fixes the vocabulary
_NOTICES = (
    "none : no result .",
    "error : the tool failed .",
    "error : the tool took too long .",
    "error : empty query .",
    "error : query too long .",
    "error : no such action .",
    "error : search inside the thought only .",
    "error : only the tool writes results .",
)
_TEACHER = "First Next I need the of recall So is ."
_ARITHMETIC = "0 1 2 3 4 5 6 7 8 9 + - * / ( ) = ."


def prompt_text(question: str) -> str:
    """A question as the chat template spells it."""
    return f"{USER} {question} {ASSISTANT}"


def build_tokenizer(world: World) -> Any:
    """Build the `PreTrainedTokenizerFast` of a world; ids 0 and 1 are padding and end."""
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = vocabulary_words(world)
    for text in (*_NOTICES, _TEACHER, _ARITHMETIC):
        words.update(text.split())
    ordered = [*TAGS, *sorted(words)]
    fast = Tokenizer(models.WordLevel({word: index for index, word in enumerate(ordered)}, unk_token=UNKNOWN))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=fast,
        eos_token=AddedToken(END, special=False, normalized=False),
        pad_token=AddedToken(PAD, special=False, normalized=False),
        unk_token=AddedToken(UNKNOWN, special=False, normalized=False),
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def load_tokenizer(folder: str | Path) -> Any:
    """Load the tokenizer saved in a model folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def check_vocabulary(tokenizer: Any, world: World, model_folder: str | Path) -> None:
    """Raise `TokenizerError` naming the first word of the world that is another token than it should be, or none."""
    seen: dict[str, int] = tokenizer.get_vocab()
    for word, token in sorted(build_tokenizer(world).get_vocab().items(), key=lambda item: item[1]):
        if seen.get(word) != token:
            raise TokenizerError(
                f"{model_folder}: {word!r} is token {seen.get(word)} of this model's tokenizer, expected {token}: "
                "the model does not descend from the base model of tinyworld"
            )
