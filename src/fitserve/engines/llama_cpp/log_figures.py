"""What llama.cpp's log would print for a deployment: its buffer lines, by the names that measured cases use."""

from collections.abc import Mapping

from fitserve.engines.contract import Deployment, MemoryBudget, MemoryItem
from fitserve.engines.llama_cpp.memory import Laid
from fitserve.engines.llama_cpp.rules import feature
from fitserve.engines.llama_cpp.weights import LayerWeights
from fitserve.footprint.gguf_mix import typed_tensors
from fitserve.foundation.intervals import Interval
from fitserve.foundation.units import MIB

_LINES = {"weights": "model_mib", "kv_cache": "kv_mib", "recurrent_state": "rs_mib", "compute_buffer": "compute_mib", "output_buffer": "output_mib"}
_DEVICE_NAMES = {"nvidia": "CUDA{}", "amd": "ROCm{}", "apple": "MTL{}", "intel": "SYCL{}"}


def log_figures(deployment: Deployment, budget: MemoryBudget) -> Mapping[str, Interval]:
    """Buffers in MiB: `model_mib.CUDA0`, `kv_mib.CPU`, `compute_mib.CUDA_Host` ..., and their total."""
    laid: Laid = budget.details["laid"]
    figures: dict[str, Interval] = {}
    pinned = "CPU"
    for device in budget.devices:
        name = _DEVICE_NAMES.get(device.accelerator.vendor, "GPU{}").format(device.device)
        if device.accelerator.vendor in {"nvidia", "amd"} and laid.placement.gpu_layers:
            pinned = f"{name.rstrip('0123456789')}_Host"
        for item in device.items:
            if item.code in _LINES:
                figures[f"{_LINES[item.code]}.{name}"] = _mib(item)
    for item in budget.host_items:
        where = {"weights": "CPU_Mapped", "compute_buffer": pinned, "output_buffer": pinned}.get(item.code, "CPU")
        if item.code in _LINES:
            figures[f"{_LINES[item.code]}.{where}"] = _mib(item)
    if laid.settings.repack and deployment.machine.is_cpu_only:
        figures |= _repacked(deployment, budget.details["weights"])
    total = budget.total_bytes
    figures["total_mib.all"] = Interval(total.low / MIB, total.likely / MIB, total.high / MIB)
    return figures


def _mib(item: MemoryItem) -> Interval:
    return Interval(item.bytes.low / MIB, item.bytes.likely / MIB, item.bytes.high / MIB)


def _repacked(deployment: Deployment, weights: LayerWeights) -> Mapping[str, Interval]:
    """With repacking the mapped span ends before the last layer's repacked tensors (the file keeps gate, down, up last)."""
    if not weights.repacked:
        return {}
    tail = 0
    last = len(deployment.model.layers) - 1
    tensors = {t.role: t for t in typed_tensors(deployment.model, deployment.weight_format.gguf_mix or "") if last in t.layers}
    for role in ("ffn_up.weight", "ffn_down.weight", "ffn_gate.weight"):
        tensor = tensors.get(role)
        if tensor is None or tensor.type not in feature("repacked_types"):
            break
        tail += tensor.bytes_each
    return {"model_mib.CPU_REPACK": Interval.exact(weights.repacked / MIB), "model_mib.CPU_Mapped": Interval.exact((weights.total - tail) / MIB)}


