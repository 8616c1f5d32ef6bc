"""Transient memory of one forward pass over a chunk of prompt tokens: what is alive at the widest point of a layer.

An estimate from shapes (16-bit activations, attention without a stored score matrix): frameworks reuse buffers
differently, so callers give it a wide interval.
"""

from functools import lru_cache

from fitserve.models.types import Attention, LanguageModel, LatentAttention, Layer, LinearAttention, StateSpace

_ACTIVATION_BYTES = 2
_LOGIT_BYTES = 4
_HIDDEN_COPIES = 4
"""The residual stream, its norm, the block's result and one in flight."""


def prefill_bytes(model: LanguageModel, tokens: int, tp: int = 1, logit_rows: int = 1) -> int:
    """Bytes of the activations of `tokens` prompt tokens on one rank, and of the logits of `logit_rows` positions."""
    hidden = model.hidden_size * _HIDDEN_COPIES
    return tokens * _ACTIVATION_BYTES * (hidden + _widest(model) // tp) + logit_rows * model.vocab_size * _LOGIT_BYTES


@lru_cache(maxsize=512)
def _widest(model: LanguageModel) -> int:
    """Elements of a token inside the widest block of any layer."""
    return max((_block_width(layer) for layer in model.layers), default=0)


def _block_width(layer: Layer) -> int:
    widths = [0]
    for mixer in layer.mixers:
        match mixer:
            case Attention():
                widths.append(
                    2 * mixer.query_heads * mixer.key_dim + mixer.kv_heads * (mixer.key_dim + mixer.value_dim)
                )
            case LatentAttention():
                per_head = 2 * (mixer.nope_dim + mixer.rope_dim) + 2 * mixer.value_dim
                widths.append(mixer.query_heads * per_head + mixer.cache_width)
            case LinearAttention():
                widths.append(3 * (mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim))
            case StateSpace():
                widths.append(4 * mixer.inner)
            case _:
                pass
    if layer.dense is not None:
        widths.append(3 * layer.dense.width)
    if layer.experts is not None:
        widths.append(3 * (layer.experts.used * layer.experts.width + layer.experts.shared_width))
    return max(widths)
