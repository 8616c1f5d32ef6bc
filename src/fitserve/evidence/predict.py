"""One case to its predictions, from `given` alone: metric name to an Interval or a word."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from fitserve.check.answer import check
from fitserve.check.deployments import named
from fitserve.check.request import CheckRequest
from fitserve.diagnose.answer import diagnose
from fitserve.diagnose.request import DiagnoseRequest
from fitserve.engines.registry import engine
from fitserve.evidence.cases import Case
from fitserve.evidence.finetune import finetune_predictions
from fitserve.evidence.given import (
    deployment_of,
    engine_of,
    fork_of,
    format_of,
    kind_facts,
    machine_of,
    model_of,
    unanswered,
)
from fitserve.evidence.speed import serving_speed
from fitserve.evidence.speed_cases import slot_predictions, stream_predictions, takes_streams
from fitserve.footprint.gguf_recipes import gguf_file_bytes, is_stock, projector_file_bytes, stock_mix
from fitserve.footprint.kv_cache import BYTES_PER_ELEMENT
from fitserve.footprint.weights import weight_bytes
from fitserve.foundation.errors import FactMissing, InputError
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Severity, Verdict, verdict_of
from fitserve.foundation.units import GIB
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Host, Machine
from fitserve.models.formats import WeightFormat, parse_format
from fitserve.plan.world import World

_STAND_IN = "gguf:Q8_0"
_LARGE = "b200-sxm-180gb"

Prediction: TypeAlias = Interval | str | bool | tuple[str, ...]
Predictions: TypeAlias = Mapping[str, Prediction]


def predict(case: Case) -> Predictions:
    """Predictions of a case. Raises Unanswered."""
    kind_facts(case.kind)
    try:
        return _KINDS[case.kind](case.given)
    except FactMissing as missing:
        raise unanswered("fact_missing", fact=missing.fact, where=missing.where) from missing
    except InputError as error:
        raise unanswered("given_not_usable", detail=str(error)[:120]) from error


def _server_memory(given: Mapping[str, Any], kind: str = "vllm_memory") -> Predictions:
    """A server's own figures; without a device only what does not depend on it."""
    machine = machine_of(given)
    if machine is None:
        return _weights_only(given)
    chosen, deployment = deployment_of(given, kind, machine)
    deployment = replace(deployment, dp=1)
    if deployment.device_count > len(machine.devices):
        machine = Machine(devices=machine.devices[:1] * deployment.device_count, host=machine.host)
        deployment = replace(deployment, machine=machine)
    blocked = verdict_of(tuple(reason for reason in chosen.blockers(deployment) if reason.code != "option_unknown"))
    budget = chosen.budget(deployment)
    figures: dict[str, Prediction] = dict(chosen.log_figures(deployment, budget))
    figures["outcome"] = "refused" if blocked is Verdict.NOT_SUPPORTED else chosen.outcome(budget)
    return figures


def _weights_only(given: Mapping[str, Any]) -> Predictions:
    found = model_of(given)
    size = weight_bytes(found.model, format_of(given, found)) / int(given.get("tp") or 1)
    return {"weights_gib": Interval.around(size / GIB, 0.02, 0.04)}


def _kv_pool(given: Mapping[str, Any]) -> Predictions:
    """Block accounting of a pool whose size is given; the platform decides block sizes, not the memory."""
    on_cpu = given.get("platform") == "cpu"
    host = Host()
    machine = (
        Machine(devices=(), host=host)
        if on_cpu
        else machine_of({"gpu": "h100-sxm-80gb", "gpu_count": given.get("tp", 1)})
    )
    assert machine is not None
    _, deployment = deployment_of({**given, "dp": 1, "pp": 1}, "vllm_kv_pool", machine)
    chosen = engine(deployment.engine)
    budget = chosen.budget(deployment)
    figures: dict[str, Prediction] = dict(chosen.log_figures(deployment, budget))
    figures["outcome"] = chosen.outcome(budget)
    return figures


def _layer_memory(given: Mapping[str, Any]) -> Predictions:
    """Buffers of a process that places layers on devices. Without a device and without layers on one: the processor.

    Layers on devices that are not named are put on a single large one: buffers do not depend on its size, whether they
    fit does. Cache and compute buffers do not depend on the weight format, so any stands in for one that is not stated
    or whose types are not known.
    """
    machine = machine_of(given) or Machine(devices=(), host=Host())
    chosen_engine = engine_of(given, "gguf_memory")[0]
    asked_layers = chosen_engine.given_options(given).get("gpu-layers", "0")
    is_placed = bool(machine.devices) or (not chosen_engine.needs_accelerator and asked_layers == "0")
    if not is_placed:
        machine = Machine(devices=(identify(_LARGE).device,), host=Host())
    found = model_of(given)
    stated = given.get("weight_format") or found.weight_format
    is_typed = bool(stated) and _has_known_size(parse_format(str(stated)), is_file=not chosen_engine.needs_accelerator)
    chosen, deployment = deployment_of(
        given if is_typed else {**given, "weight_format": _STAND_IN}, "gguf_memory", machine
    )
    budget = chosen.budget(deployment)
    figures: dict[str, Prediction] = dict(chosen.log_figures(deployment, budget))
    if not is_typed:
        return {name: figure for name, figure in figures.items() if not name.startswith(("model_mib", "total_mib"))}
    if is_placed:
        blocked = (
            []
            if fork_of(given)
            else [
                r
                for r in chosen.blockers(deployment)
                if r.verdict is Verdict.NOT_SUPPORTED and r.code != "option_unknown"
            ]
        )
        figures["outcome"] = "refused" if blocked else chosen.outcome(budget)
    return figures


def _has_known_size(weight_format: WeightFormat, is_file: bool) -> bool:
    """Whether a name determines the weights: a stock mix of a GGUF file, a width of what other engines load."""
    mix = weight_format.gguf_mix
    if mix is None:
        return not is_file and weight_format.bits is not None
    return is_stock(mix) or stock_mix(mix) is not None


def _file_size(given: Mapping[str, Any]) -> Predictions:
    found = model_of(given)
    if not given.get("weight_format"):
        raise unanswered("format_not_given")
    mix = format_of(given, found).gguf_mix
    if mix is not None and mix.lower().startswith("mmproj-"):
        return {"bytes": projector_file_bytes(found.model, mix)}
    if mix is None:
        raise unanswered("format_unknown", format=str(given["weight_format"]))
    return {"bytes": gguf_file_bytes(found.model, mix, given.get("publisher"))}


def _cache(given: Mapping[str, Any]) -> Predictions:
    """Bytes of the cache of some sequences."""
    kind = "kv_cache"
    if not given.get("model"):
        return _cache_of_numbers(given)
    machine = machine_of(given) or Machine(devices=(), host=Host())
    sequences = int(given.get("sequences") or 1)
    chosen, deployment = deployment_of(
        {**given, "engine": given.get("engine") or kind_facts(kind)["engine"], "weight_format": None}, kind, machine
    )
    part = str(given.get("part") or "cache")
    return {"bytes": Interval.exact(chosen.cache_bytes(deployment, sequences, part))}


def _cache_of_numbers(given: Mapping[str, Any]) -> Predictions:
    """A cache described by its numbers alone: layers x KV heads x head size, keys and values."""
    numbers = given.get("architecture")
    needed = ("layers", "kv_heads", "head_dim")
    if (
        not isinstance(numbers, Mapping)
        or set(numbers) - set(needed)
        or not all(isinstance(numbers.get(key), int) for key in needed)
    ):
        raise unanswered("model_not_given")
    element = BYTES_PER_ELEMENT.get(str(given.get("kv_format") or "f16"))
    if element is None:
        raise unanswered("format_unknown", format=str(given.get("kv_format")))
    tokens = int(given.get("context_tokens") or 0) * int(given.get("sequences") or 1)
    return {
        "bytes": Interval.exact(
            math.floor(tokens * numbers["layers"] * numbers["kv_heads"] * numbers["head_dim"] * 2 * element)
        )
    }


def _command(given: Mapping[str, Any]) -> Predictions:
    """Whether a command is right for its release and machine, memory apart, and everything that is found in it."""
    if not given.get("command"):
        raise unanswered("command_not_given")
    gpu, count = given.get("gpu"), given.get("gpu_count") or 1
    fields = {
        "command": given["command"], "model": given.get("model"), "engine": given.get("engine"), "os": given.get("os"),
        "engine_version": given.get("engine_version"), "gpu": (f"{gpu}:{count}",) if gpu else None,
    }  # fmt: skip
    answer = check(
        CheckRequest.read(**fields), World(read_model=named, this_machine=lambda: Machine(devices=(), host=Host()))
    )
    found = [finding.reason for finding in answer.findings]
    wrong = [
        reason for reason in found if reason.severity is Severity.BLOCKER and reason.verdict is not Verdict.DOES_NOT_FIT
    ]
    return {"valid": not wrong, "wrong": tuple(str(reason.parameters.get("what")) for reason in found)}


def _failure(given: Mapping[str, Any]) -> Predictions:
    """The first cause that a log gives; `none` when it gives none. A program without an engine folder counts as not named."""
    log = given.get("log")
    if not isinstance(log, str) or not log:
        raise unanswered("log_not_given")
    fields = {key: given.get(key) for key in ("engine", "engine_version", "model", "gpu")}
    try:
        found = diagnose([log.encode()], DiagnoseRequest.read(**fields))
    except InputError:
        found = diagnose([log.encode()])
    return {"category": found.causes[0].code if found.causes else "none"}


def _serving(given: Mapping[str, Any]) -> Predictions:
    """A server under load."""
    if takes_streams(given):
        return slot_predictions(given)
    return serving_speed(given)


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Predictions]] = {
    "vllm_memory": _server_memory,
    "vllm_kv_pool": _kv_pool,
    "gguf_memory": _layer_memory,
    "gguf_size": _file_size,
    "kv_cache": _cache,
    "command": _command,
    "failure_log": _failure,
    "single_stream_speed": stream_predictions,
    "serving_speed": _serving,
    "finetune_memory": finetune_predictions,
}
