"""From `--gpu` or `--hardware`, `--ram` and `--os` to a Machine."""

import re
from dataclasses import replace

from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Reason, note
from fitserve.hardware.identify import Identified, identify
from fitserve.hardware.types import Accelerator, Host, Machine
from fitserve.plan.request import HardwareRequest
from fitserve.plan.world import World

_MOST_DEVICES = 1024
_NO_GPU = {"none", "cpu", "no"}
_COUNT_AFTER = re.compile(r"(?P<name>.+?)\s*(?::|\s[x×*])\s*(?P<count>[-+]?\d+)")
_COUNT_BEFORE = re.compile(r"(?P<count>[-+]?\d+)\s*[x×*]\s*(?P<name>.+)")


def parse_gpu(text: str) -> tuple[str, int]:
    """(name, count) of `rtx-3090:2`, `2x rtx 3090` or `rtx-3090`. Raises InputError for a count that is none."""
    found = _COUNT_AFTER.fullmatch(text.strip()) or _COUNT_BEFORE.fullmatch(text.strip())
    name, count = (found["name"], int(found["count"])) if found else (text.strip(), 1)
    if not 1 <= count <= _MOST_DEVICES:
        raise InputError.of("gpu_count_wrong", given=text, most=_MOST_DEVICES)
    return name, count


def machine_of(request: HardwareRequest, world: World) -> tuple[Machine, tuple[Reason, ...]]:
    """The machine of a request, and what was assumed about it."""
    if request.hardware is not None:
        return _reported(request, world)
    if not request.gpu:
        return _this_machine(request, world)
    if any(text.strip().lower() in _NO_GPU for text in request.gpu):
        return _cpu_only(request, world)
    devices: list[Accelerator] = []
    notes: list[Reason] = []
    for text in request.gpu:
        name, count = parse_gpu(text)
        found = identify(name)
        devices += [_with_ram(found.device, request.ram)] * count
        notes += _assumptions(name, found, request.ram)
    if len(devices) > _MOST_DEVICES:
        raise InputError.of("gpu_count_wrong", given=", ".join(request.gpu), most=_MOST_DEVICES)
    # the largest first: a candidate that needs one device takes that one
    devices.sort(key=lambda device: -device.engine_visible_bytes)
    apple = any(device.vendor == "apple" for device in devices)
    unified = max((device.memory_bytes for device in devices if device.is_unified), default=None)
    host = Host(os=request.os or ("macos" if apple else "linux"), ram_bytes=request.ram or unified)
    return Machine(devices=tuple(devices), host=host), tuple(_once(notes))


def _with_ram(device: Accelerator, ram_bytes: int | None) -> Accelerator:
    """A GPU that shares the machine's memory has what `--ram` says."""
    return replace(device, memory_bytes=ram_bytes) if device.is_unified and ram_bytes is not None else device


def _assumptions(name: str, found: Identified, ram_bytes: int | None) -> list[Reason]:
    gpu, memory = found.device.id, found.device.memory_bytes
    notes = [note("gpu_assumed", given=name, gpu=found.assumed)] if found.assumed is not None else []
    if found.device.is_unified:
        if ram_bytes is None and not found.memory_stated:
            notes.append(note("unified_memory_assumed", gpu=gpu, have_bytes=memory))
    elif found.device.is_recalled:
        notes.append(note("gpu_memory_not_read", gpu=gpu, have_bytes=memory))
    return notes


def _once(notes: list[Reason]) -> list[Reason]:
    return [item for index, item in enumerate(notes) if item not in notes[:index]]


def _reported(request: HardwareRequest, world: World) -> tuple[Machine, tuple[Reason, ...]]:
    """The machine of a report file; `--ram` and `--os` change it."""
    if request.gpu:
        raise InputError.of("gpu_with_hardware", given=", ".join(request.gpu))
    if world.read_hardware is None or request.hardware is None:
        raise InputError.of("hardware_file_other", given=str(request.hardware))
    found = world.read_hardware(request.hardware)
    machine = _with_wishes(found.machine, request)
    memory = machine.host.ram_bytes or 0
    seen = note("reported_machine", gpus=_gpus(machine), ram_bytes=memory)
    without = note("reported_machine_without_gpu", ram_bytes=memory)
    return machine, (*found.notes, seen if machine.devices else without)


def _with_wishes(found: Machine, request: HardwareRequest) -> Machine:
    """A machine that was looked at, with what `--ram` and `--os` say."""
    host = replace(found.host, os=request.os or found.host.os, ram_bytes=request.ram or found.host.ram_bytes)
    return Machine(devices=tuple(_with_ram(d, request.ram) for d in found.devices), host=host)


def _gpus(machine: Machine) -> str:
    return ", ".join(f"{count} x {gpu}" for gpu, count in machine.counts)


def _this_machine(request: HardwareRequest, world: World) -> tuple[Machine, tuple[Reason, ...]]:
    machine = _with_wishes(world.this_machine(), request)
    memory = machine.host.ram_bytes or 0
    without = note("this_machine_without_gpu", ram_bytes=memory)
    return machine, (note("this_machine", gpus=_gpus(machine), ram_bytes=memory) if machine.devices else without,)


def _cpu_only(request: HardwareRequest, world: World) -> tuple[Machine, tuple[Reason, ...]]:
    if len(request.gpu) > 1:
        raise InputError.of("gpu_none_with_others", given=", ".join(request.gpu))
    if request.ram is not None:
        return Machine(devices=(), host=Host(os=request.os or "linux", ram_bytes=request.ram)), ()
    found = world.this_machine().host
    host = replace(found, os=request.os or found.os)
    return Machine(devices=(), host=host), (note("ram_of_this_machine", ram_bytes=found.ram_bytes or 0),)
