"""From a request to something that can be started here: the plan, the way to run it, its files, its address."""

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fitserve.engines.contract import Deployment, LaunchCommand, LaunchFile, no_options
from fitserve.engines.registry import engine
from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Reason, note
from fitserve.launch.download import fetch_gguf
from fitserve.launch.request import DEFAULT_PORT, ServeRequest
from fitserve.launch.ways import Kind, Way, has_embedded, ways
from fitserve.plan.answer import Answer, estimate, launch_command, plan
from fitserve.plan.request import EstimateRequest, PlanRequest
from fitserve.plan.world import World
from fitserve.search.evaluate import Evaluated

_OWN = {"host", "port", "api_key", "program", "pick", "timeout", "detach", "dry_run"}
_PLAN_FIELDS = ("engine_version", "kv_format", "tp", "pp", "ep", "dp")
_NAMES_ON = "127.0.0.1"
_TRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What is to be started. `answer` is the plan behind it, None for a command that the user wrote."""

    title: str
    engine_id: str
    way: Way
    host: str
    port: int
    env: Mapping[str, str] = field(default_factory=no_options)
    files: tuple[LaunchFile, ...] = ()
    then: tuple[tuple[str, ...], ...] = ()
    model_name: str | None = None
    """In requests to the server."""
    context_tokens: int | None = None
    deployment: Deployment | None = None
    evaluated: Evaluated | None = None
    answer: Answer | None = None
    api_key: str | None = None
    notes: tuple[Reason, ...] = ()

    @property
    def base(self) -> str:
        """The address for clients on this machine."""
        host = _NAMES_ON if self.host in {"0.0.0.0", "::", ""} else self.host  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def health_path(self) -> str:
        """Answers 200 once the server is ready."""
        identity = engine(self.engine_id).facts["identity"]
        return str(identity.get("health_path") or "/v1/models")


def prepare(request: ServeRequest, world: World, download: Any) -> Prepared:
    """The best plan that this machine can start. Raises InputError when there is none; downloads a GGUF when needed."""
    answer = _answer(request, world)
    chosen = _startable(answer, request)
    if chosen is None and not _names_hardware(request):
        # no engine for this machine's GPU: the embedded one runs on its processor
        on_cpu = _answer(request.model_copy(update={"gpu": ("none",)}), world)
        found = _startable(on_cpu, request)
        if found is not None:
            answer, chosen = on_cpu, found
    if chosen is None:
        raise _nothing(answer, request)
    item, command, way = chosen
    return _filled(request, answer, item, command, way, download)


def _names_hardware(request: ServeRequest) -> bool:
    return bool(request.gpu)


def _answer(request: ServeRequest, world: World) -> Answer:
    """Plans of the request, with the address among the settings of the engine."""
    given = {key: value for key, value in request.model_dump(exclude_unset=True).items() if key not in _OWN}
    if request.model.lower().endswith(".json") and (fixed := _plan_file(request)) is not None:
        return estimate(EstimateRequest.read(**(fixed | {key: given[key] for key in given if key != "model"})), world)
    return plan(PlanRequest.read(**given), world)


def _plan_file(request: ServeRequest) -> dict[str, Any] | None:
    """The deployment of a plan that was written to a file; None when the file is no plan (a model's config.json)."""
    path = Path(request.model).expanduser()
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError.of("plan_file_wrong", where=str(path), detail=str(error)[:200]) from error
    if not isinstance(document, dict) or document.get("schema_version") is None:
        return None
    plans = document.get("plans") or [document.get("plan")]
    index = (request.pick or 1) - 1
    if index >= len(plans) or not isinstance(plans[index], dict):
        raise InputError.of("plan_pick_wrong", given=request.pick or 1, count=len(plans))
    deployment = plans[index]["deployment"]
    fields = {name: deployment[name] for name in _PLAN_FIELDS if deployment.get(name) is not None}
    fields |= {"model": deployment["model"], "engine": (deployment["engine"],), "format": deployment["weight_format"]}
    fields["gpu"] = tuple(f"{row['gpu']}:{row['count']}" for row in deployment["gpus"]) or ("none",)
    fields["context"] = deployment["context_tokens"]
    kept = document.get("request") or {}
    return fields | {name: kept[name] for name in ("ram", "os", "concurrency", "set", "offload") if kept.get(name)}


def _startable(answer: Answer, request: ServeRequest) -> tuple[Evaluated, LaunchCommand, Way] | None:
    """The first plan with a way to run it here."""
    plans = answer.plans if request.pick is None else answer.plans[request.pick - 1 : request.pick]
    for item in plans:
        command = launch_command(item)
        if command is None or item.needs_quantizing:
            continue
        has_devices = bool(item.deployment.machine.devices)
        found = ways(command, "fitserve-check", has_devices, request.program)
        if found:
            return item, command, found[0]
    return None


def _nothing(answer: Answer, request: ServeRequest) -> InputError:
    """Why nothing can be started: no plan fits, or no engine of one is here."""
    if not answer.plans:
        reasons = [reason.code for item in answer.rejected for reason in item.reasons]
        return InputError.of("serve_nothing_fits", model=request.model, reasons=tuple(dict.fromkeys(reasons))[:5])
    wanted = tuple(dict.fromkeys(item.deployment.engine for item in answer.plans))
    return InputError.of("serve_no_engine", engines=wanted, embedded="" if has_embedded() else "fitserve[engines]")


def _filled(
    request: ServeRequest, answer: Answer, item: Evaluated, command: LaunchCommand, way: Way, download: Any
) -> Prepared:
    """With the model's file at hand, and the address that was asked for."""
    deployment, notes = item.deployment, []
    port, port_note = free_port(request)
    notes += port_note
    settings = _address(deployment, request, port)
    if deployment.weight_format.gguf_mix is not None and command.model_file is not None:
        path = fetch_gguf(deployment, command.model_file, download)
        settings |= {"__file": str(path)}
    options = {**deployment.options, **{key: value for key, value in settings.items() if key[0] != "_"}}
    changed = _with(deployment, options, settings.get("__file"))
    moved = engine(deployment.engine).command(changed)
    name = f"fitserve-{port}"
    found = ways(moved, name, bool(deployment.machine.devices), request.program)
    way = next((one for one in found if one.kind is way.kind), way)
    env = {**moved.env, **_key_in_environment(deployment.engine, request.api_key)}
    if way.kind is Kind.EMBEDDED:
        notes.append(note("serve_embedded"))
    return Prepared(
        title=f"{_name(deployment)} · {deployment.weight_format.name} · {deployment.engine}",
        engine_id=deployment.engine, way=way, host=request.host, port=port, env=env, files=moved.files, then=moved.then,
        model_name=moved.served_name or settings.get("__name"), context_tokens=deployment.context_tokens,
        deployment=changed, evaluated=item,
        answer=answer, api_key=request.api_key, notes=tuple(notes),
    )  # fmt: skip


def _with(deployment: Deployment, options: Mapping[str, str], file: str | None) -> Deployment:
    return replace(deployment, options=options, repository=file or deployment.repository)


def _name(deployment: Deployment) -> str:
    """The model's id; of a local file its name."""
    model = deployment.model
    return Path(model.id).name.removesuffix(".gguf") if model.is_local else model.id


def _address(deployment: Deployment, request: ServeRequest, port: int) -> dict[str, str]:
    """Host, port and the name of a local model as the engine's own options; the key too where it takes none by environment.

    Raises InputError for an engine that has no such option.
    """
    engine_id = deployment.engine
    reads: Mapping[str, Any] = engine(engine_id).facts.get("command_line", {}).get("reads", {})
    wanted = {"host": request.host, "port": str(port)}
    if deployment.model.is_local and reads.get("served_name"):
        wanted["served_name"] = _name(deployment)  # a path would be the name of the model in every request
    if request.api_key is not None and not _key_in_environment(engine_id, request.api_key):
        wanted["api_key"] = request.api_key
    settings = {}
    for what, value in wanted.items():
        if not reads.get(what):
            usual = engine(engine_id).facts["identity"].get("default_port")
            if what == "host" or (what == "port" and int(value) == usual):
                continue
            raise InputError.of("serve_option_missing", engine=engine_id, what=f"--{what.replace('_', '-')}")
        settings[reads[what][0].lstrip("-")] = value
    if "served_name" in wanted:
        settings["__name"] = wanted["served_name"]
    return settings


def _key_in_environment(engine_id: str, key: str | None) -> dict[str, str]:
    name = engine(engine_id).facts["identity"].get("api_key_variable")
    return {str(name): key} if name and key else {}


def free_port(request: ServeRequest) -> tuple[int, list[Reason]]:
    """The port asked for, or the first free one from the usual on. Raises InputError when the one asked for is taken."""
    if request.port is not None:
        if not _is_free(request.host, request.port):
            raise InputError.of("port_taken", port=request.port, host=request.host)
        return request.port, []
    for port in range(DEFAULT_PORT, DEFAULT_PORT + _TRIES):
        if _is_free(request.host, port):
            return port, [] if port == DEFAULT_PORT else [note("port_moved", port=port, usual=DEFAULT_PORT)]
    raise InputError.of("port_taken", port=DEFAULT_PORT, host=request.host)


def _is_free(host: str, port: int) -> bool:
    """Whether a server could listen there: bound for a moment, without taking the address from anyone."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise InputError.of("host_wrong", given=host) from error
    with socket.socket(family, kind, number) as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(address)
        except PermissionError as error:
            raise InputError.of("port_not_allowed", port=port) from error
        except OSError:
            return False
        return True
