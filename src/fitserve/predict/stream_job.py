"""What one stream runs on, as the law of its speed sees it: devices, path of the code, what lies where."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fitserve.engines.contract import Deployment
from fitserve.footprint.kv_cache import BYTES_PER_ELEMENT
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_toml
from fitserve.hardware.identify import gpu_rows
from fitserve.hardware.processors import Processor, processor
from fitserve.hardware.types import Accelerator
from fitserve.models.formats import WeightFormat, parse_format
from fitserve.models.types import LanguageModel

_ALL = {"all", "auto", "-1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDevice:
    """A device with its rates; `family` shares kernels (compute capability, gfx generation, Apple generation)."""

    id: str
    vendor: str
    family: str
    bandwidth_bytes_per_s: float
    flop_per_s: float
    """FP32, what unpacking runs at."""
    matrix_flop_per_s: float
    """Dense FP16, what products of a prompt run at."""
    integer_flop_per_s: float
    """Half of INT8 where that is more: what products with weights quantized in blocks run at."""
    memory_bytes: int
    has_stated_flop: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamJob:
    """A single model on fixed devices. `host_layers` whole layers and `host_experts` layers' experts are in RAM."""

    model: LanguageModel
    weight_format: WeightFormat
    engine: str
    backend: str
    devices: tuple[StreamDevice, ...]
    host: Processor | None
    tensor_parallel: bool
    integer_products: bool
    is_old_build: bool
    is_before_recurrent: bool
    """Built before recurrent layers had kernels of their own."""
    host_layers: int = 0
    host_experts: int = 0
    threads: int | None = None
    chunk_tokens: int = 512
    kv_element_bytes: float = 2.0
    has_flash_attention: bool = True


@lru_cache(maxsize=1)
def stream_facts() -> Mapping[str, Any]:
    """Policies of engines and assumptions, sourced."""
    return load_toml("fitserve.predict", "streams.toml")


@lru_cache(maxsize=256)
def stream_device(accelerator: Accelerator) -> StreamDevice:
    """Rates of a device. Raises FactMissing without a memory bandwidth."""
    row = gpu_rows().get(accelerator.id, {})
    bandwidth = accelerator.bandwidth_bytes_per_s
    if not bandwidth:
        raise FactMissing(f"memory bandwidth of {accelerator.id}", "src/fitserve/hardware/catalog/gpus.json")
    boards = row.get("devices_per_board") or 1
    rates = row.get("dense_flop_per_s") or {}
    flop = rates.get("fp32")
    assumed = stream_facts()["assumptions"]["flop_per_byte"]["value"] * bandwidth
    ratio = stream_facts()["assumptions"]["fp16_to_fp32"]["value"].get(accelerator.vendor, 1.0)
    matrix = rates.get("fp16") or (flop or assumed) * ratio
    # GeForce cards state half the FP16 rate (FP32 sums); products with quantized weights follow the INT8 rate
    integer = max(
        matrix, (rates.get("int8") or (flop or assumed) * ratio * 4) / 2 if accelerator.vendor == "nvidia" else 0
    )
    return StreamDevice(
        id=accelerator.id,
        vendor=accelerator.vendor,
        family=_family(accelerator, row),
        bandwidth_bytes_per_s=bandwidth / boards,
        flop_per_s=(flop or assumed) / boards,
        matrix_flop_per_s=matrix / boards,
        integer_flop_per_s=integer / boards,
        memory_bytes=accelerator.memory_bytes,
        has_stated_flop=bool(flop),
    )


def _family(accelerator: Accelerator, row: Mapping[str, Any]) -> str:
    if accelerator.compute_capability:
        return f"sm{accelerator.compute_capability.replace('.', '')}"
    if accelerator.gfx:
        # gfx1151 is a processor's own GPU, gfx1100 a card: the same kernels, another memory
        return accelerator.gfx if accelerator.gfx.startswith(("gfx9", "gfx115")) else accelerator.gfx[:-2]
    return str(accelerator.metal_family or row.get("other_architecture") or accelerator.vendor)


def stream_job(deployment: Deployment, backend: str | None = None) -> StreamJob:
    """The job of a deployment; `backend` (cuda, hip, vulkan, metal, sycl, cpu) when it is not the vendor's own.

    Raises FactMissing for an engine without a law, a device without rates, a processor that is not in the table.
    """
    facts = stream_facts()
    policy = facts["engines"].get(deployment.engine)
    if policy is None:
        raise FactMissing(f"the speed of one stream of {deployment.engine}", "src/fitserve/predict/streams.toml")
    options = deployment.options
    host = processor(deployment.machine.host.cpu_name) or deployment.machine.host.processor
    devices = () if backend == "cpu" else deployment.machine.devices[: deployment.device_count]
    if not devices and host is None:
        raise FactMissing(
            f"memory channels of the processor {deployment.machine.host.cpu_name or '(not named)'}",
            "src/fitserve/hardware/catalog/cpus.toml",
        )
    layers, experts = _in_ram(deployment) if policy["places_layers"] and devices else (0, 0)
    chosen = backend or (facts["backends"][devices[0].vendor] if devices else "cpu")
    split = options.get("split-mode", "layer")
    return StreamJob(
        model=deployment.model,
        weight_format=readable_format(deployment.weight_format),
        engine=deployment.engine,
        backend=chosen,
        devices=tuple(stream_device(device) for device in devices),
        host=host,
        integer_products=policy["places_layers"],
        tensor_parallel=deployment.tp > 1 or (policy["places_layers"] and split in {"row", "tensor", "graph"}),
        is_old_build=_is_below(deployment.engine_version, policy.get("old_below_build", 0)),
        is_before_recurrent=_is_below(deployment.engine_version, policy.get("recurrent_from_build", 0)),
        host_layers=layers,
        host_experts=experts,
        threads=int(options["threads"]) if options.get("threads", "").isdigit() else None,
        chunk_tokens=int(options.get(policy["chunk_option"], policy["chunk_tokens"])),
        kv_element_bytes=_kv_bytes(deployment),
        has_flash_attention=options.get("flash-attn", "auto") != "off",
    )


@lru_cache(maxsize=256)
def readable_format(weight_format: WeightFormat) -> WeightFormat:
    """The format, or the one whose bytes stand in for a mix without a rule."""
    for row in stream_facts()["stand_ins"]:
        if re.fullmatch(row["pattern"], weight_format.gguf_mix or ""):
            return parse_format(f"gguf:{row['mix']}")
    return weight_format


def _is_below(version: str, build: int) -> bool:
    number = version.removeprefix("b").split(" ")[0].split("-")[0]
    return number.isdigit() and 1000 < int(number) < build


def _in_ram(deployment: Deployment) -> tuple[int, int]:
    count = len(deployment.model.layers)
    asked = deployment.options.get("gpu-layers", deployment.options.get("n-gpu-layers", "all"))
    layers = 0 if asked in _ALL else max(0, count - int(asked))
    experts = min(count, int(deployment.options.get("n-cpu-moe", "0")))
    if deployment.offload_layers:
        if any(layer.experts for layer in deployment.model.layers):
            experts = max(experts, min(count, deployment.offload_layers))
        else:
            layers = max(layers, min(count, deployment.offload_layers))
    return layers, experts


def _kv_bytes(deployment: Deployment) -> float:
    given = deployment.kv_format if deployment.kv_format != "auto" else "f16"
    names = [deployment.options.get(f"cache-type-{part}", given) for part in "kv"]
    return sum(BYTES_PER_ELEMENT.get(name, 2.0) for name in names) / 2
