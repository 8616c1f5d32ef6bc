"""Everything NVML says, as plain values. Runs in a process of its own (`nvml_child.py`), because a driver may hang or crash.

Imports nothing of this package, so that the process starts fast. Every call is made on its own: a driver that is older than
a function, a card without a feature, a permission that is missing leave one value unknown, not all.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

_MOST_LINKS = 36  # NVML_NVLINK_MAX_LINKS of nvidia-ml-py 13
_MOST_BYTES = 1 << 50  # NVML writes all bits set for a value that is not available
_LOST, _PERMISSION, _RESET = 15, 4, 16  # NVML_ERROR_GPU_IS_LOST, _NO_PERMISSION, _RESET_REQUIRED (nvml.h)
_FAULTS = {_LOST: "lost", _PERMISSION: "no_permission", _RESET: "lost"}


class _Asker:
    """Calls of one NVML module that answer None where the driver has no answer, and remember why."""

    def __init__(self, nvml: ModuleType) -> None:
        self.nvml = nvml
        self.errors: dict[str, int] = {}

    def ask(self, name: str, *arguments: Any) -> Any:
        """The answer of a function, None without one."""
        function: Callable[..., Any] | None = getattr(self.nvml, name, None)
        if function is None:
            return None
        try:
            return function(*arguments)
        except self.nvml.NVMLError as error:
            self.errors[name] = int(getattr(error, "value", 0) or 0)
        except (ValueError, TypeError, AttributeError, OSError, UnicodeDecodeError):
            self.errors[name] = 0  # a binding and a library of different versions
        return None

    def number(self, name: str, *arguments: Any) -> int | None:
        """The answer as a number."""
        value = self.ask(name, *arguments)
        return int(value) if isinstance(value, int) and 0 <= value < _MOST_BYTES else None

    def text(self, name: str, *arguments: Any) -> str | None:
        """The answer as text."""
        value = self.ask(name, *arguments)
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        return text if isinstance(text, str) and text and text != "N/A" else None


def read_nvml(nvml: ModuleType) -> dict[str, Any]:
    """`{"driver", "cuda", "gpus": [...], "pairs": [...]}`, or `{"init_error": code, "detail"}` when NVML does not start."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return {"init_error": int(getattr(error, "value", 0) or 0), "detail": str(error)[:200]}
    asker = _Asker(nvml)
    count = asker.number("nvmlDeviceGetCount")
    found: dict[str, Any] = {
        "driver": asker.text("nvmlSystemGetDriverVersion"),
        "cuda": asker.number("nvmlSystemGetCudaDriverVersion"),
        "count_error": asker.errors.get("nvmlDeviceGetCount"),
    }
    handles = {index: _handle(nvml, index) for index in range(count or 0)}
    good = {index: handle for index, handle in handles.items() if not isinstance(handle, dict)}
    places = {index: _place(_Asker(nvml), handle) for index, handle in good.items()}
    gpus = [_gpu(nvml, index, handle, places) for index, handle in handles.items()]
    found["gpus"] = gpus
    found["pairs"] = _pairs(nvml, good, gpus)
    for gpu in gpus:
        gpu.pop("peers", None)
    asker.ask("nvmlShutdown")
    return found


def _handle(nvml: ModuleType, index: int) -> Any:
    try:
        return nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        code = int(getattr(error, "value", 0) or 0)
        return {"index": index, "fault": _FAULTS.get(code, "driver"), "code": code}


def _place(asker: _Asker, handle: Any) -> tuple[int, int, int] | None:
    """Domain, bus and device: to tell which GPU a link ends at; never reported."""
    pci = asker.ask("nvmlDeviceGetPciInfo", handle)
    return None if pci is None else (int(pci.domain), int(pci.bus), int(pci.device))


def _gpu(nvml: ModuleType, index: int, handle: Any, places: Mapping[int, Any]) -> dict[str, Any]:
    if isinstance(handle, dict):
        return handle
    asker = _Asker(nvml)
    gpu: dict[str, Any] = {"index": index, "name": asker.text("nvmlDeviceGetName", handle)}
    gpu |= _memory(asker, handle) | _state(asker, handle) | _links(asker, handle, places)
    capability = asker.ask("nvmlDeviceGetCudaComputeCapability", handle)
    gpu["capability"] = None if capability is None else [int(part) for part in capability]
    gpu["processes"] = _processes(asker, handle)
    mig = asker.ask("nvmlDeviceGetMigMode", handle)
    gpu["mig"] = None if mig is None else bool(mig[0])
    gpu["instances"] = _instances(asker, handle) if gpu["mig"] else []
    if _LOST in asker.errors.values() or _RESET in asker.errors.values():
        gpu["fault"] = "lost"
    elif gpu["name"] is None and gpu["memory"] is None:
        gpu["fault"] = "no_permission" if _PERMISSION in asker.errors.values() else "driver"
    gpu["refused"] = sorted(name for name, code in asker.errors.items() if code == _PERMISSION)
    return gpu


def _memory(asker: _Asker, handle: Any) -> dict[str, Any]:
    """Version 2 leaves what the driver itself reserves out of `used`; drivers before R510 know only version 1."""
    version = getattr(asker.nvml, "nvmlMemory_v2", None)
    info = asker.ask("nvmlDeviceGetMemoryInfo", handle, version) if version else None
    info = info or asker.ask("nvmlDeviceGetMemoryInfo", handle)
    if info is None:
        return {"memory": None, "used": None, "free": None}
    values = {"memory": int(info.total), "used": int(info.used), "free": int(info.free)}
    return {name: value if value < _MOST_BYTES else None for name, value in values.items()}


def _state(asker: _Asker, handle: Any) -> dict[str, Any]:
    nvml = asker.nvml
    throttle = asker.number("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if throttle is None:
        throttle = asker.number("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    ecc = asker.ask("nvmlDeviceGetEccMode", handle)
    model = asker.ask("nvmlDeviceGetCurrentDriverModel", handle)
    return {
        "pcie_generation": asker.number("nvmlDeviceGetCurrPcieLinkGeneration", handle),
        "pcie_width": asker.number("nvmlDeviceGetCurrPcieLinkWidth", handle),
        "pcie_generation_max": asker.number("nvmlDeviceGetMaxPcieLinkGeneration", handle),
        "pcie_width_max": asker.number("nvmlDeviceGetMaxPcieLinkWidth", handle),
        "clock": asker.number("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM),
        "clock_max": asker.number("nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_SM),
        "memory_clock": asker.number("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM),
        "memory_clock_max": asker.number("nvmlDeviceGetMaxClockInfo", handle, nvml.NVML_CLOCK_MEM),
        "power_mw": asker.number("nvmlDeviceGetPowerUsage", handle),
        "power_limit_mw": asker.number("nvmlDeviceGetEnforcedPowerLimit", handle),
        "power_default_mw": asker.number("nvmlDeviceGetPowerManagementDefaultLimit", handle),
        "temperature": asker.number("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU),
        "throttle": throttle,
        "ecc": None if ecc is None else bool(ecc[0]),
        "ecc_errors": asker.number("nvmlDeviceGetTotalEccErrors", handle, 1, 1),  # uncorrected, over its lifetime
        "persistence": asker.number("nvmlDeviceGetPersistenceMode", handle),
        "driver_model": model if isinstance(model, int) else None,
    }


def _links(asker: _Asker, handle: Any, places: Mapping[int, Any]) -> dict[str, Any]:
    """NVLinks that are up and down, and at which GPU each ends (`peers`; -1 is a switch)."""
    up = down = 0
    peers: dict[int, int] = {}
    version = None
    for link in range(_MOST_LINKS):
        state = asker.number("nvmlDeviceGetNvLinkState", handle, link)
        if state is None:
            break
        if not state:
            down += 1
            continue
        up += 1
        version = version or asker.number("nvmlDeviceGetNvLinkVersion", handle, link)
        remote = asker.ask("nvmlDeviceGetNvLinkRemotePciInfo", handle, link)
        place = None if remote is None else (int(remote.domain), int(remote.bus), int(remote.device))
        kind = asker.number("nvmlDeviceGetNvLinkRemoteDeviceType", handle, link)
        peer = next((index for index, known in places.items() if known is not None and known == place), None)
        if peer is None and kind == 2:  # NVML_NVLINK_DEVICE_TYPE_SWITCH
            peer = -1
        if peer is not None:
            peers[peer] = peers.get(peer, 0) + 1
    known = bool(up or down)
    return {
        "nvlinks_up": up if known else None,
        "nvlinks_down": down if known else None,
        "nvlink_version": version,
        "peers": peers,
    }


def _processes(asker: _Asker, handle: Any) -> list[dict[str, Any]] | None:
    found: dict[int, dict[str, Any]] = {}
    answered = False
    for kind, name in (
        ("compute", "nvmlDeviceGetComputeRunningProcesses"),
        ("graphics", "nvmlDeviceGetGraphicsRunningProcesses"),
    ):
        listed = asker.ask(name, handle)
        answered = answered or listed is not None
        for item in listed or ():
            used = item.usedGpuMemory
            used = int(used) if isinstance(used, int) and 0 <= used < _MOST_BYTES else None
            program = asker.text("nvmlSystemGetProcessName", item.pid) or ""
            base = program.replace("\\", "/").rpartition("/")[2].split(" ")[0]
            found.setdefault(int(item.pid), {"kind": kind, "used": used, "name": base})
    return list(found.values()) if answered else None


def _instances(asker: _Asker, handle: Any) -> list[dict[str, Any]]:
    found = []
    for slot in range(asker.number("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
        instance = asker.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, slot)
        if instance is not None:
            found.append({"name": asker.text("nvmlDeviceGetName", instance), **_memory(asker, instance)})
    return found


def _pairs(nvml: ModuleType, handles: Mapping[int, Any], gpus: list[dict[str, Any]]) -> list[dict[str, Any]]:
    asker = _Asker(nvml)
    peers = {gpu["index"]: gpu.get("peers") or {} for gpu in gpus}
    pairs = []
    for first in handles:
        for second in (index for index in handles if index > first):
            direct = peers[first].get(second, 0)
            switch = min(peers[first].get(-1, 0), peers[second].get(-1, 0))
            level = asker.number("nvmlDeviceGetTopologyCommonAncestor", handles[first], handles[second])
            pairs.append({"first": first, "second": second, "links": direct, "switch_links": switch, "level": level})
    return pairs
