"""llama.cpp's memory budget: weights where the layers are, the cache beside them, one compute buffer a device.

Nothing is taken in advance: what is not used stays free. With memory mapping, weights in RAM are pages of the file.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from fitserve.engines.contract import Deployment, DeviceBudget, KvFigures, MemoryBudget, MemoryItem
from fitserve.engines.llama_cpp.kv_cache import kv_bytes, state_bytes
from fitserve.engines.llama_cpp.needs import Laid, Need, Needs
from fitserve.engines.llama_cpp.placement import place
from fitserve.engines.llama_cpp.rules import PACKAGE, build_number, feature, feature_row, options_version
from fitserve.engines.llama_cpp.settings import CELL_MULTIPLE, resolve
from fitserve.engines.llama_cpp.weights import layer_weights
from fitserve.engines.option_lists import option_names
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
        if any(layer.experts for layer in deployment.model.layers) and _moves_experts(deployment.engine_version):
            host_experts = min(deployment.offload_layers, count)
            layers = count + 1 if deployment.offload_layers <= count else 0
        else:
            layers = max(0, count + 1 - deployment.offload_layers)
    placement = place(count, layers if devices else 0, split[: len(devices)], host_experts)
    return Laid(
        settings=settings,
        placement=placement,
        limited_outputs=build >= feature("limited_outputs_from_build"),
        latent_cache=build >= feature("latent_cache_from_build"),
    )


def _moves_experts(version: str) -> bool:
    """Whether a build can leave the experts alone in RAM; older ones leave whole layers there."""
    return "--n-cpu-moe" in option_names(PACKAGE, options_version(version))


def _around(value: float, share: float, floor: float = 0.0) -> Interval:
    width = value * share + (floor if value else 0.0)
    return Interval(max(0.0, value - width), value, value + width)


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory on every device and in RAM."""
    laid = lay_out(deployment)
    needs = Needs(deployment, laid)
    spread = layer_weights(deployment.model, deployment.weight_format).spread
    on_devices, on_host = needs.at(laid.settings)
    accelerators = deployment.machine.devices
    devices = tuple(
        DeviceBudget(
            device=index,
            accelerator=accelerators[index],
            usable_bytes=accelerators[index].engine_visible_bytes,
            items=_items(need, spread, _GPU_COMPUTE_SPREAD, _GPU_COMPUTE_BYTES),
        )
        for index, need in enumerate(on_devices)
    )
    host = _items(on_host, spread, _CPU_COMPUTE_SPREAD, 0)
    return MemoryBudget(
        devices=devices,
        host_items=host,
        weights_bytes=needs.weights_bytes,
        kv=_kv_figures(deployment, laid, needs),
        max_num_seqs=laid.settings.slots,
        reasons=_reasons(deployment, laid, devices, host, spread),
        details={
            "laid": laid,
            "weights": layer_weights(deployment.model, deployment.weight_format),
            "layers": laid.placement.by_device,
        },
    )


def _items(need: Need, spread: float, compute_spread: float, compute_floor: float) -> tuple[MemoryItem, ...]:
    """The items of one place; what is zero is left out."""
    row = feature_row("device_runtime_bytes")
    items = (
        MemoryItem(
            code="weights", bytes=Interval(need.weights, need.weights, need.weights * (1 + spread)), basis=_EXACT
        ),
        MemoryItem(code="kv_cache", bytes=Interval.exact(need.kv_cache), basis=_CACHE),
        MemoryItem(code="recurrent_state", bytes=Interval.exact(need.states), basis=_CACHE),
        MemoryItem(code="compute_buffer", bytes=_around(need.compute, compute_spread, compute_floor), basis=_LAW),
        MemoryItem(code="runtime", bytes=_around(need.runtime, row["spread"] / row["value"]), basis=_ESTIMATE),
        MemoryItem(code="output_buffer", bytes=Interval.exact(need.output), basis=_CACHE),
    )
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


def _kv_figures(deployment: Deployment, laid: Laid, needs: Needs) -> KvFigures:
    model, settings = deployment.model, laid.settings
    one = replace(settings, context_tokens=deployment.context_tokens, slots=1, unified=True)
    larger = replace(settings, context_tokens=1 << 16, slots=1, unified=True, full_window_cache=True)
    per_token = kv_bytes(model, larger, laid.latent_cache) / larger.cells
    same = settings.key_format == settings.value_format
    return KvFigures(
        format=settings.key_format if same else f"{settings.key_format}/{settings.value_format}",
        bytes_per_token=round(per_token),
        bytes_at_context=kv_bytes(model, one, laid.latent_cache) + state_bytes(model, one),
        capacity_tokens=settings.cells * settings.streams,
        max_context_tokens=_longest(deployment, laid, needs),
        max_concurrency=float(settings.slots),
    )


def _longest(deployment: Deployment, laid: Laid, needs: Needs) -> int:
    """The longest context that every device and the RAM can hold with these slots."""
    limit = deployment.model.max_context_tokens
    usable = [device.engine_visible_bytes for device in deployment.machine.devices[: needs.device_count]]
    ram = host_limit_bytes(deployment)
    shared = any(device.is_unified for device in deployment.machine.devices)

    def left(context: int) -> int:
        """Bytes that the fullest device, or the RAM, has left; below zero it does not hold."""
        devices, host = needs.at(replace(laid.settings, context_tokens=context * laid.settings.slots))
        in_ram = host.total + (sum(need.total for need in devices) if shared else 0)
        spare = [have - need.total for need, have in zip(devices, usable, strict=True)]
        return min([*spare, *([] if ram is None else [ram - in_ram])], default=0)

    if left(limit) >= 0:
        return limit
    return last_that_holds(left, limit // CELL_MULTIPLE + 1) * CELL_MULTIPLE


def last_that_holds(left: Callable[[int], int], beyond: int) -> int:
    """The most steps below `beyond` whose context leaves nothing below zero; 0 when not even one does.

    Needs grow nearly in a line with the context: the next guess lies where the line through the ends crosses zero, and in
    the middle every other time, so that the ends close in whatever the needs do.
    """
    low, spare = 1, left(CELL_MULTIPLE)
    if spare < 0:
        return 0
    high, lack = beyond, left(beyond * CELL_MULTIPLE)
    is_line = True
    while high - low > 1:
        guess = low + (high - low) * spare // (spare - lack) if is_line and lack < 0 else (low + high) // 2
        middle = min(max(guess, low + 1), high - 1)
        found = left(middle * CELL_MULTIPLE)
        if found >= 0:
            low, spare = middle, found
        else:
            high, lack = middle, found
        is_line = not is_line
    return min(low, beyond - 1)


def cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    """Bytes of the cache and states of a server with this many slots; the context is that of the whole cache."""
    options = {"parallel": str(sequences), "ctx-size": str(deployment.context_tokens), **deployment.options}
    laid = lay_out(replace(deployment, options=options))
    cache = 0 if part == "recurrent state" else kv_bytes(deployment.model, laid.settings, laid.latent_cache)
    return cache + (state_bytes(deployment.model, laid.settings) if "state" in part else 0)
