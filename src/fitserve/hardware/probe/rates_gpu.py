"""Rates of GPUs: runs `gpu_child.py` with a limit on its time and reads its lines."""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fitserve.foundation.reasons import Reason, note, warning
from fitserve.hardware.probe.bounded import run_bounded
from fitserve.hardware.probe.nvidia_report import throttle_names
from fitserve.hardware.probe.plain import plain_text
from fitserve.hardware.report import GpuReading, Rate

CHILD = (sys.executable, "-m", "fitserve.hardware.probe.gpu_child")
START_S = 8.0
"""Added to the time of measuring: importing torch and opening every GPU."""


def gpu_rates(
    gpus: Sequence[GpuReading], seconds: float, command: Sequence[str] = CHILD
) -> tuple[tuple[Rate, ...], Mapping[int, tuple[str, ...]], tuple[Reason, ...]]:
    """(rates, what held the clocks down under load by GPU, notes). Never raises; GPUs in MIG mode are left out."""
    whole = [gpu for gpu in gpus if gpu.part_of is None]
    if not whole:
        return (), {}, ()
    indices = _visible([gpu.index for gpu in whole], os.environ.get("CUDA_VISIBLE_DEVICES"))
    if indices is None:
        return (), {}, (note("gpu_rates_hidden"),)
    if any(gpu.mig or gpu.fault for gpu in whole):
        return (), {}, (note("gpu_rates_partial"),)
    # the order of NVML, so that an index means the same GPU on both sides
    environment = {**os.environ, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    ran = run_bounded([*command, f"{seconds:g}", *map(str, indices)], seconds + START_S, environment)
    if ran is None:
        return (), {}, (note("gpu_rates_missing"),)
    lines = [line for text in ran.out.splitlines() if (line := _line(text)) is not None]
    notes: list[Reason] = []
    if any(line.get("missing") for line in lines):
        notes.append(note("gpu_rates_missing"))
    if ran.code is None or any(line.get("stopped") for line in lines):
        notes.append(note("gpu_rates_stopped", seconds=round(seconds + START_S)))
    elif ran.code != 0:
        notes.append(warning("gpu_rates_crashed", exit_code=ran.code))
    failed = tuple(sorted({_failed(line) for line in lines if "error" in line and line.get("what") != "load_state"}))
    if failed:
        notes.append(note("gpu_rates_failed", rates=failed))
    return tuple(rate for line in lines if (rate := _rate(line)) is not None), _held(lines), tuple(notes)


def _visible(indices: Sequence[int], mask: str | None) -> Sequence[int] | None:
    """Indices of the GPUs that CUDA shows, in its order; None when the mask names them otherwise than by number."""
    if mask is None:
        return indices
    words = [word.strip() for word in mask.split(",") if word.strip()]
    return [int(word) for word in words] if words and all(word.isdigit() for word in words) else None


def _line(text: str) -> Mapping[str, Any] | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _failed(line: Mapping[str, Any]) -> str:
    return " ".join(plain_text(str(part)) for part in (line.get("what"), line.get("dtype")) if part)


def _rate(line: Mapping[str, Any]) -> Rate | None:
    value = line.get("per_s")
    if line.get("what") == "load_state" or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        return None
    kind = "cupy" if line.get("with") == "cupy" else "torch"
    what = str(line["what"])
    method = "method_gpu_peer" if what == "gpu_to_gpu" else "method_gpu_cupy" if kind == "cupy" else "method_gpu_torch"
    return Rate(
        what=what, per_s=float(value), method=method, gpu=line["gpu"], peer=line.get("peer"), dtype=line.get("dtype")
    )


def _held(lines: Sequence[Mapping[str, Any]]) -> dict[int, tuple[str, ...]]:
    held: dict[int, tuple[str, ...]] = {}
    for line in lines:
        if line.get("what") == "load_state" and isinstance(line.get("per_s"), int | float):
            names = throttle_names(int(line["per_s"])) or ()
            held[int(line["gpu"])] = tuple(dict.fromkeys((*held.get(int(line["gpu"]), ()), *names)))
    return held
