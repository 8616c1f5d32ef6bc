"""The report of `probe`: as JSON (which `--hardware` reads back), for a terminal, and as Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.engines.registry import ENTRIES
from fitserve.foundation.reasons import Reason, Severity
from fitserve.hardware.judge_rates import ABOVE, NORMAL, SLOW, Judged
from fitserve.hardware.report import GpuReading, HardwareReport, Rate
from fitserve.hardware.report_file import KIND, VERSION
from fitserve.render.forms import reason_form
from fitserve.render.human import bytes_text, count_text
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.texts import Texts, value_text

_NONE = "–"
_STYLES = {NORMAL: "green", SLOW: "bold red", ABOVE: "yellow"}
_GPU_NAMES = (
    ">probe_index",
    "gpu",
    ">probe_memory",
    ">probe_used",
    ">probe_pcie",
    ">probe_nvlink",
    ">probe_power",
    ">probe_celsius",
)
_RATE_NAMES = ("probe_rate", ">probe_measured", ">probe_datasheet", ">probe_share", ">probe_normal", "probe_verdict")


def report_form(report: HardwareReport, judged: Sequence[Judged], texts: Texts) -> dict[str, Any]:
    """JSON of a report. Bytes, bytes a second, operations a second, watts, MHz, degrees Celsius; null is unknown.

    `kind` is `fitserve_hardware`, `schema_version` 1; `taken` a date, `seconds` how long it took.
    `system`: os, name, kernel, architecture, wsl, container, is_virtual, nvidia_driver, cuda_version, rocm_version, docker,
    docker_answers, nvidia_container_toolkit. `cpu`: name, architecture, sockets, cores, threads, usable_cpus, isa, l1d_bytes,
    l2_bytes, l3_bytes, numa_nodes. `ram`: total_bytes, available_bytes, limit_bytes (of a container), swap_bytes,
    shared_bytes (/dev/shm), modules, channels, kind, mt_per_s, peak_bytes_per_s. `disk`: total_bytes, free_bytes, kind,
    file_system. `gpus`: the fields of `GpuReading`; a MIG instance has `part_of`. `gpu_pairs`: first, second, path, nvlinks.
    `engines`: engine, version. `rates`: what, gpu, peer, dtype, per_s, unit (`bytes`, `operations`), datasheet_per_s, share,
    normal_share, normal_per_s, verdict (`normal`, `slow`, `above`, `no_datasheet`, `part_of_machine`), likely (reasons),
    method, source. `notes`: reasons. Nothing in it names a person, a place or a single device.
    """
    return {
        "schema_version": VERSION,
        "kind": KIND,
        "taken": report.taken,
        "seconds": report.seconds,
        **{name: asdict(getattr(report, name)) for name in ("system", "cpu", "ram", "disk")},
        "gpus": [asdict(gpu) for gpu in report.gpus],
        "gpu_pairs": [asdict(pair) for pair in report.pairs],
        "engines": [asdict(item) for item in report.engines],
        "rates": [_rate_form(item, texts) for item in judged],
        "notes": [reason_form(_worded(reason, texts), texts) for reason in report.notes],
    }


def _rate_form(item: Judged, texts: Texts) -> dict[str, Any]:
    rate, source = item.rate, item.source
    return {
        "what": rate.what, "gpu": rate.gpu, "peer": rate.peer, "dtype": rate.dtype, "per_s": round(rate.per_s),
        "unit": "operations" if rate.is_matrix else "bytes",
        "datasheet_per_s": None if item.datasheet_per_s is None else round(item.datasheet_per_s),
        "share": None if item.share is None else round(item.share, 3),
        "normal_share": item.low, "normal_per_s": item.low_per_s, "verdict": item.verdict,
        "likely": [reason_form(reason, texts) for reason in item.likely],
        "method": texts.label(rate.method),
        "source": None if source is None else {"kind": source.kind, "ref": source.ref, "checked": source.checked},
    }  # fmt: skip


def _worded(reason: Reason, texts: Texts) -> Reason:
    """A reason whose parameters are codes, with their words."""
    causes = reason.parameters.get("causes")
    if not isinstance(causes, tuple):
        return reason
    worded = tuple(texts.label(f"throttle_{name}") for name in causes)
    return replace(reason, parameters=MappingProxyType({**reason.parameters, "causes": worded}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    """A heading with lines (style, text) and a table; either may be empty."""

    title: str
    lines: tuple[tuple[str, str], ...] = ()
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lead: int = 1


def report_view(report: HardwareReport, judged: Sequence[Judged], texts: Texts) -> RenderableType:
    """The report for a terminal."""
    parts: list[RenderableType] = []
    for section in _sections(report, judged, texts):
        parts.append(Text(section.title, style="bold"))
        if section.rows:
            parts.append(Rows(section.headings, section.rows, lead=section.lead))
        parts += [indented(text, style=style) for style, text in section.lines]
    return Group(*parts)


def report_markdown(report: HardwareReport, judged: Sequence[Judged], texts: Texts) -> str:
    """The report with Markdown headings and tables."""
    parts = [f"# {texts.label('probe_title')} ({report.taken})"]
    for section in _sections(report, judged, texts):
        parts.append(f"## {section.title}")
        if section.rows:
            marks = ["---:" if heading.startswith(">") else "---" for heading in section.headings]
            lines = [[h.removeprefix(">") for h in section.headings], marks, *section.rows]
            parts.append("\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines))
        if section.lines:
            parts.append("\n".join(f"- {text.removeprefix('· ')}" for _, text in section.lines))
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sections(report: HardwareReport, judged: Sequence[Judged], texts: Texts) -> Iterator[_Section]:
    yield _Section(title=texts.label("probe_machine"), lines=tuple(("", line) for line in _machine(report, texts)))
    yield _gpus(report, texts)
    if report.engines:
        known = {entry.id for entry in ENTRIES}
        listed = ", ".join(
            f"{value_text('engine', item.engine) if item.engine in known else item.engine} {item.version}"
            for item in report.engines
        )
        yield _Section(title=texts.label("probe_engines"), lines=(("", listed),))
    if report.notes:
        marks = {Severity.WARNING: ("yellow", "! "), Severity.NOTE: ("", "· ")}
        lines = [(*marks[reason.severity], texts.reason(_worded(reason, texts))) for reason in report.notes]
        lines.sort(key=lambda line: line[1] != "! ")  # warnings first
        yield _Section(
            title=texts.label("probe_notes"), lines=tuple((style, mark + text) for style, mark, text in lines)
        )
    if judged:
        yield _rates(report, judged, texts)


def _line(texts: Texts, code: str, values: Sequence[str | None]) -> str:
    return f"{texts.label(code)}: " + (" · ".join(value for value in values if value) or texts.label("probe_unknown"))


def _machine(report: HardwareReport, texts: Texts) -> Iterator[str]:
    system, cpu, ram, disk = report.system, report.cpu, report.ram, report.disk
    where = [
        system.container and texts.label("probe_container", kind=system.container),
        texts.label("probe_virtual") if system.is_virtual else None,
        f"WSL {system.wsl}" if system.wsl else None,
    ]
    yield _line(texts, "probe_system", [system.name or system.os, system.architecture, *where])
    yield _line(texts, "probe_cpu", [
        cpu.name,
        texts.label("probe_cores", cores=cpu.cores or "?", threads=cpu.threads or "?", sockets=cpu.sockets or "?"),
        ", ".join(cpu.isa), f"L3 {bytes_text(cpu.l3_bytes)}" if cpu.l3_bytes else None,
        texts.label("probe_numa", nodes=cpu.numa_nodes) if (cpu.numa_nodes or 0) > 1 else None,
    ])  # fmt: skip
    modules = texts.label(
        "probe_modules",
        modules=ram.modules or "?",
        channels=ram.channels or "?",
        kind=ram.kind or "",
        speed=ram.mt_per_s or "?",
    )
    yield _line(texts, "probe_ram", [
        None if ram.total_bytes is None else bytes_text(ram.total_bytes),
        None if ram.available_bytes is None else texts.label("probe_available", bytes=ram.available_bytes),
        modules if ram.modules else texts.label("probe_modules_unknown"),
        None if ram.shared_bytes is None else texts.label("probe_shared", bytes=ram.shared_bytes),
    ])  # fmt: skip
    yield _line(texts, "probe_disk", [
        texts.label(f"disk_{disk.kind}"), disk.file_system,
        None if disk.free_bytes is None else texts.label("probe_free", bytes=disk.free_bytes),
    ])  # fmt: skip
    if system.nvidia_driver or system.rocm_version:
        yield _line(texts, "probe_driver", [
            system.nvidia_driver and f"NVIDIA {system.nvidia_driver}", system.cuda_version and f"CUDA {system.cuda_version}",
            system.rocm_version and f"ROCm {system.rocm_version}",
        ])  # fmt: skip
    if system.docker:
        toolkit = system.nvidia_container_toolkit
        yield _line(texts, "probe_docker", [system.docker, toolkit and f"NVIDIA Container Toolkit {toolkit}"])


def _gpus(report: HardwareReport, texts: Texts) -> _Section:
    if not report.gpus:
        return _Section(title="GPU", lines=(("", texts.label("probe_no_gpu")),))
    rows = tuple(_gpu_cells(gpu, texts) for gpu in report.gpus)
    same: dict[str, list[str]] = {}
    for gpu in report.gpus:
        same.setdefault(_details(gpu, texts), []).append(str(gpu.index))
    lines = [f"GPU {', '.join(indices)}: {text}" for text, indices in same.items() if text]
    lines += [
        texts.label(
            "probe_pair",
            first=pair.first,
            second=pair.second,
            path=texts.label(f"path_{pair.path}", links=pair.nvlinks),
        )
        for pair in _telling(report)
    ]
    return _Section(
        title="GPU", headings=headings_of(_GPU_NAMES, texts), rows=rows, lead=2,
        lines=tuple(("", line) for line in lines),
    )  # fmt: skip


_MODEL_GB = 8  # weights of an 8B model in 8 bit, of a 14B model in 4 bit
_MOST_PAIRS = 6


def _telling(report: HardwareReport) -> Sequence[Any]:
    """Pairs worth a line: all of few; of many one of each kind."""
    if len(report.pairs) <= _MOST_PAIRS:
        return report.pairs
    kinds = {(pair.path, pair.nvlinks): pair for pair in reversed(report.pairs)}
    return list(kinds.values())


def _gpu_cells(gpu: GpuReading, texts: Texts) -> tuple[str, ...]:
    pcie, power = gpu.pcie, _NONE
    lanes = _NONE
    if pcie is not None and pcie.width_now:
        most = f" / {pcie.generation_max or '?'}.0 x{pcie.width_max}" if pcie.width_max else ""
        lanes = f"{pcie.generation_now or '?'}.0 x{pcie.width_now}{most}"
    if gpu.power_limit_w:
        power = (
            f"{count_text(round(gpu.power_w))} / {gpu.power_limit_w:.0f} W"
            if gpu.power_w
            else f"{gpu.power_limit_w:.0f} W"
        )
    links = _NONE
    if gpu.nvlinks_up is not None:
        links = f"{gpu.nvlinks_up}/{gpu.nvlinks_up + (gpu.nvlinks_down or 0)}"
    fault = texts.label(f"fault_{gpu.fault}") if gpu.fault else None
    return (
        f"{gpu.index}" if gpu.part_of is None else f"{gpu.index}*", gpu.name or fault or texts.label("probe_unknown"),
        _NONE if gpu.memory_bytes is None else bytes_text(gpu.memory_bytes),
        _NONE if gpu.used_bytes is None else bytes_text(gpu.used_bytes),
        lanes, links, power, _NONE if gpu.temperature_c is None else f"{gpu.temperature_c} °C",
    )  # fmt: skip


def _details(gpu: GpuReading, texts: Texts) -> str:
    """The rest of a GPU that is known, on one line; empty for MIG instances."""
    if gpu.part_of is not None or gpu.fault is not None:
        return ""
    programs: dict[str, int] = {}
    for item in gpu.processes or ():
        name = texts.label("probe_other") if item.name == "other" else item.name
        programs[name] = programs.get(name, 0) + 1
    listed = ", ".join(name if count == 1 else f"{name} ×{count}" for name, count in programs.items())
    held = tuple(
        texts.label(f"throttle_{name}") for name in dict.fromkeys((*(gpu.throttle or ()), *(gpu.throttle_loaded or ())))
    )
    values = [
        gpu.compute_capability and f"compute capability {gpu.compute_capability}", gpu.gfx,
        gpu.driver_model and gpu.driver_model.upper(),
        None if gpu.clock_max_mhz is None else f"{gpu.clock_mhz or '?'} / {gpu.clock_max_mhz} MHz",
        None if gpu.ecc is None else f"ECC {_on(gpu.ecc, texts)}",
        None if gpu.mig is None else f"MIG {_on(gpu.mig, texts)}",
        texts.label("probe_held", causes=held) if held else None,
        texts.label("probe_programs", programs=listed) if listed else None,
    ]  # fmt: skip
    return " · ".join(value for value in values if value)


def _on(value: bool, texts: Texts) -> str:
    return texts.label("probe_on" if value else "probe_off")


def _rates(report: HardwareReport, judged: Sequence[Judged], texts: Texts) -> _Section:
    lines: list[tuple[str, str]] = []
    for item in judged:
        for reason in item.likely:
            lines.append(("yellow", f"{_rate_name(item.rate, texts)}: {texts.reason(reason)}"))
    for item in judged:
        means = {"ram_read": "probe_ram_means", "disk_read": "probe_disk_means"}.get(item.rate.what)
        if means:
            gigabytes = item.rate.per_s / 1e9
            lines.append(
                (
                    "",
                    texts.label(
                        means,
                        per_second=f"{gigabytes / _MODEL_GB:.1f}",
                        seconds=f"{_MODEL_GB / gigabytes:,.0f}",
                        gb=_MODEL_GB,
                    ),
                )
            )
    for method in dict.fromkeys(item.rate.method for item in judged):
        lines.append(("dim", f"· {texts.label(method)}"))
    lines.append(("dim", f"· {texts.label('probe_took', seconds=report.seconds)}"))
    return _Section(
        title=texts.label("probe_rates"), headings=headings_of(_RATE_NAMES, texts),
        rows=tuple(_rate_cells(item, texts) for item in judged), lines=tuple(dict.fromkeys(lines)),
    )  # fmt: skip


def _rate_name(rate: Rate, texts: Texts) -> str:
    what = texts.label(f"rate_{rate.what}")
    kind = f" {rate.dtype.upper()}" if rate.dtype else ""
    if rate.peer is not None:
        return f"GPU {rate.gpu} → {rate.peer}: {what}"
    return f"GPU {rate.gpu}: {what}{kind}" if rate.gpu is not None else f"{what}{kind}"


def _rate_cells(item: Judged, texts: Texts) -> tuple[str, ...]:
    rate = item.rate
    low = _NONE if item.low is None else f"≥ {item.low:.0%}"
    if item.low_per_s is not None:
        low = f"≥ {_per_second(item.low_per_s, rate)}"
    return (
        _rate_name(rate, texts), _per_second(rate.per_s, rate),
        _NONE if item.datasheet_per_s is None else _per_second(item.datasheet_per_s, rate),
        _NONE if item.share is None else f"{item.share:.0%}", low, texts.label(f"rate_is_{item.verdict}"),
    )  # fmt: skip


def _per_second(value: float, rate: Rate) -> str:
    if not rate.is_matrix:
        return f"{value / 1e9:,.1f} GB/s"
    unit = "TOPS" if rate.dtype == "int8" else "TFLOPS"
    return f"{value / 1e12:,.2f} {unit}" if value < 1e13 else f"{value / 1e12:,.0f} {unit}"
