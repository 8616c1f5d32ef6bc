"""One rig for all tables of a guide: the machine, its engines, and a memory of what was judged."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from fitserve.engines.contract import Engine
from fitserve.engines.registry import engine, tried
from fitserve.footprint.gguf_recipes import gguf_file_bytes
from fitserve.footprint.weights import weight_bytes
from fitserve.foundation.errors import FitserveError
from fitserve.guides.hardware import choices, usable_engines
from fitserve.guides.types import EngineSupport
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.formats import WeightFormat, parse_format
from fitserve.models.types import LanguageModel
from fitserve.search.enumerate import candidates, deployments
from fitserve.search.evaluate import Evaluated, Evaluator, weights_may_fit
from fitserve.search.rank import closeness_key, split_key
from fitserve.search.speeds import load_of, with_speed
from fitserve.search.wishes import Wishes
from fitserve.workload.types import NO_TARGETS, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A machine, the workload of its guide, and the engines that run on it, each in its newest release that does."""

    machine: Machine
    workload: Workload
    support: dict[str, EngineSupport]
    evaluate: Evaluator = field(default_factory=Evaluator)

    @property
    def engines(self) -> tuple[tuple[Engine, str], ...]:
        """Engines that plans try unasked, and those for cards that it leaves out."""
        vendors = {device.vendor for device in self.machine.devices}
        usual = {found.id for found in tried(vendors)}
        wanted = [row["engine"] for row in choices()["formats"] if not self._is_replaced(row)]
        names = [name for name in self.support if name in usual or name in wanted]
        return tuple((engine(name), str(self.support[name].version)) for name in names)

    def _is_replaced(self, row: dict[str, str]) -> bool:
        return row.get("unless") in self.support

    def formats(self) -> Iterator[tuple[Engine, str, str]]:
        """(engine, version, format) of the tables: those that run here, not only load."""
        for row in choices()["formats"]:
            state = self.support.get(row["engine"])
            if state is None or self._is_replaced(row):
                continue
            family = row["engine"] == "llama.cpp"
            names = [name for name in row["names"] if family or _runs(state, name)]
            names += [name for name in row.get("one_of", ()) if _runs(state, name)][:1]
            for name in names:
                yield engine(row["engine"]), str(state.version), name


def _runs(state: EngineSupport, name: str) -> bool:
    """Widths of a family are one to a device: what holds for the width that was looked at holds for all."""
    family = name.split("-")[0] if name.startswith("mlx") else name
    return any(item.format.startswith(family) and item.state == "runs" for item in state.formats)


def rig_of(machine: Machine, workload: Workload) -> Rig:
    """The rig of a machine."""
    return Rig(machine=machine, workload=workload, support=usable_engines(machine))


def catalogue(model_id: str) -> LanguageModel | None:
    """A model of the catalogue; None where it is not there or cannot be read."""
    if model_id not in rows():
        return None
    try:
        return catalog_model(model_id)
    except FitserveError:
        return None


def judge(
    rig: Rig,
    model: LanguageModel,
    on: tuple[Engine, str],
    weight_format: WeightFormat,
    workload: Workload | None = None,
    uses_all: bool = False,
) -> Evaluated | None:
    """The best way to spread a model in a format over the rig, with its speed; else the way that lacks least.

    `uses_all`: ways that leave a device idle count only where no other way fits. None where the engine does not offer the
    format for this model.
    """
    chosen, version = on
    asked = workload or rig.workload
    work = replace(asked, context_tokens=min(asked.context_tokens, model.max_context_tokens))
    wishes = Wishes(engines=(on,), weight_format=weight_format)
    judged = []
    try:
        for deployment, made in deployments(chosen, version, model, rig.machine, work, wishes):
            judged.append(rig.evaluate(deployment, made))
    except FitserveError:
        return None
    load = load_of(work)
    fitting = [with_speed(item, load, NO_TARGETS) for item in judged if item.fits]
    most = max((item.deployment.device_count for item in fitting), default=0)
    if uses_all:
        fitting = [item for item in fitting if item.deployment.device_count == most]
    if fitting:
        return min(fitting, key=partial(split_key, use=work.use))
    return min(judged, key=closeness_key, default=None)


def options(rig: Rig, model: LanguageModel, workload: Workload, fewest_bits: float) -> list[Evaluated]:
    """Every published format of a model, of at least so many bits, that fits."""
    found = []
    for on in rig.engines:
        free = Wishes(engines=(on,))
        for candidate in candidates(on[0], on[1], model, rig.machine, free):
            offered = candidate.weight_format
            if candidate.needs_quantizing or offered.effective_bits() < fewest_bits:
                continue
            if rig.machine.devices and not weights_may_fit(model, offered, rig.machine):
                continue
            item = judge(rig, model, on, offered, workload)
            if item is not None and item.fits and item.is_accelerated:
                found.append(item)
    return found


def file_bytes(model: LanguageModel, weight_format: WeightFormat) -> float | None:
    """What the download takes; None where the format's tensors are not known."""
    try:
        if weight_format.gguf_mix is not None:
            return gguf_file_bytes(model, weight_format.gguf_mix).likely
        return float(weight_bytes(model, weight_format))
    except FitserveError:
        return None


def rate_of(item: Evaluated) -> float:
    """Tokens a second of one user; zero without a prediction."""
    return 0.0 if item.speed is None else item.speed.per_user_tok_per_s.likely


def read_bytes(item: Evaluated) -> float | None:
    """Weights read for a token: the file, of experts the share that runs."""
    model = item.deployment.model
    size = file_bytes(model, item.deployment.weight_format)
    row = rows().get(model.id) or {}
    active, total = row.get("active_params"), row.get("total_params")
    if size is None:
        return None
    return size * active / total if active and total else size


def pace_of(item: Evaluated) -> float:
    """Tokens a second: as predicted; without a prediction the ceiling at the memory rate of an ordinary machine."""
    if item.speed is not None:
        return rate_of(item)
    read = read_bytes(item)
    return choices()["ceilings"]["usual_gb_per_s"] * 1e9 / read if read else 0.0


def host_usable_bytes(machine: Machine) -> int:
    """RAM for a model, less what the system keeps."""
    features = {row["feature"]: row["value"] for row in engine("llama.cpp").facts["features"]}
    return max(0, (machine.host.ram_bytes or 0) - int(features["host_reserve_bytes"]))


def format_of(name: str) -> WeightFormat:
    """A weight format by name."""
    return parse_format(name)
