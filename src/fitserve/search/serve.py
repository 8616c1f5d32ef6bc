"""A plan with its workload simulated: percentiles, and the share of requests that keep the targets."""

from dataclasses import replace

from fitserve.foundation.errors import FactMissing
from fitserve.foundation.reasons import warning
from fitserve.predict.figures import Targets as KeptTargets
from fitserve.predict.serving import Spread, served
from fitserve.predict.types import Load
from fitserve.search.evaluate import Evaluated
from fitserve.workload.presets import preset
from fitserve.workload.types import Targets, Workload


def spread_of(workload: Workload) -> Spread:
    """How the requests differ in length: as is usual for the purpose; a length that was stated is that of every request."""
    usual = preset(workload.use)
    return Spread(
        prompt_sigma=0.0 if workload.prompt_tokens is not None else usual.prompt_sigma,
        output_sigma=0.0 if workload.output_tokens is not None else usual.output_sigma,
    )


def kept_targets(targets: Targets) -> KeptTargets:
    """What one request must keep: the time to its first token, and the slower of the two wishes for the next ones."""
    gaps = [targets.inter_token_s, None if targets.min_tok_per_s is None else 1 / targets.min_tok_per_s]
    return KeptTargets(ttft_s=targets.ttft_s, tpot_s=min((gap for gap in gaps if gap is not None), default=None))


def with_served(item: Evaluated, load: Load, workload: Workload, targets: Targets) -> Evaluated:
    """A plan with its workload simulated; as it is where it has no speed."""
    if item.budget is None or item.speed is None:
        return item
    try:
        found = served(item.deployment, item.budget, load, item.speed, spread_of(workload), kept_targets(targets))
    except FactMissing:
        return item
    if found is None or not found.is_beyond:
        return replace(item, served=found)
    beyond = warning("arrivals_beyond", rate=load.rate_per_s, answered=float(f"{found.requests_per_s:.2g}"))
    return replace(item, served=found, reasons=(*item.reasons, beyond))
