"""All candidates of a request: engines x formats x parallel sizes, and layers in RAM where that was asked for."""

from collections.abc import Iterator
from dataclasses import replace

from fitserve.engines.contract import Candidate, Deployment, Engine
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel
from fitserve.search.evaluate import Evaluated, Evaluator
from fitserve.search.wishes import Wishes
from fitserve.workload.types import Workload


def candidates(
    engine: Engine, version: str, model: LanguageModel, machine: Machine, wishes: Wishes
) -> tuple[Candidate, ...]:
    """Formats to try on an engine: its own list, or the one that was asked for."""
    offered = engine.candidates(model, machine, version)
    if wishes.weight_format is None:
        return offered
    wanted = wishes.weight_format
    if wishes.repository is not None and wanted.family != "gguf":
        return (Candidate(weight_format=wanted, repository=wishes.repository),)
    chosen = tuple(candidate for candidate in offered if candidate.weight_format.name == wanted.name)
    made = wanted.is_quantized and wanted.family != "gguf" and wanted.name not in engine.makes_on_load
    return chosen or (Candidate(weight_format=wanted, needs_quantizing=made),)


def splits(
    engine: Engine, version: str, model: LanguageModel, machine: Machine, wishes: Wishes
) -> tuple[tuple[int, int], ...]:
    """(tensor, pipeline) parallel sizes to try: those of the request, else the engine's list."""
    if wishes.tp is not None or wishes.pp is not None:
        return ((wishes.tp or 1, wishes.pp or 1),)
    return engine.splits(model, machine, version)


def deployments(
    engine: Engine, version: str, model: LanguageModel, machine: Machine, workload: Workload, wishes: Wishes
) -> Iterator[tuple[Deployment, bool]]:
    """Candidates of one engine, each with whether it must be quantized first."""
    for candidate in candidates(engine, version, model, machine, wishes):
        for tp, pp in splits(engine, version, model, machine, wishes):
            yield (
                Deployment(
                    model=model, machine=machine, engine=engine.id, engine_version=version, weight_format=candidate.weight_format,
                    repository=candidate.repository, kv_format=wishes.kv_format or "auto", tp=tp, pp=pp, ep=wishes.ep or 1,
                    dp=wishes.dp or 1, context_tokens=workload.context_tokens, concurrent_requests=workload.concurrent_requests,
                    max_num_seqs=wishes.max_num_seqs, options=wishes.options,
                    offload_layers=wishes.offload if isinstance(wishes.offload, int) else None,
                ),
                candidate.needs_quantizing,
            )  # fmt: skip


def with_least_offload(engine: Engine, deployment: Deployment, evaluate: Evaluator) -> Evaluated | None:
    """The deployment with as few layers in RAM as make it fit; None when the engine cannot or nothing helps."""
    if (
        not engine.places_layers
        or not deployment.machine.devices
        or any(d.is_unified for d in deployment.machine.devices)
    ):
        return None
    low, high = 1, len(deployment.model.layers) + 1
    if not evaluate(replace(deployment, offload_layers=high)).fits:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if evaluate(replace(deployment, offload_layers=middle)).fits else (middle + 1, high)
    found = evaluate(replace(deployment, offload_layers=low))
    return found if found.fits else None
