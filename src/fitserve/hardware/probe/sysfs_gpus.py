"""AMD and Intel GPUs for a report, by the files of their kernel drivers (amdgpu; xe and i915)."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from fitserve.foundation.facts import load_toml
from fitserve.hardware.identify import device
from fitserve.hardware.probe.nvidia_report import catalogue_id
from fitserve.hardware.probe.plain import plain_text, read_line, read_number
from fitserve.hardware.report import GpuReading, PcieLink

_DRM = Path("/sys/class/drm")
_KFD = Path("/sys/class/kfd/kfd/topology/nodes")
_AMD, _INTEL = "0x1002", "0x8086"
_FEWEST_BYTES = 2 << 30  # an integrated GPU's carve-out is no place for a model
_GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
"""PCI Express generation by GT/s, as the kernel writes the speed of a link."""


def _cards(root: Path, vendor: str) -> Iterator[Path]:
    for card in sorted(root.glob("card[0-9]*")):
        if "-" not in card.name and read_line(card / "device" / "vendor") == vendor:
            yield card / "device"


def amd_report(root: Path = _DRM, topology: Path = _KFD) -> tuple[GpuReading, ...]:
    """AMD GPUs with memory of their own, in card order."""
    found: list[GpuReading] = []
    for folder in _cards(root, _AMD):
        memory, used = read_number(folder / "mem_info_vram_total"), read_number(folder / "mem_info_vram_used")
        if memory is None or memory < _FEWEST_BYTES:
            continue
        name = plain_text(read_line(folder / "product_name")) or "AMD GPU"
        found.append(
            GpuReading(
                index=len(found), vendor="amd", name=name, catalogue_id=catalogue_id(name, memory), memory_bytes=memory,
                used_bytes=used, free_bytes=None if used is None else max(0, memory - used), gfx=_gfx(folder, topology),
                driver=plain_text(read_line("/sys/module/amdgpu/version")) or None, pcie=_pcie(folder), **_sensors(folder),
            )
        )  # fmt: skip
    return tuple(found)


def _gfx(folder: Path, topology: Path) -> str | None:
    """`gfx1100` of the node whose PCI device id is this card's: gfx_target_version is major, minor, stepping of 2 digits."""
    wanted = read_line(folder / "device")
    for node in sorted(topology.glob("[0-9]*")):
        values = dict(re.findall(r"^(\w+) (\d+)$", read_line(node / "properties"), re.MULTILINE))
        version = int(values.get("gfx_target_version", 0))
        if version and wanted and int(values.get("device_id", 0)) == int(wanted, 16):
            return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
    return None


def _pcie(folder: Path) -> PcieLink:
    return PcieLink(
        generation_now=_generation(folder / "current_link_speed"), width_now=read_number(folder / "current_link_width"),
        generation_max=_generation(folder / "max_link_speed"), width_max=read_number(folder / "max_link_width"),
    )  # fmt: skip


def _generation(path: Path) -> int | None:
    found = re.match(r"[0-9.]+", read_line(path))
    return _GENERATIONS.get(found[0]) if found else None


def _sensors(folder: Path) -> dict[str, Any]:
    """Power in microwatts and temperature in thousandths of a degree, as hwmon writes them."""
    sensors = next(iter(sorted((folder / "hwmon").glob("hwmon*"))), folder / "hwmon" / "none")
    power = read_number(sensors / "power1_average") or read_number(sensors / "power1_input")
    values = {
        "power_w": power,
        "power_limit_w": read_number(sensors / "power1_cap"),
        "power_limit_default_w": read_number(sensors / "power1_cap_default"),
    }
    celsius = read_number(sensors / "temp1_input")
    return {
        **{name: None if value is None else value / 1e6 for name, value in values.items()},
        "temperature_c": None if celsius is None else celsius // 1000,
    }


@lru_cache(maxsize=1)
def _intel_ids() -> dict[str, str]:
    table = load_toml("fitserve.hardware.catalog", "intel_pci_ids.toml")
    return {pci_id: row["gpu"] for row in table["gpus"] for pci_id in row["pci_ids"]}


def intel_report(root: Path = _DRM) -> tuple[GpuReading, ...]:
    """Intel Arc cards by their PCI id. The driver has no file for the memory: it is the catalogue's (`memory_is_read`)."""
    found: list[GpuReading] = []
    for folder in _cards(root, _INTEL):
        gpu_id = _intel_ids().get(read_line(folder / "device").removeprefix("0x"))
        if gpu_id is None:
            continue
        known = device(gpu_id)
        driver = (folder / "driver").resolve().name if (folder / "driver").exists() else None
        found.append(
            GpuReading(
                index=len(found), vendor="intel", name=known.name, catalogue_id=gpu_id, memory_bytes=known.memory_bytes,
                memory_is_read=False, driver=driver, pcie=_pcie(folder), **_sensors(folder),
            )
        )  # fmt: skip
    return tuple(found)
