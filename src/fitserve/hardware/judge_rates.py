"""Measured rates against the datasheet: which share, whether that is normal, and what is likely where it is not."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, Source, note
from fitserve.hardware.identify import gpu_rows
from fitserve.hardware.processors import processor
from fitserve.hardware.report import GpuReading, HardwareReport, Rate

NORMAL, SLOW, ABOVE, UNKNOWN, PART = "normal", "slow", "above", "no_datasheet", "part_of_machine"
_ABOVE = 1.1
_MOST_SHARED = 0.75  # of the cores of the processor: fewer, and its datasheet is not this machine's
_THERMAL = {"software_thermal", "hardware_thermal", "hardware_slowdown"}
_POWER = {"power_cap", "power_brake"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A rate beside its datasheet. `share`: of the datasheet; `low`: the least that is normal (a share, for disks a rate in
    bytes a second, `low_per_s`). `verdict`: normal, slow, above, no_datasheet or part_of_machine. `likely`: what to look at."""

    rate: Rate
    verdict: str
    datasheet_per_s: float | None = None
    share: float | None = None
    low: float | None = None
    low_per_s: float | None = None
    likely: tuple[Reason, ...] = ()
    source: Source | None = None


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    return load_toml("fitserve.hardware.catalog", "normal_rates.toml")


def judge_rates(report: HardwareReport) -> tuple[Judged, ...]:
    """Every rate of a report, judged, in the order measured."""
    return tuple(judge(rate, report) for rate in report.rates)


def judge(rate: Rate, report: HardwareReport) -> Judged:
    """One rate of a report."""
    if rate.what == "disk_read":
        return _disk(rate, report)
    sheet, row = _datasheet(rate, report)
    if sheet is None or row is None:
        return Judged(rate=rate, verdict=UNKNOWN)
    share, source = rate.per_s / sheet, Source(**row["source"])
    verdict = ABOVE if share > _ABOVE else NORMAL if share >= row["low"] else SLOW
    if verdict == SLOW and rate.gpu is None and _is_part(report):
        verdict = PART
    likely = _likely(rate, report) if verdict == SLOW else ()
    return Judged(
        rate=rate, verdict=verdict, datasheet_per_s=sheet, share=share, low=row["low"], likely=likely, source=source
    )


def _disk(rate: Rate, report: HardwareReport) -> Judged:
    row = next((row for row in _table()["disk"] if row["kind"] == report.disk.kind), None)
    if row is None:
        return Judged(rate=rate, verdict=UNKNOWN)
    low = float(row["low_bytes_per_s"])
    slow = rate.per_s < low
    likely = (note("likely_disk", kind=report.disk.kind),) if slow else ()
    return Judged(
        rate=rate, verdict=SLOW if slow else NORMAL, low_per_s=low, likely=likely, source=Source(**row["source"])
    )


def _is_part(report: HardwareReport) -> bool:
    """Whether this is a share of a larger machine: a virtual machine or a container with some of its cores."""
    known = processor(_cpu_name(report))
    usable = report.cpu.usable_cpus
    return known is not None and usable is not None and usable < known.cores * _MOST_SHARED


def _cpu_name(report: HardwareReport) -> str | None:
    sockets = report.cpu.sockets or 1
    return f"{sockets}x {report.cpu.name}" if report.cpu.name and sockets > 1 else report.cpu.name


def _row(what: str, gpu: str | None = None, dtype: str | None = None) -> Mapping[str, Any] | None:
    for row in _table()["normal"]:
        if row["what"] == what and row.get("dtype") in (None, dtype) and gpu in row.get("gpu", [gpu]):
            found: Mapping[str, Any] = row
            return found
    return None


def _datasheet(rate: Rate, report: HardwareReport) -> tuple[float | None, Mapping[str, Any] | None]:
    """(bytes or operations a second, the row of what is normal)."""
    if rate.what in {"ram_read", "ram_copy"}:
        known = processor(_cpu_name(report))
        return report.ram.peak_bytes_per_s or (known.bandwidth_bytes_per_s if known else None), _row(rate.what)
    if rate.what == "cpu_matrix":
        known = processor(_cpu_name(report))
        return known.flop_per_s if known else None, _row(rate.what)
    gpu = report.gpu(rate.gpu)
    if gpu is None or gpu.mig:
        return None, None
    if rate.what in {"host_to_device", "device_to_host"}:
        return _pcie(gpu), _row(rate.what)
    if rate.what == "gpu_to_gpu":
        return _between(rate, report, gpu)
    facts = gpu_rows().get(gpu.catalogue_id or "")
    if facts is None:
        return None, None
    boards = facts["devices_per_board"] or 1
    if rate.what == "gpu_memory":
        return _part(facts["bandwidth_bytes_per_s"], boards), _row(rate.what, gpu.catalogue_id)
    figure = facts["dense_flop_per_s"].get(rate.dtype or "")
    return _part(figure, boards), _row(rate.what, gpu.catalogue_id, rate.dtype)


def _part(figure: float | None, boards: int) -> float | None:
    return figure / boards if figure else None


def _pcie(gpu: GpuReading) -> float | None:
    """Bytes a second, one direction, of the widest and fastest link that GPU and slot allow."""
    lanes: list[int] = _table()["pcie"][0]["bytes_per_lane"]
    link = gpu.pcie
    if link is None or not link.generation_max or not link.width_max or link.generation_max > len(lanes):
        return None
    return float(lanes[link.generation_max - 1] * link.width_max)


def _between(rate: Rate, report: HardwareReport, gpu: GpuReading) -> tuple[float | None, Mapping[str, Any] | None]:
    """NVLink where both cards have it, used or not: what lies idle is to be seen. PCIe otherwise."""
    peer = report.gpu(rate.peer)
    if peer is None:
        return None, None
    pair = next((pair for pair in report.pairs if {pair.first, pair.second} == {rate.gpu, rate.peer}), None)
    total = (gpu.nvlinks_up or 0) + (gpu.nvlinks_down or 0)
    facts = gpu_rows().get(gpu.catalogue_id or "")
    whole = (
        max((i["bytes_per_s_per_direction"] or 0 for i in facts["interconnects"] if "nvlink" in i["kind"]), default=0)
        if facts
        else 0
    )
    if pair is not None and pair.nvlinks and total and whole:
        return whole * pair.nvlinks / total, _row("nvlink")
    rates = [_pcie(gpu), _pcie(peer)]
    return (min(r for r in rates if r is not None) if all(rates) else None), _row("gpu_to_gpu")


def _likely(rate: Rate, report: HardwareReport) -> tuple[Reason, ...]:
    """What the readings say is the likely cause; what to look at where they say nothing."""
    if rate.what in {"ram_read", "ram_copy"}:
        one = report.ram.channels == 1 or report.ram.modules == 1
        return (note("likely_one_channel"),) if one else (note("likely_ram"),)
    gpu = report.gpu(rate.gpu)
    if gpu is None:
        return (note("likely_cpu"),)
    if rate.what in {"host_to_device", "device_to_host"}:
        return _likely_link(gpu)
    if rate.what == "gpu_to_gpu":
        return _likely_pair(rate, report, gpu)
    return _likely_gpu(gpu, rate)


def _likely_link(gpu: GpuReading) -> tuple[Reason, ...]:
    link = gpu.pcie
    if link and link.width_now and link.width_max and link.width_now < link.width_max:
        return (note("likely_pcie_width", now=link.width_now, most=link.width_max),)
    return (note("likely_pcie"),)


def _likely_pair(rate: Rate, report: HardwareReport, gpu: GpuReading) -> tuple[Reason, ...]:
    pair = next((pair for pair in report.pairs if {pair.first, pair.second} == {rate.gpu, rate.peer}), None)
    found = []
    if gpu.driver_model == "wddm":
        found.append(note("likely_wddm_peer"))
    if pair is not None and pair.nvlinks:
        found.append(note("likely_nvlink_unused", links=pair.nvlinks))
    if pair is not None and pair.path == "system":
        found.append(note("likely_two_sockets"))
    return tuple(found) or _likely_link(gpu)


def _likely_gpu(gpu: GpuReading, rate: Rate) -> tuple[Reason, ...]:
    held = {*(gpu.throttle or ()), *(gpu.throttle_loaded or ())}
    found = []
    if held & _THERMAL:
        found.append(note("likely_thermal", celsius=gpu.temperature_c))
    limit, usual = gpu.power_limit_w, gpu.power_limit_default_w
    if limit and usual and limit < usual:
        found.append(note("likely_power_limit", watts=round(limit), usual=round(usual)))
    elif held & _POWER and rate.is_matrix:
        found.append(note("likely_power"))
    if gpu.processes and any(item.kind == "compute" for item in gpu.processes):
        found.append(note("likely_busy_gpu"))
    return tuple(found) or (note("likely_gpu"),)
