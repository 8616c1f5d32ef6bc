"""The use case of `quantize`: request -> the tool, whether the job itself fits, what comes out, how it is then served."""

from dataclasses import dataclass

from fitserve.foundation.errors import FactMissing, FitserveError, InputError
from fitserve.foundation.reasons import (
    Reason,
    Verdict,
    does_not_fit,
    not_supported,
    note,
    unknown,
    verdict_of,
    warning,
)
from fitserve.hardware.types import Accelerator, Machine
from fitserve.models.catalog.lookup import quantized_repositories
from fitserve.models.formats import WeightFormat, parse_format
from fitserve.models.types import LanguageModel
from fitserve.plan.answer import plan
from fitserve.plan.machine import machine_of
from fitserve.plan.quantize_request import QuantizeRequest
from fitserve.plan.request import HardwareRequest, PlanRequest
from fitserve.plan.world import ModelRead, World
from fitserve.predict.format_quality import FormatQuality, format_quality
from fitserve.search.evaluate import Evaluated
from fitserve.training.quantize import (
    Needs,
    Tool,
    calibration,
    deprecated_tool,
    kept_parts,
    made_while_loading,
    needs,
    tools_for,
)

_TIGHT = 0.9
_FEWEST_SAMPLES = 64
"""Below half of the 128 that GPTQ was published with (arXiv:2210.17323) nothing is proposed."""
_OFTEN_ON_HUB = ("bartowski", "unsloth", "ggml-org")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizeAnswer:
    """The answer. `published`: repositories that have the format already. `then`: the best plan with the result."""

    request: QuantizeRequest
    model: LanguageModel
    repository: str
    is_file: bool
    weight_format: WeightFormat
    machine: Machine
    tool: Tool | None
    others: tuple[Tool, ...]
    needs: Needs | None
    kept: tuple[tuple[str, int], ...]
    quality: FormatQuality | None
    published: tuple[str, ...]
    reasons: tuple[Reason, ...]
    notes: tuple[Reason, ...]
    then: Evaluated | None
    output: str

    @property
    def verdict(self) -> Verdict:
        """fits, does_not_fit, not_supported or unknown: of the job itself."""
        return verdict_of(self.reasons)

    @property
    def dataset(self) -> str:
        """What calibrates."""
        return self.request.calibration or calibration()[2]


def quantize(request: QuantizeRequest, world: World) -> QuantizeAnswer:
    """The answer to a request. Raises InputError with what is wrong."""
    read = world.read_model(request.model)
    weight_format = parse_format(request.format)
    if not weight_format.is_quantized and weight_format.family != "gguf":
        raise InputError.of("format_is_plain", given=request.format)
    hardware = HardwareRequest.read(
        gpu=request.gpu or None, hardware=request.hardware, ram=None if request.ram is None else f"{request.ram} B",
        os=request.os,
    )  # fmt: skip
    machine, notes = machine_of(hardware, world)
    old = deprecated_tool(request.tool) if request.tool else None
    tools = _tools(request, weight_format, old is not None)
    reasons: list[Reason] = []
    found = [*read.notes, *notes]
    if request.tool and old is not None:
        reasons.append(warning("tool_deprecated", tool=request.tool, since=old["since"], successor=old["successor"]))
    tool = tools[0] if tools else None
    reasons += _source_reasons(read, weight_format)
    job = _needs(request, read, weight_format, tool, machine, reasons)
    if tool is not None and job is not None:
        reasons += _machine_reasons(request, tool, job, machine)
        found += _tool_notes(tool, job, weight_format)
    published = tuple(name for name, form in quantized_repositories(read.model.id) if form == weight_format.name)
    return QuantizeAnswer(
        request=request, model=read.model, repository=read.repository or read.model.id, is_file=read.is_file,
        weight_format=weight_format, machine=machine, tool=tool, others=tools[1:], needs=job,
        kept=kept_parts(read.model, weight_format) if weight_format.family != "gguf" else (),
        quality=format_quality(weight_format, read.model if not read.is_file else None),
        published=published, reasons=tuple(reasons), notes=tuple(found), then=_then(request, world, weight_format),
        output=request.output or _output(read.repository or read.model.id, weight_format),
    )  # fmt: skip


def _tools(request: QuantizeRequest, weight_format: WeightFormat, is_old: bool) -> tuple[Tool, ...]:
    library = made_while_loading(weight_format)
    if library is not None:
        raise InputError.of("made_while_loading", format=weight_format.name, library=library)
    tools = tools_for(weight_format, request.engine)
    if not tools:
        known = tuple(sorted({name for tool in tools_for(weight_format) for name in tool.engines})) or ("-",)
        raise InputError.of("no_tool_makes", format=weight_format.name, engine=request.engine or "-", known=known)
    if request.tool and not is_old:
        named = tuple(tool for tool in tools if tool.name.lower() == request.tool.lower())
        if not named:
            raise InputError.of("tool_unknown", given=request.tool, known=tuple(tool.name for tool in tools))
        return named
    return tools


def _source_reasons(read: ModelRead, weight_format: WeightFormat) -> list[Reason]:
    checkpoint = read.model.checkpoint
    stored = checkpoint.weight_format if checkpoint is not None else read.model.dtype
    if checkpoint is None or stored in {"gguf:F16", "gguf:BF16", "gguf:F32"}:
        return []
    if stored == weight_format.name:
        return [not_supported("already_in_format", model=read.model.id, format=stored)]
    base = read.model.base_id or "-"
    if read.model.base_id is None and not stored.startswith("gguf:"):
        return [note("published_quantized", format=stored)]
    return [not_supported("quantize_the_original", model=read.model.id, format=stored, base=base)]


def _needs(
    request: QuantizeRequest, read: ModelRead, weight_format: WeightFormat, tool: Tool | None, machine: Machine,
    reasons: list[Reason],
) -> Needs | None:  # fmt: skip
    if tool is None:
        return None
    gpu = machine.devices[0] if machine.devices else None
    try:
        return needs(read.model, weight_format, tool, gpu, request.samples or calibration()[0], None)
    except FactMissing as missing:
        reasons.append(unknown("fact_missing", fact=missing.fact, where=missing.where))
        return None


def _machine_reasons(request: QuantizeRequest, tool: Tool, job: Needs, machine: Machine) -> list[Reason]:
    found: list[Reason] = []
    device = max(machine.devices, key=lambda item: item.engine_visible_bytes, default=None)
    found += _gpu_reasons(tool, job, device, machine)
    ram = machine.host.ram_bytes
    if ram is None:
        found.append(note("job_ram_unknown", need_bytes=job.ram_bytes))
    elif job.ram_bytes > ram:
        fewer = job.samples_within(ram)
        found.append(
            does_not_fit(
                "job_exceeds_ram", tool=tool.name, need_bytes=job.ram_bytes, have_bytes=ram,
                samples=fewer if fewer >= _FEWEST_SAMPLES else None,
            )
        )  # fmt: skip
    elif job.ram_bytes > _TIGHT * ram:
        found.append(warning("job_ram_is_tight", need_bytes=job.ram_bytes, have_bytes=ram))
    if request.disk is not None and job.disk_bytes > request.disk:
        found.append(does_not_fit("job_exceeds_disk", need_bytes=job.disk_bytes, have_bytes=request.disk))
    return found


def _gpu_reasons(tool: Tool, job: Needs, device: Accelerator | None, machine: Machine) -> list[Reason]:
    if not job.gpu_bytes:
        if tool.algorithm == "mlx" and (device is None or device.vendor != "apple"):
            return [not_supported("tool_needs_apple", tool=tool.name)]
        return []
    if device is None:
        return [warning("job_without_gpu", tool=tool.name, need_bytes=job.gpu_bytes)]
    if device.vendor == "apple":
        return [not_supported("tool_needs_cuda", tool=tool.name, gpu=device.id)]
    have = (
        sum(item.engine_visible_bytes for item in machine.devices) if tool.whole_on_gpu else device.engine_visible_bytes
    )
    if job.gpu_bytes > have:
        return [
            does_not_fit("job_exceeds_gpu", tool=tool.name, need_bytes=job.gpu_bytes, have_bytes=have, gpu=device.id)
        ]
    return []


def _tool_notes(tool: Tool, job: Needs, weight_format: WeightFormat) -> list[Reason]:
    found: list[Reason] = []
    if tool.replaces:
        old = deprecated_tool(tool.replaces)
        found.append(note("tool_replaces", tool=tool.name, old=tool.replaces, since=old["since"] if old else "?"))
    if job.samples:
        found.append(note("job_calibrates", samples=job.samples, tokens=job.sample_tokens))
    if weight_format.family == "gguf":
        found.append(note("gguf_publishers", names=_OFTEN_ON_HUB))
    return found


def _then(request: QuantizeRequest, world: World, weight_format: WeightFormat) -> Evaluated | None:
    """The best plan that serves the result on the same machine."""
    hardware = {
        "ram": None if request.ram is None else f"{request.ram} B",
        "os": request.os,
        "hardware": request.hardware,
    }
    try:
        found = plan(
            PlanRequest.read(
                model=request.model, format=weight_format.name, gpu=request.gpu or None,
                engine=(request.engine,) if request.engine else None, **hardware,
            ),
            world,
        )  # fmt: skip
    except FitserveError:
        return None
    return found.plans[0] if found.plans else None


def _output(model: str, weight_format: WeightFormat) -> str:
    """Name of the result: a folder, or a GGUF file."""
    stem = model.rstrip("/").rpartition("/")[2]
    if weight_format.gguf_mix is not None:
        for suffix in ("-F16", "-BF16", "-F32", "-f16", "-bf16"):
            stem = stem.removesuffix(".gguf").removesuffix(suffix)
        return f"{stem}-{weight_format.gguf_mix}.gguf"
    return f"{stem}-{weight_format.name.replace(':', '-')}"
