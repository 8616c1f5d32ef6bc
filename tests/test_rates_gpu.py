"""GPU rates against a device whose clock is ours: every rate must come out as the device was made."""

import json
import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fitserve.hardware.probe import gpu_child
from fitserve.hardware.probe.gpu_child import CupyGpus, TorchGpus, measures
from fitserve.hardware.probe.rates_gpu import gpu_rates
from fitserve.hardware.report import GpuReading, Rate
from recorded_nvml import h100_mig

MEMORY, LINK, PEER = 900e9, 12e9, 48e9
FLOP = {"float32": 14e12, "float16": 100e12, "bfloat16": 0.1e12, "int8": 50e12, "float8_e4m3fn": 1e15}


@dataclass
class Clock:
    """Seconds of the device and of the host."""

    now: float = 0.0
    waits: list[float] = field(default_factory=list)


class Tensor:
    """Bytes somewhere; copying takes the time of the way."""

    def __init__(self, clock: Clock, size: int, where: str, dtype: str, side: int = 0) -> None:
        self.clock, self.size, self.where, self.dtype, self.side = clock, size, where, dtype, side

    def copy_(self, source: "Tensor", non_blocking: bool = False) -> None:
        if self.where == source.where:
            self.clock.now += 2 * self.size / MEMORY
        elif "host" in (self.where, source.where):
            assert non_blocking
            self.clock.now += self.size / LINK
        else:
            self.clock.now += self.size / PEER

    def t(self) -> "Tensor":
        return self

    def to(self, dtype: str) -> "Tensor":
        return Tensor(self.clock, self.size, self.where, dtype, self.side)


def fake_torch(clock: Clock, capability: tuple[int, int] = (8, 9), devices: int = 2) -> Any:
    """As much of torch as is used."""

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = clock.now

        def synchronize(self) -> None:
            pass

        def elapsed_time(self, end: "Event") -> float:
            return (end.at - self.at) * 1000

    class Device:
        def __init__(self, _: int) -> None:
            pass

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

    def made(size: Any, *_: Any, dtype: str = "float32", device: str = "host", pin_memory: bool = False) -> Tensor:
        side = size[0] if isinstance(size, tuple) and size else 0
        return Tensor(clock, side * side if side else size if isinstance(size, int) else 1, device, dtype, side)

    def product(left: Tensor, right: Tensor, **_: Any) -> None:
        tf32 = left.dtype == "float32" and torch.backends.cuda.matmul.allow_tf32
        clock.now += 2 * left.side**3 / (70e12 if tf32 else FLOP[left.dtype])

    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: devices, mem_get_info=lambda _: (16 << 30, 24 << 30),
        get_device_capability=lambda _: capability, Event=Event, device=Device, synchronize=lambda _: None,
        empty_cache=lambda: None,
    )  # fmt: skip
    torch = SimpleNamespace(
        cuda=cuda, zeros=made, empty=made, randn=made, ones=made, matmul=product, _int_mm=product, _scaled_mm=product,
        randint=lambda low, high, size, dtype, device: made(size, dtype=dtype, device=device),
        empty_like=lambda t: Tensor(clock, t.size, t.where, t.dtype, t.side), version=SimpleNamespace(hip=None),
        backends=SimpleNamespace(cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False))), uint8="uint8",
        **{name: name for name in FLOP},
    )  # fmt: skip
    return torch


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    ticking = SimpleNamespace(perf_counter=lambda: made.now, monotonic=lambda: made.now)
    monkeypatch.setattr(gpu_child, "time", ticking)
    return made


def _rates(gpus: TorchGpus, seconds: float = 1e9) -> dict[tuple[Any, ...], float]:
    lines = list(measures(gpus, [0, 1], seconds))
    assert not [line for line in lines if "error" in line and line["what"] != "load_state"]
    return {
        (line["what"], line["gpu"], line["peer"], line["dtype"]): line["per_s"] for line in lines if "per_s" in line
    }


def test_torch_measures_what_the_device_does(clock: Clock) -> None:
    rates = _rates(TorchGpus(fake_torch(clock)))
    assert rates["gpu_memory", 1, None, None] == pytest.approx(MEMORY)
    assert rates["host_to_device", 0, None, None] == pytest.approx(LINK)
    assert rates["device_to_host", 1, None, None] == pytest.approx(LINK)
    assert rates["gpu_to_gpu", 0, 1, None] == pytest.approx(PEER)
    found = {key[3]: value for key, value in rates.items() if key[:2] == ("gpu_matrix", 0)}
    expected = {"fp32": 14e12, "tf32": 70e12, "fp16": 100e12, "bf16": 0.1e12, "int8": 50e12, "fp8": 1e15}
    assert found == pytest.approx(expected)


def test_an_old_card_is_asked_only_for_what_it_can(clock: Clock) -> None:
    rates = _rates(TorchGpus(fake_torch(clock, capability=(7, 0))))
    assert {key[3] for key in rates if key[0] == "gpu_matrix"} == {"fp32", "fp16"}


def test_rocm_is_asked_for_plain_types(clock: Clock) -> None:
    torch = fake_torch(clock)
    torch.version.hip = "6.4"
    assert {label for label, _ in TorchGpus(torch).dtypes(0)} == {"fp32", "fp16", "bf16"}


def test_the_time_is_kept_and_what_was_measured_stays(clock: Clock) -> None:
    lines = list(measures(TorchGpus(fake_torch(clock)), [0, 1], seconds=0.15))
    assert lines[-1] == {"stopped": True}
    assert lines[0]["what"] == "gpu_memory" and len(lines) < 5


def test_a_measure_that_fails_leaves_the_others(clock: Clock) -> None:
    torch = fake_torch(clock)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED")

    torch._int_mm = fail
    lines = list(measures(TorchGpus(torch), [0, 1], 1e9))
    failed = {(line["what"], line["dtype"]): line["error"] for line in lines if "error" in line}
    assert failed["gpu_matrix", "int8"] == "RuntimeError"
    assert any(line.get("dtype") == "fp8" and "per_s" in line for line in lines)


def test_the_state_under_load_is_read_from_the_driver(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = h100_mig()
    recorded.gpus[0]["CurrentClocksThrottleReasons"] = 0x4
    monkeypatch.setitem(sys.modules, "pynvml", recorded)
    torch = fake_torch(clock, devices=1)
    real = torch.matmul

    def slow(*given: Any, **named: Any) -> None:
        time.sleep(0.01)
        real(*given, **named)
        clock.now += 0.05

    torch.matmul = slow
    lines = list(measures(TorchGpus(torch), [0], 1e9))
    assert [line["per_s"] for line in lines if line["what"] == "load_state"] == [4.0]


def fake_cupy(clock: Clock) -> Any:
    """As much of cupy as is used."""

    class Event:
        def record(self) -> None:
            self.at = clock.now

        def synchronize(self) -> None:
            pass

    class Array:
        def __init__(self, size: int, dtype: str, side: int = 0) -> None:
            self.size, self.dtype, self.side = size, dtype, side
            self.data = SimpleNamespace(ptr=1)

        def astype(self, dtype: str) -> "Array":
            return Array(self.size, dtype, self.side)

    class Device:
        def __init__(self, _: int) -> None:
            pass

        def __enter__(self) -> None:
            pass

        def __exit__(self, *_: object) -> None:
            pass

        def synchronize(self) -> None:
            pass

    def spend(seconds: float) -> None:
        clock.now += seconds

    runtime = SimpleNamespace(
        getDeviceCount=lambda: 2, memGetInfo=lambda: (16 << 30, 24 << 30),
        memcpyAsync=lambda target, source, size, kind, stream: spend(size / LINK),
        memcpyPeer=lambda target, second, source, first, size: spend(size / PEER),
    )  # fmt: skip
    cuda = SimpleNamespace(
        runtime=runtime, Device=Device, Event=Event, get_elapsed_time=lambda a, b: (b.at - a.at) * 1000,
        alloc_pinned_memory=lambda size: SimpleNamespace(ptr=2), get_current_stream=lambda: SimpleNamespace(ptr=0),
    )  # fmt: skip
    return SimpleNamespace(
        cuda=cuda, zeros=lambda size, dtype: Array(size, dtype), empty=lambda size, dtype: Array(size, dtype),
        empty_like=lambda a: Array(a.size, a.dtype, a.side), copyto=lambda t, s: spend(2 * t.size / MEMORY),
        random=SimpleNamespace(standard_normal=lambda shape, dtype: Array(shape[0] ** 2, dtype, shape[0])),
        matmul=lambda left, right, out: spend(2 * left.side**3 / FLOP[left.dtype]),
        get_default_memory_pool=lambda: SimpleNamespace(free_all_blocks=lambda: None),
    )  # fmt: skip


def test_cupy_measures_the_same(clock: Clock) -> None:
    rates = _rates(CupyGpus(fake_cupy(clock)))
    assert rates["gpu_memory", 0, None, None] == pytest.approx(MEMORY)
    assert rates["gpu_matrix", 1, None, "fp16"] == pytest.approx(100e12)
    assert rates["host_to_device", 1, None, None] == pytest.approx(LINK)
    assert rates["gpu_to_gpu", 0, 1, None] == pytest.approx(PEER)


def _command(folder: Path, lines: list[str]) -> tuple[str, ...]:
    script = folder / "child.py"
    script.write_text("import os, sys, time\n" + "\n".join(lines), encoding="utf-8")
    return (sys.executable, str(script))


def _print(**line: Any) -> str:
    return f"print({json.dumps(line)!r}, flush=True)"


GPUS = (GpuReading(index=0, vendor="nvidia"), GpuReading(index=1, vendor="nvidia"))


def test_lines_of_the_child_become_rates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    lines = [
        "assert sys.argv[1:] == ['3', '0', '1'] and os.environ['CUDA_DEVICE_ORDER'] == 'PCI_BUS_ID'",
        "print('a library greets')",
        _print(what="gpu_memory", gpu=0, peer=None, dtype=None, per_s=8e11, **{"with": "torch"}),
        _print(what="gpu_matrix", gpu=1, peer=None, dtype="fp8", error="RuntimeError"),
        _print(what="load_state", gpu=0, peer=None, dtype="bf16", per_s=0x44),
        _print(what="gpu_memory", gpu=1, peer=None, dtype=None, per_s=math.inf),
    ]
    rates, held, notes = gpu_rates(GPUS, 3, _command(tmp_path, lines))
    assert rates == (Rate(what="gpu_memory", per_s=8e11, method="method_gpu_torch", gpu=0),)
    assert held == {0: ("power_cap", "hardware_thermal")}
    assert [(note.code, note.parameters.get("rates")) for note in notes] == [("gpu_rates_failed", ("gpu_matrix fp8",))]


def test_a_child_that_hangs_or_dies_keeps_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("fitserve.hardware.probe.rates_gpu.START_S", 1.0)
    line = _print(what="gpu_memory", gpu=0, peer=None, dtype=None, per_s=8e11)
    rates, _, notes = gpu_rates(GPUS, 0.2, _command(tmp_path, [line, "time.sleep(60)"]))
    assert len(rates) == 1 and [note.code for note in notes] == ["gpu_rates_stopped"]
    rates, _, notes = gpu_rates(GPUS, 5, _command(tmp_path, [line, "os._exit(134)"]))
    assert len(rates) == 1 and [note.code for note in notes] == ["gpu_rates_crashed"]


def test_masked_devices_keep_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    rates, _, notes = gpu_rates(GPUS, 3, _command(tmp_path, ["assert sys.argv[2:] == ['1']", _print(missing=True)]))
    assert (rates, [note.code for note in notes]) == ((), ["gpu_rates_missing"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8a9f")
    assert [note.code for note in gpu_rates(GPUS, 3)[2]] == ["gpu_rates_hidden"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    mig = (GpuReading(index=0, vendor="nvidia", mig=True),)
    assert [note.code for note in gpu_rates(mig, 3)[2]] == ["gpu_rates_partial"]
    assert gpu_rates((), 3) == ((), {}, ())


def test_the_real_child_without_a_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    rates, _, notes = gpu_rates(GPUS, 1)
    assert (rates, [note.code for note in notes]) == ((), ["gpu_rates_missing"])
