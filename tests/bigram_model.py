"""A Llama whose next token depends on the last one only, by a table: real weights, and every figure can be derived.

Embeddings are the unit vectors; attention and MLP give zero; the output layer holds the table, so the logits after
token `v` are `logits[v]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SURE = 30.0  # e^-30 is 1e-13: nothing else is ever sampled


def bigram_model(n_tokens: int, logits: Mapping[int, Mapping[int, float]], **config: Any) -> Any:
    """Build the model; `logits[v][w]` is the logit of w after v, 0 where nothing is said."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    width = n_tokens + n_tokens % 2
    model = LlamaForCausalLM(
        LlamaConfig(
            **{
                "max_position_embeddings": 512,
                "eos_token_id": None,
                "bos_token_id": None,
                "pad_token_id": None,
                **config,
            },
            vocab_size=n_tokens,
            hidden_size=width,
            intermediate_size=2,
            num_hidden_layers=1,
            num_attention_heads=1,
            rms_norm_eps=1e-12,
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        layer = model.model.layers[0]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(n_tokens, width))
        model.lm_head.weight.zero_()
        for last, following in logits.items():
            for token, logit in following.items():
                # the norm makes sqrt(width) of the one in a unit vector
                model.lm_head.weight[token, last] = logit / width**0.5
    return model.eval()


def chain_model(n_tokens: int, chain: Mapping[int, int], **config: Any) -> Any:
    """A bigram model that is sure: after `v` comes `chain[v]`."""
    return bigram_model(n_tokens, {last: {token: SURE} for last, token in chain.items()}, **config)
