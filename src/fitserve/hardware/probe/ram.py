"""Memory: of the machine, of the container, and the modules where the firmware may be read."""

import json
import platform
import re
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from fitserve.hardware.probe.bounded import printed
from fitserve.hardware.probe.cgroups import memory_limits
from fitserve.hardware.report import RamReading

_SIZE = re.compile(r"(\d+) (MB|GB|TB)", re.IGNORECASE)
_UNITS = {"MB": 20, "GB": 30, "TB": 40}
_CHANNEL = re.compile(r"^(.*?channel[ _-]?[a-z0-9]+)", re.IGNORECASE)
_SLOT = re.compile(r"^(.*?)dimm[ _-]?([a-z])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A filled slot. `channel` is a name that modules of one channel share; None when the firmware's names do not say."""

    module_bytes: int
    kind: str | None
    mt_per_s: int | None
    width_bits: int | None
    channel: str | None


def ram_report() -> RamReading:
    """Memory in bytes; `shared_bytes` is /dev/shm, which engines with several processes use."""
    total = psutil.virtual_memory()
    limit = lowest_limit(memory_limits())
    reading = RamReading(
        total_bytes=int(total.total), available_bytes=int(total.available), swap_bytes=_swap(),
        limit_bytes=limit if limit is not None and limit < total.total else None, shared_bytes=_shared(),
    )  # fmt: skip
    return with_modules(reading, _modules())


def _swap() -> int | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # psutil warns where a container hides the counters, which are not asked for
        try:
            return int(psutil.swap_memory().total)
        except (OSError, RuntimeError):
            return None


def lowest_limit(files: Sequence[str]) -> int | None:
    """The lowest number in these files; `max` and what cannot be read are no limit."""
    found = []
    for path in files:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit():
            found.append(int(text))
    return min(found, default=None)


def _shared() -> int | None:
    try:
        return shutil.disk_usage("/dev/shm").total  # noqa: S108 - its size is asked, nothing is written
    except OSError:
        return None


def with_modules(reading: RamReading, modules: Sequence[Module]) -> RamReading:
    """The reading with what the modules say: the slowest one sets the pace; the peak only where all channels are named."""
    if not modules:
        return reading
    speeds = [module.mt_per_s for module in modules if module.mt_per_s]
    speed = min(speeds) if speeds else None
    named = all(module.channel is not None for module in modules)
    widths = {module.channel: module.width_bits for module in modules}
    peak = None
    if named and speed and all(widths.values()):
        peak = sum(width or 0 for width in widths.values()) / 8 * speed * 1e6
    kinds = {module.kind for module in modules if module.kind}
    return replace(
        reading, modules=len(modules), channels=len(widths) if named else 1 if len(modules) == 1 else None,
        kind="/".join(sorted(kinds)) or None, mt_per_s=speed, peak_bytes_per_s=peak,
    )  # fmt: skip


def _modules() -> tuple[Module, ...]:
    if platform.system() == "Windows":
        script = (
            "Get-CimInstance Win32_PhysicalMemory | Select-Object Capacity,ConfiguredClockSpeed,DataWidth,"
            "DeviceLocator,BankLocator | ConvertTo-Json"
        )
        return windows_modules(printed("powershell", "-NoProfile", "-Command", script, timeout_s=8) or "")
    return dmi_modules(printed("dmidecode", "-t", "17") or "")


def dmi_modules(text: str) -> tuple[Module, ...]:
    """Filled slots of what `dmidecode -t 17` prints."""
    found = []
    for block in text.split("\n\n"):
        values = dict(re.findall(r"^\s+([\w ]+): (.*)$", block, re.MULTILINE))
        size = _SIZE.match(values.get("Size", ""))
        if "Memory Device" not in block or size is None:
            continue
        speed = re.match(r"\d+", values.get("Configured Memory Speed", "")) or re.match(r"\d+", values.get("Speed", ""))
        width = re.match(r"\d+", values.get("Data Width", ""))
        kind = values.get("Type", "")
        found.append(
            Module(
                module_bytes=int(size[1]) << _UNITS[size[2].upper()],
                kind=kind if re.fullmatch(r"(LP)?DDR\d\w?|HBM\w*", kind) else None,
                mt_per_s=int(speed[0]) if speed else None,
                width_bits=int(width[0]) if width else None,
                channel=_channel(values.get("Bank Locator", ""), values.get("Locator", "")),
            )
        )
    return tuple(found)


def _channel(bank: str, slot: str) -> str | None:
    """What the names of the channels of one board share: `P0 CHANNEL A`, `Controller0-ChannelA`, `DIMM_A`."""
    for text in (f"{bank} {slot}" if "channel" in bank.lower() else slot, slot):
        named = _CHANNEL.match(text)
        if named:
            return named[1].lower()
    lettered = _SLOT.match(slot)
    return f"{lettered[1]}{lettered[2]}".lower() if lettered else None


def windows_modules(text: str) -> tuple[Module, ...]:
    """Filled slots of Win32_PhysicalMemory as JSON."""
    try:
        rows = json.loads(text)
    except ValueError:
        return ()
    found = []
    for row in rows if isinstance(rows, list) else [rows]:
        if not isinstance(row, dict) or not isinstance(row.get("Capacity"), int):
            continue
        found.append(
            Module(
                module_bytes=row["Capacity"], kind=None, mt_per_s=row.get("ConfiguredClockSpeed") or None,
                width_bits=row.get("DataWidth") or None,
                channel=_channel(str(row.get("BankLocator") or ""), str(row.get("DeviceLocator") or "")),
            )
        )  # fmt: skip
    return tuple(found)
