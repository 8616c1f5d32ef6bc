"""How many users a plan carries within targets."""

from collections.abc import Callable
from dataclasses import replace

from fitserve.foundation.errors import FactMissing
from fitserve.predict.speed import speed_of
from fitserve.predict.types import Load
from fitserve.search.evaluate import Evaluated
from fitserve.search.speeds import missed_targets
from fitserve.workload.types import NO_TARGETS, Targets

_MOST_USERS = 4096


def users_within(item: Evaluated, load: Load, targets: Targets) -> int | None:
    """The most users at once that still get what was asked for; 0 when not even one does.

    None without targets, without a predicted speed, or where requests come at a rate. Speeds fall as users are added, so
    the border is found by halving.
    """
    budget = item.budget
    if targets == NO_TARGETS or item.speed is None or budget is None or load.rate_per_s is not None:
        return None

    def is_met(users: int) -> bool:
        speed = speed_of(item.deployment, budget, replace(load, concurrent_requests=users))
        return not missed_targets(speed, targets)

    try:
        return _border(is_met)
    except FactMissing:
        return None


def _border(is_met: Callable[[int], bool]) -> int:
    low, high = 0, 1
    while high <= _MOST_USERS and is_met(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_met(middle) else (low, middle)
    return low
