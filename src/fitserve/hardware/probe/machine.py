"""This machine as a Machine."""

import platform
import subprocess
from dataclasses import replace

import psutil

from fitserve.foundation.errors import InputError
from fitserve.hardware.identify import identify
from fitserve.hardware.probe.amd import amd_devices
from fitserve.hardware.probe.cgroups import memory_limits
from fitserve.hardware.probe.cpu import cpu_name
from fitserve.hardware.probe.nvidia import nvidia_devices
from fitserve.hardware.probe.ram import lowest_limit
from fitserve.hardware.types import Accelerator, Host, Machine

_SYSTEMS = {"Linux": "linux", "Windows": "windows", "Darwin": "macos"}


def this_machine() -> Machine:
    """Devices, memory and operating system. Raises ProbeFailed when a driver is there and does not answer."""
    system = _SYSTEMS.get(platform.system(), "linux")
    memory = ram_bytes()
    devices = apple_devices() if system == "macos" else (*nvidia_devices(memory), *amd_devices())
    return Machine(devices=devices, host=Host(os=system, ram_bytes=memory, cpu_name=cpu_name()))


def ram_bytes(limits: tuple[str, ...] | None = None) -> int:
    """Memory of the machine, or of the container when that is less; `limits`: the files that may hold its limit."""
    total = int(psutil.virtual_memory().total)
    limit = lowest_limit(memory_limits() if limits is None else limits)
    return total if limit is None else min(total, limit)


def apple_devices() -> tuple[Accelerator, ...]:
    """The GPU of an Apple chip, with the machine's memory; empty on an Intel Mac."""
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        chip = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()  # noqa: S603 - fixed command
    except (OSError, subprocess.SubprocessError):
        return ()
    if not chip.startswith("Apple"):
        return ()
    try:
        known = identify(chip).device
    except InputError:
        return (Accelerator(id=chip, vendor="apple", name=chip, memory_bytes=ram_bytes(), is_unified=True),)
    return (replace(known, memory_bytes=ram_bytes()),)
