"""The search: judge every candidate, keep what fits in order, and say of the rest why not and what would help."""

from dataclasses import dataclass, replace
from functools import partial

from fitserve.engines.contract import Candidate, Engine
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel
from fitserve.search.alternatives import other_model
from fitserve.search.enumerate import candidates, deployments, with_least_offload
from fitserve.search.evaluate import Evaluated, Evaluator, Fix, quality_class
from fitserve.search.fixes import nearest_fixes, other_engine
from fitserve.search.rank import closeness_key, rank_key, split_key
from fitserve.search.speeds import load_of, with_speed
from fitserve.search.wishes import Wishes
from fitserve.workload.types import Workload

_GOOD = 2
"""Classes up to small_loss: when a model runs only below, a smaller model is proposed as well."""
_FREE = {"format", "split", "version", "engine"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What fits, best first, and what does not, nearest first."""

    plans: tuple[Evaluated, ...]
    rejected: tuple[Evaluated, ...]


def find(model: LanguageModel, machine: Machine, workload: Workload, wishes: Wishes) -> Found:
    """Plans and rejected candidates of a request."""
    evaluate, load = Evaluator(), load_of(workload)
    plans: list[Evaluated] = []
    rejected: list[tuple[Evaluated, list[Candidate]]] = []
    for engine, version in wishes.engines:
        siblings = list(candidates(engine, version, model, machine, replace(wishes, weight_format=None)))
        for group in _by_format(engine, version, model, machine, workload, wishes, evaluate):
            fitting = [with_speed(item, load, wishes.targets) for item in group if item.fits]
            plans += _kept(sorted(fitting, key=partial(split_key, use=workload.use)))
            if not fitting:
                closest = min(group, key=closeness_key)
                moved = _offloaded(engine, closest, wishes, evaluate)
                plans += [with_speed(item, load, wishes.targets) for item in moved]
                if not (moved and wishes.offload == "auto"):
                    rejected.append((closest, siblings))
    explained = [replace(item, fixes=_fixes(item, siblings, plans, evaluate)) for item, siblings in rejected]
    if explained and not any(_is_good(model, plan) for plan in plans) and not _is_mended(model, explained):
        explained = _with_other_model(explained, machine, workload, wishes, evaluate)
    explained.sort(key=lambda item: (closeness_key(item)[0], rank_key(item)[1], closeness_key(item)))
    return Found(plans=tuple(sorted(plans, key=rank_key)), rejected=tuple(explained))


def _is_good(model: LanguageModel, plan: Evaluated) -> bool:
    return quality_class(model, plan.deployment.weight_format) <= _GOOD


def _is_mended(model: LanguageModel, rejected: list[Evaluated]) -> bool:
    """Whether the same model runs well on the same machine after a change that costs the user nothing."""
    return any(fix.knob in _FREE and _is_good(model, fix.result) for item in rejected for fix in item.fixes)


def _fixes(
    rejected: Evaluated, siblings: list[Candidate], plans: list[Evaluated], evaluate: Evaluator
) -> tuple[Fix, ...]:
    fixes = nearest_fixes(rejected, siblings, evaluate)
    elsewhere = None if fixes else other_engine(rejected, plans)
    return fixes if elsewhere is None else (elsewhere,)


def _by_format(
    engine: Engine,
    version: str,
    model: LanguageModel,
    machine: Machine,
    workload: Workload,
    wishes: Wishes,
    evaluate: Evaluator,
) -> list[list[Evaluated]]:
    groups: dict[tuple[str, str | None], list[Evaluated]] = {}
    for deployment, needs_quantizing in deployments(engine, version, model, machine, workload, wishes):
        group = groups.setdefault((deployment.weight_format.name, deployment.repository), [])
        group.append(evaluate(deployment, needs_quantizing))
    return list(groups.values())


def _kept(fitting: list[Evaluated]) -> list[Evaluated]:
    """Of the splits of one format that fit: the best, and the one with the fewest devices when that is another."""
    if not fitting:
        return []
    fewest = min(fitting, key=lambda item: item.deployment.device_count)
    return (
        [fitting[0]] if fewest.deployment.device_count == fitting[0].deployment.device_count else [fitting[0], fewest]
    )


def _offloaded(engine: Engine, closest: Evaluated, wishes: Wishes, evaluate: Evaluator) -> list[Evaluated]:
    """A plan with layers in RAM: when asked, or of its own accord when the RAM is known."""
    if not closest.is_memory_only or isinstance(wishes.offload, int):
        return []
    if wishes.offload != "auto" and closest.deployment.machine.host.ram_bytes is None:
        return []
    found = with_least_offload(engine, closest.deployment, evaluate)
    return [] if found is None else [found]


def _with_other_model(
    rejected: list[Evaluated], machine: Machine, workload: Workload, wishes: Wishes, evaluate: Evaluator
) -> list[Evaluated]:
    fix = other_model(rejected[0].deployment.model, machine, workload, wishes, evaluate)
    return rejected if fix is None else [replace(item, fixes=(*item.fixes, fix)) for item in rejected]
