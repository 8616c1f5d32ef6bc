"""From what a case states to a model, a machine and a deployment. What it does not state is unknown, not guessed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from fitserve.engines.contract import Deployment, Engine
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FactMissing, FitserveError, InputError
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, unknown
from fitserve.foundation.units import GIB
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Accelerator, Host, Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import WeightFormat, parse_format
from fitserve.models.names import resolve_name
from fitserve.models.types import LanguageModel


class Unanswered(FitserveError):
    """A case cannot be predicted; carries the reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.code)
        self.reason = reason


def unanswered(code: str, **parameters: Any) -> Unanswered:
    """An Unanswered with a reason of this code."""
    return Unanswered(unknown(code, **parameters))


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenModel:
    """The model of a case and the format that its name states."""

    model: LanguageModel
    weight_format: str | None


@lru_cache(maxsize=1024)
def _named(name: str) -> GivenModel | None:
    try:
        found = resolve_name(name)
    except InputError:
        return None
    return GivenModel(model=catalog_model(found.id), weight_format=found.weight_format)


def model_of(given: Mapping[str, Any]) -> GivenModel:
    """The model that a case names. Raises Unanswered."""
    name = given.get("model")
    if not isinstance(name, str) or not name:
        raise unanswered("model_not_given")
    found = _named(name)
    if found is None:
        raise unanswered("model_unknown", model=name)
    return found


def kind_facts(kind: str) -> Mapping[str, Any]:
    """The row of a kind. Raises Unanswered for a kind that is not predicted."""
    row = load_toml("fitserve.evidence", "kinds.toml").get(kind)
    if row is None:
        raise unanswered("kind_not_predicted", kind=kind)
    return dict(row)


def engine_of(given: Mapping[str, Any], kind: str) -> tuple[Engine, str]:
    """Engine and version of a case; without a version the newest. Raises Unanswered for an engine without a folder."""
    name = str(given.get("engine") or kind_facts(kind)["engine"])
    fork = fork_of(given)
    try:
        chosen = engine(fork["engine"] if fork else name)
        version = str(fork["version"] if fork else given.get("engine_version") or chosen.versions[-1])
        return chosen, chosen.parse_version(_release(version))
    except InputError as error:
        raise unanswered(
            "engine_not_predicted", engine=name, version=str(given.get("engine_version") or "-")
        ) from error


def fork_of(given: Mapping[str, Any]) -> Mapping[str, str] | None:
    """The row of a fork that a case was run with; None for an engine of its own."""
    row: Mapping[str, str] | None = load_toml("fitserve.evidence", "kinds.toml")["forks"].get(str(given.get("engine")))
    return row


def _release(text: str) -> str:
    """`0.19.0rc1.dev5` is judged as the release that it leads to; `b11549 (xllamacpp …)` as its build."""
    return text.split("rc")[0].split(".dev")[0].split("+")[0].strip().rstrip(".")


def format_of(given: Mapping[str, Any], found: GivenModel) -> WeightFormat:
    """The weight format of a case: stated, part of the name, or the checkpoint's own. Raises Unanswered."""
    name = given.get("weight_format") or found.weight_format
    checkpoint = found.model.checkpoint
    if name is None and "gguf" in str(given.get("model")).lower():
        raise unanswered("format_not_given")
    if name is None:
        name = checkpoint.weight_format if checkpoint is not None else found.model.dtype
    try:
        return parse_format(str(name))
    except InputError as error:
        raise unanswered("format_unknown", format=str(name)) from error


def machine_of(given: Mapping[str, Any]) -> Machine | None:
    """The machine of a case; None when it names no device."""
    names = given.get("gpus")
    if names is None and given.get("gpu") is None:
        return None
    if names is None:
        names = [given["gpu"]] * max(1, int(given.get("gpu_count") or given.get("tp") or 1))
    try:
        devices = tuple(_device(str(name), given) for name in names)
    except InputError as error:
        raise unanswered("gpu_unknown", gpu=", ".join(map(str, names))) from error
    return Machine(devices=devices, host=Host())


def _device(name: str, given: Mapping[str, Any]) -> Accelerator:
    device = identify(name).device
    if given.get("total_memory_gib"):
        return replace(device, visible_bytes=int(given["total_memory_gib"] * GIB))
    if given.get("total_memory_gb") and device.is_unified:
        return replace(device, memory_bytes=int(given["total_memory_gb"] * GIB))
    return device


def deployment_of(given: Mapping[str, Any], kind: str, machine: Machine) -> tuple[Engine, Deployment]:
    """The deployment of a case on a machine. Raises Unanswered."""
    chosen, version = engine_of(given, kind)
    found = model_of(given)
    count = max(1, len(machine.devices))
    tp, pp = given.get("tp"), given.get("pp")
    if tp is None and pp is None:
        tp, pp = (1, count) if chosen.places_layers else (int(given.get("gpu_count") or 1), 1)
    try:
        options = chosen.given_options(given)
        return chosen, Deployment(
            model=found.model,
            machine=machine,
            engine=chosen.id,
            engine_version=version,
            weight_format=format_of(given, found),
            kv_format=str(given.get("kv_format") or "auto"),
            tp=int(tp or 1),
            pp=int(pp or 1),
            dp=int(given.get("dp") or 1),
            context_tokens=int(given.get("context_tokens") or found.model.max_context_tokens),
            max_num_seqs=given.get("max_num_seqs"),
            options=MappingProxyType(dict(options)),
        )
    except FactMissing as error:
        raise unanswered("fact_missing", fact=error.fact, where=error.where) from error
