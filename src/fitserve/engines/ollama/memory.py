"""Memory of Ollama: llama.cpp's law for the build inside the release, with a context of num_ctx x parallel.

llm/llama_server.go passes `-c num_ctx*parallel -np parallel`, the cache type for keys and values alike, and the batch
only when `num_batch` is set. The runners before 0.30 planned their graphs themselves; the same law stands in for them
with a wider compute buffer.
"""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from fitserve.engines.contract import Deployment, Engine, MemoryBudget, MemoryItem
from fitserve.engines.mirroring import Parents, plain_name, whole_number
from fitserve.engines.ollama.rules import feature, known_names, llama_cpp_build, runs_llama_server, source
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import note

_OWN_RUNNER = Basis("estimated", "llama.cpp's law for a runner of Ollama's own (before 0.30), not measured")
_NUMBERS = {
    "num-ctx": "context",
    "ollama-context-length": "context",
    "num-batch": "ubatch-size",
    "num-gpu": "gpu-layers",
    "ollama-num-parallel": "parallel",
}


def translate(deployment: Deployment, parent: Engine) -> Deployment:
    """The deployment as llama.cpp is asked for it. Options of llama.cpp itself (measured cases state them) pass through."""
    options: dict[str, str] = {}
    changed = deployment
    for name, value in _in_order(deployment.options):
        meaning = _NUMBERS.get(name)
        if meaning == "context":
            changed = replace(changed, context_tokens=whole_number(name, value))
        elif name == "ollama-kv-cache-type":
            changed = replace(changed, kv_format=value)
        elif name == "ollama-flash-attention":
            options["flash-attn"] = "on" if value.strip().lower() in {"1", "true", "on"} else "off"
        elif name == "num-gpu" and whole_number(name, value) < 0:
            options["gpu-layers"] = "auto"
        elif meaning is not None:
            options[meaning] = str(whole_number(name, value))
        elif name.replace("-", "_") not in known_names():
            options[name] = value
    if "num-batch" in {plain_name(name) for name in deployment.options}:
        options["batch-size"] = options["ubatch-size"]
    changed = _experts_first(changed, options)
    return replace(
        changed,
        engine=parent.id,
        engine_version=llama_cpp_build(deployment.engine_version),
        options=MappingProxyType(options),
    )


def given_options(given: Mapping[str, Any], behind: Parents) -> Mapping[str, str]:
    """Options of a measured case. Where it does not say how many layers are on GPUs, Ollama puts there what fits."""
    return {"gpu-layers": "auto", **behind.given_options(given)}


def _in_order(options: Mapping[str, str]) -> list[tuple[str, str]]:
    """Environment first: the Modelfile's num_ctx counts where both are set."""
    return sorted(((plain_name(name), value) for name, value in options.items()), key=lambda item: item[0] == "num-ctx")


def _experts_first(deployment: Deployment, options: dict[str, str]) -> Deployment:
    """From 0.30 on llama.cpp's fit places the layers, and it leaves experts in RAM before whole layers."""
    layers = deployment.offload_layers or 0
    has_experts = any(layer.experts for layer in deployment.model.layers)
    if not (
        has_experts and runs_llama_server(deployment.engine_version) and 0 < layers <= len(deployment.model.layers)
    ):
        return deployment
    options["n-cpu-moe"] = str(layers)
    return replace(deployment, offload_layers=None)


def budget(deployment: Deployment, behind: Parents) -> MemoryBudget:
    """The budget of the build inside the release. Raises FactMissing for a format that is not GGUF."""
    found = behind.budget(deployment)
    if lacks_fit_margin(deployment, found):
        kept = note(
            "num_gpu_set", source("fit_margin_bytes"), engine="ollama", margin_bytes=feature("fit_margin_bytes")
        )
        return replace(found, reasons=(*found.reasons, kept))
    if runs_llama_server(deployment.engine_version):
        return found
    return replace(
        found,
        devices=tuple(replace(device, items=tuple(map(_widened, device.items))) for device in found.devices),
        host_items=tuple(map(_widened, found.host_items)),
    )


def lacks_fit_margin(deployment: Deployment, found: MemoryBudget) -> bool:
    """Whether llama.cpp's fit, left alone, would move layers to RAM: it keeps a margin free on every device."""
    left = [device.usable_bytes - device.used_bytes for device in found.devices if device.used_bytes]
    is_automatic = runs_llama_server(deployment.engine_version) and not deployment.offload_layers
    return is_automatic and any(0 <= rest < feature("fit_margin_bytes") for rest in left)


def _widened(item: MemoryItem) -> MemoryItem:
    """The compute buffer of a runner of Ollama's own."""
    if item.code != "compute_buffer":
        return item
    spread = feature("own_runner_compute_spread")
    wide = Interval.around(item.bytes.likely, spread["below"], spread["above"])
    return replace(item, bytes=wide, basis=_OWN_RUNNER)
