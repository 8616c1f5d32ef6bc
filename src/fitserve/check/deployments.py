"""From a parsed command to the deployment that it starts, and from the engine's verdict on it to findings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from fitserve.check.options import Given, ParsedOptions
from fitserve.check.programs import Invocation, base_name
from fitserve.check.releases import ReleaseOptions
from fitserve.check.types import Edit, Finding
from fitserve.engines.contract import Deployment, Engine
from fitserve.footprint.gguf_recipes import is_stock, stock_mix
from fitserve.foundation.errors import FactMissing, FitserveError
from fitserve.foundation.reasons import Reason, Severity, Verdict, not_supported, note
from fitserve.foundation.units import parse_tokens
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import catalog_model, quantized_repositories
from fitserve.models.formats import WeightFormat, gguf_types, parse_format
from fitserve.models.names import format_in_name, resolve_name
from fitserve.plan.world import ModelRead
from fitserve.search.evaluate import Evaluated, evaluate

_USUAL_MIX = "gguf:Q4_K_M"
"""What a library tag or a repository of GGUF files stands for when it names no file."""
_SHORTEST_TOKENS = 1024  # a server with less is of no use, and nobody asks for odd lengths


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a command would start. `written` is the model as it stands there; `quantization` the option that names one."""

    written: str
    deployment: Deployment
    model_format: WeightFormat
    quantization: Given | None
    is_machine_known: bool


def model_text(made: Engine, parsed: ParsedOptions) -> str | None:
    """The model that a command names."""
    reads: Mapping[str, Any] = made.facts["command_line"].get("reads", {})
    for key in ("model", "hub_model"):
        given = parsed.last(tuple(reads.get(key, ())))
        if given is not None and given.value is not None:
            return given.value
    if made.facts["command_line"].get("positional_model") and parsed.positionals:
        return parsed.positionals[0][1]
    return None


def find_model(text: str, read: Callable[[str], ModelRead], stated: str | None) -> ModelRead | None:
    """The model of a name or path; a path that is not here is judged by its last part; `stated` by the user comes last."""
    last = base_name(text.replace(".gguf", "")).partition("-0000")[0]
    for candidate in (text, last, stated):
        if not candidate or candidate in {"/", "."}:
            continue
        try:
            found = read(candidate)
        except (FitserveError, FactMissing):
            continue
        if candidate == stated != text and found.weight_format is None:
            return replace(found, weight_format=format_in_name(text))
        return found
    return None


def reading(
    made: Engine,
    call: Invocation,
    release: ReleaseOptions,
    parsed: ParsedOptions,
    found: ModelRead,
    written: str,
    machine: Machine,
    is_machine_known: bool,
) -> Reading:
    """The deployment of a command on a machine. Raises InputError for values that no engine takes."""
    reads: Mapping[str, Any] = made.facts["command_line"].get("reads", {})
    quantization = parsed.last(tuple(reads.get("quantization", ())))
    model_format = _model_format(made, found, quantization, written, machine, release.version)
    sizes = _sizes(made, parsed, reads, machine)
    kv = parsed.last(tuple(reads.get("kv_format", ())))
    slots = _variable(call, reads, "max_num_seqs")
    if not is_machine_known:
        machine = _enough(machine, sizes["tp"] * sizes["pp"] * sizes["dp"])
    deployment = Deployment(
        model=found.model,
        machine=machine,
        engine=made.id,
        engine_version=release.version,
        weight_format=model_format,
        repository=found.repository,
        kv_format=(kv.value if kv is not None else None) or _variable(call, reads, "kv_format") or "auto",
        max_num_seqs=int(slots) if slots is not None and slots.isdigit() and int(slots) else None,
        context_tokens=_context(made, call, parsed, found, machine),
        options=MappingProxyType(_options(parsed)),
        **sizes,
    )
    return Reading(
        written=written,
        deployment=deployment,
        model_format=model_format,
        quantization=quantization,
        is_machine_known=is_machine_known,
    )


def _sizes(made: Engine, parsed: ParsedOptions, reads: Mapping[str, Any], machine: Machine) -> dict[str, int]:
    """Parallel sizes; a switch for expert parallelism spreads the experts over all ranks."""
    sizes = {key: _number(parsed, reads, key) or 1 for key in ("tp", "pp", "dp")}
    experts = parsed.last(tuple(reads.get("ep", ())))
    sizes["ep"] = 1 if experts is None else _number(parsed, reads, "ep") or sizes["tp"] * sizes["dp"]
    if made.places_layers and machine.devices and sizes["tp"] == 1:
        sizes["pp"] = len(machine.devices)
    return sizes


def _enough(machine: Machine, count: int) -> Machine:
    """As many of the stand-in device as the command spreads over."""
    return replace(machine, devices=(machine.devices * count)[:count]) if machine.devices else machine


def _model_format(
    made: Engine, found: ModelRead, quantization: Given | None, written: str, machine: Machine, version: str
) -> WeightFormat:
    checkpoint = found.model.checkpoint
    name = found.weight_format or (checkpoint.weight_format if checkpoint is not None else None)
    if name is not None and written.lower().endswith(".gguf") and not name.startswith("gguf:"):
        name = f"gguf:{name.upper()}"
    if name is None and written.lower().rstrip("/").endswith("gguf"):
        name = "gguf:Q4_K_M"  # the repository holds several files; which one does not matter for what is checked
    if name is None and quantization is not None and quantization.value is not None:
        on_load: Mapping[str, str | list[str]] = made.facts.get("runtime_quantization", {})
        # the first of several is what the engine makes when it is not told how many bits
        words = ((fmt, [method] if isinstance(method, str) else method) for fmt, method in on_load.items())
        name = next((fmt for fmt, said in words if quantization.value in said), None)
    if name is not None:
        return parse_format(name)
    return _usual_format(made, found, machine, version)


def _usual_format(made: Engine, found: ModelRead, machine: Machine, version: str) -> WeightFormat:
    """The original weights; an engine that does not load those is taken to get the usual file of its own format."""
    plain = parse_format({"f32": "bf16"}.get(found.model.dtype, found.model.dtype))
    offered = [candidate.weight_format for candidate in made.candidates(found.model, machine, version)]
    if not offered or any(item.name == plain.name for item in offered):
        return plain
    return next((item for item in offered if item.name == _USUAL_MIX), offered[0])


def _number(parsed: ParsedOptions, reads: Mapping[str, Any], key: str) -> int | None:
    given = parsed.last(tuple(reads.get(key, ())))
    try:
        return max(1, int(given.value)) if given is not None and given.value is not None else None
    except ValueError:
        return None  # said by the type check


def _variable(call: Invocation, reads: Mapping[str, Any], key: str) -> str | None:
    """The value of a setting that the engine reads from its environment; a Modelfile states it under its plain name."""
    names = (key, *reads.get(f"env_{key}", ()))
    return next((call.env[name] for name in names if call.env.get(name)), None)


def _context(made: Engine, call: Invocation, parsed: ParsedOptions, found: ModelRead, machine: Machine) -> int:
    """The context asked for, else the one that the engine takes by itself."""
    reads: Mapping[str, Any] = made.facts["command_line"].get("reads", {})
    usual = found.model.max_context_tokens
    if made.default_context_tokens is not None:
        usual = min(usual, made.default_context_tokens(machine))
    given = parsed.last(tuple(reads.get("context", ())))
    text = given.value if given is not None else _variable(call, reads, "context")
    try:
        asked = parse_tokens(text) if text is not None else 0
    except ValueError:
        asked = 0  # auto, -1, or a variable
    return asked if asked > 0 else usual


def _options(parsed: ParsedOptions) -> dict[str, str]:
    """Known options by their full names, as `--set` would give them."""
    found: dict[str, str] = {}
    for given in parsed.options:
        if given.row is None or given.key is not None or given.lacks_value:
            continue
        name = given.name.lstrip("-") if given.is_negated else str(given.row["name"]).lstrip("-")
        found[name] = given.values[0] if given.values else "true"
    return found


def format_findings(made: Engine, call: Invocation, seen: Reading) -> Iterator[Finding]:
    """The quantization option against what the model's files hold, and file types that only a fork can load."""
    given, held = seen.quantization, seen.model_format
    methods: Mapping[str, Any] = made.facts["command_line"].get("methods", {})
    if given is not None and given.value is not None and given.value in methods:
        loads = methods[given.value]
        if held.name not in loads and held.family not in loads:
            line = call.line_of(call.start + given.start)
            reason = not_supported(
                "quantization_not_of_checkpoint", option=given.written, what=given.text, line=line, value=given.value,
                format=held.name, model=seen.written,
            )  # fmt: skip
            yield Finding(reason=reason, edits=_published(call, seen, loads))
    mix = held.gguf_mix
    if mix is not None and not is_stock(mix) and stock_mix(mix) is None and mix.upper() not in gguf_types():
        reason = not_supported(
            "file_type_of_fork",
            option="model",
            what=f"file type {mix}",
            line=call.statement.line,
            format=mix,
            engine=made.id,
        )
        yield Finding(reason=reason)


def _published(call: Invocation, seen: Reading, formats: Sequence[str]) -> tuple[Edit, ...]:
    """The repository that holds the model in one of these formats, in place of the one that does not."""
    listed = quantized_repositories(seen.deployment.model.base_id or seen.deployment.model.id)
    repository = next((name for name, held in listed if held in formats), None)
    if repository is None or seen.written not in call.statement.argv:
        return ()
    index = call.statement.argv.index(seen.written)
    return (Edit(index, index + 1, (repository,)),)


def verdict_findings(made: Engine, call: Invocation, seen: Reading, parsed: ParsedOptions) -> Iterator[Finding]:
    """What the engine says of the deployment, each reason at the option that causes it."""
    judged = judge(seen)
    formats = [judged]
    methods: Mapping[str, Any] = made.facts["command_line"].get("methods", {})
    asked = methods.get(seen.quantization.value or "", ()) if seen.quantization is not None else ()
    if asked and seen.model_format.name not in asked and asked[0] != "gguf":
        other = replace(seen.deployment, weight_format=parse_format(asked[0]))
        formats.append(evaluate(other))
    reported: set[str] = set()
    for item in formats:
        for reason in item.reasons:
            if reason.code in reported or _is_left_out(reason, seen, item is judged):
                continue
            reported.add(reason.code)
            yield _placed(made, call, seen, parsed, reason, _is_sure(item))


def judge(seen: Reading) -> Evaluated:
    """The verdict on the deployment."""
    return evaluate(seen.deployment)


def _is_left_out(reason: Reason, seen: Reading, is_own: bool) -> bool:
    """Options are judged apart; without a machine only what holds on every machine counts."""
    if reason.code in {"option_unknown", "gguf_file_needed", "no_published_checkpoint", "format_of_a_fork"}:
        return True
    if not is_own and "format" not in reason.parameters:
        return True
    if reason.severity is Severity.NOTE and reason.verdict is Verdict.FITS and not _is_about_running(reason.code):
        return True
    if seen.is_machine_known:
        return False
    return reason.severity is not Severity.BLOCKER or reason.verdict is not Verdict.NOT_SUPPORTED


def _is_sure(item: Evaluated) -> bool:
    """Whether it does not fit even when every part is smaller than likely by twice its spread."""
    budget = item.budget
    if budget is None:
        return True
    for device in budget.devices:
        fixed = sum(2 * part.bytes.low - part.bytes.likely for part in device.items if not part.is_rest)
        rest = budget.kv.bytes_at_context / max(1, len(budget.devices)) if any(p.is_rest for p in device.items) else 0.0
        if fixed + rest > device.usable_bytes:
            return True
    return any(reason.code == "ram_overflows" for reason in item.reasons)


def _is_about_running(code: str) -> bool:
    """Notes about how it will run; others speak of the command that a plan would show."""
    return code.endswith("_not_accelerated") or code.startswith(("runs_in_", "context_beyond_"))


def _placed(
    made: Engine, call: Invocation, seen: Reading, parsed: ParsedOptions, reason: Reason, is_sure: bool
) -> Finding:
    reads: Mapping[str, Any] = made.facts["command_line"].get("reads", {})
    option, what = _cause(reason, seen, parsed, reads)
    given = parsed.last((option,)) if option.startswith("-") else None
    line = call.line_of(call.start + given.start) if given is not None else call.statement.line
    parameters = {"option": given.written if given else option, "what": what, "line": line, **reason.parameters}
    first = reason.parameters.get("first_version")
    # what is not known is no fault of the command
    severity = Severity.NOTE if reason.verdict is Verdict.UNKNOWN else reason.severity
    if reason.verdict is Verdict.DOES_NOT_FIT and not is_sure:
        severity = Severity.WARNING  # inside the spread of the estimate: it may start all the same
    told = replace(reason, parameters=MappingProxyType(parameters), severity=severity)
    edits = _shorter(call, parsed, reads, reason)
    return Finding(reason=told, edits=edits, first_version=str(first) if first else None)


def _shorter(call: Invocation, parsed: ParsedOptions, reads: Mapping[str, Any], reason: Reason) -> tuple[Edit, ...]:
    """The longest context that fits, in place of the one that does not."""
    longest = reason.parameters.get("longest_tokens")
    if reason.code == "context_beyond_model":
        longest = reason.parameters.get("limit_tokens")
    names = tuple(reads.get("context", ()))
    if not isinstance(longest, int) or longest < _SHORTEST_TOKENS or not names:
        return ()
    value = str(longest // _SHORTEST_TOKENS * _SHORTEST_TOKENS)
    given = parsed.last(names)
    if given is None:
        end = len(call.statement.words)
        return (Edit(end, end, (names[0], value)),)
    return (Edit(call.start + given.start, call.start + given.stop, (given.written, value)),)


def _cause(reason: Reason, seen: Reading, parsed: ParsedOptions, reads: Mapping[str, Any]) -> tuple[str, str]:
    """(option, how to point at it) of a reason, by what it speaks of."""
    names = reason.parameters
    if "architecture" in names:
        return "model", f"model {seen.written}"
    if "kv_format" in names and reads.get("kv_format"):
        return reads["kv_format"][0], f"{reads['kv_format'][0]} {names['kv_format']}"
    if "format" in names:
        if str(names["format"]).startswith("gguf") and "gone_in" in names:
            return "model", "GGUF"
        if seen.quantization is not None:
            where = f" on {_short(str(names['gpu']))}" if "gpu" in names else ""
            return str((seen.quantization.row or {}).get("name")), f"{seen.quantization.text}{where}"
        return "model", f"model {seen.written}"
    for key, parameter in (("tp", "tp"), ("ep", "ep"), ("context", "context_tokens")):
        if parameter in names and reads.get(key) and parsed.last(tuple(reads[key])) is not None:
            return reads[key][0], f"{reads[key][0]} {names[parameter]}"
    if "gpu" in names:
        return "--gpu", f"--gpu {names['gpu']}"
    return ("memory", "memory") if reason.verdict is Verdict.DOES_NOT_FIT else ("command", "command")


def _short(gpu: str) -> str:
    """`V100` of v100-sxm-32gb, `RTX 3090` of rtx-3090."""
    parts = gpu.upper().split("-")
    return " ".join(parts[:2]) if parts[0].isalpha() else parts[0]


def unread_model(call: Invocation, written: str | None) -> Finding:
    """The model is not known, so architecture and memory are not judged."""
    shown = written or "-"
    return Finding(
        reason=note("check_model_unknown", option="model", what=f"model {shown}", line=call.statement.line, model=shown)
    )


def named(text: str) -> ModelRead:
    """A model by its name alone, from the catalogue. Raises InputError."""
    found = resolve_name(text)
    model = catalog_model(found.id)
    return ModelRead(model=replace(model, id=text) if found.variant_of else model, weight_format=found.weight_format)
