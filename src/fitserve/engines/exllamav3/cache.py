"""Bytes of ExLlamaV3's cache per layer: pages of tokens, 16 bit or 2 to 8 bit, and states of fixed size for every slot.

cache/fp16.py, cache/quant.py, cache/mla.py, modules/sliding_attn.py, modules/gated_delta_net.py of exllamav3 1.6.5.
"""

from fitserve.engines.contract import Deployment
from fitserve.engines.exllamav3.rules import feature
from fitserve.engines.exllamav3.settings import HALF_BITS, ServerSettings, window_only
from fitserve.engines.layer_split import PAGE_TOKENS
from fitserve.footprint.kv_cache import state_elements
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.units import ceil_div, round_up
from fitserve.models.types import (
    Attention,
    CompressedAttention,
    LanguageModel,
    LatentAttention,
    LinearAttention,
    Mixer,
    ShortConvolution,
)

_HALF_BYTES = 2
_FLOAT_BYTES = 4
_SCALE_BYTES = 2
_WORD_BYTES = 4


def packed_bytes(elements: int, bits: int) -> int:
    """Bytes of so many cached values: groups of 32 in whole words, each with a 16-bit scale."""
    if bits >= HALF_BITS:
        return elements * _HALF_BYTES
    groups: int = elements // feature("cache_group")
    return groups * (bits * _WORD_BYTES + _SCALE_BYTES)


def token_bytes(mixer: Mixer, settings: ServerSettings, windows: bool, ranks: int = 1) -> int:
    """Bytes that a token of the cache takes in a layer, on one of `ranks` devices. Raises FactMissing."""
    match mixer:
        case Attention():
            if mixer.shares_kv or mixer.crosses_to_vision or (windows and mixer.window_tokens is not None):
                return 0
            heads = ceil_div(mixer.kv_heads, ranks)
            keys = packed_bytes(heads * mixer.key_dim, settings.key_bits)
            return keys + packed_bytes(heads * mixer.value_dim, settings.value_bits)
        case LatentAttention():
            latent = packed_bytes(mixer.kv_lora_rank, settings.key_bits)
            has_index = mixer.indexer is not None and not mixer.shares_index
            index = mixer.indexer.head_dim * _HALF_BYTES if mixer.indexer and has_index else 0
            return latent + mixer.rope_dim * _HALF_BYTES + index
        case CompressedAttention():
            raise FactMissing("the cache of compressed attention in ExLlamaV3", "engines/exllamav3/cache.py")
        case _:
            return 0


def slot_bytes(mixer: Mixer, version: str, windows: bool, ranks: int = 1) -> int:
    """Bytes of the state of one slot in a layer, on one of `ranks` devices."""
    if isinstance(mixer, Attention):
        if not windows or mixer.window_tokens is None or mixer.shares_kv:
            return 0
        kept = round_up(mixer.window_tokens - 1 + feature("window_margin_tokens"), PAGE_TOKENS)
        return kept * ceil_div(mixer.kv_heads, ranks) * (mixer.key_dim + mixer.value_dim) * _HALF_BYTES
    state = state_elements(mixer)
    if state is None:
        return 0
    rows = feature("state_rows", version)
    element = rows["delta_bytes"] if isinstance(mixer, LinearAttention) else _FLOAT_BYTES
    kernel = mixer.kernel if isinstance(mixer, ShortConvolution) else getattr(mixer, "conv_kernel", 2)
    channels = state.convolution // (kernel - 1) if state.convolution else 0
    # the convolution keeps one column more than its window, and one row of staged inputs
    window = channels * (kernel + 1) * _HALF_BYTES
    return ceil_div(window + state.recurrent * element * rows["rows"], ranks)


def layer_tokens_bytes(deployment: Deployment, settings: ServerSettings) -> tuple[int, ...]:
    """Bytes of a cached token in every layer, of one tensor parallel rank."""
    windows = window_only(deployment)
    return tuple(
        sum(token_bytes(mixer, settings, windows, deployment.tp) for mixer in layer.mixers)
        for layer in deployment.model.layers
    )


def layer_slot_bytes(deployment: Deployment) -> tuple[int, ...]:
    """Bytes of one slot's state in every layer, of one tensor parallel rank."""
    windows, version = window_only(deployment), deployment.engine_version
    return tuple(
        sum(slot_bytes(mixer, version, windows, deployment.tp) for mixer in layer.mixers)
        for layer in deployment.model.layers
    )


def staged_bytes(model: LanguageModel, tokens: int) -> int:
    """Bytes of one layer's keys and values of so many tokens in 16 bit: the largest layer."""
    widths = [
        mixer.kv_heads * (mixer.key_dim + mixer.value_dim)
        for layer in model.layers
        for mixer in layer.mixers
        if isinstance(mixer, Attention)
    ]
    return tokens * max(widths, default=0) * _HALF_BYTES
