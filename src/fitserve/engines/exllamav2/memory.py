"""ExLlamaV2's memory budget: layers with their share of the cache filled into one device after the other, or cut by tensor.

The input embedding lies in RAM in 16 bit. Every layer caches every token, sliding windows or not (cache.py shape_basic),
and a quantized cache keeps one layer's keys and values unpacked on every device. The scratch space of the widest module
is allocated once a device (device.py, mlp.py and attn.py scratch_space_fixed).
"""

from fitserve.engines.contract import Deployment, MemoryBudget, MemoryItem
from fitserve.engines.exllamav2.rules import feature, feature_row
from fitserve.engines.exllamav2.settings import ServerSettings, resolve
from fitserve.engines.layer_split import PAGE_TOKENS, Asked, Layers, Room, layered_budget
from fitserve.footprint.body_and_head import embedding_bytes, head_bytes, largest_matrix_elements, layer_bytes
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.units import GIB, MIB, ceil_div, round_up
from fitserve.hardware.types import Accelerator
from fitserve.models.formats import WeightFormat
from fitserve.models.types import Attention, LanguageModel

_WEIGHTS = Basis("estimated", "average width of the body; evidence gguf_memory exl2-gemma2-* (doubted)")
_BUFFERS = Basis("estimated", "exllamav2 0.3.2 mlp.py, attn.py scratch_space_fixed")
_RUNTIME = Basis("estimated", "engines/exllamav2/facts.toml device_runtime_mib")
_BELOW, _ABOVE = 0.01, 0.02
_BUFFER_SPREAD = 0.35
_HALF_BYTES = 2


def head_bits(weight_format: WeightFormat) -> float:
    """Width of the output matrix that such files usually have."""
    rule = feature("head_bits")
    wide = (weight_format.bits or 0) >= rule["wide_from_bits"]
    return float(rule["wide"] if wide else rule["usual"])


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory on every device, and the embedding in RAM."""
    settings = resolve(deployment)
    asked = Asked(slots=settings.slots, context_tokens=deployment.context_tokens, cache_tokens=settings.cache_tokens)
    return layered_budget(
        deployment,
        _layers(deployment, settings),
        lambda tokens: _rooms(deployment, settings, tokens),
        asked,
        settings.cache_mode,
        embedding_bytes(deployment.model),
    )


def _layers(deployment: Deployment, settings: ServerSettings) -> Layers:
    model, weight_format, tp = deployment.model, deployment.weight_format, deployment.tp
    sizes = (*layer_bytes(model, weight_format), head_bytes(model, weight_format, head_bits(weight_format)))
    return Layers(
        weights=tuple(ceil_div(size, tp) for size in sizes),
        token_bytes=(*layer_token_bytes(model, settings.cache_mode, tp), 0.0),
        state_bytes=(0,) * len(sizes),
        spread=(_BELOW, _ABOVE),
        basis=_WEIGHTS,
    )


def layer_token_bytes(model: LanguageModel, mode: str, ranks: int = 1) -> tuple[float, ...]:
    """Bytes of a cached token in every layer, on one of `ranks` devices."""
    key, value = feature("cache_modes")[mode]
    scale = 0.0 if mode == "FP16" else feature("cache_scale_bytes")
    return tuple(
        sum(
            ceil_div(mixer.kv_heads, ranks) * (mixer.key_dim * (key + scale) + mixer.value_dim * (value + scale))
            for mixer in layer.mixers
            if isinstance(mixer, Attention)
        )
        for layer in model.layers
    )


def _rooms(deployment: Deployment, settings: ServerSettings, context_tokens: int) -> list[Room]:
    row = feature_row("device_runtime_mib")
    runtime = MemoryItem(
        code="runtime",
        bytes=Interval(*((row["value"] + step * row["spread"]) * MIB for step in (-1, 0, 1))),
        basis=_RUNTIME,
    )
    size = _scratch_bytes(deployment, settings) + _unpacked_cache_bytes(deployment, settings, context_tokens)
    activations = MemoryItem(
        code="activations",
        bytes=Interval.around(ceil_div(size, deployment.tp), _BUFFER_SPREAD, _BUFFER_SPREAD),
        basis=_BUFFERS,
    )
    devices = deployment.machine.devices[: deployment.device_count]
    limits = [_limit(deployment, settings, index, device) for index, device in enumerate(devices)]
    tp = deployment.tp
    stages = [min(limits[start * tp : (start + 1) * tp]) for start in range(deployment.pp)]
    return [Room(limit_bytes=limit, items=(runtime, activations)) for limit in stages]


def _limit(deployment: Deployment, settings: ServerSettings, index: int, device: Accelerator) -> int:
    """A single device is filled to the brim; autosplit keeps its reserve free, `gpu_split` gives each its share."""
    if settings.shares_gib:
        share = settings.shares_gib[index] if index < len(settings.shares_gib) else 0.0
        return min(device.engine_visible_bytes, int(share * GIB))
    if deployment.device_count == 1:
        return device.engine_visible_bytes
    reserve: float = (settings.reserve_mib if index == 0 else 0) + feature("minimum_reserve_mib")
    return max(0, device.engine_visible_bytes - round(reserve * MIB))


def _scratch_bytes(deployment: Deployment, settings: ServerSettings) -> int:
    """State, two buffers as wide as the feed-forward block, and the largest matrix in 16 bit."""
    model = deployment.model
    rows = min(settings.chunk_tokens, round_up(deployment.context_tokens, PAGE_TOKENS))
    widths = [layer.dense.width for layer in model.layers if layer.dense]
    widths += [layer.experts.width for layer in model.layers if layer.experts]
    widest = max([model.hidden_size, *widths])
    unpacked = min(largest_matrix_elements(model), feature("unpacked_elements"))
    matrix = unpacked * _HALF_BYTES if deployment.weight_format.is_quantized else 0
    return rows * (model.hidden_size + 2 * widest) * _HALF_BYTES + matrix


def _unpacked_cache_bytes(deployment: Deployment, settings: ServerSettings, context_tokens: int) -> int:
    if settings.cache_mode == "FP16":
        return 0
    widths = [
        mixer.kv_heads * (mixer.key_dim + mixer.value_dim)
        for layer in deployment.model.layers
        for mixer in layer.mixers
        if isinstance(mixer, Attention)
    ]
    tokens = settings.cache_tokens or round_up(context_tokens, PAGE_TOKENS) * settings.slots
    return tokens * max(widths, default=0) * _HALF_BYTES
