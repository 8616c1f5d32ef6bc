"""Options and environment variables that matter on this hardware, each with its reason; only those that exist."""

from collections.abc import Iterator
from typing import Any

from fitserve.engines.option_lists import option_names, scanned_versions
from fitserve.engines.registry import engine
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Parameter, Source
from fitserve.foundation.units import MIB
from fitserve.guides.judge import Rig
from fitserve.guides.types import DeviceProfile, Setting, SplitGuide

_VOLTA = 80
_WIRED_SHARE = 0.85
"""Share of unified memory that may be given to the GPU by hand; the rest is for the system (a choice)."""


def settings(rig: Rig, profiles: tuple[DeviceProfile, ...], split: SplitGuide | None) -> tuple[Setting, ...]:
    """Rows of settings.toml whose conditions hold, with the values of this machine."""
    holds, values = _conditions(rig, profiles), _values(rig, split)
    return tuple(_rows(rig, holds, values))


def _rows(rig: Rig, holds: set[str], values: dict[str, Parameter]) -> Iterator[Setting]:
    for row in load_toml("fitserve.guides", "settings.toml")["settings"]:
        name, engine_id = row["name"], row.get("engine")
        if not set(row["when"]) <= holds:
            continue
        version = None
        if engine_id is not None:
            state = rig.support.get(engine_id)
            version = None if state is None or state.version is None else _list_with(engine_id, state.version, name)
            if version is None:
                continue
        yield Setting(
            name=name, value=row["value"].format(**values), code=row["code"], parameters=tuple(values.items()),
            engine=engine_id, version=version, source=Source(**row["source"]),
        )  # fmt: skip


def _list_with(engine_id: str, version: str, name: str) -> str | None:
    """The version itself where the list that stands for it has the option."""
    found = engine(engine_id)
    listed = found.options_version(version) if found.options_version is not None else None
    if listed is None:
        listed = version if version in scanned_versions(found.package) else None
    names: Any = found.known_options(version) if listed is None else option_names(found.package, listed)
    return version if name in names else None


def _conditions(rig: Rig, profiles: tuple[DeviceProfile, ...]) -> set[str]:
    vendors = {profile.device.vendor for profile in profiles}
    holds = set(vendors)
    holds |= {"gpu"} if profiles else {"cpu"}
    if len(rig.machine.devices) > 1:
        holds.add("several")
    if len(profiles) > 1:
        holds.add("mixed")
    lowest = min((profile.device.capability_number or _VOLTA for profile in profiles), default=_VOLTA)
    if lowest < _VOLTA:
        holds.add("volta")
    if "nvidia" in vendors and not any(_has_nvlink(profile) for profile in profiles):
        holds.add("no_p2p")
    return holds


def _has_nvlink(profile: DeviceProfile) -> bool:
    return bool(profile.bridge_bytes_per_s) or (profile.link_name or "").startswith("nvlink")


def _values(rig: Rig, split: SplitGuide | None) -> dict[str, Parameter]:
    devices = rig.machine.devices
    unified = max((device.memory_bytes for device in devices if device.is_unified), default=0)
    return {
        "devices": ",".join(str(index) for index in range(len(devices))),
        "count": len(devices),
        "tensor_split": "" if split is None else split.tensor_split,
        "context": str(rig.workload.context_tokens),
        "wired_mb": str(int(unified * _WIRED_SHARE) // MIB),
        "usable_bytes": sum(device.engine_visible_bytes for device in devices),
    }
