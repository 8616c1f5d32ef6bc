"""Predictions for this machine, corrected by what was measured on it; for any other machine as they are."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from fitserve.engines.contract import Deployment
from fitserve.foundation.intervals import Interval
from fitserve.plan.request import HardwareRequest
from fitserve.plan.world import World
from fitserve.predict.correction import Measured, corrected
from fitserve.predict.types import Speed
from fitserve.search.evaluate import Evaluated

_NOT_A_GPU = {"none", "cpu", "no"}


def is_here(request: HardwareRequest) -> bool:
    """Whether a request is about the machine that this runs on."""
    if request.hardware is not None or request.ram is not None:
        return False
    return all(text.strip().lower() in _NOT_A_GPU for text in request.gpu)


def key_of(deployment: Deployment) -> str:
    """What measurements of one deployment share: model, format, split and the GPUs at work."""
    model = deployment.model
    name = PurePath(model.id).name if model.is_local else model.id
    gpus = "+".join(f"{count}x{gpu}" for gpu, count in deployment.machine.counts) or "cpu"
    return f"{name} {deployment.weight_format.name} tp{deployment.tp} pp{deployment.pp} {gpus}"


def with_corrections(item: Evaluated, request: HardwareRequest, world: World) -> Evaluated:
    """The same plan with its speed corrected, where it is of this machine and something was measured."""
    if item.speed is None or world.measured is None or not is_here(request):
        return item
    return replace(item, speed=corrected(item.speed, world.measured(), item.deployment.engine, key_of(item.deployment)))


def measured_rows(
    deployment: Deployment, predicted: Speed, found: Mapping[str, float | None], run: int
) -> tuple[Measured, ...]:
    """What a load test says of a prediction; `found` by the metric's name, None where it was not measured."""
    asked = {
        "ttft_s": predicted.ttft_s,
        "inter_token_s": predicted.inter_token_s,
        "output_tok_per_s": predicted.output_tok_per_s,
    }
    key = key_of(deployment)
    rows = [
        Measured(engine=deployment.engine, deployment=key, metric=name, predicted=interval, measured=value, run=run)
        for name, interval in asked.items()
        if (value := found.get(name)) is not None
    ]
    return tuple(row for row in rows if row.is_usable)


def measured_form(row: Measured) -> dict[str, Any]:
    """As the ledger keeps it."""
    interval = row.predicted
    return {
        "engine": row.engine, "deployment": row.deployment, "metric": row.metric, "measured": row.measured, "run": row.run,
        "predicted": {"low": interval.low, "likely": interval.likely, "high": interval.high},
    }  # fmt: skip


def measured_of(form: Mapping[str, Any]) -> Measured:
    """From what the ledger kept."""
    predicted = form["predicted"]
    return Measured(
        engine=form["engine"], deployment=form["deployment"], metric=form["metric"], measured=form["measured"],
        run=form["run"], predicted=Interval(predicted["low"], predicted["likely"], predicted["high"]),
    )  # fmt: skip
