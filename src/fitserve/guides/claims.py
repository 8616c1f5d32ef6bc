"""Claims that circulate and are wrong for some hardware: each is computed here, and shown only where it is contradicted."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fitserve.engines.registry import engine
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Parameter
from fitserve.foundation.units import GIB
from fitserve.guides.claim_rates import RATES
from fitserve.guides.claim_sizes import SIZES
from fitserve.guides.claim_world import ClaimWorld
from fitserve.guides.types import Claim

_FP8, _BF16, _MARLIN, _TENSOR_CORES, _OLD_GUIDE_GIB = 89, 80, 80, 70, 32


def claims(world: ClaimWorld) -> tuple[Claim, ...]:
    """Every claim whose conditions hold and which the figures contradict; no two of them the same."""
    holds = conditions(world)
    found: dict[object, Claim] = {}
    for rule in load_toml("fitserve.guides", "claims.toml")["claims"]:
        if set(rule["when"]) <= holds:
            for claim in _KINDS[rule["kind"]](world, rule):
                found.setdefault((claim.code, claim.parameters), claim)
    return tuple(found.values())


def conditions(world: ClaimWorld) -> set[str]:
    """What holds of this hardware, by the names that claims.toml uses."""
    devices = world.rig.machine.devices
    profiles = world.profiles
    capability = max((device.capability_number or 0 for device in devices), default=0)
    links = {profile.link_name or "" for profile in profiles}
    memory = sum(device.memory_bytes for device in devices) or (world.rig.machine.host.ram_bytes or 0)
    two_32 = len(devices) == 2 and all(round(device.memory_bytes / GIB) == _OLD_GUIDE_GIB for device in devices)
    volta = bool(devices) and all(device.compute_capability == "7.0" for device in devices)
    checks: Mapping[str, bool] = {
        "several": len(devices) > 1, "gpu": bool(devices) and not any(d.is_unified for d in devices), "cpu": not devices,
        "volta": volta, "two_32": two_32, "not_old_guide": not (volta and two_32),
        "pre_fp8": 0 < capability < _FP8, "marlin": capability >= _MARLIN, "tensor_cores": capability == _TENSOR_CORES,
        "nvlink": any(link.startswith("nvlink") for link in links),
        "no_nvlink": not any(p.bridge_bytes_per_s or (p.link_name or "").startswith("nvlink") for p in profiles),
        "slow_70b": not (volta and two_32), "memory_16": memory >= 16 * GIB, "memory_48": memory >= 48 * GIB,
    }  # fmt: skip
    return {name for name, is_so in checks.items() if is_so} | {device.vendor for device in devices}


def _plain(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    for code in rule["codes"]:
        yield Claim(id=code, says=code, code=code, parameters=())


def _engine_format(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """A format that an engine does not compute in on this hardware, in any release that still runs."""
    states = [s for profile in world.profiles for s in profile.support if s.engine == rule["engine"]]
    if states and all(state.state_of(rule["format"]) != "runs" for state in states):
        capability = world.rig.machine.devices[0].compute_capability or "?"
        parameters: dict[str, Parameter] = {
            "gpu": world.rig.machine.devices[0].id, "have": capability, "version": states[0].version or "-",
            "engine": rule["engine"], "newest": states[0].newest,
        }  # fmt: skip
        yield _claim(rule["code"], parameters)


def _engine_release(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """The newest release, which no longer runs on this hardware."""
    state = world.rig.support.get(rule["engine"])
    if state is not None and state.version is not None and state.version != state.newest:
        device = min(world.rig.machine.devices, key=lambda item: item.capability_number or 0)
        yield _claim(
            "engine_release",
            {
                "engine": state.engine, "version": state.version, "newest": state.newest,
                "have": device.compute_capability or "?",
                "package": state.engine,
            },
        )  # fmt: skip


def _removed_options(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """Options that no list of the newest release has."""
    found = engine(rule["engine"])
    names = found.known_options(found.versions[-1])
    gone = tuple(option for option in rule["options"] if option not in names)
    if gone:
        yield _claim(rule["code"], {"engine": found.id, "version": found.versions[-1], "options": gone})


def _claim(code: str, parameters: Mapping[str, Parameter]) -> Claim:
    return Claim(id=code, says=code, code=code, parameters=tuple(parameters.items()))


_KINDS: Mapping[str, Callable[[ClaimWorld, Mapping[str, Any]], Iterator[Claim]]] = {
    "plain": _plain, "engine_format": _engine_format, "removed_options": _removed_options,
    "engine_release": _engine_release, **SIZES, **RATES,
}  # fmt: skip
