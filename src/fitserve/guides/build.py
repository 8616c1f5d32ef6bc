"""The guide of some hardware, computed: one evaluation of the catalogue feeds all its tables."""

from dataclasses import replace

from fitserve.engines.registry import engine
from fitserve.foundation.reasons import Reason, note
from fitserve.guides.checks import checks
from fitserve.guides.claim_world import ClaimWorld
from fitserve.guides.claims import claims
from fitserve.guides.compare import comparison_item, engine_rows, grid_of, split_guide
from fitserve.guides.hardware import choices, profiles, support
from fitserve.guides.judge import Rig, rig_of
from fitserve.guides.request import GuideRequest
from fitserve.guides.settings import settings
from fitserve.guides.setups import setups
from fitserve.guides.tables import fit_table, machine_parts
from fitserve.guides.types import CommandSet, DeviceProfile, Guide, RunningCost, Setup
from fitserve.hardware.types import Machine
from fitserve.plan.answer import launch_command
from fitserve.plan.resolve import Resolved, resolve_hardware
from fitserve.plan.world import World
from fitserve.predict.cost import hourly_price
from fitserve.predict.prices import packaged_prices
from fitserve.search.evaluate import Evaluated

_HOURS_PER_SECOND = 1 / 3600
_MILLION = 1e6


def guide(request: GuideRequest, world: World) -> Guide:
    """Everything about the hardware of a request. Raises InputError for hardware that is none."""
    resolved = resolve_hardware(request.hardware(), world)
    # its tables are of one user; more users have a table of their own
    resolved = replace(resolved, workload=replace(resolved.workload, concurrent_requests=1))
    machine = resolved.machine
    rig = rig_of(machine, resolved.workload)
    found_profiles = profiles(machine)
    host_support = () if machine.devices else support(machine)
    chosen = setups(rig)
    # formats of one part are judged with that part's own rig: a device alone may take a newer release
    parts = [rig if part is machine else rig_of(part, resolved.workload) for part in machine_parts(machine)]
    tables = tuple(fit_table(part, tuple(setup.item.deployment.model.id for setup in chosen)) for part in parts)
    compared = comparison_item(rig) or (chosen[0].item if chosen else None)
    roomy = comparison_item(rig, choices()["comparison"]["most_share"]) or compared
    split = None if compared is None else split_guide(rig, compared)
    blocked = _blocked(found_profiles, machine)
    return Guide(
        machine=machine, workload=resolved.workload, use=request.use, notes=_notes(resolved, machine), profiles=found_profiles,
        host_support=host_support, tables=tables, setups=chosen,
        compared=roomy, engines=() if roomy is None else engine_rows(rig, roomy.deployment.model, blocked),
        grid=None if compared is None else grid_of(rig, compared),
        commands=tuple(found for setup in chosen if (found := _command(setup)) is not None),
        settings=settings(rig, found_profiles, split), split=split, checks=checks(machine, found_profiles, compared),
        cost=_cost(request, resolved, found_profiles, chosen),
        claims=claims(
            ClaimWorld(rig=rig, one=_one(parts, rig), profiles=found_profiles, tables=tables, comparison=compared)
        ),
    )  # fmt: skip


def _one(parts: list[Rig], rig: Rig) -> Rig:
    return parts[0] if len(rig.machine.devices) > 1 else rig


def _notes(resolved: Resolved, machine: Machine) -> tuple[Reason, ...]:
    """Assumptions about the hardware; which engines were tried stands in a table of its own."""
    kept = [reason for reason in resolved.notes if reason.code != "engines_tried"]
    if machine.devices and machine.host.ram_bytes is None:
        kept.append(note("guide_ram_unknown"))
    return tuple(kept)


def _blocked(found: tuple[DeviceProfile, ...], machine: Machine) -> dict[str, Reason | None]:
    """Why an engine does not start, by engine: of the first device that it refuses."""
    lists = [profile.support for profile in found] or [support(machine)]
    return {state.engine: state.reason for states in reversed(lists) for state in states if state.version is None}


def _command(setup: Setup) -> CommandSet | None:
    command = launch_command(setup.item)
    deployment = setup.item.deployment
    if command is None:
        return None
    is_native = deployment.machine.host.os in engine(deployment.engine).native_os
    return CommandSet(setup=setup, command=command, is_native=is_native)


def _cost(
    request: GuideRequest, resolved: Resolved, found: tuple[DeviceProfile, ...], chosen: tuple[Setup, ...]
) -> RunningCost:
    machine = resolved.machine
    limits = [profile.tdp_w * profile.count if profile.tdp_w else None for profile in found]
    watts = sum(limit for limit in limits if limit) if found and None not in limits else None
    item = chosen[0].item if chosen else None
    return RunningCost(
        watts=watts, item=item, kwh_per_million=_energy(item, watts, machine), usd_per_kwh=request.usd_per_kwh,
        rent=hourly_price(machine.counts, packaged_prices()) if machine.devices else None, rate=resolved.rate,
    )  # fmt: skip


def _energy(item: Evaluated | None, watts: float | None, machine: Machine) -> float | None:
    """Kilowatt-hours of a million answer tokens of one user, all devices at their limit: more than is drawn."""
    if item is None or item.speed is None or watts is None:
        return None
    rate = item.speed.per_user_tok_per_s.likely
    share = item.deployment.device_count / max(1, len(machine.devices))
    return watts * share / 1000 * _MILLION / rate * _HOURS_PER_SECOND
