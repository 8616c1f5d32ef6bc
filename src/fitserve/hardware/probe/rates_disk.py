"""How fast the disk reads a large file that is not in the page cache."""

import contextlib
import mmap
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fitserve.foundation.reasons import Reason, note
from fitserve.hardware.report import DiskReading, Rate

_MOST_BYTES = 1 << 30
_FEWEST_BYTES = 64 << 20
_SHARE_OF_FREE = 20
_BLOCK = 8 << 20
_READERS = 4
_F_NOCACHE = 48  # fcntl.h of macOS


def disk_rate(folder: Path, disk: DiskReading, seconds: float) -> tuple[Rate | None, tuple[Reason, ...]]:
    """Bytes a second of four readers of one temporary file, which is removed; a note where it cannot be measured.

    Half of the time goes into writing the file, whose size is what was written by then. Linux reads past the page cache
    (O_DIRECT; where a file system has none, the file's pages are dropped first); macOS with F_NOCACHE. On Windows there is no
    way from here past the cache, so nothing is measured. A virtual disk may be answered from the memory of its host.
    """
    if disk.kind == "memory":
        return None, (note("disk_in_memory"),)
    if platform.system() == "Windows":
        return None, (note("disk_not_measured_windows"),)
    most = min(_MOST_BYTES, (disk.free_bytes or 0) // _SHARE_OF_FREE)
    if most < _FEWEST_BYTES:
        return None, (note("disk_short", free_bytes=disk.free_bytes or 0),)
    try:
        with _written(folder, most, seconds / 2) as (path, size):
            return _read(path, size)
    except PermissionError:
        return None, (note("disk_read_only"),)
    except OSError as error:
        return None, (note("disk_failed", detail=error.strerror or type(error).__name__),)


@contextmanager
def _written(folder: Path, most: int, seconds: float) -> Iterator[tuple[Path, int]]:
    """A file of bytes that do not compress, on the disk; gone afterwards."""
    handle, name = tempfile.mkstemp(prefix=".fitserve-probe-", dir=folder)
    path = Path(name)
    try:
        block = os.urandom(_BLOCK)
        size, end = 0, time.perf_counter() + seconds
        try:
            while size + _BLOCK <= most and (size < _FEWEST_BYTES or time.perf_counter() < end):
                size += os.write(handle, block)
                if size % (8 * _BLOCK) == 0:
                    os.fdatasync(handle) if hasattr(os, "fdatasync") else os.fsync(handle)
            os.fsync(handle)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)
        yield path, size // _BLOCK * _BLOCK
    finally:
        path.unlink(missing_ok=True)


def _open(path: Path) -> tuple[int, str]:
    """(descriptor, method): past the page cache where the file system can."""
    if hasattr(os, "O_DIRECT"):
        with contextlib.suppress(OSError):
            return os.open(path, os.O_RDONLY | os.O_DIRECT), "method_disk_direct"
    handle = os.open(path, os.O_RDONLY)
    if platform.system() == "Darwin":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(handle, _F_NOCACHE, 1)
            return handle, "method_disk_direct"
    return handle, "method_disk_dropped"


def _read(path: Path, size: int) -> tuple[Rate, tuple[Reason, ...]]:
    handle, method = _open(path)
    failed: list[OSError] = []

    def read(number: int) -> None:
        buffer = mmap.mmap(-1, _BLOCK)  # page-aligned, as O_DIRECT asks
        try:
            for offset in range(number * _BLOCK, size, _READERS * _BLOCK):
                os.preadv(handle, [buffer], offset)
        except OSError as error:
            failed.append(error)
        finally:
            buffer.close()

    try:
        threads = [threading.Thread(target=read, args=(number,), daemon=True) for number in range(_READERS)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
    finally:
        os.close(handle)
    if failed:
        raise failed[0]
    return Rate(what="disk_read", per_s=size / seconds, method=method), ()
