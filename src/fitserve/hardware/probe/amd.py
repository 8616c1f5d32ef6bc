"""AMD devices through the amdgpu driver's files in sysfs."""

from dataclasses import replace
from pathlib import Path

from fitserve.foundation.errors import InputError
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Accelerator

_VENDOR = "0x1002"
_FEWEST_BYTES = 2 << 30  # an integrated GPU's carve-out is no place for a model


def amd_devices(root: Path = Path("/sys/class/drm")) -> tuple[Accelerator, ...]:
    """Devices in card order; empty without the driver."""
    found = []
    for card in sorted(root.glob("card[0-9]*")):
        device = card / "device"
        if "-" in card.name or _text(device / "vendor") != _VENDOR:
            continue
        memory = _text(device / "mem_info_vram_total")
        if memory.isdigit() and int(memory) >= _FEWEST_BYTES:
            found.append(_device(_text(device / "product_name") or "AMD GPU", int(memory)))
    return tuple(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _device(name: str, memory_bytes: int) -> Accelerator:
    try:
        known = identify(name, memory_bytes).device
    except InputError:
        return Accelerator(id=name, vendor="amd", name=name, memory_bytes=memory_bytes)
    return replace(known, memory_bytes=memory_bytes, is_recalled=False)
