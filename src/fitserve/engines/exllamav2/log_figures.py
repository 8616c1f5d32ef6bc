"""What measured cases compare with: the driver's total of a TabbyAPI process, weights and cache."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.engines.exllamav2.memory import layer_token_bytes
from fitserve.engines.exllamav2.settings import resolve
from fitserve.engines.figures import server_figures
from fitserve.foundation.intervals import Interval


def log_figures(deployment: Deployment, budget: MemoryBudget) -> Mapping[str, Interval]:
    """Figures of the devices; RAM is apart."""
    return server_figures(deployment, replace(budget, host_items=()))


_OPTIONS = {"max_batch_size": "max_batch_size", "chunk_size": "chunk_size", "cache_size": "cache_size"}


def given_options(given: Mapping[str, Any]) -> Mapping[str, str]:
    """Keys of config.yml that a measured case was run with."""
    options = {key: str(given[name]) for name, key in _OPTIONS.items() if given.get(name) is not None}
    keys = given.get("k_format")
    if keys is not None and str(keys) not in {"f16", "fp16"}:
        options["cache_mode"] = str(keys).upper().removesuffix("_0")
    return options


def cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    """Bytes of the cache of some sequences; there are no recurrent states."""
    settings = resolve(deployment)
    token = sum(layer_token_bytes(deployment.model, settings.cache_mode, deployment.tp))
    return 0 if part == "recurrent state" else round(token * deployment.context_tokens) * sequences
