"""KV elements of a token and state elements of a sequence, layer by layer."""

from dataclasses import dataclass

from fitserve.models.types import (
    Attention,
    CompressedAttention,
    LanguageModel,
    LatentAttention,
    LinearAttention,
    Mixer,
    ShortConvolution,
    StateSpace,
)

BYTES_PER_ELEMENT = {
    "f32": 4.0, "bf16": 2.0, "f16": 2.0, "fp8": 1.0, "fp8_e4m3": 1.0, "fp8_e5m2": 1.0, "int8": 1.0,
    "q8_0": 34 / 32, "q5_1": 24 / 32, "q5_0": 22 / 32, "q4_1": 20 / 32, "q4_0": 18 / 32, "iq4_nl": 18 / 32,
}  # fmt: skip
"""Bytes of a KV element by format; the GGML types from catalog/gguf_types.json (block bytes / block elements)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateElements:
    """What a recurrent layer keeps per sequence, in elements: the convolution window and the recurrent state."""

    convolution: int
    recurrent: int


def state_elements(mixer: Mixer) -> StateElements | None:
    """State of one layer; None for attention.

    Gated delta net: window (kernel - 1) x (2 keys + values), state values x key_dim per head (vLLM
    mamba_utils.gated_delta_net_state_shape). Mamba-2: (kernel - 1) x (inner + 2 groups x state), inner x state.
    """
    match mixer:
        case LinearAttention(kind="lightning"):
            return StateElements(convolution=0, recurrent=mixer.value_heads * mixer.key_dim * mixer.value_dim)
        case LinearAttention():
            channels = 2 * mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim
            state = mixer.value_heads * mixer.value_dim * mixer.key_dim
            return StateElements(convolution=(mixer.conv_kernel - 1) * channels, recurrent=state)
        case StateSpace():
            channels = mixer.inner + 2 * mixer.groups * mixer.state
            return StateElements(convolution=(mixer.conv_kernel - 1) * channels, recurrent=mixer.inner * mixer.state)
        case ShortConvolution():
            return StateElements(convolution=(mixer.kernel - 1) * mixer.channels, recurrent=0)
        case _:
            return None


def kv_elements_per_token(mixer: Mixer) -> int:
    """Elements that one more token adds in one layer while it is inside every window; zero without a growing cache."""
    match mixer:
        case Attention():
            if mixer.shares_kv or mixer.crosses_to_vision:
                return 0
            return mixer.kv_heads * (mixer.key_dim + mixer.value_dim)
        case LatentAttention():
            return mixer.cache_width
        case CompressedAttention():
            return mixer.head_dim
        case _:
            return 0


def cache_reach(mixer: Mixer) -> int | None:
    """Tokens after which a layer's cache stops growing; None when it never does."""
    match mixer:
        case Attention():
            return mixer.window_tokens or mixer.chunk_tokens
        case CompressedAttention(ratio=0):
            return mixer.window_tokens
        case _:
            return None


def attention_mixers(model: LanguageModel) -> list[tuple[int, Mixer]]:
    """(layer, mixer) of every layer that keeps a KV cache of its own."""
    return [
        (index, mixer)
        for index, layer in enumerate(model.layers)
        for mixer in layer.mixers
        if kv_elements_per_token(mixer) > 0
    ]


def sequence_kv_elements(model: LanguageModel, tokens: int) -> int:
    """Elements that one sequence of `tokens` needs with perfect windows: the least any engine can do."""
    total = 0
    for _, mixer in attention_mixers(model):
        reach = cache_reach(mixer)
        held = tokens if reach is None else min(tokens, reach)
        if isinstance(mixer, CompressedAttention) and mixer.ratio:
            held = min(tokens, mixer.window_tokens) + tokens // mixer.ratio
        total += held * kv_elements_per_token(mixer)
    return total
