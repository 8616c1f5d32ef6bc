"""The guide as JSON: rows of its tables with plain figures, and the plans of its set-ups in the contract's form."""

from typing import Any

from fitserve.foundation.reasons import Reason
from fitserve.guides.request import GuideRequest
from fitserve.guides.types import Claim, DeviceProfile, EngineRow, EngineSupport, FitTable, Grid, Guide
from fitserve.render.forms import SCHEMA_VERSION, interval_form, reason_form
from fitserve.render.json_form import plan_form, speed_form
from fitserve.render.plan_cost import hourly_form
from fitserve.render.texts import Texts


def guide_form(request: GuideRequest, guide: Guide, texts: Texts) -> dict[str, Any]:
    """Everything that a guide says, for programs."""
    cost = guide.cost
    return {
        "schema_version": SCHEMA_VERSION,
        "request": request.model_dump(mode="json"),
        "machine": {
            "gpus": [{"gpu": gpu, "count": count} for gpu, count in guide.machine.counts],
            "ram_bytes": guide.machine.host.ram_bytes,
            "os": guide.machine.host.os,
        },
        "notes": [reason_form(reason, texts) for reason in guide.notes],
        "devices": [_profile(profile, texts) for profile in guide.profiles],
        "host_engines": [_support(state, texts) for state in guide.host_support],
        "fits": [_table(table, texts) for table in guide.tables],
        "setups": [
            {
                "purpose": setup.purpose, "place": None if setup.place is None else interval_form(setup.place),
                "ranked": setup.ranked, "least_tok_per_s": setup.least_tok_per_s, "file_bytes": _whole(setup.file_bytes),
                "next_models": list(setup.next_models), "plan": plan_form(setup.item, texts, cost.rate, guide.use),
            }
            for setup in guide.setups
        ],
        "engines": [_engine(row, texts) for row in guide.engines],
        "context": None if guide.grid is None else _grid(guide.grid),
        "settings": [
            {"name": s.name, "value": s.value, "code": s.code, "engine": s.engine, "version": s.version, "source": s.source.ref}
            for s in guide.settings
        ],
        "split": None if guide.split is None else _split(guide, texts),
        "checks": [{"code": c.code, "command": c.command, "parameters": dict(c.parameters)} for c in guide.checks],
        "cost": {
            "watts": cost.watts, "kwh_per_million_output_tokens": cost.kwh_per_million,
            "usd_per_kwh": None if cost.usd_per_kwh is None else float(cost.usd_per_kwh),
            "rent": None if cost.rent is None else hourly_form(cost.rent),
        },
        "claims": [_claim(claim, texts) for claim in guide.claims],
    }  # fmt: skip


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _reason(reason: Reason | None, texts: Texts) -> dict[str, Any] | None:
    return None if reason is None else reason_form(reason, texts)


def _profile(profile: DeviceProfile, texts: Texts) -> dict[str, Any]:
    device = profile.device
    return {
        "gpu": device.id, "name": device.name, "count": profile.count, "memory_bytes": device.memory_bytes,
        "usable_bytes": device.engine_visible_bytes, "compute_capability": device.compute_capability,
        "bandwidth_bytes_per_s": device.bandwidth_bytes_per_s, "link": profile.link_name,
        "link_bytes_per_s": profile.link_bytes_per_s, "tdp_w": profile.tdp_w,
        "abilities": [
            {"name": r.name, "state": r.state, "flop_per_s": r.flop_per_s, "need": r.need,
             "source": None if r.source is None else r.source.ref}
            for r in profile.ratings
        ],
        "engines": [_support(state, texts) for state in profile.support],
    }  # fmt: skip


def _support(state: EngineSupport, texts: Texts) -> dict[str, Any]:
    return {
        "engine": state.engine, "newest": state.newest, "version": state.version,
        "formats": {item.format: item.state for item in state.formats}, "reason": _reason(state.reason, texts),
    }  # fmt: skip


def _table(table: FitTable, texts: Texts) -> dict[str, Any]:
    rows = []
    for row in table.rows:
        item, deployment = row.item, row.item.deployment
        rows.append(
            {
                "model": deployment.model.id, "weight_format": deployment.weight_format.name, "engine": deployment.engine,
                "engine_version": deployment.engine_version, "tp": deployment.tp, "pp": deployment.pp,
                "file_bytes": _whole(row.file_bytes), "verdict": str(item.verdict), "lack_bytes": row.lack_bytes,
                "max_context_tokens": row.context_tokens, "context_tokens": deployment.context_tokens,
                "speed": speed_form(item.speed),
            }
        )  # fmt: skip
    return {
        "gpus": [{"gpu": gpu, "count": count} for gpu, count in table.machine.counts],
        "rows": rows,
        "limits": [
            {
                "weight_format": limit.format, "bits_per_weight": round(limit.bits_per_weight, 4),
                "usable_bytes": limit.usable_bytes, "other_bytes": limit.other_bytes, "max_params": round(limit.params),
            }
            for limit in table.limits
        ],
    }  # fmt: skip


def _engine(row: EngineRow, texts: Texts) -> dict[str, Any]:
    item = row.item
    return {
        "engine": row.engine, "version": row.version, "verdict": "not_supported" if item is None else str(item.verdict),
        "weight_format": None if item is None else item.deployment.weight_format.name,
        "speed": None if item is None else speed_form(item.speed),
        "speed_of_crowd": None if row.crowd is None else speed_form(row.crowd.speed), "reason": _reason(row.reason, texts),
    }  # fmt: skip


def _grid(grid: Grid) -> dict[str, Any]:
    deployment = grid.item.deployment
    return {
        "model": deployment.model.id, "weight_format": deployment.weight_format.name, "engine": deployment.engine,
        "limit_bytes": grid.limit_bytes,
        "cells": [
            {"context_tokens": c.context_tokens, "users": c.users, "kv_bytes": c.kv_bytes,
             "total_bytes": c.total_bytes, "fits": c.fits}
            for c in grid.cells
        ],
    }  # fmt: skip


def _split(guide: Guide, texts: Texts) -> dict[str, Any]:
    split = guide.split
    assert split is not None
    return {
        "model": split.item.deployment.model.id, "weight_format": split.item.deployment.weight_format.name,
        "tensor_split": split.tensor_split,
        "devices": [
            {
                "device": p.device, "gpu": p.gpu, "layers": [p.first_layer, p.last_layer], "weights_bytes": p.weights_bytes,
                "used_bytes": p.used_bytes,
            }
            for p in split.parts
        ],
        "device_map": dict(split.device_map),
        "tensor_parallel": [{"size": size, "reason": _reason(reason, texts)} for size, reason in split.tp],
    }  # fmt: skip


def _claim(claim: Claim, texts: Texts) -> dict[str, Any]:
    named = dict(claim.parameters)
    return {
        "code": claim.code, "claim": texts.text("claim", claim.says, named), "truth": texts.text("truth", claim.code, named),
        "figures": {key: list(value) if isinstance(value, tuple) else value for key, value in named.items()},
    }  # fmt: skip
