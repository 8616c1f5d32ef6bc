"""The settings of a TabbyAPI server with ExLlamaV3: what the deployment asks for, its own defaults for the rest."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fitserve.engines.config_file import given_keys
from fitserve.engines.contract import Deployment
from fitserve.engines.exllamav3.rules import PACKAGE, architectures, feature, options_version
from fitserve.engines.releases import at_least
from fitserve.foundation.units import MIB, round_up
from fitserve.models.types import Attention, CompressedAttention, LatentAttention

_PAIR = re.compile(r"([2-8])\s*,\s*([2-8])")
_PLAIN = {"auto", "fp16", "f16"}
HALF_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Resolved settings. `cache_tokens` is None when the plan chooses it; `key_bits` 16 is an unquantized cache."""

    slots: int
    has_states: bool
    cache_tokens: int | None
    chunk_tokens: int
    key_bits: int
    value_bits: int
    expert_layers_on_host: int
    reserves_bytes: tuple[int, ...]
    shares_gib: tuple[float, ...]
    """`gpu_split`: GiB of each device; empty is automatic."""
    given: Mapping[str, Any]

    @property
    def is_quantized(self) -> bool:
        """Whether keys and values are stored in fewer than 16 bit."""
        return self.key_bits < HALF_BITS

    @property
    def cache_mode(self) -> str:
        """As config.yml writes it."""
        return f"{self.key_bits},{self.value_bits}" if self.is_quantized else "FP16"


def cache_bits(text: str) -> tuple[int, int] | None:
    """(bits of keys, of values) of `fp16`, `q8`, `6,4`; None for a name that is none."""
    name = text.strip().lower()
    if name in _PLAIN:
        return HALF_BITS, HALF_BITS
    if match := re.fullmatch(r"q([2-8])(?:_0)?", name):
        return int(match[1]), int(match[1])
    match = _PAIR.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def window_only(deployment: Deployment) -> bool:
    """Whether sliding layers of this model keep a window for every slot instead of a share of the cache."""
    row = architectures().get(deployment.model.architecture, {})
    since = row.get("window_only_from")
    return since is not None and at_least(deployment.engine_version, since)


def has_states(deployment: Deployment) -> bool:
    """Whether slots hold states of fixed size (recurrent or window), which max_batch_size multiplies."""
    windows = window_only(deployment)
    return any(
        not isinstance(mixer, Attention | LatentAttention | CompressedAttention)
        or (isinstance(mixer, Attention) and windows and mixer.window_tokens is not None)
        for layer in deployment.model.layers
        for mixer in layer.mixers
    )


def resolve(deployment: Deployment) -> ServerSettings:
    """Settings of the server. Raises InputError for an option value that is none."""
    version = deployment.engine_version
    given = given_keys(PACKAGE, options_version(version), deployment.options)
    states = has_states(deployment)
    slots = given.get("model.max_batch_size") or deployment.max_num_seqs or max(1, deployment.concurrent_requests)
    key_bits, value_bits = cache_bits(str(given.get("model.cache_mode") or deployment.kv_format)) or (HALF_BITS,) * 2
    chunk = given.get("model.chunk_size") or feature("chunk_tokens")
    return ServerSettings(
        slots=int(slots),
        has_states=states,
        cache_tokens=given.get("model.cache_size"),
        chunk_tokens=round_up(max(256, chunk), 256),  # TabbyAPI adjust_chunk_size
        key_bits=key_bits,
        value_bits=value_bits,
        expert_layers_on_host=int(given.get("model.cpu_moe_offload_layers") or deployment.offload_layers or 0),
        reserves_bytes=_reserves(version, given),
        shares_gib=tuple(given.get("model.gpu_split") or ()),
        given=given,
    )


def _reserves(version: str, given: Mapping[str, Any]) -> tuple[int, ...]:
    """Bytes kept free on the devices that the list names; the last of them stands for all others."""
    first = given.get("model.autosplit_reserve") or [feature("first_device_reserve_mib")]
    return (*(round(value * MIB) for value in first), feature("other_device_reserve_mib", version) * MIB)
