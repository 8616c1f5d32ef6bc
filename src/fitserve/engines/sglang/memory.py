"""SGLang's memory budget: a static share holds weights and caches, the rest stays free for activations and graphs.

Caches are cut from what the share leaves after loading. A model with windowed layers of its own list gets two pools, the
windowed one as a fixed part of the full one, whatever the window; recurrent models a state pool beside the KV pool.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from fitserve.engines.budgets import Rank, shared_pool
from fitserve.engines.contract import Deployment, MemoryBudget, MemoryItem
from fitserve.engines.sglang.policy import Shares, number, resolve, smallest
from fitserve.engines.sglang.rules import FACTS, windows_apart
from fitserve.footprint.kv_cache import BYTES_PER_ELEMENT, cache_reach
from fitserve.footprint.ranks import rank_request_bytes, rank_state_bytes, rank_token_bytes, stage_layers
from fitserve.footprint.weights import Sharding, weight_bytes
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, Verdict, does_not_fit, warning
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.types import CompressedAttention, LanguageModel, LatentAttention

_SHAPES = Basis("exact", "shapes of the model; srt/model_loader; rotary tables of srt/layers/rotary_embedding")
_RESERVE = Basis("estimated", "what SGLang itself reserves (memory_hook.py); how much of it is used is not calibrated")
_RUNTIME = Basis("estimated", "three public logs, see runtime_bytes in engines/sglang/facts.toml")
_ROTARY_BYTES = 4  # cos_sin_cache is kept in float32 on CUDA
_INDEX_SCALE_BYTES = 4  # one scale per index_head_dim values beside one byte each (DSATokenToKVPool)
_NVFP4_BYTES = 0.5625
_LEAST_RESERVE = 0.5
"""Below this part of SGLang's own reserve running out of memory under load is to be expected (a choice, not a fact)."""


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory on every device."""
    shares = resolve(deployment)
    count = len(deployment.model.layers)
    stages = [_rank(deployment, shares, layers) for layers in stage_layers(count, deployment.pp)]
    name, _ = kv_elements(deployment)
    made = shared_pool(deployment, stages, name, _slots(deployment))
    tokens = sum(stage.token_bytes for stage in stages) * deployment.tp
    exact = sum(_needed(deployment, layers) for layers in stage_layers(count, deployment.pp)) * deployment.tp
    figures = replace(made.kv, bytes_per_token=round(tokens), bytes_at_context=exact)
    reasons = made.reasons + _share_reasons(deployment, shares, stages, made)
    return replace(made, kv=figures, reasons=reasons, details={"shares": shares, "ranks": tuple(stages)})


def kv_elements(deployment: Deployment) -> tuple[str, float]:
    """(format, bytes of an element): the model's type for `auto`, unless the loaded checkpoint names another."""
    asked = deployment.kv_format
    if asked == "auto":
        checkpoint = _checkpoint_model(deployment).checkpoint
        if checkpoint is not None and checkpoint.kv_format == "fp8":
            asked = "fp8_e4m3"
    if asked in {"auto", "bf16", "bfloat16", "f16"}:
        return ("bf16" if deployment.model.dtype == "bf16" else "f16"), 2.0
    if asked in {"nvfp4", "fp4_e2m1", "fp4_mx_block16"}:
        return asked, _NVFP4_BYTES
    return asked, BYTES_PER_ELEMENT.get(asked, 1.0 if asked.startswith(("fp8", "mxfp8")) else 2.0)


def _checkpoint_model(deployment: Deployment) -> LanguageModel:
    repository = deployment.repository
    return catalog_model(repository) if repository in rows() and repository is not None else deployment.model


def _slots(deployment: Deployment) -> int:
    given = deployment.max_num_seqs or number(deployment.options, "max-running-requests", 1, 2**20)
    return int(given or FACTS.value("running_requests")[0])


def _rank(deployment: Deployment, shares: Shares, layers: range) -> Rank:
    model, tp = deployment.model, deployment.tp
    device = smallest(deployment)
    sharding = Sharding(
        tp=tp, ep=deployment.ep, layers=None if deployment.pp == 1 else layers,
        first_stage=layers.start == 0, last_stage=layers.stop == len(model.layers),
    )  # fmt: skip
    loaded = weight_bytes(model, deployment.weight_format, sharding) + rotary_bytes(model)
    several = int(deployment.tp * deployment.pp > 1)
    runtime, spread = FACTS.value("runtime_bytes")[several], FACTS.row("runtime_bytes")["spread"][several]
    free = max(0, device.engine_visible_bytes - runtime)
    outside = round(free * (1 - shares.static_share))
    graphs = min(outside, shares.graph_reserve_bytes)
    items = (
        MemoryItem(code="runtime", bytes=Interval(runtime - spread, runtime, runtime + spread), basis=_RUNTIME),
        MemoryItem(code="activations", bytes=Interval(0, outside - graphs, outside - graphs), basis=_RESERVE),
        MemoryItem(code="cuda_graphs", bytes=Interval(0, graphs, graphs), basis=_RESERVE),
    )
    element = kv_elements(deployment)[1]
    return Rank(
        weights=MemoryItem(code="weights", bytes=Interval.around(loaded, 0.01, 0.03), basis=_SHAPES),
        items=items,
        limit_bytes=runtime + free,
        request_bytes=_request(deployment, layers),
        token_bytes=rank_token_bytes(model, element, tp, layers) + _index_token_bytes(model, layers),
    )


def rotary_bytes(model: LanguageModel) -> int:
    """Cosine and sine of every position up to the model's own limit, shared by all layers.

    srt/layers/rotary_embedding/base.py: [max_position_embeddings, rotary_dim] in float32. For the ten million positions
    of Llama 4 Scout this is 5 GiB on every rank.
    """
    return model.max_context_tokens * model.rotary_dim * _ROTARY_BYTES


def _index_token_bytes(model: LanguageModel, layers: range) -> int:
    """Index keys of sparse attention: one byte a value and a scale per head."""
    total = 0
    for index in layers:
        for mixer in model.layers[index].mixers:
            if isinstance(mixer, LatentAttention) and mixer.indexer is not None and not mixer.shares_index:
                total += mixer.indexer.head_dim + _INDEX_SCALE_BYTES
    return total


def token_pool_bytes(deployment: Deployment, layers: range) -> float:
    """What the pools hold for one token of the full layers: windowed layers count by the pool ratio."""
    model, element = deployment.model, kv_elements(deployment)[1]
    whole = rank_token_bytes(model, element, deployment.tp, layers) + _index_token_bytes(model, layers)
    if not windows_apart(model.architecture, deployment.engine_version):
        return whole
    ratio = number(deployment.options, "swa-full-tokens-ratio", 0, 1)
    ratio = FACTS.value("window_pool_ratio") if ratio is None else ratio
    windowed = sum(
        rank_token_bytes(model, element, deployment.tp, range(index, index + 1))
        for index in layers
        if any(cache_reach(mixer) is not None for mixer in model.layers[index].mixers)
    )
    # a model whose every layer is windowed has one pool and no ratio
    return whole if windowed >= whole else whole - windowed * (1 - ratio)


def _state_bytes(deployment: Deployment, layers: range) -> int:
    """Slots of recurrent state that a running request holds."""
    slots = 1 if "disable-radix-cache" in deployment.options else FACTS.value("state_slots_per_request")
    return int(rank_state_bytes(deployment.model, deployment.tp, layers) * slots)


def _compressed(model: LanguageModel) -> bool:
    return any(isinstance(mixer, CompressedAttention) for layer in model.layers for mixer in layer.mixers)


def _needed(deployment: Deployment, layers: range) -> int:
    """Pool bytes of one request of the full context on one rank."""
    length = deployment.context_tokens
    if _compressed(deployment.model):
        kv = rank_request_bytes(deployment.model, length, kv_elements(deployment)[1], deployment.tp, layers)
        return kv + _state_bytes(deployment, layers)
    return round(length * token_pool_bytes(deployment, layers)) + _state_bytes(deployment, layers)


def _request(deployment: Deployment, layers: range) -> Callable[[int], int]:
    """Bytes of the undivided pool that a request of so many tokens uses up.

    With recurrent layers the pool is split once: KV cache gets 1 / (1 + ratio) of it and states the rest, and a request
    is limited by whichever runs out first.
    """
    model, element = deployment.model, kv_elements(deployment)[1]
    state = _state_bytes(deployment, layers)
    each = token_pool_bytes(deployment, layers)
    given = number(deployment.options, "mamba-full-memory-ratio", 0.001, 1000)
    ratio = FACTS.value("state_memory_ratio") if given is None else given
    compressed = _compressed(model)

    def needed(tokens: int) -> int:
        kv = rank_request_bytes(model, tokens, element, deployment.tp, layers) if compressed else tokens * each
        return round(max(kv * (1 + ratio), state * (1 + ratio) / ratio)) if state else round(kv)

    return needed


def _share_reasons(
    deployment: Deployment, shares: Shares, stages: list[Rank], made: MemoryBudget
) -> tuple[Reason, ...]:
    """A share given by hand that leaves too little beside it; a share that could be raised until one request fits."""
    free = max(1, stages[0].limit_bytes - FACTS.value("runtime_bytes")[int(deployment.tp * deployment.pp > 1)])
    plain = {name: value for name, value in deployment.options.items() if name != "mem-fraction-static"}
    usual = free * (1 - resolve(replace(deployment, options=plain)).static_share)
    if shares.is_given:
        left = free * (1 - shares.static_share)
        small = left < usual * _LEAST_RESERVE
        return (warning("sglang_reserve_small", have_bytes=round(left), usual_bytes=round(usual)),) if small else ()
    if not any(reason.verdict is Verdict.DOES_NOT_FIT for reason in made.reasons):
        return ()
    need = max(stage.weights.bytes.high + stage.sequence_bytes(deployment.context_tokens) for stage in stages)
    wanted = math.ceil(need / free * 100) / 100
    if free * (1 - wanted) < usual * _LEAST_RESERVE:
        return ()
    return (does_not_fit("sglang_share_could_rise", share=f"{wanted:.2f}", have_share=f"{shares.static_share:.3g}"),)
