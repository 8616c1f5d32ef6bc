"""How many users a plan carries within targets, and what each of them gets as they become more."""

from collections.abc import Callable
from dataclasses import replace

from fitserve.foundation.errors import FactMissing
from fitserve.predict.speed import speed_of
from fitserve.predict.types import Load, Speed
from fitserve.search.evaluate import Evaluated
from fitserve.search.speeds import missed_targets
from fitserve.workload.types import NO_TARGETS, Targets

_MOST_USERS = 4096
"""More than any engine's default of sequences at once; a search ends here."""


def users_within(item: Evaluated, load: Load, targets: Targets) -> int | None:
    """The most users at once that still get what was asked for; 0 when not even one does.

    Nobody who waits for room counts. None without targets, without a predicted speed, or where requests come at a rate.
    While nobody waits, speeds fall as users are added, so the border is found by halving.
    """
    budget = item.budget
    if targets == NO_TARGETS or item.speed is None or budget is None or load.rate_per_s is not None:
        return None

    def is_met(users: int) -> bool:
        speed = speed_of(item.deployment, budget, replace(load, concurrent_requests=users))
        return not speed.is_queued and not missed_targets(speed, targets)

    try:
        return _border(is_met)
    except FactMissing:
        return None


def load_curve(item: Evaluated, load: Load) -> tuple[tuple[int, Speed], ...]:
    """(users at once, speed) for 1, 2, 4 ... users, until twice as many as the cache holds or the load asks for.

    Empty without a budget or where no speed is predicted.
    """
    budget = item.budget
    if budget is None or item.speed is None:
        return ()
    most = max(load.concurrent_requests or 1, min(budget.max_num_seqs, int(budget.kv.max_concurrency)), 2)
    counts = [2**power for power in range(_MOST_USERS.bit_length()) if 2**power <= min(2 * most, _MOST_USERS)]
    many = replace(load, rate_per_s=None)
    return tuple(
        (count, speed_of(item.deployment, budget, replace(many, concurrent_requests=count))) for count in counts
    )


def _border(is_met: Callable[[int], bool]) -> int:
    low, high = 0, 1
    while high <= _MOST_USERS and is_met(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_met(middle) else (low, middle)
    return low
