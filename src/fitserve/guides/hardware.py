"""What a device can and cannot do: number formats, kernels, and the engines and formats that run on it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

from fitserve.engines.contract import Deployment, Engine
from fitserve.engines.registry import engines
from fitserve.foundation.errors import FitserveError
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, Severity, Source, Verdict, verdict_of
from fitserve.guides.types import DeviceProfile, EngineSupport, FormatState, Rating
from fitserve.hardware.identify import gpu_rows
from fitserve.hardware.types import Accelerator, Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format

_PACKAGE = "fitserve.guides"
_PROBE_CONTEXT = 4096
_BRIDGE = "nvlink-bridge"
_STORED = "_not_accelerated"


@lru_cache(maxsize=1)
def choices() -> dict[str, Any]:
    """What the tables show (rows.toml)."""
    return load_toml(_PACKAGE, "rows.toml")


def profiles(machine: Machine) -> tuple[DeviceProfile, ...]:
    """One profile a kind of device, in the order of the machine."""
    kinds = {device.id: device for device in machine.devices}
    return tuple(_profile(device, machine) for device in kinds.values())


def _profile(device: Accelerator, machine: Machine) -> DeviceProfile:
    row = gpu_rows().get(device.id, {})
    links = [link for link in row.get("interconnects") or () if link["bytes_per_s_per_direction"]]
    bridge = next((link for link in links if link["kind"] == _BRIDGE), None)
    own = [link for link in links if link["kind"] != _BRIDGE]
    best = max(own, key=lambda link: float(link["bytes_per_s_per_direction"]), default=None)
    return DeviceProfile(
        device=device,
        count=sum(1 for item in machine.devices if item.id == device.id),
        ratings=tuple(_ratings(device, row)),
        support=support(Machine(devices=(device,), host=machine.host)),
        link_name=None if best is None else best["kind"],
        link_bytes_per_s=None if best is None else float(best["bytes_per_s_per_direction"]),
        bridge_bytes_per_s=None if bridge is None else float(bridge["bytes_per_s_per_direction"]),
        tdp_w=row.get("tdp_w"),
    )


def _ratings(device: Accelerator, row: Any) -> Iterator[Rating]:
    """NVIDIA by compute capability; of other vendors the rates that the catalogue states."""
    rates = row.get("dense_flop_per_s") or {}
    fp32 = rates.get("fp32")
    yield Rating(name="fp32", state="native" if fp32 else "unknown", flop_per_s=fp32)
    for ability in load_toml(_PACKAGE, "abilities.toml")["abilities"]:
        rate = rates.get(ability["rate"]) if ability["rate"] else None
        have = device.capability_number
        source = Source(**ability["source"])
        if have is None:
            if rate is not None and ability["name"] != "fp16_tensor":
                yield Rating(name=ability["name"], state="native", flop_per_s=rate)
        elif have >= ability["capability"]:
            if ability["name"] != "fp16" or have < 70:  # with tensor cores the rate is theirs
                yield Rating(
                    name=ability["name"], state="native", flop_per_s=rate, have=device.compute_capability, source=source
                )
        else:
            need = f"{ability['capability'] // 10}.{ability['capability'] % 10}"
            yield Rating(name=ability["name"], state="absent", have=device.compute_capability, need=need, source=source)


def support(machine: Machine) -> tuple[EngineSupport, ...]:
    """Every engine on the first device of a machine (or on its processor): newest release that runs, formats there."""
    return tuple(_engine_support(found, machine) for found in engines())


def _engine_support(found: Engine, machine: Machine) -> EngineSupport:
    newest = found.versions[-1]
    for version in reversed(found.versions):
        states = tuple(_state(found, version, name, machine) for name in choices()["support"]["formats"])
        if any(item.state in {"runs", "stored"} for item in states):
            # a release that lags behind carries the reason why the newest does not run
            reason = None if version == newest else _platform_reason(found, newest, machine)
            return EngineSupport(engine=found.id, newest=newest, version=version, formats=states, reason=reason)
    return EngineSupport(engine=found.id, newest=newest, version=None, reason=_platform_reason(found, newest, machine))


def _platform_reason(found: Engine, version: str, machine: Machine) -> Reason | None:
    """Of the format with the fewest objections the first one: what is wrong with the device, not with a format."""
    lists = [_blockers(found, version, name, machine) for name in choices()["support"]["formats"]]
    usable = [[reason for reason in reasons if reason.severity is Severity.BLOCKER] for reasons in lists]
    return min((reasons for reasons in usable if reasons), key=len, default=[None])[0]


def _blockers(found: Engine, version: str, name: str, machine: Machine) -> tuple[Reason, ...]:
    probe = Deployment(
        model=catalog_model(choices()["support"]["probe_model"]), machine=machine, engine=found.id, engine_version=version,
        weight_format=parse_format(name), context_tokens=_PROBE_CONTEXT,
    )  # fmt: skip
    return found.blockers(probe)


def _state(found: Engine, version: str, name: str, machine: Machine) -> FormatState:
    if not machine.devices and found.needs_accelerator:
        return FormatState(format=name, state="no")
    try:
        reasons = _blockers(found, version, name, machine)
    except FitserveError:
        return FormatState(format=name, state="unknown")
    verdict = verdict_of(reasons)
    if verdict is Verdict.NOT_SUPPORTED:
        blocker = next(reason for reason in reasons if reason.severity is Severity.BLOCKER)
        return FormatState(format=name, state="no", reason=blocker)
    if verdict is Verdict.UNKNOWN:
        return FormatState(format=name, state="unknown")
    stored = next((reason for reason in reasons if reason.code.endswith(_STORED)), None)
    return FormatState(format=name, state="runs" if stored is None else "stored", reason=stored)


def usable_engines(machine: Machine) -> dict[str, EngineSupport]:
    """Engines that run on every device of a machine, each in the newest release that all of them share."""
    parts = [replace(machine, devices=(device,)) for device in {d.id: d for d in machine.devices}.values()] or [machine]
    lists = [support(part) for part in parts]
    found: dict[str, EngineSupport] = {}
    for states in zip(*lists, strict=True):
        if all(item.version is not None for item in states):
            oldest = max(states, key=lambda item: _order(item))
            found[oldest.engine] = oldest
    return found


def _order(item: EngineSupport) -> int:
    """How far behind the newest release: the device that needs the oldest decides."""
    versions = next(found.versions for found in engines() if found.id == item.engine)
    return -versions.index(item.version or versions[-1])
