"""What measured cases compare with: the driver's total of a TabbyAPI process, weights and cache."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.engines.exllamav3.cache import layer_slot_bytes, layer_tokens_bytes
from fitserve.engines.exllamav3.settings import resolve
from fitserve.engines.figures import server_figures
from fitserve.foundation.intervals import Interval


def log_figures(deployment: Deployment, budget: MemoryBudget) -> Mapping[str, Interval]:
    """Figures of the devices; RAM is apart."""
    return server_figures(deployment, replace(budget, host_items=()))


_OPTIONS = {"max_batch_size": "max_batch_size", "chunk_size": "chunk_size", "cache_size": "cache_size"}


def given_options(given: Mapping[str, Any]) -> Mapping[str, str]:
    """Keys of config.yml that a measured case was run with."""
    options = {key: str(given[name]) for name, key in _OPTIONS.items() if given.get(name) is not None}
    keys, values = given.get("k_format"), given.get("v_format")
    if keys is not None and str(keys) not in {"f16", "fp16"}:
        pair = [str(text).lower().removeprefix("q").removesuffix("_0") for text in (keys, values or keys)]
        options["cache_mode"] = ",".join(pair)
    return options


def cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    """Bytes of the cache of some sequences, and of the states of as many slots."""
    settings = resolve(deployment)
    cache = sum(layer_tokens_bytes(deployment, settings)) * deployment.context_tokens
    states = sum(layer_slot_bytes(deployment)) if "state" in part else 0
    return ((0 if part == "recurrent state" else cache) + states) * sequences
