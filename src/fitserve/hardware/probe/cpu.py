"""The processor: name, cores, instruction sets that engines' kernels use, caches, NUMA nodes."""

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path

import psutil

from fitserve.hardware.probe.bounded import printed
from fitserve.hardware.probe.cgroups import cpu_limit
from fitserve.hardware.probe.plain import plain_text, read_line
from fitserve.hardware.report import CpuReading

_X86 = (
    ("AVX2", {"avx2"}), ("FMA", {"fma"}), ("F16C", {"f16c"}), ("AVX-512", {"avx512f"}),
    ("VNNI", {"avx512_vnni", "avx_vnni"}), ("BF16", {"avx512_bf16"}), ("AMX", {"amx_int8", "amx_bf16", "amx_tile"}),
)  # fmt: skip
_ARM = (("NEON", {"asimd", "neon"}), ("DOTPROD", {"asimddp"}), ("I8MM", {"i8mm"}), ("BF16", {"bf16"}), ("SVE", {"sve"}))
_APPLE = (
    ("NEON", "hw.optional.neon"), ("DOTPROD", "hw.optional.arm.FEAT_DotProd"), ("I8MM", "hw.optional.arm.FEAT_I8MM"),
    ("BF16", "hw.optional.arm.FEAT_BF16"), ("SME", "hw.optional.arm.FEAT_SME"), ("AVX2", "hw.optional.avx2_0"),
)  # fmt: skip
_WINDOWS = ((40, "AVX2"), (41, "AVX-512"), (19, "NEON"), (43, "DOTPROD"))
"""PF_AVX2_INSTRUCTIONS_AVAILABLE and others of IsProcessorFeaturePresent (winnt.h)."""


def cpu_report() -> CpuReading:
    """The processor of this machine; what the system does not say is None."""
    system = platform.system()
    if system == "Darwin":
        return _apple()
    if system == "Windows":
        return _windows()
    return linux_cpu(Path("/proc/cpuinfo"), Path("/sys/devices/system"))


def usable_cpus() -> float:
    """Logical processors that this process may use: those of its affinity, or fewer by a container's quota."""
    count = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    limit = cpu_limit()
    return count if limit is None else min(count, limit)


def linux_cpu(cpuinfo: Path, system: Path) -> CpuReading:
    """Linux: /proc/cpuinfo and the processor folders of sysfs."""
    text = read_line(cpuinfo)
    blocks = [dict(re.findall(r"^([\w ]+?)\s*:\s*(.*)$", block, re.MULTILINE)) for block in text.split("\n\n")]
    blocks = [block for block in blocks if "processor" in block]
    first: Mapping[str, str] = blocks[0] if blocks else {}
    sockets = {block["physical id"] for block in blocks if "physical id" in block}
    cores = {(block.get("physical id"), block["core id"]) for block in blocks if "core id" in block}
    name = first.get("model name") or first.get("cpu model") or read_line("/proc/device-tree/model")
    flags = set((first.get("flags") or first.get("Features") or "").split())
    caches = _caches(system / "cpu")
    return CpuReading(
        name=plain_text(name) or None, architecture=platform.machine() or None, sockets=len(sockets) or None,
        cores=len(cores) or psutil.cpu_count(logical=False), threads=len(blocks) or os.cpu_count(),
        usable_cpus=usable_cpus(),
        isa=tuple(label for label, any_of in (*_X86, *_ARM) if flags & any_of),
        l1d_bytes=caches.get("1"), l2_bytes=caches.get("2"), l3_bytes=caches.get("3"),
        numa_nodes=len(list((system / "node").glob("node[0-9]*"))) or None,
    )  # fmt: skip


def _caches(folder: Path) -> dict[str, int]:
    """Bytes of each level, all caches of it together; instruction caches left out."""
    seen: dict[tuple[str, str], int] = {}
    for cache in folder.glob("cpu[0-9]*/cache/index[0-9]*"):
        if read_line(cache / "type") == "Instruction":
            continue
        found = re.fullmatch(r"(\d+)([KM])", read_line(cache / "size"))
        if found:
            size = int(found[1]) << (10 if found[2] == "K" else 20)
            seen[(read_line(cache / "level"), read_line(cache / "shared_cpu_list"))] = size
    totals: dict[str, int] = {}
    for (level, _), size in seen.items():
        totals[level] = totals.get(level, 0) + size
    return totals


def _apple() -> CpuReading:
    keys = ["machdep.cpu.brand_string", "hw.packages", "hw.physicalcpu", "hw.logicalcpu", "hw.l2cachesize"]
    lines = printed("sysctl", *keys, *(key for _, key in _APPLE)) or ""
    values = dict(re.findall(r"^([\w.]+): (.*)$", lines, re.MULTILINE))
    return CpuReading(
        name=plain_text(values.get(keys[0], "")) or None, architecture=platform.machine(), usable_cpus=usable_cpus(),
        sockets=_whole(values.get(keys[1])), cores=_whole(values.get(keys[2])), threads=_whole(values.get(keys[3])),
        isa=tuple(label for label, key in _APPLE if values.get(key) == "1"), l2_bytes=_whole(values.get(keys[4])),
    )  # fmt: skip


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _windows() -> CpuReading:
    import ctypes

    name = None
    try:
        import winreg

        key = winreg.OpenKey(  # type: ignore[attr-defined,unused-ignore]
            winreg.HKEY_LOCAL_MACHINE,  # type: ignore[attr-defined,unused-ignore]
            r"HARDWARE\DESCRIPTION\System\CentralProcessor\0",
        )
        name = plain_text(str(winreg.QueryValueEx(key, "ProcessorNameString")[0]))  # type: ignore[attr-defined,unused-ignore]
    except (ImportError, OSError):
        name = plain_text(platform.processor()) or None
    kernel = getattr(ctypes, "windll", None)
    present = getattr(getattr(kernel, "kernel32", None), "IsProcessorFeaturePresent", lambda _: 0)
    return CpuReading(
        name=name, architecture=platform.machine(), cores=psutil.cpu_count(logical=False), threads=os.cpu_count(),
        usable_cpus=usable_cpus(), isa=tuple(label for number, label in _WINDOWS if present(number)),
    )  # fmt: skip


def cpu_name() -> str | None:
    """The processor as the table of processors knows it: `2x NAME` for two sockets."""
    found = cpu_report()
    if found.name is None:
        return None
    return f"{found.sockets}x {found.name}" if (found.sockets or 1) > 1 else found.name
