"""NVIDIA GPUs for a report: NVML in a process with a time limit, its answers as readings and notes."""

import ctypes
import json
import os
import platform
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Reason, Severity, note, warning
from fitserve.hardware.identify import gpu_rows, identify
from fitserve.hardware.probe.bounded import Ran, run_bounded
from fitserve.hardware.probe.plain import plain_text
from fitserve.hardware.report import GpuPair, GpuProcess, GpuReading, PcieLink

TIMEOUT_S = 10.0
CHILD = (sys.executable, "-m", "fitserve.hardware.probe.nvml_child")
_ABSENT = {9, 12}  # NVML_ERROR_DRIVER_NOT_LOADED, NVML_ERROR_LIBRARY_NOT_FOUND (nvml.h)
_MODELS: Mapping[int | None, str] = {0: "wddm", 1: "tcc", 2: "mcdm"}
_LEVELS: Mapping[int | None, str] = {
    0: "board",
    10: "switch",
    20: "switches",
    30: "host_bridge",
    40: "node",
    50: "system",
}
_THROTTLE = (
    (0x002, "application_clocks"), (0x004, "power_cap"), (0x008, "hardware_slowdown"), (0x010, "sync_boost"),
    (0x020, "software_thermal"), (0x040, "hardware_thermal"), (0x080, "power_brake"), (0x100, "display_clocks"),
)  # fmt: skip
"""nvmlClocksEventReasons of nvml.h, without idle."""
_PROGRAMS = re.compile(
    r"(vllm|sglang|trtllm|tritonserver|ollama|llama|lm ?studio|koboldcpp|tabby|text-generation|python|pt_main_thread|"
    r"xorg|xwayland|gnome-shell|kwin|plasmashell|dwm|explorer|chrome|firefox|msedge|code|steam|obs|blender|dcgm|docker)"
)
"""Programs that are named; any other is `other`, because a program's name may be a person's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaFound:
    """What NVML said of all GPUs."""

    gpus: tuple[GpuReading, ...] = ()
    pairs: tuple[GpuPair, ...] = ()
    driver: str | None = None
    cuda_version: str | None = None
    notes: tuple[Reason, ...] = ()


def nvidia_report(command: Sequence[str] = CHILD, timeout_s: float = TIMEOUT_S) -> NvidiaFound:
    """GPUs, their links, and a note for everything that NVML refused. Never raises."""
    if command is CHILD and not _has_library():
        return NvidiaFound()
    ran = run_bounded(command, timeout_s, {**os.environ, "PYTHONWARNINGS": "ignore"})
    if ran is None or ran.code is None:
        return NvidiaFound(notes=(warning("nvml_hangs", seconds=round(timeout_s)),))
    raw = _parsed(ran)
    if raw is None:
        return NvidiaFound(notes=(warning("nvml_crashed", exit_code=ran.code),))
    if "init_error" in raw:
        return _not_started(raw)
    return nvidia_found(raw)


def _has_library() -> bool:
    """Whether NVML's library is here; loading it asks no driver."""
    if platform.system() == "Windows":
        return True  # found by the binding, in one of two folders
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return False
    return True


def _parsed(ran: Ran) -> Mapping[str, Any] | None:
    try:
        raw = json.loads(ran.out)
    except ValueError:
        return None
    return raw if isinstance(raw, dict) else None


def _not_started(raw: Mapping[str, Any]) -> NvidiaFound:
    code = int(raw["init_error"])
    if code in _ABSENT:
        return NvidiaFound()
    if code == 18:
        return NvidiaFound(notes=(warning("nvml_version_mismatch"),))
    if code == 4:
        return NvidiaFound(notes=(warning("nvml_no_permission"),))
    return NvidiaFound(notes=(warning("nvml_failed", detail=plain_text(str(raw.get("detail", code)))),))


def nvidia_found(raw: Mapping[str, Any]) -> NvidiaFound:
    """Readings of the answers that `nvml.read_nvml` collected."""
    driver, cuda = raw.get("driver"), raw.get("cuda")
    gpus: list[GpuReading] = []
    for item in raw.get("gpus") or ():
        gpus += _readings(item, driver)
    notes = _joined([item for gpu in gpus for item in _notes(gpu)])
    if raw.get("count_error"):
        notes.append(warning("nvml_failed", detail=f"nvmlDeviceGetCount: {raw['count_error']}"))
    refused = tuple(sorted({name for item in raw.get("gpus") or () for name in item.get("refused") or ()}))
    if refused:
        notes.append(note("nvml_refused", functions=refused))
    return NvidiaFound(
        gpus=tuple(gpus),
        pairs=tuple(_pair(item) for item in raw.get("pairs") or ()),
        driver=None if driver is None else plain_text(driver),
        cuda_version=None if not cuda else f"{cuda // 1000}.{cuda % 1000 // 10}",
        notes=tuple(notes),
    )


def _joined(notes: Sequence[Reason]) -> list[Reason]:
    """One note for all GPUs of which the same is to be said; the loudest first."""
    same: dict[tuple[object, ...], list[Reason]] = {}
    for item in notes:
        rest = tuple((key, value) for key, value in item.parameters.items() if key != "gpu")
        same.setdefault((item.code, rest), []).append(item)
    found = []
    for items in same.values():
        gpus = tuple(str(item.parameters["gpu"]) for item in items)
        found.append(replace(items[0], parameters=MappingProxyType({**items[0].parameters, "gpu": gpus})))
    return sorted(found, key=lambda item: item.severity is not Severity.WARNING)


def catalogue_id(name: str | None, memory_bytes: int | None) -> str | None:
    """The catalogue row of a driver's name; None when there is none."""
    if not name:
        return None
    try:
        return identify(name, memory_bytes).device.id
    except InputError:
        return None


def _readings(item: Mapping[str, Any], driver: str | None) -> list[GpuReading]:
    index = int(item["index"])
    if "name" not in item:
        return [GpuReading(index=index, vendor="nvidia", fault=item["fault"])]
    name = None if item["name"] is None else plain_text(item["name"])
    capability = item.get("capability")
    gpu = GpuReading(
        index=index, vendor="nvidia", name=name, catalogue_id=catalogue_id(name, item["memory"]),
        memory_bytes=item["memory"], used_bytes=item["used"], free_bytes=item["free"],
        compute_capability=None if not capability else f"{capability[0]}.{capability[1]}",
        driver=None if driver is None else plain_text(driver), driver_model=_MODELS.get(item["driver_model"]),
        pcie=PcieLink(
            generation_now=item["pcie_generation"], width_now=item["pcie_width"],
            generation_max=item["pcie_generation_max"], width_max=item["pcie_width_max"],
        ),
        nvlinks_up=item["nvlinks_up"], nvlinks_down=item["nvlinks_down"], nvlink_version=item["nvlink_version"],
        clock_mhz=item["clock"], clock_max_mhz=item["clock_max"],
        memory_clock_mhz=item["memory_clock"], memory_clock_max_mhz=item["memory_clock_max"],
        power_w=_watts(item["power_mw"]), power_limit_w=_watts(item["power_limit_mw"]),
        power_limit_default_w=_watts(item["power_default_mw"]), temperature_c=item["temperature"],
        throttle=throttle_names(item["throttle"]), ecc=item["ecc"], ecc_errors=item["ecc_errors"], mig=item["mig"],
        persistence=None if item["persistence"] is None else bool(item["persistence"]),
        processes=_processes(item["processes"]), fault=item.get("fault"),
    )  # fmt: skip
    return [gpu, *(_instance(gpu, part) for part in item["instances"])]


def _instance(gpu: GpuReading, part: Mapping[str, Any]) -> GpuReading:
    name = plain_text(part["name"] or f"{gpu.name} MIG")
    return replace(
        GpuReading(index=gpu.index, vendor="nvidia"), name=name, memory_bytes=part["memory"], used_bytes=part["used"],
        free_bytes=part["free"], compute_capability=gpu.compute_capability, driver=gpu.driver, part_of=gpu.index,
    )  # fmt: skip


def _watts(milliwatts: int | None) -> float | None:
    return None if milliwatts is None else milliwatts / 1000


def throttle_names(bits: int | None) -> tuple[str, ...] | None:
    """What holds the clocks down, by name."""
    return None if bits is None else tuple(name for bit, name in _THROTTLE if bits & bit)


def _processes(listed: Sequence[Mapping[str, Any]] | None) -> tuple[GpuProcess, ...] | None:
    if listed is None:
        return None
    found = []
    for item in listed:
        known = _PROGRAMS.match(str(item["name"]).lower())
        found.append(GpuProcess(name=known[1] if known else "other", kind=item["kind"], used_bytes=item["used"]))
    return tuple(found)


def _pair(item: Mapping[str, Any]) -> GpuPair:
    direct, switch = int(item["links"]), int(item["switch_links"])
    path = "nvlink" if direct else "nvswitch" if switch else _LEVELS.get(item["level"], "unknown")
    return GpuPair(first=item["first"], second=item["second"], path=path, nvlinks=direct or switch)


_HOT_C = 85
_HELD = {"hardware_slowdown", "software_thermal", "hardware_thermal", "power_brake"}


def _notes(gpu: GpuReading) -> list[Reason]:
    """What a person should know of one GPU before it is used."""
    if gpu.part_of is not None:
        return []
    if gpu.fault is not None:
        return [_fault(gpu)]
    found: list[Reason] = []
    pcie = gpu.pcie
    if gpu.mig:
        found.append(note("gpu_mig", gpu=gpu.index))
    most = max((pcie.width_max or 0) if pcie is not None else 0, _lanes(gpu.catalogue_id))
    if pcie is not None and pcie.width_now and pcie.width_now < most:
        found.append(warning("pcie_narrow", gpu=gpu.index, now=pcie.width_now, most=most))
    if gpu.nvlinks_down and not gpu.nvlinks_up:
        found.append(note("nvlink_down", gpu=gpu.index, links=gpu.nvlinks_down))
    if gpu.power_limit_w and gpu.power_limit_default_w and gpu.power_limit_w < gpu.power_limit_default_w:
        found.append(
            note("power_limited", gpu=gpu.index, watts=round(gpu.power_limit_w), usual=round(gpu.power_limit_default_w))
        )
    held = tuple(name for name in gpu.throttle or () if name in _HELD)
    if held or (gpu.temperature_c or 0) >= _HOT_C:
        found.append(warning("gpu_throttled", gpu=gpu.index, causes=held, celsius=gpu.temperature_c))
    if gpu.ecc_errors:
        found.append(warning("ecc_errors", gpu=gpu.index, errors=gpu.ecc_errors))
    if gpu.driver_model == "wddm":
        found.append(note("gpu_wddm", gpu=gpu.index))
    return found


def _lanes(gpu_id: str | None) -> int:
    """PCIe lanes of the card itself, which a slot may not have; 0 where the catalogue does not say."""
    row = gpu_rows().get(gpu_id or "")
    found = [re.fullmatch(r"pcie\d-x(\d+)", item["kind"]) for item in row["interconnects"]] if row else []
    return max((int(match[1]) for match in found if match), default=0)


def _fault(gpu: GpuReading) -> Reason:
    if gpu.fault == "lost":
        return warning("gpu_lost", gpu=gpu.index)
    if gpu.fault == "no_permission":
        return warning("gpu_no_permission", gpu=gpu.index)
    return warning("gpu_silent", gpu=gpu.index)
