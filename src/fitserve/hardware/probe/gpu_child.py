"""`python -m fitserve.hardware.probe.gpu_child SECONDS [INDEX…]`: measures GPUs with torch, else cupy; a line of JSON a rate.

A process of its own: it can be stopped, its lines so far still count, and a library that fails takes nothing else with it.
Imports nothing of this package. The indices are those of NVML, one for each device that the library sees.
"""

import contextlib
import functools
import importlib
import itertools
import json
import operator
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

_COPY_BYTES = 1 << 30
_LINK_BYTES = 256 << 20
_SIDES = (8192, 4096, 2048)
_FIRST_SIDE = 1024
_PASS_S = 0.15
_WARM_UP = 2
_WARM_S = 0.1
_PASSES = 5
_DTYPES = (
    ("fp32", "float32", 0), ("tf32", "float32", 80), ("fp16", "float16", 53), ("bf16", "bfloat16", 80),
    ("int8", "int8", 75), ("fp8", "float8_e4m3fn", 89),
)  # fmt: skip
"""Number type, its name in torch, and the compute capability from which a GPU computes in it."""


class TorchGpus:
    """The measures with torch: CUDA, or ROCm under the same names. Times by events of the device."""

    name = "torch"

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def count(self) -> int:
        """Devices that the library sees."""
        return int(self.torch.cuda.device_count()) if self.torch.cuda.is_available() else 0

    def free_bytes(self, index: int) -> int:
        """Free memory of a device."""
        return int(self.torch.cuda.mem_get_info(index)[0])

    def dtypes(self, index: int) -> list[tuple[str, str]]:
        """Number types that this device and this library multiply in."""
        major, minor = self.torch.cuda.get_device_capability(index)
        number = major * 10 + minor
        found = [(label, name) for label, name, least in _DTYPES if number >= least and hasattr(self.torch, name)]
        is_rocm = getattr(self.torch.version, "hip", None) is not None
        plain = {"fp32", "fp16", "bf16"}
        return [(label, name) for label, name in found if label in plain] if is_rocm else found

    def seconds(self, index: int, work: Callable[[], object]) -> float:
        """Seconds of the fastest of some passes, after a warm-up."""
        cuda = self.torch.cuda
        with cuda.device(index):
            self.warm_up(index, work)
            times = []
            for _ in range(_PASSES):
                start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
                start.record()
                work()
                end.record()
                end.synchronize()
                times.append(start.elapsed_time(end) / 1000)
        return float(min(times))

    def warm_up(self, index: int, work: Callable[[], object]) -> None:
        """Works until the clocks are up: an idle GPU takes a while to raise them."""
        end = time.perf_counter() + _WARM_S
        for number in itertools.count(1):
            work()
            self.wait(index)
            if number >= _WARM_UP and time.perf_counter() >= end:
                return

    def wait(self, index: int) -> None:
        """Until the device has nothing left to do."""
        self.torch.cuda.synchronize(index)

    def copy(self, index: int, size: int) -> float:
        """Bytes read and written a second by a copy within the device's memory."""
        source = self.torch.zeros(size, dtype=self.torch.uint8, device=f"cuda:{index}")
        target = self.torch.empty_like(source)
        return 2 * size / self.seconds(index, lambda: target.copy_(source))

    def product(self, index: int, label: str, name: str, side: int) -> float:
        """Operations a second of a square matrix product; FP32 without TF32 unless that is meant.

        Random numbers: a GPU that multiplies zeros draws less power and clocks higher. The second factor of int8 and FP8
        products is stored by columns, as their kernels want it.
        """
        torch = self.torch
        where = f"cuda:{index}"
        torch.backends.cuda.matmul.allow_tf32 = label == "tf32"
        if label == "int8":
            left = torch.randint(-128, 128, (side, side), dtype=torch.int8, device=where)
            return self._per_second(index, side, torch._int_mm, left, left.t())
        if label == "fp8":
            left = torch.randn((side, side), device=where).to(torch.float8_e4m3fn)
            one = torch.ones((), device=where)
            scaled = functools.partial(torch._scaled_mm, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
            return self._per_second(index, side, scaled, left, left.t())
        left = torch.randn((side, side), dtype=getattr(torch, name), device=where)
        return self._per_second(index, side, functools.partial(torch.matmul, out=torch.empty_like(left)), left, left)

    def _per_second(self, index: int, side: int, product: Callable[..., object], left: Any, right: Any) -> float:
        return 2 * side**3 / self.seconds(index, lambda: product(left, right))

    def host(self, index: int, size: int, to_device: bool) -> float:
        """Bytes a second between pinned memory of the host and the device."""
        pinned = self.torch.empty(size, dtype=self.torch.uint8, pin_memory=True)
        device = self.torch.empty(size, dtype=self.torch.uint8, device=f"cuda:{index}")
        source, target = (pinned, device) if to_device else (device, pinned)
        return size / self.seconds(index, lambda: target.copy_(source, non_blocking=True))

    def peer(self, first: int, second: int, size: int) -> float:
        """Bytes a second from one device to another; by the host's clock, as two devices' events do not compare."""
        source = self.torch.zeros(size, dtype=self.torch.uint8, device=f"cuda:{first}")
        target = self.torch.empty(size, dtype=self.torch.uint8, device=f"cuda:{second}")

        def once() -> float:
            for index in (first, second):
                self.wait(index)
            start = time.perf_counter()
            target.copy_(source, non_blocking=True)
            for index in (first, second):
                self.wait(index)
            return time.perf_counter() - start

        for _ in range(_WARM_UP):
            once()
        return size / min(once() for _ in range(_PASSES))

    def tidy(self) -> None:
        """Gives memory back."""
        self.torch.cuda.empty_cache()


class CupyGpus(TorchGpus):
    """The same with cupy: copies, FP32 and FP16 products, transfers."""

    name = "cupy"

    def count(self) -> int:
        """Devices that the library sees."""
        return int(self.torch.cuda.runtime.getDeviceCount())

    def free_bytes(self, index: int) -> int:
        """Free memory of a device."""
        with self.torch.cuda.Device(index):
            return int(self.torch.cuda.runtime.memGetInfo()[0])

    def wait(self, index: int) -> None:
        """Until the device has nothing left to do."""
        self.torch.cuda.Device(index).synchronize()

    def dtypes(self, index: int) -> list[tuple[str, str]]:
        """Number types that cupy multiplies in; its FP32 is not TF32 unless the user asks."""
        return [("fp32", "float32"), ("fp16", "float16")]

    def seconds(self, index: int, work: Callable[[], object]) -> float:
        """Seconds of the fastest of some passes, after a warm-up."""
        cuda = self.torch.cuda
        with cuda.Device(index):
            self.warm_up(index, work)
            times = []
            for _ in range(_PASSES):
                start, end = cuda.Event(), cuda.Event()
                start.record()
                work()
                end.record()
                end.synchronize()
                times.append(cuda.get_elapsed_time(start, end) / 1000)
        return float(min(times))

    def copy(self, index: int, size: int) -> float:
        """Bytes read and written a second by a copy within the device's memory."""
        with self.torch.cuda.Device(index):
            source = self.torch.zeros(size, dtype="uint8")
            target = self.torch.empty_like(source)
        return 2 * size / self.seconds(index, lambda: self.torch.copyto(target, source))

    def product(self, index: int, label: str, name: str, side: int) -> float:
        """Operations a second of a square matrix product."""
        with self.torch.cuda.Device(index):
            left = self.torch.random.standard_normal((side, side), dtype="float32").astype(name)
            out = self.torch.empty_like(left)
        return 2 * side**3 / self.seconds(index, lambda: self.torch.matmul(left, left, out=out))

    def host(self, index: int, size: int, to_device: bool) -> float:
        """Bytes a second between pinned memory of the host and the device."""
        pinned = self.torch.cuda.alloc_pinned_memory(size)
        with self.torch.cuda.Device(index):
            device = self.torch.empty(size, dtype="uint8")
        runtime = self.torch.cuda.runtime
        host, place = pinned.ptr, device.data.ptr
        target, source, kind = (place, host, 1) if to_device else (host, place, 2)  # cudaMemcpyKind

        def work() -> None:
            runtime.memcpyAsync(target, source, size, kind, self.torch.cuda.get_current_stream().ptr)

        return size / self.seconds(index, work)

    def peer(self, first: int, second: int, size: int) -> float:
        """Bytes a second from one device to another."""
        cuda = self.torch.cuda
        with cuda.Device(first):
            source = self.torch.zeros(size, dtype="uint8")
        with cuda.Device(second):
            target = self.torch.empty(size, dtype="uint8")

        def once() -> float:
            for index in (first, second):
                self.wait(index)
            start = time.perf_counter()
            cuda.runtime.memcpyPeer(target.data.ptr, second, source.data.ptr, first, size)
            for index in (first, second):
                self.wait(index)
            return time.perf_counter() - start

        for _ in range(_WARM_UP):
            once()
        return size / min(once() for _ in range(_PASSES))

    def tidy(self) -> None:
        """Gives memory back."""
        self.torch.get_default_memory_pool().free_all_blocks()


def found_library() -> TorchGpus | None:
    """torch or cupy, whichever is here and sees a GPU."""
    for name, kind in (("torch", TorchGpus), ("cupy", CupyGpus)):
        with contextlib.suppress(Exception):  # a broken install of either must not hide the other
            gpus = kind(importlib.import_module(name))
            if gpus.count():
                return gpus
    return None


def measures(gpus: TorchGpus, indices: Sequence[int], seconds: float) -> Iterator[dict[str, Any]]:
    """Rates, the most telling first: memory of all GPUs, a 16 bit product, links, and the other number types."""
    end = time.monotonic() + seconds
    seen = list(enumerate(indices[: gpus.count()] or range(gpus.count())))
    for what, gpu, peer, dtype, work in _plan(gpus, seen):
        if time.monotonic() > end:
            yield {"stopped": True}
            return
        line = {"what": what, "gpu": gpu, "peer": peer, "dtype": dtype}
        try:
            yield line | {"per_s": work(), "with": gpus.name}
        except Exception as error:  # noqa: BLE001 - libraries raise what they like; the other rates are still wanted
            yield line | {"error": type(error).__name__}
        with contextlib.suppress(Exception):
            gpus.tidy()


_Step = tuple[str, int, int | None, str | None, Callable[[], float]]


def _plan(gpus: TorchGpus, seen: Sequence[tuple[int, int]]) -> Iterator[_Step]:
    for at, gpu in seen:
        yield "gpu_memory", gpu, None, None, lambda at=at: gpus.copy(at, _fitting(gpus, at, _COPY_BYTES, 2))  # type: ignore[misc]
    later: list[_Step] = []
    for at, gpu in seen:
        known = gpus.dtypes(at)
        first = next((label for label in ("bf16", "fp16") if label in dict(known)), "fp32")
        for label, name in known:
            step: _Step = ("gpu_matrix", gpu, None, label, _product(gpus, at, label, name))
            if label == first:
                yield step
                yield "load_state", gpu, None, label, _loaded(gpus, at, gpu, label, name)
            else:
                later.append(step)
    for at, gpu in seen:
        for what, to_device in (("host_to_device", True), ("device_to_host", False)):
            yield what, gpu, None, None, _transfer(gpus, at, to_device)
    for at, gpu in seen:
        for other, peer in seen:
            if other > at:
                yield "gpu_to_gpu", gpu, peer, None, lambda at=at, other=other: gpus.peer(at, other, _LINK_BYTES)  # type: ignore[misc]
    yield from later


def _product(gpus: TorchGpus, at: int, label: str, name: str) -> Callable[[], float]:
    """The largest product whose passes are short, by a small one before: some cards compute a type at a fraction of the rate."""

    def work() -> float:
        rate = gpus.product(at, label, name, _FIRST_SIDE)
        room = gpus.free_bytes(at) // 2
        fitting = [side for side in _SIDES if 2 * side**3 / rate < _PASS_S and 3 * 4 * side**2 < room]
        return gpus.product(at, label, name, fitting[0]) if fitting else rate

    return work


def _loaded(gpus: TorchGpus, at: int, gpu: int, label: str, name: str) -> Callable[[], float]:
    """What holds the clocks down during products, as the bits of NVML: read by a thread while they run."""

    def read() -> float:
        import pynvml

        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(gpu)
            seen: list[int] = []
            done = threading.Event()

            def watch() -> None:
                while not done.wait(0.02):
                    with contextlib.suppress(pynvml.NVMLError):
                        seen.append(int(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)))

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            _product(gpus, at, label, name)()
            done.set()
            watcher.join()
            return float(functools.reduce(operator.or_, seen, 0))
        finally:
            pynvml.nvmlShutdown()

    return read


def _transfer(gpus: TorchGpus, at: int, to_device: bool) -> Callable[[], float]:
    return lambda: gpus.host(at, _fitting(gpus, at, _LINK_BYTES, 1), to_device)


def _fitting(gpus: TorchGpus, at: int, wanted: int, copies: int) -> int:
    """As many bytes as wanted, or what leaves half of the free memory alone."""
    return max(1 << 20, min(wanted, gpus.free_bytes(at) // 2 // copies))


def main(argv: Sequence[str]) -> None:
    """Prints a line a rate, each as soon as it is known."""
    gpus = found_library()
    if gpus is None:
        print(json.dumps({"missing": True}), flush=True)
        return
    for line in measures(gpus, [int(text) for text in argv[1:]], float(argv[0])):
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
