"""Speed of a deployment under a load, by the law of its engine: batching servers, or engines of one stream and a few."""

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.foundation.errors import FactMissing
from fitserve.predict.batched import batched_speed
from fitserve.predict.streams import is_predicted, stream_speed
from fitserve.predict.types import Load, Speed


def speed_of(deployment: Deployment, budget: MemoryBudget, load: Load) -> Speed:
    """Speed of a deployment. Raises FactMissing where neither measurements nor rates give a basis."""
    try:
        return batched_speed(deployment, budget, load)
    except FactMissing:
        # engines that do not batch, and machines outside the tables of kernels: the law of few streams, where it knows them
        if not is_predicted(deployment.engine):
            raise
        return stream_speed(deployment, budget, load)
