"""The server of a fine-tuned model: the best vLLM plan of its base on the same machine, with the adapter's options."""

from dataclasses import dataclass, replace

from fitserve.engines.contract import LaunchCommand
from fitserve.foundation.errors import FitserveError
from fitserve.plan.answer import cost_of, launch_command, plan
from fitserve.plan.finetune import FinetuneAnswer
from fitserve.plan.request import PlanRequest
from fitserve.plan.world import World
from fitserve.predict.cost import PlanCost
from fitserve.search.evaluate import Evaluated


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A plan, its command with the adapter, and its cost; `command` is None where nothing fits."""

    plan: Evaluated | None
    command: LaunchCommand | None
    cost: PlanCost | None


def served(answer: FinetuneAnswer, world: World) -> Served:
    """How the result is served on the machine that it was trained on."""
    request = answer.request
    given = {"gpu": request.gpu or None, "ram": f"{request.ram} B" if request.ram else None, "os": request.os}
    try:
        found = plan(PlanRequest.read(model=request.model, engine=("vllm",), hardware=request.hardware, **given), world)
    except FitserveError:
        return Served(plan=None, command=None, cost=None)
    if not found.plans:
        return Served(plan=None, command=None, cost=None)
    best = found.plans[0]
    command = launch_command(best)
    if command is not None and answer.serving.options:
        command = replace(command, argv=(*command.argv, *answer.serving.options))
    return Served(plan=best, command=command, cost=cost_of(best, answer.rate))
