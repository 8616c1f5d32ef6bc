"""How SGLang divides a device: the static share for weights and caches, and what it reserves beside it.

Static share x memory free before loading = weights + caches; activations and CUDA graphs take the rest
(srt/mem_cache/kv_cache_configurator.py _profile_available_bytes; before 0.5.10 model_runner.py profile_max_num_token).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fitserve.engines.contract import Deployment
from fitserve.engines.releases import at_least
from fitserve.engines.sglang.rules import FACTS
from fitserve.foundation.errors import InputError
from fitserve.foundation.units import MIB
from fitserve.hardware.types import Accelerator
from fitserve.models.types import LanguageModel, LatentAttention

_CONSTANT_MIB = 512
_MIB_PER_CHUNK_TOKEN = 1.5
_MIB_PER_CAPTURED_BATCH = 2
_MIB_PER_PREFILL_GRAPH = 8
_LATENT_PREFILL_MIB = 1536
_MIB_PER_8_RANKS = 1024
_LEAST_MIB_ABOVE_60_GIB = 10 * 1024
_SMALLEST_CHUNK = 2048
_FIXED_LARGE_MIB = 96 * 1024
# memory_hook.py generate_prefill_cuda_graph_batch_sizes: ranges (first, last, step); the last one is open
_PREFILL_SIZES = ((4, 32, 4), (48, 256, 16), (288, 512, 32), (576, 1024, 64), (1280, 4096, 256), (4608, 2**20, 512))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What the server sets aside: the static share, the prefill chunk, the largest captured batch, and both reserves."""

    static_share: float
    chunk_tokens: int
    captured_batch: int
    graph_reserve_bytes: int
    is_given: bool


def number(options: Mapping[str, str], name: str, least: float, most: float) -> float | None:
    """A numeric option; None when it is not given. Raises InputError for a value that is none."""
    text = options.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise InputError.of("option_wrong", option=f"--{name}", value=text) from error
    if not least <= value <= most:
        raise InputError.of("option_wrong", option=f"--{name}", value=text)
    return value


def resolve(deployment: Deployment) -> Shares:
    """The server's own choice for this device, unless options say otherwise."""
    device = smallest(deployment)
    options, version = deployment.options, deployment.engine_version
    chunk, batch = _batches(device, version, deployment.tp)
    chunk = int(number(options, "chunked-prefill-size", -1, 2**20) or chunk)
    for name in ("cuda-graph-max-bs", "cuda-graph-max-bs-decode"):
        batch = int(number(options, name, 1, 2**16) or batch)
    graphs = 0 if "disable-cuda-graph" in options else _graph_mib(deployment.model, version, chunk, batch)
    given = number(options, "mem-fraction-static", 0.01, 0.999)
    share = given if given is not None else _share(deployment, device, chunk, graphs)
    return Shares(
        static_share=share,
        chunk_tokens=chunk,
        captured_batch=batch,
        graph_reserve_bytes=round(graphs * MIB),
        is_given=given is not None,
    )


def smallest(deployment: Deployment) -> Accelerator:
    """The device with the least memory: every rank does what it can do."""
    devices = deployment.machine.devices[: deployment.device_count]
    return min(devices, key=lambda device: device.engine_visible_bytes)


def _batches(device: Accelerator, version: str, tp: int) -> tuple[int, int]:
    memory_mib = device.memory_bytes / MIB
    tiers = FACTS.value("batch_tiers", version)
    _, chunk, small, large = next(tier for tier in tiers if memory_mib < tier[0])
    return chunk, small if tp < 4 else large


def _graph_mib(model: LanguageModel, version: str, chunk: int, batch: int) -> float:
    reserve = float(batch * _MIB_PER_CAPTURED_BATCH)
    if at_least(version, FACTS.value("prefill_graphs_from")):
        latent = any(isinstance(m, LatentAttention) for layer in model.layers for m in layer.mixers)
        reserve += _LATENT_PREFILL_MIB if latent else _MIB_PER_PREFILL_GRAPH * prefill_graphs(chunk)
    return reserve


def prefill_graphs(chunk_tokens: int) -> int:
    """How many prefill sizes are captured up to a chunk."""
    return sum(len(range(first, min(last, chunk_tokens) + 1, step)) for first, last, step in _PREFILL_SIZES)


def _share(deployment: Deployment, device: Accelerator, chunk: int, graphs_mib: float) -> float:
    version, ranks = deployment.engine_version, deployment.tp * deployment.pp
    memory = device.memory_bytes / MIB
    match FACTS.value("static_share", version):
        case "fixed":
            share = _fixed(ranks, memory)
        case "tiers":
            _, base, each = next(tier for tier in FACTS.value("tier_reserves") if memory < tier[0])
            share = (memory - base - each * ranks) / memory
        case _:
            reserve = _CONSTANT_MIB + max(chunk, _SMALLEST_CHUNK) * _MIB_PER_CHUNK_TOKEN
            reserve += ranks / 8 * _MIB_PER_8_RANKS + graphs_mib
            if memory > 60 * 1024:
                reserve = max(reserve, _LEAST_MIB_ABOVE_60_GIB)
            share = (memory - reserve) / memory
    return max(0.01, round(share, 3) * (_vision_factor(deployment.model) if at_least(version, "0.4.9") else 1.0))


def _fixed(ranks: int, memory_mib: float) -> float:
    share: float = next(value for least, value in FACTS.value("fixed_shares") if ranks >= least)
    if memory_mib <= _FIXED_LARGE_MIB:
        return share
    return min(share + 48 * 1024 * (1 - share) / memory_mib, (memory_mib - 18 * 1024) / memory_mib)


def _vision_factor(model: LanguageModel) -> float:
    if not model.is_multimodal:
        return 1.0
    base, unit, least, most = FACTS.value("vision_share")
    size = model.params("vision") / unit
    return float(base * max(least, min(most, 1.1 - 0.1 * size)))
