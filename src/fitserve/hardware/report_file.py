"""A report of `probe` read back as a machine: what `--hardware FILE` plans for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Reason, note, warning
from fitserve.hardware.identify import device, gpu_rows
from fitserve.hardware.types import Accelerator, Host, Machine

KIND = "fitserve_hardware"
VERSION = 1
_MOST_GPUS = 1024
_MOST_BYTES = 1 << 50
_MOST_LETTERS = 120
_FREE_ENOUGH = 0.05  # what a desktop holds; engines leave more than that of their own
_VENDORS = {"nvidia", "amd", "intel", "apple"}
_SYSTEMS = {"linux", "windows", "macos"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedMachine:
    """The machine of a report and what is to be said of it."""

    machine: Machine
    notes: tuple[Reason, ...]


def machine_of_report(data: object, where: str) -> ReportedMachine:
    """The machine of a report's JSON; `where` names the file in messages.

    GPUs that did not answer are left out with a warning, a GPU in MIG mode is its instances. Memory is the driver's
    total; what other programs held when the report was made is a warning. Raises InputError for anything else.
    """
    if not isinstance(data, Mapping) or data.get("kind") != KIND:
        raise InputError.of("hardware_file_other", given=where)
    if data.get("schema_version") != VERSION:
        raise InputError.of(
            "hardware_file_version", given=where, found=str(data.get("schema_version"))[:20], known=VERSION
        )
    listed = data.get("gpus", [])
    if not isinstance(listed, Sequence) or len(listed) > _MOST_GPUS:
        raise _wrong(where, "gpus")
    notes: list[Reason] = [note("hardware_file", taken=_text(data, "taken", where) or "-")]
    devices: list[Accelerator] = []
    for number, row in enumerate(listed):
        if not isinstance(row, Mapping):
            raise _wrong(where, f"gpus[{number}]")
        found = _device(row, where, notes)
        devices += [] if found is None else [found]
    # the largest first, as for --gpu: a candidate that needs one device takes that one
    devices.sort(key=lambda item: -item.engine_visible_bytes)
    return ReportedMachine(machine=Machine(devices=tuple(devices), host=_host(data, where)), notes=tuple(notes))


def _wrong(where: str, field: str) -> InputError:
    return InputError.of("hardware_file_wrong", given=where, field=field)


def _text(row: Mapping[str, Any], field: str, where: str) -> str | None:
    value = row.get(field)
    if value is not None and (not isinstance(value, str) or len(value) > _MOST_LETTERS or not value.isprintable()):
        raise _wrong(where, field)
    return value


def _bytes(row: Mapping[str, Any], field: str, where: str) -> int | None:
    value = row.get(field)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_BYTES:
        raise _wrong(where, field)
    return value


def _part(row: Mapping[str, Any], field: str, where: str) -> Mapping[str, Any]:
    value = row.get(field) or {}
    if not isinstance(value, Mapping):
        raise _wrong(where, field)
    return value


def _host(data: Mapping[str, Any], where: str) -> Host:
    system, ram, cpu = (_part(data, field, where) for field in ("system", "ram", "cpu"))
    name = _text(system, "os", where) or "linux"
    if name not in _SYSTEMS:
        raise _wrong(where, "os")
    sizes = [size for size in (_bytes(ram, "total_bytes", where), _bytes(ram, "limit_bytes", where)) if size]
    sockets, cpu_name = _bytes(cpu, "sockets", where) or 1, _text(cpu, "name", where)
    if cpu_name and sockets > 1:
        cpu_name = f"{sockets}x {cpu_name}"
    return Host(os=name, ram_bytes=min(sizes, default=None), cpu_name=cpu_name)


def _device(row: Mapping[str, Any], where: str, notes: list[Reason]) -> Accelerator | None:
    """One GPU; None for one that cannot be used."""
    index, memory = _bytes(row, "index", where) or 0, _bytes(row, "memory_bytes", where)
    if row.get("fault") is not None:
        notes.append(warning("reported_fault", gpu=index, fault=_text(row, "fault", where) or "-"))
        return None
    if row.get("mig") and row.get("part_of") is None:
        return None  # its instances follow
    if not memory:
        notes.append(warning("reported_without_memory", gpu=index))
        return None
    held = _bytes(row, "used_bytes", where) or 0
    if held > memory * _FREE_ENOUGH and not row.get("is_unified"):
        free = max(0, memory - held)
        share = math.floor(free / memory * 100) / 100
        notes.append(warning("reported_memory_held", gpu=index, held_bytes=held, total_bytes=memory, share=share))
    capability = _capability(row, where)
    known = _text(row, "catalogue_id", where)
    if known is not None and known in gpu_rows() and row.get("part_of") is None:
        found = device(known)
        return replace(
            found, memory_bytes=memory, compute_capability=capability or found.compute_capability, is_recalled=False
        )
    vendor, name = _text(row, "vendor", where) or "nvidia", _text(row, "name", where) or f"GPU {index}"
    if vendor not in _VENDORS:
        raise _wrong(where, "vendor")
    return Accelerator(
        id=name, vendor=vendor, name=name, memory_bytes=memory, compute_capability=capability,
        gfx=_text(row, "gfx", where), is_unified=bool(row.get("is_unified")),
    )  # fmt: skip


def _capability(row: Mapping[str, Any], where: str) -> str | None:
    text = _text(row, "compute_capability", where)
    if text is not None and [part.isdigit() and len(part) <= 3 for part in text.split(".")] != [True, True]:
        raise _wrong(where, "compute_capability")
    return text
