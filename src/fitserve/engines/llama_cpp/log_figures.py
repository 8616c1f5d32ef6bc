"""What llama.cpp's log would print for a deployment: its buffer lines, by the names that measured cases use."""

import re
from collections.abc import Mapping
from typing import Any

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.engines.llama_cpp.needs import Laid
from fitserve.engines.llama_cpp.rules import feature
from fitserve.engines.llama_cpp.weights import LayerWeights
from fitserve.footprint.gguf_mix import typed_tensors
from fitserve.foundation.intervals import Interval, add_independent
from fitserve.foundation.reasons import Severity
from fitserve.foundation.units import MIB

_LINES = {
    "weights": "model_mib",
    "kv_cache": "kv_mib",
    "recurrent_state": "rs_mib",
    "compute_buffer": "compute_mib",
    "output_buffer": "output_mib",
}
_DEVICE_NAMES = ("CUDA{}", "ROCm{}", "Vulkan{}", "SYCL{}", "MTL{}")
_METAL = ("Metal", "Metal_Mapped")
_MAPPED = ("CPU_Mapped", "CPU", "Host")
_PINNED = ("CUDA_Host", "ROCm_Host", "Vulkan_Host", "SYCL_Host", "Host", "CPU")


def log_figures(deployment: Deployment, budget: MemoryBudget) -> Mapping[str, Interval]:
    """Buffers in MiB: `model_mib.CUDA0`, `kv_mib.CPU`, `compute_mib.CUDA_Host` ..., and totals.

    What a buffer is called depends on the backend of the build, which no setting states: each figure stands under all
    names that a device may have.
    """
    laid: Laid = budget.details["laid"]
    figures: dict[str, Interval] = {}
    for device in budget.devices:
        names = [name.format(device.device) for name in _DEVICE_NAMES] + (list(_METAL) if device.device == 0 else [])
        for item in device.items:
            if item.code in _LINES:
                figures |= {f"{_LINES[item.code]}.{name}": _mib(item.bytes) for name in names}
        total = _mib(add_independent(item.bytes for item in device.items if item.code in _LINES))
        figures |= {f"total_mib.{name}": total for name in (*names, f"GPU{device.device}")}
    pinned: tuple[str, ...] = _PINNED if laid.placement.gpu_layers and budget.devices else ()
    places = {"weights": _MAPPED, "compute_buffer": pinned or ("CPU",), "output_buffer": (*pinned, "CPU")}
    for item in budget.host_items:
        if item.code in _LINES:
            names = list(places.get(item.code, ("CPU",)))
            figures |= {f"{_LINES[item.code]}.{name}": _mib(item.bytes) for name in names}
    if laid.settings.repack and deployment.machine.is_cpu_only:
        figures |= _repacked(deployment, budget.details["weights"])
    figures["total_mib.RAM"] = _mib(add_independent(item.bytes for item in budget.host_items))
    figures["total_mib"] = figures["total_mib.all"] = figures["total_mib.CPU"] = _mib(budget.total_bytes)
    states = [
        item.bytes
        for item in (*budget.host_items, *(i for d in budget.devices for i in d.items))
        if item.code == "recurrent_state"
    ]
    return figures | ({"rs_mib.total": _mib(add_independent(states))} if states else {})


_OPTIONS = {
    "gpu_layers": "gpu-layers",
    "batch_tokens": "batch-size",
    "ubatch_tokens": "ubatch-size",
    "k_format": "cache-type-k",
    "v_format": "cache-type-v",
    "parallel": "parallel",
}
_EXPERTS_IN_RAM = re.compile(r"(-ot|--override-tensor)\s+\S*exps?\S*=CPU|--cpu-moe")
_ALL_LAYERS = 1024
_SWITCHES = {
    "flash_attention": ("flash-attn", "on", "off"),
    "unified_kv": ("kv-unified", "on", "off"),
    "swa_full": ("swa-full", "on", "off"),
    "repack": ("repack", "on", "off"),
}


def given_options(given: Mapping[str, Any]) -> Mapping[str, str]:
    """Options of the server that a measured case was run with; its context is that of the whole cache."""
    options = {option: str(given[key]).lower() for key, option in _OPTIONS.items() if given.get(key) is not None}
    if given.get("context_tokens") is not None:
        options["ctx-size"] = str(given["context_tokens"])
    for key, (option, on, off) in _SWITCHES.items():
        if given.get(key) is not None:
            options[option] = on if given[key] else off
    if _EXPERTS_IN_RAM.search(str(given.get("command") or "")):
        options["n-cpu-moe"] = str(_ALL_LAYERS)
    return options


def outcome(budget: MemoryBudget) -> str:
    """What the start would come to, in the words of measured cases: weights are allocated first, then the cache."""
    worst = "ok"
    for device in budget.devices:
        weights = device.item("weights") + device.item("runtime")
        cache = weights + device.item("kv_cache") + device.item("recurrent_state")
        if weights > device.usable_bytes:
            return "oom_weights"
        if device.used_bytes > device.usable_bytes:
            worst = "oom_kv" if cache > device.usable_bytes else "oom_compute"
    over = any(reason.code == "ram_overflows" and reason.severity is Severity.BLOCKER for reason in budget.reasons)
    return "oom_weights" if over and worst == "ok" else worst


def _mib(value: Interval) -> Interval:
    return Interval(value.low / MIB, value.likely / MIB, value.high / MIB)


def _repacked(deployment: Deployment, weights: LayerWeights) -> Mapping[str, Interval]:
    """With repacking the mapped span ends before the last layer's repacked tensors (the file keeps gate, down, up last)."""
    if not weights.repacked:
        return {}
    tail = 0
    last = len(deployment.model.layers) - 1
    tensors = {
        t.role: t for t in typed_tensors(deployment.model, deployment.weight_format.gguf_mix or "") if last in t.layers
    }
    for role in ("ffn_up.weight", "ffn_down.weight", "ffn_gate.weight"):
        tensor = tensors.get(role)
        if tensor is None or tensor.type not in feature("repacked_types"):
            break
        tail += tensor.bytes_each
    return {
        "model_mib.CPU_REPACK": Interval.exact(weights.repacked / MIB),
        "model_mib.CPU_Mapped": Interval.exact((weights.total - tail) / MIB),
    }
