"""Speed of a deployment under a load, by the law of its engine: batching servers, or engines of one stream and a few."""

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.foundation.errors import FactMissing
from fitserve.predict.batched import batched_speed
from fitserve.predict.streams import is_predicted, stream_speed
from fitserve.predict.types import Load, Speed


def speed_of(deployment: Deployment, budget: MemoryBudget, load: Load) -> Speed:
    """Speed of a deployment, with the drafts that its options ask for.

    Raises FactMissing where neither measurements nor rates give a basis, or drafts are asked for and not enough is said.
    """
    speed = _without_drafts(deployment, budget, load)
    if not deployment.options:
        return speed
    from fitserve.predict.speculation import with_speculation  # few requests state options

    return with_speculation(speed, deployment, budget, load)


def _without_drafts(deployment: Deployment, budget: MemoryBudget, load: Load) -> Speed:
    try:
        return batched_speed(deployment, budget, load)
    except FactMissing:
        # engines that do not batch, and machines outside the tables of kernels: the law of few streams, where it knows them
        if not is_predicted(deployment.engine):
            raise
        return stream_speed(deployment, budget, load)
