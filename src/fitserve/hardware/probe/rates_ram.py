"""How fast memory and processor are, without a compiler.

Reading: `memchr` of the C library looks for a byte that is not there, one thread a core, each in a block of its own that
no cache holds; ctypes lets go of the interpreter's lock, so the threads run at once. Copying: `memmove`, counted as in STREAM
(bytes read and bytes written). Both are lower bounds of what the memory can do: the loops are the C library's, pages are
small, and other programs run. A matrix product needs numpy, whose BLAS is one of those that engines use.
"""

import ctypes
import importlib
import mmap
import os
import threading
import time
from collections.abc import Callable, Sequence

from fitserve.hardware.report import Rate

_MOST_BLOCK_BYTES = 256 << 20
_FEWEST_BLOCK_BYTES = 8 << 20
_CACHES = 4  # all blocks together, in last-level caches
_SHARE_OF_FREE = 8  # the blocks take no more than this part of the free memory
_ABSENT_BYTE = 0x01
_FILL_BYTE = 0x55


def ram_rates(cores: int, cache_bytes: int | None, free_bytes: int, seconds: float) -> tuple[Rate, ...]:
    """Bytes a second that `cores` threads read, and copy, in `seconds` altogether; none when memory is too short."""
    threads = max(1, cores)
    wanted = min(_MOST_BLOCK_BYTES, max(_CACHES * (cache_bytes or 64 << 20) // threads, 32 << 20))
    size = min(wanted, free_bytes // _SHARE_OF_FREE // threads) // mmap.PAGESIZE * mmap.PAGESIZE
    if size < _FEWEST_BLOCK_BYTES or size * threads < 2 * (cache_bytes or 0):
        return ()
    blocks = [mmap.mmap(-1, size) for _ in range(threads)]
    try:
        places = [ctypes.addressof(ctypes.c_char.from_buffer(block)) for block in blocks]
        _together([lambda place=place: ctypes.memset(place, _FILL_BYTE, size) for place in places])  # type: ignore[misc]
        scan = _memchr()
        half = size // 2
        read = _best([lambda p=p: scan(p, _ABSENT_BYTE, size) for p in places], size * threads, seconds / 2)  # type: ignore[misc]
        copy = _best([lambda p=p: ctypes.memmove(p, p + half, half) for p in places], size * threads, seconds / 2)  # type: ignore[misc]
    finally:
        places = []
        for block in blocks:
            block.close()
    return (
        Rate(what="ram_read", per_s=read, method="method_ram_read"),
        Rate(what="ram_copy", per_s=copy, method="method_ram_copy"),
    )


def _memchr() -> Callable[[int, int, int], object]:
    library = ctypes.CDLL("msvcrt" if os.name == "nt" else None)
    function = library.memchr
    function.restype = ctypes.c_void_p
    function.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    return function


def _together(jobs: Sequence[Callable[[], object]]) -> float:
    """Seconds from the moment that all threads may start until the last one is done."""
    ready = threading.Barrier(len(jobs) + 1)

    def run(job: Callable[[], object]) -> None:
        ready.wait()
        job()

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def _best(jobs: Sequence[Callable[[], object]], moved_bytes: int, seconds: float) -> float:
    """The fastest pass within the time, after one to warm up: whatever disturbs makes it slower, nothing makes it faster."""
    _together(jobs)
    end = time.perf_counter() + seconds
    best = _together(jobs)
    while time.perf_counter() < end:
        best = min(best, _together(jobs))
    return moved_bytes / best


_MATRIX = 2048


def cpu_matrix_rate(seconds: float) -> Rate | None:
    """FP32 operations a second of numpy's matrix product on all cores; None without numpy."""
    try:
        numpy = importlib.import_module("numpy")
    except ImportError:
        return None
    left = numpy.ones((_MATRIX, _MATRIX), dtype=numpy.float32)
    out = numpy.empty_like(left)
    best = float("inf")
    numpy.matmul(left, left, out=out)
    end = time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        numpy.matmul(left, left, out=out)
        best = min(best, time.perf_counter() - start)
    return Rate(what="cpu_matrix", per_s=2 * _MATRIX**3 / best, method="method_cpu_matrix", dtype="fp32")
