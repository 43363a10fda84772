"""A small tokenizer with the tokens and a chat template of models that call tools in JSON, in the style of Qwen.

The template is ours; what it shares with those of Qwen2.5 and Qwen3 is all that a protocol must agree with: how turns
begin and end, how a thought, a call and a result are spelled, and that a result is a turn of the user.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import TYPE_CHECKING

from tokenizer_families import FAMILIES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

TEMPLATE = r"""
{%- set first = messages[0].content if messages[0].role == 'system' else '' %}
{%- if tools %}
    {{- '<|im_start|>system\n' ~ first ~ ('\n\n' if first else '') ~ '# Tools\n\n<tools>' }}
    {%- for tool in tools %}{{- '\n' ~ (tool | tojson) }}{%- endfor %}
    {{- '\n</tools>\n\nA call is JSON with name and arguments, in <tool_call></tool_call>.<|im_end|>\n' }}
{%- elif first %}
    {{- '<|im_start|>system\n' ~ first ~ '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'user' %}
        {{- '<|im_start|>user\n' ~ message.content ~ '<|im_end|>\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<|im_start|>user\n<tool_response>\n' ~ message.content ~ '\n</tool_response><|im_end|>\n' }}
    {%- elif message.role == 'assistant' %}
        {{- '<|im_start|>assistant\n' }}
        {%- if message.reasoning_content %}
            {{- '<think>\n' ~ message.reasoning_content ~ '\n</think>\n\n' }}
        {%- endif %}
        {{- message.content }}
        {%- for call in message.tool_calls %}
            {{- ('\n' if message.content else '') ~ '<tool_call>\n{"name": "' ~ call.function.name }}
            {{- '", "arguments": ' ~ (call.function.arguments | tojson) ~ '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
"""
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


@cache
def tool_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen's pre-tokenizer; the marks of turns are special tokens, tags are added ones."""
    from tokenizers import AddedToken

    tokenizer = copy.deepcopy(FAMILIES["byte_bpe_fused"]())
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "additional_special_tokens": ["<|im_start|>"]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer
