"""A load: so many requests at once, or arrivals at a rate."""

import asyncio
import contextlib
import gc
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from fitserve.bench.arrivals import arrival_times
from fitserve.bench.client import Target, send
from fitserve.bench.records import Prompt, RequestRecord
from fitserve.bench.types import Level, OnProgress, Progress
from fitserve.bench.wire import Wire

_TICK_S = 0.5
_LOOK_S = 0.1
_BEAT_S = 0.01
_HOPELESS = 10
_USUAL_LATE_S = 0.001  # epoll waits in whole milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who looks on: told twice a second; `cancel` ends the load where it stands."""

    on_progress: OnProgress | None = None
    cancel: threading.Event | None = None
    shown: Progress = field(default_factory=lambda: Progress(phase="load"))

    @property
    def is_cancelled(self) -> bool:
        """Whether to stop."""
        return self.cancel is not None and self.cancel.is_set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Records in the order of their requests. `is_partial`: it was stopped, and requests under way are left out.

    `loop_late_s`: how late a timer of this process was on average, beyond what a quiet machine shows.
    """

    records: tuple[RequestRecord, ...]
    duration_s: float
    loop_late_s: float = 0.0
    is_partial: bool = False


async def drive(
    wire: Wire, target: Target, prompts: Sequence[Prompt], level: Level, burstiness: float,
    seed: int, watch: Watch,
) -> Loaded:  # fmt: skip
    """Sends all prompts at a level and waits for the last answer."""
    records: list[RequestRecord] = []
    with _without_pauses(), _timer() as late_s:
        began = perf_counter()
        if level.rate_per_s is None:
            work = _closed(wire, target, prompts, level.concurrency or 1, began, records)
        else:
            times = arrival_times(len(prompts), level.rate_per_s, burstiness, seed)
            work = _open(wire, target, prompts, times, level.concurrency, began, records)
        task = asyncio.ensure_future(work)
        partial = await _watched(task, records, len(prompts), began, watch)
        duration = perf_counter() - began
    ordered = tuple(sorted(records, key=lambda record: record.index))
    return Loaded(records=ordered, duration_s=duration, loop_late_s=_wait_of(late_s, duration), is_partial=partial)


def is_hopeless(records: Sequence[RequestRecord], streams: int) -> bool:
    """Whether every stream has waited to its limit and nothing was ever answered: more would only wait as long."""
    return len(records) >= streams and all(r.failure is not None and r.failure.kind == "timeout" for r in records)


async def _closed(
    wire: Wire, target: Target, prompts: Sequence[Prompt], streams: int, began: float,
    records: list[RequestRecord],
) -> None:  # fmt: skip
    """A stream sends its next request when its last is answered."""
    waiting = iter(enumerate(prompts))

    async def stream() -> None:
        for index, prompt in waiting:
            records.append(await send(wire, target, prompt, index, began))
            if is_hopeless(records, streams):
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(min(streams, len(prompts))):
            group.create_task(stream())


async def _open(
    wire: Wire, target: Target, prompts: Sequence[Prompt], times: Sequence[float],
    most_at_once: int | None, began: float, records: list[RequestRecord],
) -> None:  # fmt: skip
    """Requests arrive whether or not others are answered; `most_at_once` lets them queue here."""
    slots = asyncio.Semaphore(most_at_once) if most_at_once else None

    async def arrive(index: int, prompt: Prompt) -> None:
        arrived = perf_counter()
        if slots is None:
            records.append(await send(wire, target, prompt, index, began))
            return
        async with slots:
            records.append(await send(wire, target, prompt, index, began, perf_counter() - arrived))

    async with asyncio.TaskGroup() as group:
        for index, (prompt, time) in enumerate(zip(prompts, times, strict=True)):
            if is_hopeless(records, most_at_once or _HOPELESS):
                return
            wait = began + time - perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(arrive(index, prompt))


async def _watched(
    task: asyncio.Future[None], records: list[RequestRecord], total: int, began: float, watch: Watch
) -> bool:
    """Waits for the load, tells of it, and stops it where that is asked; whether it was stopped."""
    told = 0.0
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_S if watch.cancel is not None else _TICK_S)
            now = perf_counter() - began
            if watch.on_progress is not None and (now - told >= _TICK_S or task.done()):
                told = now
                watch.on_progress(_seen(records, total, now, watch.shown))
            if watch.is_cancelled and not task.done():
                return True
        task.result()
        return False
    finally:
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _seen(records: Sequence[RequestRecord], total: int, elapsed_s: float, shown: Progress) -> Progress:
    return Progress(
        phase=shown.phase, level=shown.level, level_index=shown.level_index, levels=shown.levels, total=total,
        done=len(records), failed=sum(record.failure is not None for record in records),
        chunks=sum(len(record.chunk_s) for record in records), elapsed_s=elapsed_s,
    )  # fmt: skip


@contextlib.contextmanager
def _timer() -> Iterator[list[float]]:
    """How late a regular timer of this loop fires: the wait that every answer has before it is seen."""
    loop, late_s = asyncio.get_running_loop(), []
    handle: asyncio.TimerHandle | None = None

    def beat(due: float) -> None:
        nonlocal handle
        now = loop.time()
        late_s.append(now - due)
        handle = loop.call_at(max(due, now) + _BEAT_S, beat, max(due, now) + _BEAT_S)

    beat(loop.time())
    try:
        yield late_s
    finally:
        if handle is not None:
            handle.cancel()


def _wait_of(late_s: Sequence[float], duration_s: float) -> float:
    """How long an answer waits to be seen: at any moment of the load, or as the timer did, whichever is more.

    Something that comes at any moment waits half of a time in which the loop was held up, with the share of such times;
    answers that come together with what holds it up wait as long as the timer.
    """
    if not late_s or duration_s <= 0:
        return 0.0
    any_moment = math.fsum(late**2 for late in late_s) / (2 * duration_s)
    return max(0.0, any_moment, math.fsum(late_s) / len(late_s) - _USUAL_LATE_S)


@contextlib.contextmanager
def _without_pauses() -> Iterator[None]:
    """What lives already is left out of garbage collection, whose pauses would count as latency."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
