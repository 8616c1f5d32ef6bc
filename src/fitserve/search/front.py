"""The Pareto front of plans: those that no other plan beats in everything that people weigh against each other."""

from collections.abc import Sequence

from fitserve.predict.format_quality import format_quality
from fitserve.search.evaluate import Evaluated

Merits = tuple[float, float, float, float]


def merits(item: Evaluated) -> Merits | None:
    """What counts, more is better: tokens a second of one user, of all users by GPU, score kept, fewer GPUs.

    None for a plan whose speed or loss is not known: nothing is said about it.
    """
    kept = format_quality(item.deployment.weight_format, item.deployment.model)
    if item.speed is None or kept is None:
        return None
    devices = max(1, item.deployment.device_count)
    speed = item.speed
    return (
        speed.per_user_tok_per_s.likely,
        speed.output_tok_per_s.likely / devices,
        kept.score_kept_pct.likely,
        -float(devices),
    )


def pareto_front(plans: Sequence[Evaluated]) -> tuple[bool, ...]:
    """Of each plan whether it is on the front. Those without merits are not."""
    known = [merits(item) for item in plans]
    return tuple(
        mine is not None and not any(other is not None and _beats(other, mine) for other in known) for mine in known
    )


def _beats(other: Merits, mine: Merits) -> bool:
    return other != mine and all(theirs >= own for theirs, own in zip(other, mine, strict=True))
