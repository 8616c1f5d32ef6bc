"""Budgets of engines that fill one device after the other with layers, each with its weights and its share of the cache.

The engine folder says what a layer holds and what a device keeps apart; placement, reasons and the longest context that
still fits follow here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fitserve.engines.budgets import Rank, fixed_cache
from fitserve.engines.contract import Deployment, MemoryBudget, MemoryItem
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, does_not_fit, note, warning
from fitserve.foundation.units import round_up

PAGE_TOKENS = 256
"""Caches are cut into pages of this many tokens (exllamav2 dynamic.py, exllamav3 constants.py)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Modules in the order of the pass, the head last. Per module: bytes of weights, of one cached token, of one slot's state.

    `spread`: relative error of the weights, below and above.
    """

    weights: tuple[int, ...]
    token_bytes: tuple[float, ...]
    state_bytes: tuple[int, ...]
    spread: tuple[float, float]
    basis: Basis

    def needs(self, cache_tokens: int, slots: int) -> list[float]:
        """Bytes of every module with its cache and states."""
        return [
            weights + token * cache_tokens + state * slots
            for weights, token, state in zip(self.weights, self.token_bytes, self.state_bytes, strict=True)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A device: what the engine may fill, and what it keeps there besides layers and cache."""

    limit_bytes: int
    items: tuple[MemoryItem, ...]

    @property
    def free_bytes(self) -> float:
        """What is left for layers and cache."""
        return self.limit_bytes - sum(item.bytes.likely for item in self.items)


Rooms = Callable[[int], Sequence[Room]]
"""Devices for a context: buffers may grow with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the server is to hold: slots, tokens of one request, and tokens of the whole cache where that is given."""

    slots: int
    context_tokens: int
    cache_tokens: int | None = None


def fill(needs: Sequence[float], rooms: Sequence[Room]) -> tuple[tuple[int, ...], bool]:
    """(device of every module, whether all fit): a device is left for the next once a module does not fit on it."""
    device, free = 0, rooms[0].free_bytes
    placed, fits = [], True
    for need in needs:
        while need > free and device + 1 < len(rooms):
            device += 1
            free = rooms[device].free_bytes
        fits = fits and need <= free
        free -= need
        placed.append(device)
    return tuple(placed), fits


def _fits(layers: Layers, rooms: Rooms, context_tokens: int, requests: int, slots: int) -> bool:
    cache = round_up(context_tokens, PAGE_TOKENS) * requests
    return fill(layers.needs(cache, slots), rooms(context_tokens))[1]


def cache_tokens(layers: Layers, rooms: Rooms, asked: Asked) -> int:
    """Tokens of the cache: what was asked, else room for as many requests as fit, one at least."""
    if asked.cache_tokens is not None:
        return asked.cache_tokens
    low, high = 1, asked.slots
    while low < high:
        middle = (low + high + 1) // 2
        fits = _fits(layers, rooms, asked.context_tokens, middle, asked.slots)
        low, high = (middle, high) if fits else (low, middle - 1)
    return round_up(asked.context_tokens, PAGE_TOKENS) * low


def longest_context(layers: Layers, rooms: Rooms, asked: Asked, limit_tokens: int) -> int:
    """The longest context for which one request fits, in whole pages."""
    if _fits(layers, rooms, limit_tokens, 1, asked.slots):
        return limit_tokens
    low, high = 0, limit_tokens // PAGE_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        fits = _fits(layers, rooms, middle * PAGE_TOKENS, 1, asked.slots)
        low, high = (middle, high) if fits else (low, middle - 1)
    return low * PAGE_TOKENS


def layered_budget(
    deployment: Deployment, layers: Layers, rooms: Rooms, asked: Asked, kv_format: str, host_bytes: int
) -> MemoryBudget:
    """The budget of layers filled into devices; `host_bytes` of weights lie in RAM."""
    tokens = cache_tokens(layers, rooms, asked)
    devices = rooms(asked.context_tokens)
    placed, _ = fill(layers.needs(tokens, asked.slots), devices)
    stages = [
        _stage(layers, [i for i, on in enumerate(placed) if on == index], room) for index, room in enumerate(devices)
    ]
    budget = fixed_cache(deployment, stages, kv_format, asked.slots, tokens)
    longest = longest_context(layers, rooms, asked, deployment.model.max_context_tokens)
    if asked.cache_tokens is not None:
        longest = min(longest, asked.cache_tokens)
    host = MemoryItem(code="weights", bytes=Interval.exact(host_bytes), basis=layers.basis)
    return replace(
        budget,
        kv=replace(budget.kv, max_context_tokens=longest),
        host_items=(host,) if host_bytes else (),
        weights_bytes=budget.weights_bytes + host_bytes,
        reasons=(*budget.reasons, *_reasons(deployment, asked, tokens, host_bytes)),
        details={"cache_tokens": tokens, "placed": placed},
    )


def _stage(layers: Layers, members: Sequence[int], room: Room) -> Rank:
    weights = sum(layers.weights[i] for i in members)
    token = sum(layers.token_bytes[i] for i in members)
    return Rank(
        weights=MemoryItem(code="weights", bytes=Interval.around(weights, *layers.spread), basis=layers.basis),
        items=room.items,
        limit_bytes=room.limit_bytes,
        request_bytes=lambda count: round(token * count),
        token_bytes=token,
        state_bytes=sum(layers.state_bytes[i] for i in members),
    )


def _reasons(deployment: Deployment, asked: Asked, tokens: int, host_bytes: int) -> tuple[Reason, ...]:
    found: list[Reason] = []
    at_once = tokens // asked.context_tokens
    if at_once < deployment.concurrent_requests:
        found.append(
            warning(
                "requests_queue",
                asked=deployment.concurrent_requests,
                at_once=at_once,
                context_tokens=asked.context_tokens,
            )
        )
    ram = deployment.machine.host.ram_bytes
    if ram is None and deployment.offload_layers:
        found.append(note("ram_unknown", need_bytes=host_bytes))
    elif ram is not None and host_bytes > ram:
        found.append(does_not_fit("ram_overflows", need_bytes=host_bytes, have_bytes=ram))
    return tuple(found)
