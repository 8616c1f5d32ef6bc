"""An engine that runs other engines: one parent for each family of weight formats.

A deployment is put into the parent's terms (`translate`), the parent's own policy answers, and its reasons come back in
the name of the engine that was asked for. The parents are given by the registry; nothing here names one.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from fitserve.engines.contract import Candidate, Deployment, Engine, MemoryBudget
from fitserve.foundation.errors import FactMissing, InputError
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason, not_supported
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel

PARENT = "parent"
"""Key of a budget's details: the id of the engine that computed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """The engines behind `engine`, by family of weight formats (`gguf`, `mlx`, `plain` ...)."""

    engine: str
    by_family: Mapping[str, Engine]
    translate: Callable[[Deployment, Engine], Deployment]
    """The deployment as the parent would be asked for it: its id, its version, its options."""

    @property
    def all(self) -> tuple[Engine, ...]:
        """Every parent once, in order."""
        return tuple({parent.id: parent for parent in self.by_family.values()}.values())

    def of(self, deployment: Deployment) -> Engine | None:
        """The parent that loads this weight format; None when none does."""
        return self.by_family.get(deployment.weight_format.family)

    def needed(self, deployment: Deployment) -> Engine:
        """The parent that loads this weight format. Raises FactMissing when none does."""
        parent = self.of(deployment)
        if parent is None:
            raise FactMissing(
                f"what loads {deployment.weight_format.name} in {self.engine}", "engines/registry.py (mirrors)"
            )
        return parent

    def blockers(self, deployment: Deployment, dropped: Collection[str] = ()) -> tuple[Reason, ...]:
        """The parent's reasons in this engine's name, without those that it judges itself (`dropped`)."""
        parent = self.of(deployment)
        if parent is None:
            return (not_supported("format_not_supported", engine=self.engine, format=deployment.weight_format.name),)
        reasons = parent.blockers(self.translate(deployment, parent))
        return tuple(self._renamed(reason, deployment) for reason in reasons if reason.code not in dropped)

    def _renamed(self, reason: Reason, deployment: Deployment) -> Reason:
        own = {"engine": self.engine, "version": deployment.engine_version}
        parameters = {key: own.get(key, value) for key, value in reason.parameters.items()}
        return replace(reason, parameters=MappingProxyType(parameters))

    def budget(self, deployment: Deployment) -> MemoryBudget:
        """The parent's budget. Raises FactMissing when no parent loads the format, or it has none without a GPU."""
        parent = self.needed(deployment)
        if parent.needs_accelerator and not deployment.machine.devices:
            raise FactMissing(f"memory of {parent.id} without a GPU", f"engines/{parent.id}")
        budget = parent.budget(self.translate(deployment, parent))
        return replace(budget, details=MappingProxyType({**budget.details, PARENT: parent.id}))

    def computed(self, budget: MemoryBudget) -> Engine:
        """The parent that computed a budget."""
        return next(parent for parent in self.all if parent.id == budget.details[PARENT])

    def outcome(self, budget: MemoryBudget) -> str:
        """What the start comes to, in the parent's words."""
        return self.computed(budget).outcome(budget)

    def log_figures(self, deployment: Deployment, budget: MemoryBudget) -> Mapping[str, Interval]:
        """What the parent's log would print."""
        parent = self.computed(budget)
        return parent.log_figures(self.translate(deployment, parent), budget)

    def cache_bytes(self, deployment: Deployment, sequences: int, part: str) -> int:
        """Bytes of the cache of some sequences, by the parent's rules."""
        parent = self.needed(deployment)
        asked = replace(deployment, max_num_seqs=sequences)
        return parent.cache_bytes(self.translate(asked, parent), sequences, part)

    def given_options(self, given: Mapping[str, Any]) -> Mapping[str, str]:
        """Options of a measured case, in the words of the first parent."""
        return self.all[0].given_options(given)

    def candidates(self, model: LanguageModel, machine: Machine) -> tuple[Candidate, ...]:
        """What the parents would try, each for its own families."""
        found: dict[str, Candidate] = {}
        for parent in self.all:
            for candidate in parent.candidates(model, machine, parent.versions[-1]):
                if self.by_family.get(candidate.weight_format.family) is parent:
                    found.setdefault(candidate.weight_format.name, candidate)
        return tuple(found.values())

    def splits(self, model: LanguageModel, machine: Machine) -> tuple[tuple[int, int], ...]:
        """Every way to spread a model that one of the parents knows."""
        sizes = [size for parent in self.all for size in parent.splits(model, machine, parent.versions[-1])]
        return tuple(dict.fromkeys(sizes))

    @property
    def makes_on_load(self) -> frozenset[str]:
        """Formats that a parent quantizes to while it loads."""
        return frozenset().union(*(parent.makes_on_load for parent in self.all))


def plain_name(option: str) -> str:
    """An option name as `--set` gives it: lower case, dashes."""
    return option.lower().replace("_", "-")


def whole_number(option: str, text: str) -> int:
    """The value of a whole-number option. Raises InputError for text that is none."""
    try:
        return int(text)
    except ValueError as error:
        raise InputError.of("option_wrong", option=option, value=text) from error


def file_name(deployment: Deployment) -> str:
    """The weight file or folder: what was read, else the usual name of this format."""
    if deployment.repository is not None:
        return deployment.repository
    base = deployment.model.id.split("/")[-1]
    mix = deployment.weight_format.gguf_mix
    return f"{base}-{mix}.gguf" if mix else deployment.model.id


def vendor(deployment: Deployment) -> str:
    """Vendor of the devices; `none` on a machine without any."""
    return deployment.machine.devices[0].vendor if deployment.machine.devices else "none"
