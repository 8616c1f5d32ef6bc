"""Where answers are computed: a few threads, a bounded queue before them, the same question computed once, answers kept
for a while. Answers are kept packed, because plans of a whole catalogue are megabytes of text that packs to a hundredth."""

import asyncio
import gzip
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock

_WORKERS = 4
_MOST_WAITING = 512
_KEPT_BYTES = 64 << 20
_PACKING = 5


class Busy(Exception):
    """The queue is full."""


class _Order:
    """An answer in the making and how many wait for it."""

    __slots__ = ("future", "waiting")

    def __init__(self, future: "Future[bytes]") -> None:
        self.future, self.waiting = future, 0


class Desk:
    """Threads that compute. Safe to use from any event loop."""

    def __init__(
        self, workers: int = _WORKERS, most_waiting: int = _MOST_WAITING, kept_bytes: int = _KEPT_BYTES
    ) -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="fitserve-answer")
        self._most_waiting, self._kept_bytes = most_waiting, kept_bytes
        self._lock = Lock()
        self._orders: dict[Hashable, _Order] = {}
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._size_bytes = 0

    def close(self) -> None:
        """Ends the threads after what they compute now."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def answer(self, key: Hashable, work: Callable[[], bytes]) -> bytes:
        """The gzip of what `work` returns, kept under `key`. Raises Busy when too much waits already, and what `work` raises."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            order = self._orders.get(key)
            is_new = order is None
            if order is None:
                if len(self._orders) >= self._most_waiting:
                    raise Busy
                order = self._orders[key] = _Order(self._pool.submit(self._run, key, work))
            order.waiting += 1
        if is_new:
            # outside the lock: it is called at once where the work is done already
            order.future.add_done_callback(partial(self._done, key))
        try:
            return await asyncio.shield(asyncio.wrap_future(order.future))
        finally:
            with self._lock:
                order.waiting -= 1

    def _run(self, key: Hashable, work: Callable[[], bytes]) -> bytes:
        with self._lock:
            order = self._orders.get(key)
            is_wanted = order is None or order.waiting > 0
        if not is_wanted:
            raise Busy  # everybody who asked has gone
        return gzip.compress(work(), _PACKING, mtime=0)

    def _done(self, key: Hashable, future: "Future[bytes]") -> None:
        failed = future.cancelled() or future.exception() is not None
        with self._lock:
            self._orders.pop(key, None)
            if failed:
                return
            self._kept[key] = future.result()
            self._size_bytes += len(self._kept[key])
            while self._size_bytes > self._kept_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._size_bytes -= len(oldest)
