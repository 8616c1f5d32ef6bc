"""vLLM's memory budget: it takes a share of the device, loads, profiles, and gives all that is left to KV blocks.

requested = ceil(total x gpu_memory_utilization); KV pool = requested - weights - profile peak - runtime, and from 0.20.0
less an estimate of the CUDA graphs, which before had to fit outside the share (v1/worker/gpu_worker.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fitserve.engines.contract import Deployment, DeviceBudget, KvFigures, MemoryBudget, MemoryItem
from fitserve.engines.vllm.activations import activation_bytes, coefficients, graph_bytes, runtime_bytes
from fitserve.engines.vllm.kv_pool import KvPool, PoolSettings, build_pool
from fitserve.engines.vllm.kv_specs import PageSettings, layer_pages
from fitserve.engines.vllm.load import loaded_bytes
from fitserve.engines.vllm.rules import at_least, feature
from fitserve.engines.vllm.settings import ServerSettings, ranks, resolve
from fitserve.footprint.ranks import stage_layers
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, does_not_fit, not_supported, warning
from fitserve.hardware.types import Accelerator

_EXACT = Basis("exact", "shapes of the model; vllm/model_executor/model_loader")
_FITTED = Basis("fitted", "engines/vllm/coefficients.json")
_REST = Basis("exact", "what is left of the share; vllm/v1/worker/gpu_worker.py")
# Fitted on one GPU and releases up to 0.19: elsewhere the spread is taken this many times as wide.
_UNSEEN = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBudget:
    """One pipeline stage: the same on each of its tensor parallel ranks."""

    layers: range
    weights: Interval
    activations: Interval
    runtime: Interval
    graphs: Interval
    pool: KvPool
    pool_bytes: int
    requested_bytes: int
    graphs_inside: bool


def _spread(name: str, likely: float, factor: float) -> Interval:
    band = coefficients()["spread"][name]
    if name == "weights":
        return Interval(likely * (1 + band["low"]), likely, likely * (1 + band["high"]))
    return Interval(max(0.0, likely + factor * band["low"]), likely, likely + factor * band["high"])


def _unseen(device: Accelerator, version: str) -> float:
    """1 where the coefficients were measured, more elsewhere."""
    return 1.0 if device.id.startswith("h100") and not at_least(version, "0.20.0") else _UNSEEN


def _stage(deployment: Deployment, settings: ServerSettings, stage: range) -> StageBudget:
    model, version, tp = deployment.model, deployment.engine_version, deployment.tp
    devices = ranks(deployment)
    factor = _unseen(devices[0], version)
    requested = math.ceil(min(device.engine_visible_bytes for device in devices) * settings.utilization)
    weights = _spread(
        "weights", loaded_bytes(model, deployment.weight_format, tp, deployment.ep, stage, deployment.pp), 1.0
    )
    last = stage.stop == len(model.layers)
    peak = activation_bytes(model, deployment.weight_format, version, tp, settings.limits, stage, samples=last)
    activations = _spread("activations", peak, factor)
    if last and not at_least(version, feature("sampler_lean_from")):
        # with FlashInfer installed, which older releases left to the user, the sampler was as lean as in later ones
        lean = activation_bytes(
            model, deployment.weight_format, feature("sampler_lean_from"), tp, settings.limits, stage, samples=True
        )
        activations = Interval(min(activations.low, lean), activations.likely, activations.high)
    runtime = _spread("runtime", runtime_bytes(version, deployment.tp * deployment.pp), factor)
    graphs = Interval.exact(0) if settings.eager else _spread("cuda_graphs", graph_bytes(model, stage), factor)
    inside = at_least(version, feature("graphs_counted_from")) and not settings.eager
    left = requested - weights.likely - activations.likely - runtime.likely - (graphs.likely if inside else 0)
    return StageBudget(
        layers=stage, weights=weights, activations=activations, runtime=runtime, graphs=graphs,
        pool=_pool(deployment, settings, stage), pool_bytes=settings.pool_bytes or math.floor(left), requested_bytes=requested,
        graphs_inside=inside,
    )  # fmt: skip


def _pool(deployment: Deployment, settings: ServerSettings, stage: range) -> KvPool:
    pages = list(
        layer_pages(
            deployment.model,
            PageSettings(
                tp=deployment.tp,
                element_bytes=settings.kv_element_bytes,
                kv_format=settings.kv_format,
                asked_block_tokens=settings.block_tokens,
                is_cpu=deployment.machine.is_cpu_only,
                speculative_tokens=settings.speculative_tokens,
            ),
        )
    )
    if deployment.pp > 1:
        pages = [page for page in pages if page.layer in stage]
    return build_pool(
        pages,
        PoolSettings(
            in_flight_tokens=settings.in_flight_tokens,
            hybrid_manager=settings.hybrid_manager,
            prefix_caching=settings.prefix_caching,
            speculative_tokens=settings.speculative_tokens,
        ),
    )


def pool_interval(stage: StageBudget) -> Interval:
    """The pool with the spread of everything that it is the rest of."""
    parts = [stage.weights, stage.activations, stage.runtime, *([stage.graphs] if stage.graphs_inside else [])]
    above = math.sqrt(sum((part.likely - part.low) ** 2 for part in parts))
    below = math.sqrt(sum((part.high - part.likely) ** 2 for part in parts))
    return Interval(stage.pool_bytes - below, stage.pool_bytes, stage.pool_bytes + above)


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory on every device. Devices of one stage are alike; data parallel replicas repeat."""
    settings = resolve(deployment)
    stages = [
        _stage(deployment, settings, layers) for layers in stage_layers(len(deployment.model.layers), deployment.pp)
    ]
    settings, slots = _fit_sequences(settings, stages)
    devices = [
        _device(
            accelerator, index, stages[(index // deployment.tp) % deployment.pp], is_rest=settings.pool_bytes is None
        )
        for index, accelerator in enumerate(ranks(deployment))
    ]
    kv = _kv_figures(deployment, settings, stages)
    weights = sum(round(stage.weights.likely) for stage in stages) * deployment.tp * deployment.dp
    reasons = _reasons(deployment, settings, stages, kv)
    return MemoryBudget(
        devices=tuple(devices), host_items=(), weights_bytes=weights, kv=kv, max_num_seqs=slots, reasons=reasons,
        details=_details(stages, settings),
    )  # fmt: skip


def _fit_sequences(settings: ServerSettings, stages: list[StageBudget]) -> tuple[ServerSettings, int]:
    """Recurrent models need a state block per sequence: without an explicit number the command asks for what fits."""
    if not any(group.kind == "Mamba" for stage in stages for group in stage.pool.groups):
        return settings, settings.limits.sequences
    blocks = min(stage.pool.block_count(stage.pool_bytes) for stage in stages)
    if settings.sequences_asked is not None or blocks < 1:
        return settings, settings.limits.sequences
    return settings, min(settings.limits.sequences, blocks)


def _device(accelerator: Accelerator, index: int, stage: StageBudget, is_rest: bool) -> DeviceBudget:
    pool = Interval.exact(max(0, stage.pool_bytes))
    items = [
        MemoryItem(code="weights", bytes=stage.weights, basis=_EXACT),
        MemoryItem(code="runtime", bytes=stage.runtime, basis=_FITTED),
        MemoryItem(code="activations", bytes=stage.activations, basis=_FITTED),
        MemoryItem(code="cuda_graphs", bytes=stage.graphs, basis=_FITTED),
        MemoryItem(code="kv_cache", bytes=pool, basis=_REST, is_rest=is_rest),
    ]
    limit = stage.requested_bytes + (0 if stage.graphs_inside else round(stage.graphs.likely))
    usable = min(limit, accelerator.engine_visible_bytes)
    return DeviceBudget(
        device=index,
        accelerator=accelerator,
        usable_bytes=usable,
        items=tuple(item for item in items if item.bytes.likely or item.code == "kv_cache"),
    )


def _kv_figures(deployment: Deployment, settings: ServerSettings, stages: list[StageBudget]) -> KvFigures:
    model, length = deployment.model, deployment.context_tokens
    copies = deployment.tp
    per_token = sum(_token_bytes(deployment, settings, stage) for stage in stages) * copies
    at_context = sum(stage.pool.needed_bytes(length) for stage in stages) * copies
    concurrency = min(stage.pool.max_concurrency(max(0, stage.pool_bytes), length) for stage in stages)
    longest = min(stage.pool.longest_request(stage.pool_bytes, model.max_context_tokens) for stage in stages)
    return KvFigures(
        format=settings.kv_format,
        bytes_per_token=per_token,
        bytes_at_context=at_context,
        capacity_tokens=int(concurrency * length) * deployment.dp,
        max_context_tokens=longest,
        max_concurrency=round(concurrency * deployment.dp, 2),
    )


def _token_bytes(deployment: Deployment, settings: ServerSettings, stage: StageBudget) -> int:
    """Bytes that one more token costs on one rank while it is inside every window."""
    total = 0.0
    for page in layer_pages(
        deployment.model,
        PageSettings(
            tp=deployment.tp,
            element_bytes=settings.kv_element_bytes,
            kv_format=settings.kv_format,
            asked_block_tokens=settings.block_tokens,
        ),
    ):
        if page.kind != "Mamba" and page.layer in stage.layers:
            total += page.page_bytes / page.block_tokens
    return round(total)


def _reasons(
    deployment: Deployment, settings: ServerSettings, stages: list[StageBudget], kv: KvFigures
) -> tuple[Reason, ...]:
    found: list[Reason] = []
    for index, stage in enumerate(stages):
        if stage.pool.refusal:
            found.append(not_supported("vllm_kv_groups_refused", detail=stage.pool.refusal))
            continue
        fixed = (
            stage.weights.likely
            + stage.activations.likely
            + stage.runtime.likely
            + (stage.graphs.likely if stage.graphs_inside else 0)
        )
        if settings.pool_bytes is None and stage.weights.likely > stage.requested_bytes:
            found.append(
                does_not_fit(
                    "weights_exceed_memory",
                    need_bytes=round(stage.weights.likely),
                    have_bytes=stage.requested_bytes,
                    device=index * deployment.tp,
                )
            )
        elif stage.pool_bytes <= 0:
            found.append(
                does_not_fit(
                    "nothing_left_for_kv",
                    need_bytes=round(fixed),
                    have_bytes=stage.requested_bytes,
                    device=index * deployment.tp,
                )
            )
        elif not stage.pool.starts(stage.pool_bytes, deployment.context_tokens) and stage.pool.groups:
            found.append(_pool_too_small(deployment, stage))
        found += _slot_and_graph_reasons(deployment, settings, stage)
    if not found:
        found += _tightness(deployment, stages, kv)
    return tuple(reason for index, reason in enumerate(found) if reason not in found[:index])


def _pool_too_small(deployment: Deployment, stage: StageBudget) -> Reason:
    longest = stage.pool.longest_request(stage.pool_bytes, deployment.context_tokens)
    return does_not_fit(
        "kv_pool_too_small",
        need_bytes=stage.pool.needed_bytes(deployment.context_tokens) + stage.pool.bytes_per_block,
        have_bytes=stage.pool_bytes,
        context_tokens=deployment.context_tokens,
        longest_tokens=longest,
    )


def _slot_and_graph_reasons(deployment: Deployment, settings: ServerSettings, stage: StageBudget) -> list[Reason]:
    found: list[Reason] = []
    if settings.pool_bytes is not None:
        return found  # the pool was fixed by hand: how the rest of the device is used is not known
    stateful = any(group.kind == "Mamba" for group in stage.pool.groups)
    blocks = stage.pool.block_count(stage.pool_bytes)
    if (
        stateful
        and settings.sequences_asked is not None
        and 0 < blocks < settings.sequences_asked
        and not settings.eager
    ):
        found.append(does_not_fit("too_few_state_blocks", max_num_seqs=settings.sequences_asked, blocks=blocks))
    if not stage.graphs_inside and not settings.eager and stage.graphs.likely:
        outside = min(device.engine_visible_bytes for device in ranks(deployment)) - stage.requested_bytes
        if outside < stage.graphs.low:
            found.append(does_not_fit("graphs_exceed_rest", need_bytes=round(stage.graphs.likely), have_bytes=outside))
    return found


def _tightness(deployment: Deployment, stages: list[StageBudget], kv: KvFigures) -> list[Reason]:
    found: list[Reason] = []
    if kv.max_concurrency and kv.max_concurrency < deployment.concurrent_requests:
        found.append(
            warning(
                "requests_queue",
                asked=deployment.concurrent_requests,
                at_once=math.floor(kv.max_concurrency * 100) / 100,
                context_tokens=deployment.context_tokens,
            )
        )
    for stage in stages:
        low = pool_interval(stage).low
        if stage.pool.groups and not stage.pool.starts(math.floor(low), deployment.context_tokens):
            found.append(warning("tight", likely_bytes=stage.pool_bytes, low_bytes=max(0, round(low))))
            break
    return found


def _details(stages: list[StageBudget], settings: ServerSettings) -> Mapping[str, Any]:
    """Figures that evidence compares with logs, of the stage with the smallest pool."""
    stage = min(stages, key=lambda s: s.pool_bytes)
    return {
        "stage": stage,
        "settings": settings,
        "num_blocks": stage.pool.block_count(stage.pool_bytes),
        "bytes_per_block": stage.pool.bytes_per_block,
        "groups": stage.pool.groups,
    }


def cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    """Exact bytes of the cache of some sequences, whole tokens and not blocks: what the model needs at least.

    Windows hold what a request keeps of them; states count when `part` names them.
    """
    settings = resolve(deployment)
    total = 0.0
    for page in layer_pages(
        deployment.model,
        PageSettings(
            tp=1,
            element_bytes=settings.kv_element_bytes,
            kv_format=settings.kv_format,
            asked_block_tokens=settings.block_tokens,
        ),
    ):
        if page.kind == "Mamba":
            total += page.page_bytes if "state" in part else 0
        elif part != "recurrent state":
            total += deployment.context_tokens * page.page_bytes / page.block_tokens
    return round(total * sequences)
