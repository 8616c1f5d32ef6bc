"""The whole look at this machine: what it is, then how fast it is, within a stated time."""

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from fitserve.foundation.reasons import Reason, Source, note, warning
from fitserve.hardware.probe.cpu import cpu_report
from fitserve.hardware.probe.disk import disk_report, model_folder
from fitserve.hardware.probe.engines import installed_version
from fitserve.hardware.probe.machine import apple_devices
from fitserve.hardware.probe.nvidia_report import nvidia_report
from fitserve.hardware.probe.ram import ram_report
from fitserve.hardware.probe.rates_disk import disk_rate
from fitserve.hardware.probe.rates_gpu import START_S, gpu_rates
from fitserve.hardware.probe.rates_ram import cpu_matrix_rate, ram_rates
from fitserve.hardware.probe.sysfs_gpus import amd_report, intel_report
from fitserve.hardware.probe.system import system_report
from fitserve.hardware.report import EngineFound, GpuReading, HardwareReport, Rate

LOOK_S, RAM_S, MATRIX_S, DISK_S, GPU_S = 2.0, 2.0, 1.0, 3.0, 6.0
_FIRST_CUDA = 12
_CUDA_SOURCE = Source(
    kind="documentation",
    ref="CUDA Compatibility, minor version compatibility: CUDA 12.x from driver 525, 13.x from 580; recalled",
    checked="2026-11-20",
)
_LEAST_SHARED = 1 << 30  # PyTorch's and NCCL's buffers of several processes do not fit in Docker's 64 MB


def take_report(installed: Mapping[str, Mapping[str, str]], host_rates: bool, with_gpu_rates: bool) -> HardwareReport:
    """This machine. `installed`: how each engine's version is asked, by engine id. Faults become notes; nothing is raised.

    Time: about `LOOK_S` without rates; host rates add `RAM_S + MATRIX_S + DISK_S`, GPU rates `GPU_S + START_S` at most.
    """
    start = time.monotonic()
    with ThreadPoolExecutor(max_workers=6) as pool:
        nvidia_soon, system_soon, ram_soon = (
            pool.submit(nvidia_report),
            pool.submit(system_report),
            pool.submit(ram_report),
        )
        versions = pool.map(lambda item: (item[0], installed_version(item[1])), installed.items())
        engines = tuple(EngineFound(engine=name, version=found) for name, found in versions if found)
        nvidia, system, ram = nvidia_soon.result(), system_soon.result(), ram_soon.result()
    gpus = (*nvidia.gpus, *_others(len(nvidia.gpus), system.os))
    folder = model_folder()
    report = HardwareReport(
        taken=datetime.now(UTC).date().isoformat(), seconds=0.0, cpu=cpu_report(), ram=ram,
        system=replace(system, nvidia_driver=nvidia.driver, cuda_version=nvidia.cuda_version),
        disk=disk_report(folder), gpus=gpus, pairs=nvidia.pairs, engines=engines,
    )  # fmt: skip
    notes = [*nvidia.notes, *_notes(report)]
    rates: list[Rate] = []
    if host_rates:
        cpu = report.cpu
        cores = max(1, min(cpu.cores or 1, int(cpu.usable_cpus or 1)))
        free = min(ram.available_bytes or 0, ram.limit_bytes or ram.available_bytes or 0)
        measured = ram_rates(cores, cpu.l3_bytes, free, RAM_S)
        rates += measured
        notes += [] if measured else [note("ram_not_measured")]
        matrix = cpu_matrix_rate(MATRIX_S)
        rates += [] if matrix is None else [matrix]
        read, disk_notes = disk_rate(folder, report.disk, DISK_S)
        rates += [] if read is None else [read]
        notes += disk_notes
    if with_gpu_rates:
        chosen = [gpu for gpu in gpus if gpu.vendor == "nvidia"] or [gpu for gpu in gpus if gpu.vendor == "amd"]
        found, held, gpu_notes = gpu_rates(chosen, GPU_S)
        rates += found
        notes += gpu_notes
        notes += [note("gpu_rates_vendor")] if gpus and not chosen else []
        gpus = tuple(replace(gpu, throttle_loaded=held.get(gpu.index, gpu.throttle_loaded)) for gpu in gpus)
    return replace(
        report, gpus=gpus, rates=tuple(rates), notes=tuple(notes), seconds=round(time.monotonic() - start, 1)
    )


def seconds_at_most(host_rates: bool, with_gpu_rates: bool) -> int:
    """Seconds that a report takes at most on a healthy machine; a driver that hangs adds its own limit."""
    host = RAM_S + MATRIX_S + DISK_S if host_rates else 0.0
    return round(LOOK_S + host + (GPU_S + START_S if with_gpu_rates else 0.0))


def _others(first: int, system: str) -> list[GpuReading]:
    """GPUs that no NVIDIA driver knows, numbered after those."""
    if system == "macos":
        found: tuple[GpuReading, ...] = tuple(
            GpuReading(
                index=0, vendor="apple", name=item.name, catalogue_id=item.id, memory_bytes=item.memory_bytes, is_unified=True
            )
            for item in apple_devices()
        )  # fmt: skip
    else:
        found = (*amd_report(), *intel_report())
    return [replace(gpu, index=first + number) for number, gpu in enumerate(found)]


def _notes(report: HardwareReport) -> list[Reason]:
    """What a person should know of the machine around the GPUs."""
    system, ram, found = report.system, report.ram, []
    if ram.limit_bytes is not None:
        found.append(note("ram_limited", limit_bytes=ram.limit_bytes, total_bytes=ram.total_bytes or 0))
    usable, threads = report.cpu.usable_cpus, report.cpu.threads
    if usable is not None and threads and usable < threads:
        found.append(note("cpus_limited", usable=usable, threads=threads))
    if ram.shared_bytes is not None and ram.shared_bytes < _LEAST_SHARED:
        found.append(warning("shared_memory_small", shared_bytes=ram.shared_bytes))
    oldest = report.system.cuda_version
    if oldest is not None and int(oldest.split(".")[0]) < _FIRST_CUDA:
        found.append(warning("driver_old", source=_CUDA_SOURCE, cuda=oldest))
    if os.environ.get("CUDA_VISIBLE_DEVICES") is not None and report.gpus:
        found.append(note("devices_masked"))
    if system.wsl is not None:
        found.append(note("wsl", version=system.wsl))
    if system.docker is not None and system.docker_answers is False:
        found.append(note("docker_silent"))
    if system.docker and system.nvidia_container_toolkit is None and any(g.vendor == "nvidia" for g in report.gpus):
        found.append(note("toolkit_missing"))
    if report.disk.kind == "network":
        found.append(warning("disk_is_network", file_system=report.disk.file_system or "-"))
    return found
