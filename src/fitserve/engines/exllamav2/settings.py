"""The settings of a TabbyAPI server with ExLlamaV2: what the deployment asks for, its own defaults for the rest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fitserve.engines.config_file import given_keys
from fitserve.engines.contract import Deployment
from fitserve.engines.exllamav2.rules import PACKAGE, feature, options_version
from fitserve.foundation.units import round_up

_NAMES = {"auto": "FP16", "f16": "FP16", "q8_0": "Q8", "q4_0": "Q4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Resolved settings. `cache_tokens` is None when the plan chooses it."""

    slots: int
    is_paged: bool
    cache_tokens: int | None
    chunk_tokens: int
    cache_mode: str
    reserve_mib: float
    shares_gib: tuple[float, ...]
    """`gpu_split`: GiB of each device; empty is automatic."""
    given: Mapping[str, Any]


def cache_mode(text: str) -> str | None:
    """FP16, Q8, Q6 or Q4 of what people write; None for a name that is none."""
    name = _NAMES.get(text.strip().lower(), text.strip().upper())
    return name if name in feature("cache_modes") else None


def is_paged(deployment: Deployment) -> bool:
    """Whether every device runs paged attention; else one request at a time."""
    floor = feature("paged_capability_floor")
    devices = deployment.machine.devices[: deployment.device_count]
    return all(device.vendor == "nvidia" and (device.capability_number or 0) >= floor for device in devices)


def resolve(deployment: Deployment) -> ServerSettings:
    """Settings of the server. Raises InputError for an option value that is none."""
    given = given_keys(PACKAGE, options_version(deployment.engine_version), deployment.options)
    paged = is_paged(deployment)
    slots = given.get("model.max_batch_size") or deployment.max_num_seqs or max(1, deployment.concurrent_requests)
    chunk = given.get("model.chunk_size") or feature("chunk_tokens")
    reserve = given.get("model.autosplit_reserve") or [feature("first_device_reserve_mib")]
    return ServerSettings(
        slots=int(slots) if paged else 1,
        is_paged=paged,
        cache_tokens=given.get("model.cache_size") if paged else None,
        chunk_tokens=round_up(min(max(256, chunk), max(256, deployment.context_tokens)), 256),
        cache_mode=cache_mode(str(given.get("model.cache_mode") or deployment.kv_format)) or "FP16",
        reserve_mib=float(reserve[0]),
        shares_gib=tuple(given.get("model.gpu_split") or ()),
        given=given,
    )
