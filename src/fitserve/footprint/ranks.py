"""What one device of a spread model holds of the cache: its share of KV heads, and whole copies of what cannot be cut."""

from collections.abc import Iterable

from fitserve.footprint.kv_cache import cache_reach, kv_elements_per_token, state_elements
from fitserve.foundation.units import ceil_div
from fitserve.models.types import Attention, CompressedAttention, LanguageModel, Mixer

_CONVOLUTION_BYTES = 2  # the convolution window is kept in the model's 16-bit type, the recurrent state in float32
_RECURRENT_BYTES = 4


def stage_layers(layer_count: int, pp: int) -> list[range]:
    """Layers of each pipeline stage: equal shares, the rest to stages before the last (vllm/distributed/utils.py)."""
    shares = [layer_count // pp] * pp
    for position in range(2, layer_count % pp + 2):
        shares[-position] += 1
    starts = [sum(shares[:index]) for index in range(pp)]
    return [range(start, start + share) for start, share in zip(starts, shares, strict=True)]


def rank_token_bytes(model: LanguageModel, element_bytes: float, tp: int = 1, layers: range | None = None) -> float:
    """Bytes that one more token of a sequence adds on one rank while it is inside every window."""
    return sum(_rank_elements(mixer, tp) * element_bytes for mixer in _mixers(model, layers))


def rank_request_bytes(
    model: LanguageModel,
    tokens: int,
    element_bytes: float,
    tp: int = 1,
    layers: range | None = None,
    keeps_windows: bool = True,
) -> int:
    """KV bytes of one sequence of `tokens` on one rank; states are apart.

    `keeps_windows`: the engine drops what lies outside a sliding or chunked window; otherwise every layer keeps all.
    """
    total = 0.0
    for mixer in _mixers(model, layers):
        reach = cache_reach(mixer) if keeps_windows else None
        held = tokens if reach is None else min(tokens, reach)
        if isinstance(mixer, CompressedAttention) and mixer.ratio:
            held = min(tokens, mixer.window_tokens) + tokens // mixer.ratio
        total += held * _rank_elements(mixer, tp) * element_bytes
    return round(total)


def rank_state_bytes(model: LanguageModel, tp: int = 1, layers: range | None = None) -> int:
    """Bytes of the recurrent and convolution state of one sequence on one rank; zero without recurrent layers."""
    total = 0
    for mixer in _mixers(model, layers):
        state = state_elements(mixer)
        if state is not None:
            total += ceil_div(state.convolution * _CONVOLUTION_BYTES + state.recurrent * _RECURRENT_BYTES, tp)
    return total


def _mixers(model: LanguageModel, layers: range | None) -> Iterable[Mixer]:
    for index, layer in enumerate(model.layers):
        if layers is None or index in layers:
            yield from layer.mixers


def _rank_elements(mixer: Mixer, tp: int) -> int:
    """KV heads are divided among ranks and copied once there are fewer; compressed caches are whole on every rank."""
    elements = kv_elements_per_token(mixer)
    if isinstance(mixer, Attention) and elements:
        return elements // mixer.kv_heads * ceil_div(mixer.kv_heads, tp)
    return elements
