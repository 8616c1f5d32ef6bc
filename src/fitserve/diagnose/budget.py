"""The deployment of a log judged by its engine, and the figures of the log beside the predicted ones."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from fitserve.diagnose.types import Budgeted, Compared, Known, Scan, Seen
from fitserve.engines.contract import Engine
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FactMissing, FitserveError, InputError
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason, Severity, note
from fitserve.models.formats import parse_format
from fitserve.plan.answer import Answer, estimate, plan
from fitserve.plan.request import EstimateRequest, PlanRequest
from fitserve.plan.world import ModelRead, World
from fitserve.search.evaluate import Evaluated, Fix, evaluate

_USUAL_FILE = "gguf:Q4_K_M"
_FIRST_FIGURES = (
    "total_memory_gib", "weights_gib", "model_mib", "activations_gib", "non_torch_gib", "cuda_graphs_gib", "rs_mib",
    "compute_mib", "kv_needed_gib", "kv_mib", "kv_cache_gib", "kv_tokens", "num_gpu_blocks", "max_concurrency",
    "estimated_max_context_tokens",
)  # fmt: skip
"""In the order in which an engine uses them up: the first that is off explains those after it."""
_UNITS = (("_gib", "GiB"), ("_mib", "MiB"), ("_tokens", "tokens"), ("_blocks", "blocks"), ("concurrency", "x"))
_TOLERANCE = 0.03
"""Beyond the interval, as a share: logs round."""
_BEFORE_EVERYTHING = ("0.0.1", "b1")
_USUAL_CONTEXT = 8192


def budgeted(known: Known, world: World) -> Budgeted | None:
    """The deployment judged; None where model, machine or engine is not known well enough."""
    if known.engine is None or known.model is None or not known.gpus:
        return None
    try:
        read = world.read_model(known.model)
    except FitserveError:
        return None
    for fields in _attempts(known, read):
        try:
            answer = estimate(EstimateRequest.read(**fields), world)
        except InputError:
            continue
        judged = next(iter((*answer.plans, *answer.rejected)), None)
        return None if judged is None else Budgeted(evaluated=judged, read=read)
    return None


def _attempts(known: Known, read: ModelRead) -> Iterator[dict[str, object]]:
    """Requests from the fullest to the barest: a value that the log spells in its own way must not stop all."""
    made = engine(str(known.engine))
    base: dict[str, object] = {
        "model": known.model, "gpu": known.gpus, "engine": (made.id,), "engine_version": known.engine_version,
        "ram": _ram(known), "os": known.os, "concurrency": 1,
    }  # fmt: skip
    fields = dict(known.fields)
    usual = _usual_format(made, read)
    if "format" not in fields and usual is not None:
        fields["format"] = usual
    options = tuple(f"{name}={value}" for name, value in known.options.items() if name != "quantization")
    yield {**base, **fields, "set": options}
    yield {**base, **fields}
    for left_out in (("kv_format",), ("kv_format", "context"), ("kv_format", "context", "format"), tuple(fields)):
        yield {**base, **{name: value for name, value in fields.items() if name not in left_out}}
    yield {**base, "engine_version": None}


def _ram(known: Known) -> str | None:
    """RAM as a request takes it: a bare number would be GiB."""
    return None if known.ram_bytes is None else f"{known.ram_bytes}B"


def _usual_format(made: Engine, read: ModelRead) -> str | None:
    """What the engine loads for a bare name: what the checkpoint holds, else the original weights or the usual file."""
    checkpoint = read.model.checkpoint
    if read.weight_format is not None or (checkpoint is not None and checkpoint.weight_format is not None):
        return None
    loads_files = made.places_layers and not made.makes_on_load
    return _USUAL_FILE if loads_files else parse_format({"f32": "bf16"}.get(read.model.dtype, read.model.dtype)).name


def first_release(item: Evaluated) -> str | None:
    """The first release that knows the model, where the engine keeps a list; asked of one older than all."""
    for reason in item.reasons:
        if reason.parameters.get("first_version"):
            return str(reason.parameters["first_version"])
    made = engine(item.deployment.engine)
    for version in _BEFORE_EVERYTHING:
        try:
            old = replace(item.deployment, engine_version=made.parse_version(version))
            reasons = made.blockers(old)
        except FitserveError:
            continue
        named = [r.parameters.get("first_version") for r in reasons if "architecture" in r.code]
        return next((str(version) for version in named if version), None)
    return None


def compared(item: Evaluated, scan: Scan) -> tuple[Compared, ...]:
    """Every figure of the log that the engine predicts, in the order of use."""
    if item.budget is None:
        return ()
    made = engine(item.deployment.engine)
    try:
        predicted = made.log_figures(item.deployment, item.budget)
    except (FactMissing, KeyError, ZeroDivisionError):
        return ()  # a budget without the parts that a log would print
    return tuple(sorted(_rows(predicted, scan), key=lambda row: (_place(row.code), row.code)))


def _rows(predicted: Mapping[str, Interval], scan: Scan) -> Iterator[Compared]:
    captured = {name: Seen(text, match.line) for match in scan.matches for name, text in match.groups.items()}
    for name, seen in (captured | dict(scan.figures)).items():
        expected = predicted.get(name)
        try:
            value = float(seen.value)
        except ValueError:
            continue
        if expected is None:
            continue
        slack = _TOLERANCE * max(abs(expected.likely), abs(value))
        is_off = not expected.low - slack <= value <= expected.high + slack
        yield Compared(code=name, allocated=value, predicted=expected, unit=_unit(name), line=seen.line, is_off=is_off)


def _place(code: str) -> int:
    plain = code.partition(".")[0]
    return _FIRST_FIGURES.index(plain) if plain in _FIRST_FIGURES else len(_FIRST_FIGURES)


def _unit(name: str) -> str:
    plain = name.partition(".")[0]
    return next((unit for ending, unit in _UNITS if plain.endswith(ending)), "")


def wrong_assumption(item: Evaluated, rows: tuple[Compared, ...]) -> Reason | None:
    """The first thing that does not hold: what stands against the deployment, else the first figure that is off."""
    blocker = next((reason for reason in item.reasons if reason.severity is Severity.BLOCKER), None)
    if blocker is not None:
        return blocker
    row = next((row for row in rows if row.is_off), None)
    if row is None:
        return None
    return note(
        "figure_off_prediction", what=row.code, allocated=f"{row.allocated:,.4g} {row.unit}".strip(),
        predicted=f"{row.predicted.likely:,.4g} {row.unit}".strip(),
    )  # fmt: skip


def instead_of(item: Evaluated, known: Known, world: World) -> Fix | None:
    """What runs on this machine: the model in another format or on another engine, in part in RAM, else another model."""
    fields: dict[str, object] = {
        "model": known.model, "gpu": known.gpus, "ram": _ram(known), "os": known.os, "concurrency": 1,
        "context": min(item.deployment.context_tokens, _USUAL_CONTEXT),
    }  # fmt: skip
    last: Answer | None = None
    tries: list[dict[str, object]] = [{"engine": (known.engine,)}, {}]
    # what goes into RAM of unknown size is not judged
    tries += [{"offload": "auto"}] if known.ram_bytes is not None else []
    for more in tries:
        found = _plan({**fields, **more}, world)
        if found is not None and found.plans:
            plan_ = found.plans[0]
            change = {"engine": plan_.deployment.engine, "format": plan_.deployment.weight_format.name}
            return Fix(knob="engine", change=change, result=plan_, instead_of=item.deployment.engine)
        last = found or last
    fixes = [fix for rejected in (last.rejected if last is not None else ()) for fix in rejected.fixes]
    return next((fix for fix in fixes if fix.knob == "model"), None)


def _plan(fields: Mapping[str, object], world: World) -> Answer | None:
    try:
        return plan(PlanRequest.read(**fields), world)
    except FitserveError:
        return None


def judged_again(item: Evaluated, **changed: object) -> Evaluated | None:
    """The same deployment with other values; None where they are none of its engine."""
    try:
        return evaluate(replace(item.deployment, **changed), item.needs_quantizing)  # type: ignore[arg-type]
    except FitserveError:
        return None
