"""Budgets of engines without block accounting of their own: a pool that is the rest of a share, or a cache of fixed size.

An engine folder says what one rank of each pipeline stage holds and how much of the device the engine may use; the
figures, the devices and the reasons follow here, alike for all.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fitserve.engines.contract import Deployment, DeviceBudget, KvFigures, MemoryBudget, MemoryItem
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, does_not_fit, warning
from fitserve.hardware.types import Accelerator

_REST = Basis("exact", "what is left of the engine's share")
_EXACT = Basis("exact", "shapes of the model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One rank of a pipeline stage; tensor parallel ranks of a stage are alike.

    `limit_bytes`: what the engine keeps to on this device. `items`: everything but weights and cache (runtime,
    activations, graphs). `request_bytes`: cache of one request of so many tokens. `state_bytes`: recurrent state of one
    request. `token_bytes`: what one more token adds inside every window.
    """

    weights: MemoryItem
    items: tuple[MemoryItem, ...]
    limit_bytes: int
    request_bytes: Callable[[int], int]
    token_bytes: float
    state_bytes: int = 0

    @property
    def fixed_bytes(self) -> float:
        """Everything but the cache, likely."""
        return self.weights.bytes.likely + sum(item.bytes.likely for item in self.items)

    @property
    def fixed_high_bytes(self) -> float:
        """Everything but the cache, in the worst case."""
        return self.weights.bytes.high + sum(item.bytes.high for item in self.items)

    @property
    def left_bytes(self) -> int:
        """What the share leaves for the cache; negative when nothing is left."""
        return math.floor(self.limit_bytes - self.fixed_bytes)

    def sequence_bytes(self, tokens: int) -> int:
        """Cache and state of one request."""
        return self.request_bytes(tokens) + self.state_bytes


def devices_of(deployment: Deployment) -> tuple[Accelerator, ...]:
    """The device of every rank. Only for engines that need accelerators."""
    return deployment.machine.devices[: deployment.device_count]


def shared_pool(deployment: Deployment, stages: Sequence[Rank], kv_format: str, slots: int) -> MemoryBudget:
    """The engine takes all that its share leaves as a pool for the caches of all requests."""
    length = deployment.context_tokens
    at_once = min(_requests(stage, stage.left_bytes, length) for stage in stages)
    pools = [max(0, stage.left_bytes) for stage in stages]
    longest = min(_longest(stage, stage.left_bytes, deployment.model.max_context_tokens) for stage in stages)
    reasons = _pool_reasons(deployment, stages, at_once, longest)
    return _assemble(deployment, stages, pools, kv_format, slots, min(at_once, float(slots)), longest, reasons, True)


def fixed_cache(
    deployment: Deployment, stages: Sequence[Rank], kv_format: str, slots: int, cache_tokens: int | None = None
) -> MemoryBudget:
    """The cache is as large as asked (`cache_tokens` of a whole server, else the context for every slot) or grows to it."""
    length = deployment.context_tokens
    requests = cache_tokens / length if cache_tokens else slots
    pools = [math.ceil(stage.request_bytes(length) * requests) + stage.state_bytes * slots for stage in stages]
    others = max(1.0, requests)
    longest = min(
        _longest(stage, math.floor(stage.left_bytes / others), deployment.model.max_context_tokens) for stage in stages
    )
    if cache_tokens:
        longest = min(longest, cache_tokens)
    reasons = _fixed_reasons(deployment, stages, pools, length, longest)
    return _assemble(deployment, stages, pools, kv_format, slots, float(requests), longest, reasons, False)


def _requests(stage: Rank, pool_bytes: int, tokens: int) -> float:
    one = stage.sequence_bytes(tokens)
    return max(0.0, pool_bytes / one) if one else math.inf


def _longest(stage: Rank, pool_bytes: int, limit_tokens: int) -> int:
    """The longest single request that a pool holds."""
    if stage.sequence_bytes(limit_tokens) <= pool_bytes:
        return limit_tokens
    low, high = 0, limit_tokens
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if stage.sequence_bytes(middle) <= pool_bytes else (low, middle - 1)
    return low


def _pool_reasons(deployment: Deployment, stages: Sequence[Rank], at_once: float, longest: int) -> tuple[Reason, ...]:
    found: list[Reason] = []
    length = deployment.context_tokens
    for index, stage in enumerate(stages):
        device = index * deployment.tp
        need, have = round(stage.fixed_bytes), stage.limit_bytes
        if stage.weights.bytes.likely > have:
            weights = round(stage.weights.bytes.likely)
            found.append(does_not_fit("weights_exceed_memory", need_bytes=weights, have_bytes=have, device=device))
        elif stage.left_bytes <= 0:
            found.append(does_not_fit("cache_has_no_room", need_bytes=need, have_bytes=have))
        elif stage.sequence_bytes(length) > stage.left_bytes:
            found.append(
                does_not_fit(
                    "cache_too_small",
                    need_bytes=stage.sequence_bytes(length),
                    have_bytes=stage.left_bytes,
                    context_tokens=length,
                    longest_tokens=longest,
                )
            )
    if not found and at_once < deployment.concurrent_requests:
        shown = math.floor(at_once * 100) / 100
        found.append(
            warning("requests_queue", asked=deployment.concurrent_requests, at_once=shown, context_tokens=length)
        )
    return (*found, *(() if _has_blocker(found) else _tight(stages, [s.sequence_bytes(length) for s in stages])))


def _fixed_reasons(
    deployment: Deployment, stages: Sequence[Rank], pools: Sequence[int], length: int, longest: int
) -> tuple[Reason, ...]:
    found: list[Reason] = []
    for index, (stage, pool) in enumerate(zip(stages, pools, strict=True)):
        device, have = index * deployment.tp, stage.limit_bytes
        weights, need = round(stage.weights.bytes.likely), round(stage.fixed_bytes + pool)
        if weights > have:
            found.append(does_not_fit("weights_exceed_memory", need_bytes=weights, have_bytes=have, device=device))
        elif need > have:
            found.append(does_not_fit("device_overflows", need_bytes=need, have_bytes=have, device=device))
    return (*found, *(() if found else _tight(stages, pools)))


def _has_blocker(reasons: Sequence[Reason]) -> bool:
    return any(reason.code != "requests_queue" for reason in reasons)


def _tight(stages: Sequence[Rank], caches: Sequence[int]) -> tuple[Reason, ...]:
    for stage, cache in zip(stages, caches, strict=True):
        if stage.fixed_high_bytes + cache > stage.limit_bytes:
            left = round(stage.limit_bytes - stage.fixed_bytes - cache)
            return (warning("tight", likely_bytes=left, low_bytes=0),)
    return ()


def _assemble(
    deployment: Deployment,
    stages: Sequence[Rank],
    pools: Sequence[int],
    kv_format: str,
    slots: int,
    at_once: float,
    longest: int,
    reasons: tuple[Reason, ...],
    is_rest: bool,
) -> MemoryBudget:
    length, tp, dp = deployment.context_tokens, deployment.tp, deployment.dp
    devices = []
    for index, accelerator in enumerate(devices_of(deployment)):
        position = (index // tp) % deployment.pp
        stage = stages[position]
        cache = MemoryItem(
            code="kv_cache",
            bytes=Interval.exact(pools[position]),
            basis=_REST if is_rest else _EXACT,
            is_rest=is_rest,
        )
        items = tuple(item for item in (stage.weights, *stage.items) if item.bytes.likely)
        usable = min(stage.limit_bytes, accelerator.engine_visible_bytes)
        devices.append(DeviceBudget(device=index, accelerator=accelerator, usable_bytes=usable, items=(*items, cache)))
    kv = KvFigures(
        format=kv_format,
        bytes_per_token=round(sum(stage.token_bytes for stage in stages) * tp),
        bytes_at_context=sum(stage.sequence_bytes(length) for stage in stages) * tp,
        capacity_tokens=int(at_once * length) * dp if math.isfinite(at_once) else 0,
        max_context_tokens=longest,
        max_concurrency=round(at_once * dp, 2),
    )
    weights = sum(round(stage.weights.bytes.likely) for stage in stages) * tp * dp
    return MemoryBudget(
        devices=tuple(devices), host_items=(), weights_bytes=weights, kv=kv, max_num_seqs=slots, reasons=reasons
    )
