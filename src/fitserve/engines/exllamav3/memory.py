"""ExLlamaV3's memory budget: layers with their share of the cache filled into one device after the other, or cut by tensor.

The input embedding stays in RAM in 16 bit (modules/embedding.py `prefer_cpu`), the head is quantized at a width of its
own. The vision tower is not loaded unless `vision` is set, multi-token-prediction layers not unless `draft_mode: mtp` is.
"""

from collections.abc import Sequence

from fitserve.engines.contract import Deployment, MemoryBudget, MemoryItem
from fitserve.engines.exllamav3.cache import layer_slot_bytes, layer_tokens_bytes, staged_bytes
from fitserve.engines.exllamav3.rules import feature, feature_row
from fitserve.engines.exllamav3.settings import ServerSettings, resolve
from fitserve.engines.layer_split import Asked, Layers, Room, layered_budget
from fitserve.engines.releases import at_least
from fitserve.footprint.body_and_head import (
    embedding_bytes,
    expert_bytes,
    head_bytes,
    largest_matrix_elements,
    layer_bytes,
    sign_vector_bytes,
)
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.units import GIB, MIB, ceil_div
from fitserve.hardware.types import Accelerator
from fitserve.models.formats import WeightFormat
from fitserve.models.types import Attention, LanguageModel, LatentAttention

_WEIGHTS = Basis("estimated", "average width of the body, evidence gguf_memory exl3-50-gemma3-27b")
_BUFFERS = Basis("estimated", "exllamav3 1.6.5 modules/mlp.py, attn.py, quant/exl3.py: buffers of one chunk")
_RUNTIME = Basis("estimated", "engines/exllamav3/facts.toml device_runtime_mib")
# Files deviate from their nominal width by what the last step of the allocation leaves over, and by the head's width.
_BELOW, _ABOVE = 0.01, 0.02
_BUFFER_SPREAD = 0.5
_HALF_BYTES = 2
_RESIDUAL_BYTES = 8  # the residual stream and a block's output, both in float32


def head_bits(weight_format: WeightFormat) -> float:
    """Width of the output matrix that such files usually have."""
    rule = feature("head_bits")
    wide = (weight_format.bits or 0) >= rule["wide_from_bits"]
    return float(rule["wide"] if wide else rule["usual"])


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory on every device, the embedding and experts on the CPU in RAM."""
    settings = resolve(deployment)
    moved = _moved_experts(deployment, settings)
    layers = _layers(deployment, settings, moved)
    asked = Asked(slots=settings.slots, context_tokens=deployment.context_tokens, cache_tokens=settings.cache_tokens)
    host = embedding_bytes(deployment.model) + sum(moved)
    mode = settings.cache_mode
    return layered_budget(deployment, layers, lambda tokens: _rooms(deployment, settings, tokens), asked, mode, host)


def _moved_experts(deployment: Deployment, settings: ServerSettings) -> tuple[int, ...]:
    """Bytes of experts that leave the device, by layer: those of the first layers that have any."""
    left = settings.expert_layers_on_host
    moved = []
    for size in expert_bytes(deployment.model, deployment.weight_format):
        moved.append(size if left > 0 and size else 0)
        left -= 1 if size else 0
    return tuple(moved)


def _layers(deployment: Deployment, settings: ServerSettings, moved: Sequence[int]) -> Layers:
    model, weight_format, tp = deployment.model, deployment.weight_format, deployment.tp
    body = layer_bytes(model, weight_format)
    vectors = sign_vector_bytes(model, weight_format) if weight_format.family == "exl3" else (0,) * len(body)
    head = head_bytes(model, weight_format, head_bits(weight_format))
    sizes = [size + vector - out for size, vector, out in zip(body, vectors, moved, strict=True)]
    return Layers(
        weights=tuple(ceil_div(size, tp) for size in (*sizes, head)),
        token_bytes=(*layer_tokens_bytes(deployment, settings), 0),
        state_bytes=(*layer_slot_bytes(deployment), 0),
        spread=(_BELOW, _ABOVE),
        basis=_WEIGHTS,
    )


def _rooms(deployment: Deployment, settings: ServerSettings, context_tokens: int) -> list[Room]:
    """One room a stage; of tensor parallel ranks the smallest counts."""
    buffers = _buffer_bytes(deployment, settings, context_tokens)
    row = feature_row("device_runtime_mib")
    runtime = MemoryItem(
        code="runtime",
        bytes=Interval(*((row["value"] + step * row["spread"]) * MIB for step in (-1, 0, 1))),
        basis=_RUNTIME,
    )
    activations = MemoryItem(
        code="activations", bytes=Interval.around(buffers, _BUFFER_SPREAD, _BUFFER_SPREAD), basis=_BUFFERS
    )
    devices = deployment.machine.devices[: deployment.device_count]
    limits = [_limit(deployment, settings, index, device) for index, device in enumerate(devices)]
    tp = deployment.tp
    stages = [min(limits[start * tp : (start + 1) * tp]) for start in range(deployment.pp)]
    return [Room(limit_bytes=limit, items=(runtime, activations)) for limit in stages]


def _limit(deployment: Deployment, settings: ServerSettings, index: int, device: Accelerator) -> int:
    """Bytes that may be filled on a device: what is visible less the reserve, at most its share of `gpu_split`."""
    reserves = settings.reserves_bytes
    reserve = reserves[index] if index < len(reserves) - 1 else reserves[-1]
    if deployment.device_count == 1:
        reserve = reserves[0]
    margin = feature("margin_mib", deployment.engine_version) * MIB
    limit: int = max(0, device.engine_visible_bytes - max(reserve, margin))
    if settings.shares_gib:
        share = settings.shares_gib[index] if index < len(settings.shares_gib) else 0.0
        limit = min(limit, int(share * GIB))
    return limit


def _buffer_bytes(deployment: Deployment, settings: ServerSettings, context_tokens: int) -> int:
    """The largest buffers of one chunk: residual stream, one block's activations, one matrix and one layer's cache unpacked."""
    model, tp = deployment.model, deployment.tp
    rows = min(settings.chunk_tokens, context_tokens)
    block = max(_attention_width(model), _mlp_width(model))
    unpacks = deployment.weight_format.is_quantized and rows > feature("reconstruct_rows")
    matrix = largest_matrix_elements(model) * _HALF_BYTES if unpacks else 0
    whole = not at_least(deployment.engine_version, feature("whole_cache_staged_before"))
    held = settings.cache_tokens or context_tokens * settings.slots if whole else context_tokens
    staged = staged_bytes(model, held) if settings.is_quantized else 0
    return rows * model.hidden_size * _RESIDUAL_BYTES + ceil_div(rows * block * _HALF_BYTES + matrix + staged, tp)


def _attention_width(model: LanguageModel) -> int:
    """Values of a token in one attention block: queries and output, keys and values."""
    return max(
        (
            mixer.query_heads * (mixer.key_dim + mixer.value_dim) + mixer.kv_heads * (mixer.key_dim + mixer.value_dim)
            if isinstance(mixer, Attention)
            else mixer.query_heads * (mixer.nope_dim + mixer.rope_dim + mixer.value_dim)
            for layer in model.layers
            for mixer in layer.mixers
            if isinstance(mixer, Attention | LatentAttention)
        ),
        default=0,
    )


def _mlp_width(model: LanguageModel) -> int:
    """Values of a token in one feed-forward block: gate, up and their product; all experts that a token uses."""
    widths = [3 * layer.dense.width for layer in model.layers if layer.dense]
    widths += [
        3 * (layer.experts.width * layer.experts.used + layer.experts.shared_width)
        for layer in model.layers
        if layer.experts
    ]
    return max(widths, default=0)
