"""llama.cpp's memory budget: weights where the layers are, the cache beside them, one compute buffer a device.

Nothing is taken in advance: what is not used stays free. With memory mapping, weights in RAM are pages of the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fitserve.engines.contract import Deployment, DeviceBudget, KvFigures, MemoryBudget, MemoryItem
from fitserve.engines.llama_cpp.compute import compute_bytes, host_compute_bytes
from fitserve.engines.llama_cpp.kv_cache import kv_bytes, layer_caches, layer_state_bytes, state_bytes
from fitserve.engines.llama_cpp.placement import HOST, Placement, place
from fitserve.engines.llama_cpp.rules import build_number, feature, feature_row
from fitserve.engines.llama_cpp.settings import CELL_MULTIPLE, ServerSettings, resolve
from fitserve.engines.llama_cpp.weights import DeviceWeights, layer_weights, spread_weights
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, does_not_fit, note, warning
from fitserve.foundation.units import MIB

_EXACT = Basis("exact", "tensor table of the mix; engines/llama_cpp/weights.py")
_CACHE = Basis("exact", "evidence gguf_memory_engine: 582 of 582 allocations")
_LAW = Basis("measured", "evidence gguf_memory_engine (CPU)")
_ESTIMATE = Basis("estimated", "engines/llama_cpp/facts.toml device_runtime_bytes")
# Compute buffers on GPUs were seen in few logs: 5 % on CPU (90 % of 582 cases lie inside 1 %), 35 % and 64 MiB there.
_CPU_COMPUTE_SPREAD = 0.05
_GPU_COMPUTE_SPREAD = 0.35
_GPU_COMPUTE_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A deployment with its settings and the device of every layer."""

    settings: ServerSettings
    placement: Placement
    split: tuple[float, ...]
    limited_outputs: bool
    latent_cache: bool


def lay_out(deployment: Deployment) -> Laid:
    """Settings and placement; `offload_layers` layers (experts first in expert models) stay in RAM."""
    build = build_number(deployment.engine_version)
    settings = resolve(deployment)
    devices = deployment.machine.devices[: deployment.device_count] if deployment.machine.devices else ()
    split = tuple(float(text) for text in deployment.options.get("tensor-split", "").split(",") if text) or tuple(
        float(device.engine_visible_bytes) for device in devices
    )
    count = len(deployment.model.layers)
    asked = deployment.options.get("gpu-layers", deployment.options.get("n-gpu-layers", "all"))
    layers = count + 1 if asked in {"all", "auto"} else max(0, int(asked))
    host_experts = int(deployment.options.get("n-cpu-moe", "0"))
    if deployment.offload_layers:
        if any(layer.experts for layer in deployment.model.layers):
            host_experts = min(deployment.offload_layers, count)
            layers = count + 1 if deployment.offload_layers <= count else 0
        else:
            layers = max(0, count + 1 - deployment.offload_layers)
    placement = place(count, layers if devices else 0, split[: len(devices)], host_experts)
    return Laid(
        settings=settings,
        placement=placement,
        split=split,
        limited_outputs=build >= feature("limited_outputs_from_build"),
        latent_cache=build >= feature("latent_cache_from_build"),
    )


def _around(value: float, share: float, floor: float = 0.0) -> Interval:
    width = value * share + (floor if value else 0.0)
    return Interval(max(0.0, value - width), value, value + width)


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory on every device and in RAM."""
    laid = lay_out(deployment)
    model = deployment.model
    weights = layer_weights(model, deployment.weight_format)
    shares = spread_weights(model, deployment.weight_format, laid.placement)
    used = sorted({device for device in (*laid.placement.layers, laid.placement.output) if device != HOST})
    devices = tuple(
        _device(deployment, laid, device, shares.on(device), weights.spread, len(used))
        for device in range(deployment.device_count)
        if deployment.machine.devices
    )
    host = _host_items(deployment, laid, shares.on(HOST), weights.spread, bool(used), len(used))
    kv = _kv_figures(deployment, laid, devices, host)
    reasons = _reasons(deployment, laid, devices, host, weights.spread)
    return MemoryBudget(
        devices=devices, host_items=host, weights_bytes=sum(shares.devices.values()), kv=kv, max_num_seqs=laid.settings.slots,
        reasons=reasons, details=_details(deployment, laid),
    )  # fmt: skip


def _device(deployment: Deployment, laid: Laid, device: int, weights: int, spread: float, used: int) -> DeviceBudget:
    model, settings = deployment.model, laid.settings
    accelerator = deployment.machine.devices[device]
    mine = [index for index, where in enumerate(laid.placement.layers) if where == device]
    by_layer = layer_caches(model, settings, laid.latent_cache)
    caches = sum(by_layer[index] for index in mine)
    states = sum(layer_state_bytes(model.layers[index], settings.slots) for index in mine)
    busy = bool(mine) or laid.placement.output == device
    compute = compute_bytes(model, settings, laid.limited_outputs, on_gpu=True, devices=used) if busy else 0
    row = feature_row("device_runtime_bytes")
    runtime = float(row["value"]) if busy and accelerator.vendor != "apple" else 0.0
    items = [
        MemoryItem(code="weights", bytes=Interval(weights, weights, weights * (1 + spread)), basis=_EXACT),
        MemoryItem(code="kv_cache", bytes=Interval.exact(caches), basis=_CACHE),
        MemoryItem(code="recurrent_state", bytes=Interval.exact(states), basis=_CACHE),
        MemoryItem(code="compute_buffer", bytes=_around(compute, _GPU_COMPUTE_SPREAD, _GPU_COMPUTE_BYTES), basis=_LAW),
        MemoryItem(code="runtime", bytes=_around(runtime, row["spread"] / row["value"]), basis=_ESTIMATE),
    ]
    return DeviceBudget(
        device=device,
        accelerator=accelerator,
        usable_bytes=accelerator.engine_visible_bytes,
        items=tuple(i for i in items if i.bytes.likely),
    )


def _host_items(
    deployment: Deployment, laid: Laid, weights: int, spread: float, has_gpu: bool, used: int
) -> tuple[MemoryItem, ...]:
    model, settings = deployment.model, laid.settings
    mine = [index for index, where in enumerate(laid.placement.layers) if where == HOST]
    by_layer = layer_caches(model, settings, laid.latent_cache)
    caches = sum(by_layer[index] for index in mine)
    states = sum(layer_state_bytes(model.layers[index], settings.slots) for index in mine)
    compute = (
        host_compute_bytes(model, settings, laid.limited_outputs, used)
        if has_gpu
        else compute_bytes(model, settings, laid.limited_outputs)
    )
    items = [
        MemoryItem(code="weights", bytes=Interval(weights, weights, weights * (1 + spread)), basis=_EXACT),
        MemoryItem(code="kv_cache", bytes=Interval.exact(caches), basis=_CACHE),
        MemoryItem(code="recurrent_state", bytes=Interval.exact(states), basis=_CACHE),
        MemoryItem(code="compute_buffer", bytes=_around(compute, _CPU_COMPUTE_SPREAD), basis=_LAW),
        MemoryItem(code="output_buffer", bytes=Interval.exact(settings.slots * model.vocab_size * 4), basis=_CACHE),
    ]
    return tuple(item for item in items if item.bytes.likely)


def host_limit_bytes(deployment: Deployment) -> int | None:
    """RAM that a server may use; None when the machine's RAM is unknown. Unified memory is counted once, on the device."""
    ram = deployment.machine.host.ram_bytes
    if any(device.is_unified for device in deployment.machine.devices):
        ram = max(device.memory_bytes for device in deployment.machine.devices)
    return None if ram is None else max(0, ram - feature("host_reserve_bytes"))


def _reasons(
    deployment: Deployment, laid: Laid, devices: Sequence[DeviceBudget], host: Sequence[MemoryItem], spread: float
) -> tuple[Reason, ...]:
    found: list[Reason] = []
    for budgeted in devices:
        weights = budgeted.item("weights")
        if weights > budgeted.usable_bytes:
            found.append(
                does_not_fit(
                    "weights_exceed_memory",
                    need_bytes=weights,
                    have_bytes=budgeted.usable_bytes,
                    device=budgeted.device,
                )
            )
        elif budgeted.used_bytes > budgeted.usable_bytes:
            found.append(
                does_not_fit(
                    "device_overflows",
                    need_bytes=budgeted.used_bytes,
                    have_bytes=budgeted.usable_bytes,
                    device=budgeted.device,
                )
            )
        elif sum(item.bytes.high for item in budgeted.items) > budgeted.usable_bytes:
            found.append(warning("tight", likely_bytes=budgeted.usable_bytes - budgeted.used_bytes, low_bytes=0))
    limit = host_limit_bytes(deployment)
    need = sum(item.likely_bytes for item in host)
    if any(device.is_unified for device in deployment.machine.devices):
        need += sum(budgeted.used_bytes for budgeted in devices)
    if limit is not None and need > limit:
        found.append(does_not_fit("ram_overflows", need_bytes=need, have_bytes=limit))
    elif limit is None and laid.placement.gpu_layers <= len(deployment.model.layers):
        found.append(note("ram_unknown", need_bytes=need))
    if spread:
        found.append(warning("publisher_recipe", format=deployment.weight_format.name, percent=round(spread * 100)))
    return tuple(found)


def _kv_figures(
    deployment: Deployment, laid: Laid, devices: Sequence[DeviceBudget], host: Sequence[MemoryItem]
) -> KvFigures:
    model, settings = deployment.model, laid.settings
    one = replace(settings, context_tokens=deployment.context_tokens, slots=1, unified=True)
    larger = replace(settings, context_tokens=1 << 16, slots=1, unified=True, full_window_cache=True)
    per_token = kv_bytes(model, larger, laid.latent_cache) / larger.cells
    longest = _longest(deployment, laid)
    return KvFigures(
        format=settings.key_format
        if settings.key_format == settings.value_format
        else f"{settings.key_format}/{settings.value_format}",
        bytes_per_token=round(per_token),
        bytes_at_context=kv_bytes(model, one, laid.latent_cache) + state_bytes(model, one),
        capacity_tokens=settings.cells * settings.streams,
        max_context_tokens=longest,
        max_concurrency=float(settings.slots),
    )


def _longest(deployment: Deployment, laid: Laid) -> int:
    """The longest context that every device and the RAM can hold with these slots."""
    limit = deployment.model.max_context_tokens
    shares = spread_weights(deployment.model, deployment.weight_format, laid.placement)
    if _holds(deployment, laid, shares, limit):
        return limit
    low, high = 0, limit // CELL_MULTIPLE  # caches grow in these steps
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _holds(deployment, laid, shares, middle * CELL_MULTIPLE) else (low, middle - 1)
    return low * CELL_MULTIPLE


def _holds(deployment: Deployment, laid: Laid, shares: DeviceWeights, context: int) -> bool:
    settings = replace(laid.settings, context_tokens=context * laid.settings.slots)
    trial = replace(laid, settings=settings)
    weights = layer_weights(deployment.model, deployment.weight_format)
    used = len({device for device in (*laid.placement.layers, laid.placement.output) if device != HOST})
    for device in range(deployment.device_count if deployment.machine.devices else 0):
        one = _device(deployment, trial, device, shares.on(device), weights.spread, used)
        if one.used_bytes > one.usable_bytes:
            return False
    limit = host_limit_bytes(deployment)
    if limit is None:
        return True
    items = _host_items(deployment, trial, shares.on(HOST), weights.spread, bool(used), used)
    return sum(item.likely_bytes for item in items) <= limit


def _details(deployment: Deployment, laid: Laid) -> Mapping[str, Any]:
    """Figures that evidence compares with logs."""
    return {"laid": laid, "weights": layer_weights(deployment.model, deployment.weight_format)}


def cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    """Bytes of the cache and states of a server with this many slots; the context is that of the whole cache."""
    options = {"parallel": str(sequences), "ctx-size": str(deployment.context_tokens), **deployment.options}
    laid = lay_out(replace(deployment, options=options))
    cache = 0 if part == "recurrent state" else kv_bytes(deployment.model, laid.settings, laid.latent_cache)
    return cache + (state_bytes(deployment.model, laid.settings) if "state" in part else 0)
