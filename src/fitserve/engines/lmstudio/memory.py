"""Memory of LM Studio: that of the engine inside. Its llama.cpp shares one cache of the loaded length among all slots."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from fitserve.engines.contract import NO_OPTIONS, Deployment, Engine, MemoryBudget
from fitserve.engines.mirroring import Parents, plain_name, whole_number
from fitserve.foundation.reasons import warning

_LOAD_OPTIONS = {"context-length", "c", "parallel", "gpu"}


def slots(deployment: Deployment) -> int:
    """Predictions at once (`--parallel`)."""
    given = _load_options(deployment.options)
    if "parallel" in given:
        return max(1, whole_number("--parallel", given["parallel"]))
    return max(1, deployment.max_num_seqs or deployment.concurrent_requests)


def loaded_tokens(deployment: Deployment) -> int:
    """What `--context-length` is set to: room for every slot, up to what the model knows; never less than one request."""
    given = _load_options(deployment.options)
    if "context-length" in given:
        return whole_number("--context-length", given["context-length"])
    limit = max(deployment.context_tokens, deployment.model.max_context_tokens)
    return min(deployment.context_tokens * slots(deployment), limit)


def _load_options(options: Mapping[str, str]) -> dict[str, str]:
    named = {plain_name(name): value for name, value in options.items()}
    return {("context-length" if name == "c" else name): value for name, value in named.items()}


def gpu_layers(deployment: Deployment) -> int:
    """Layers on GPUs, the output layer among them: `lms load` moves whole layers only."""
    return max(0, len(deployment.model.layers) + 1 - (deployment.offload_layers or 0))


def translate(deployment: Deployment, parent: Engine) -> Deployment:
    """The deployment as the engine inside is asked for it, at the newest build known. Its own options pass through."""
    changed = replace(deployment, engine=parent.id, engine_version=parent.versions[-1], options=NO_OPTIONS)
    if deployment.weight_format.family != "gguf":
        return changed
    options = {
        "ctx-size": str(loaded_tokens(deployment)),
        "parallel": str(slots(deployment)),
        "kv-unified": "on",
        **{name: value for name, value in deployment.options.items() if plain_name(name) not in _LOAD_OPTIONS},
    }
    if deployment.offload_layers:
        options["gpu-layers"] = str(gpu_layers(deployment))
    return replace(changed, offload_layers=None, options=MappingProxyType(options))


def budget(deployment: Deployment, behind: Parents) -> MemoryBudget:
    """The budget of the engine inside, with a warning where the slots share less than they were asked for."""
    found = behind.budget(deployment)
    at_once = loaded_tokens(deployment) // deployment.context_tokens
    if deployment.weight_format.family != "gguf" or at_once >= slots(deployment):
        return found
    queue = warning(
        "requests_queue", at_once=max(1, at_once), asked=slots(deployment), context_tokens=deployment.context_tokens
    )
    return replace(found, reasons=(*found.reasons, queue))
