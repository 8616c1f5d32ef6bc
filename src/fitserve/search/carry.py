"""The best plan that carries a load: everyone served at once, within the targets, in a format that loses little."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel
from fitserve.search.enumerate import deployments
from fitserve.search.evaluate import Evaluated, Evaluator, quality_class, weights_may_fit
from fitserve.search.rank import rank_key
from fitserve.search.speeds import load_of, with_speed
from fitserve.search.wishes import Wishes
from fitserve.workload.types import Workload

_LITTLE_LOSS = 2
"""Classes up to small_loss, unless the request names a format."""


def best_that_carries(
    model: LanguageModel, machine: Machine, workload: Workload, wishes: Wishes, evaluate: Evaluator
) -> Evaluated | None:
    """The plan with the best quality that uses all devices of a machine and serves the whole load; None without one."""
    load = load_of(workload, min(workload.context_tokens, model.max_context_tokens))
    found: list[Evaluated] = []
    for deployment in _wanted(model, machine, workload, wishes):
        item = evaluate(deployment)
        if item.fits and not item.has("requests_queue"):
            item = with_speed(item, load, wishes.targets)
            if item.speed is not None and not item.speed.is_queued and not item.misses_target:
                found.append(item)
    return min(found, key=rank_key, default=None)


def _wanted(model: LanguageModel, machine: Machine, workload: Workload, wishes: Wishes) -> Iterator[Deployment]:
    """Deployments on all devices whose weights have room and whose format is good enough and needs no work of its own."""
    for engine, version in wishes.engines:
        for deployment, needs_quantizing in deployments(engine, version, model, machine, workload, wishes):
            weight_format = deployment.weight_format
            if (
                deployment.device_count == len(machine.devices)
                and not needs_quantizing
                and (wishes.weight_format is not None or quality_class(model, weight_format) <= _LITTLE_LOSS)
                and weights_may_fit(model, weight_format, machine)
            ):
                yield deployment
