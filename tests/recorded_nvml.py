"""Answers of NVML for a few machines, as a module that stands in for `pynvml`: the same structures, the same errors.

The values are those that such machines print with `nvidia-smi -q` and `nvidia-smi topo -m`.
"""

from collections.abc import Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import pynvml

MIB = 1 << 20
NOT_AVAILABLE = (1 << 64) - 1


def _error(code: int) -> pynvml.NVMLError:
    return pynvml.NVMLError(code)


_PROGRAMS = {7: "/usr/bin/python3", 8: "/home/kim/secret-tool", 9: "/usr/lib/xorg/Xorg"}


class RecordedNvml(ModuleType):
    """A machine: `gpus` by what their functions answer (an int below 0 is the NVML error of that code), `pairs` by level."""

    def __init__(
        self, gpus: list[dict[str, Any]], driver: str = "570.124.06", cuda: int = 12080, level: int = 40,
        init_error: int | None = None, missing: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        super().__init__("pynvml")
        self.gpus, self.missing = gpus, missing
        self.NVMLError = pynvml.NVMLError
        self.NVML_CLOCK_SM, self.NVML_CLOCK_MEM, self.NVML_TEMPERATURE_GPU = 1, 2, 0
        self.nvmlMemory_v2 = pynvml.nvmlMemory_v2
        functions: dict[str, Any] = {
            "nvmlInit": lambda: self._start(init_error), "nvmlShutdown": lambda: None,
            "nvmlDeviceGetCount": lambda: len(gpus), "nvmlSystemGetDriverVersion": lambda: driver,
            "nvmlSystemGetCudaDriverVersion": lambda: cuda, "nvmlDeviceGetHandleByIndex": self._handle,
            "nvmlDeviceGetTopologyCommonAncestor": lambda *_: level,
            "nvmlSystemGetProcessName": lambda pid: _PROGRAMS[pid],
            "nvmlDeviceGetMemoryInfo": self._memory, "nvmlDeviceGetPciInfo": lambda h: self._place(h["place"]),
            "nvmlDeviceGetClockInfo": lambda h, kind: h["clocks"][kind - 1],
            "nvmlDeviceGetMaxClockInfo": lambda h, kind: h["clocks_max"][kind - 1],
            "nvmlDeviceGetNvLinkState": lambda h, link: self._link(h, link)[0],
            "nvmlDeviceGetNvLinkVersion": lambda h, link: self._link(h, link)[1],
            "nvmlDeviceGetNvLinkRemotePciInfo": lambda h, link: self._place(self._link(h, link)[2]),
            "nvmlDeviceGetNvLinkRemoteDeviceType": lambda h, link: self._link(h, link)[3],
            "nvmlDeviceGetMigDeviceHandleByIndex": self._instance,
            "nvmlDeviceGetMaxMigDeviceCount": lambda _: 7,
        }  # fmt: skip
        for name in (
            "Name", "CudaComputeCapability", "CurrPcieLinkGeneration", "CurrPcieLinkWidth", "MaxPcieLinkGeneration",
            "MaxPcieLinkWidth", "PowerUsage", "EnforcedPowerLimit", "PowerManagementDefaultLimit", "Temperature",
            "CurrentClocksEventReasons", "CurrentClocksThrottleReasons", "EccMode", "TotalEccErrors", "PersistenceMode",
            "CurrentDriverModel", "MigMode", "ComputeRunningProcesses", "GraphicsRunningProcesses",
        ):  # fmt: skip
            functions[f"nvmlDeviceGet{name}"] = lambda handle, *_, name=name: self._answer(handle, name)
        for name, function in functions.items():
            setattr(self, name, self._absent if name in missing else function)

    def _start(self, code: int | None) -> None:
        if code is not None:
            raise _error(code)

    def _absent(self, *_: Any) -> None:
        raise _error(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)

    def _handle(self, index: int) -> Mapping[str, Any]:
        gpu = self.gpus[index]
        if "error" in gpu:
            raise _error(gpu["error"])
        return _Handle(gpu)

    def _answer(self, handle: Mapping[str, Any], name: str) -> Any:
        value = handle.get(name, -pynvml.NVML_ERROR_NOT_SUPPORTED)
        if isinstance(value, int) and value < 0:
            raise _error(-value)
        return value

    def _memory(self, handle: Mapping[str, Any], version: int | None = None) -> Any:
        if version and handle.get("old"):
            raise _error(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
        total, used = (int(part) for part in self._answer(handle, "memory"))
        return SimpleNamespace(total=total, used=used, free=total - used if used < total else NOT_AVAILABLE)

    def _place(self, bus: int) -> Any:
        return SimpleNamespace(domain=0, bus=bus, device=0)

    def _link(self, handle: Mapping[str, Any], link: int) -> tuple[int, int, int, int]:
        links = handle.get("links", [])
        if link >= len(links):
            raise _error(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        found: tuple[int, int, int, int] = links[link]
        return found

    def _instance(self, handle: Mapping[str, Any], slot: int) -> Any:
        instances = handle.get("instances", [])
        if slot >= len(instances):
            raise _error(pynvml.NVML_ERROR_NOT_FOUND)
        return _Handle(instances[slot])


class _Handle:
    """An opaque handle: not a dict, as NVML's are pointers."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.get, self.answers = answers.get, answers

    def __getitem__(self, key: str) -> Any:
        return self.answers[key]


def _process(pid: int, used: int | None) -> Any:
    return SimpleNamespace(pid=pid, usedGpuMemory=used)


def _gpu(name: str, total_mib: int, capability: tuple[int, int], bus: int, **more: Any) -> dict[str, Any]:
    usual = {
        "Name": name, "memory": (total_mib * MIB, 3 * MIB), "CudaComputeCapability": capability, "place": bus,
        "CurrPcieLinkGeneration": 3, "CurrPcieLinkWidth": 16, "MaxPcieLinkGeneration": 3, "MaxPcieLinkWidth": 16,
        "PowerUsage": 42_000, "EnforcedPowerLimit": 300_000, "PowerManagementDefaultLimit": 300_000, "Temperature": 38,
        "CurrentClocksEventReasons": 1, "PersistenceMode": 1, "clocks": (135, 877), "clocks_max": (1530, 877),
        "ComputeRunningProcesses": [], "GraphicsRunningProcesses": [],
    }  # fmt: skip
    return usual | more


def v100_pair(connected: bool = True) -> RecordedNvml:
    """Two V100-SXM2-32GB: of six links two join them, the others lead to cards that are not there."""

    def card(bus: int, other: int) -> dict[str, Any]:
        up = [(1, 2, other, 0)] * 2 if connected else [(0, 2, 0, 0)] * 2
        return _gpu(
            "Tesla V100-SXM2-32GB", 32768, (7, 0), bus, links=up + [(0, 2, 0, 0)] * 4, EccMode=[1, 1], TotalEccErrors=0
        )  # fmt: skip

    return RecordedNvml([card(0x89, 0x8A), card(0x8A, 0x89)], driver="535.183.01", cuda=12020, level=10)


def windows_3090_pair() -> RecordedNvml:
    """Two RTX 3090 under WDDM: a desktop on the first, the second in a x4 slot, memory of programs not available."""

    def card(bus: int, used_mib: int, width: int, **more: Any) -> dict[str, Any]:
        return _gpu(
            "NVIDIA GeForce RTX 3090", 24576, (8, 6), bus, memory=(24576 * MIB, used_mib * MIB), CurrPcieLinkGeneration=1,
            CurrPcieLinkWidth=width, MaxPcieLinkGeneration=4, EnforcedPowerLimit=350_000, PowerManagementDefaultLimit=350_000,
            CurrentDriverModel=0, PersistenceMode=-pynvml.NVML_ERROR_NOT_SUPPORTED, links=[(0, 3, 0, 255)] * 4,
            clocks=(210, 405), clocks_max=(2100, 9751), **more,
        )  # fmt: skip

    return RecordedNvml(
        [
            card(1, 1980, 16, GraphicsRunningProcesses=[_process(8, None), _process(9, NOT_AVAILABLE)]),
            card(2, 305, 4),
        ],
        driver="566.36", cuda=12070, level=30,
    )  # fmt: skip


def h100_mig() -> RecordedNvml:
    """One H100 cut into two instances, the other slots empty."""
    instances = [
        {"Name": f"NVIDIA H100 80GB HBM3 MIG {profile}", "memory": (total * MIB, 13 * MIB)}
        for profile, total in (("3g.40gb", 40320), ("1g.10gb", 9984))
    ]
    gpu = _gpu(
        "NVIDIA H100 80GB HBM3", 81559, (9, 0), 0x1B, MigMode=[1, 1], instances=instances,
        ComputeRunningProcesses=-pynvml.NVML_ERROR_NO_PERMISSION, EccMode=[1, 1], MaxPcieLinkGeneration=5,
        links=[(1, 4, 0, 2)] * 18, EnforcedPowerLimit=700_000, PowerManagementDefaultLimit=700_000,
    )  # fmt: skip
    return RecordedNvml([gpu])


def b200_eight() -> RecordedNvml:
    """Eight B200 behind NVSwitch, the first two at work, one held at a lower power limit and hot."""
    gpus = []
    for number in range(8):
        gpu = _gpu(
            "NVIDIA B200", 183359, (10, 0), 0x10 + number, links=[(1, 5, 0xF0, 2)] * 18, MigMode=[0, 0], EccMode=[1, 1],
            MaxPcieLinkGeneration=5, CurrPcieLinkGeneration=5,
            EnforcedPowerLimit=1_000_000, PowerManagementDefaultLimit=1_000_000,
        )  # fmt: skip
        gpus.append(gpu)
    for gpu in gpus[:2]:
        gpu |= {"memory": (183359 * MIB, 160_000 * MIB), "ComputeRunningProcesses": [_process(7, 159_000 * MIB)]}
    gpus[2] |= {"EnforcedPowerLimit": 800_000, "CurrentClocksEventReasons": 0x4 | 0x20, "Temperature": 88}
    return RecordedNvml(gpus, driver="580.82.07", cuda=13000)


def gtx_1080_old_driver() -> RecordedNvml:
    """A GTX 1080 with a driver of 2018: no new functions, `N/A` for what the card has no sensor for."""
    gpu = _gpu(
        "GeForce GTX 1080", 8192, (6, 1), 1, old=True, CurrentClocksThrottleReasons=1, EnforcedPowerLimit=180_000,
        PowerManagementDefaultLimit=180_000, PowerUsage=-pynvml.NVML_ERROR_NOT_SUPPORTED, Temperature="N/A",
    )  # fmt: skip
    missing = {"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetMigMode", "nvmlDeviceGetCurrentDriverModel"}
    return RecordedNvml([gpu], driver="390.48", cuda=9010, missing=frozenset(missing))


def one_lost() -> RecordedNvml:
    """Three GPUs: the second fell off the bus, the third is not ours."""
    good = _gpu("NVIDIA GeForce RTX 4090", 24564, (8, 9), 1)
    return RecordedNvml([good, {"error": pynvml.NVML_ERROR_GPU_IS_LOST}, {"error": pynvml.NVML_ERROR_NO_PERMISSION}])


def broken(code: int) -> RecordedNvml:
    """A driver that does not start."""
    return RecordedNvml([], init_error=code)


MACHINES = {
    "v100": v100_pair, "3090": windows_3090_pair, "mig": h100_mig, "b200": b200_eight, "gtx1080": gtx_1080_old_driver,
    "lost": one_lost,
}  # fmt: skip
