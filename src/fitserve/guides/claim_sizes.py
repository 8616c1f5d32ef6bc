"""Claims about sizes: files, how much a format allows, what runs, what context and users take."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from fitserve.engines.registry import engine
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.units import GIB
from fitserve.guides.claim_world import ClaimWorld, billions, gigabytes, make, plain_format, short_name
from fitserve.guides.judge import catalogue, file_bytes, format_of
from fitserve.guides.tables import fit_row
from fitserve.guides.types import Claim
from fitserve.predict.format_quality import format_quality

_TOLERANCE = 0.025
"""Claims within this share of the figure count as right."""
_SHARE_TOLERANCE = 0.25
_MODELS_OF_SHARES = (
    "meta-llama/Llama-2-7b-chat-hf",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.1-70B-Instruct",
)
_FORMAT_OF_SHARES = "gguf:Q4_K_M"
_SHORT_CONTEXT = 4096


def _limit(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """More parameters than a format allows on a part of the machine."""
    table = world.table(rule["on"])
    limits = {limit.format: limit for limit in table.limits}
    for name, claimed in rule["rows"]:
        limit = limits.get(name)
        if limit is None or claimed * 1e9 <= limit.params * (1 + _TOLERANCE):
            continue
        yield make(
            "limit",
            {
                "format": plain_format(name), "claimed": billions(claimed * 1e9), "bits": f"{limit.bits_per_weight:.2f}",
                "count": len(table.machine.devices), "need": gigabytes(claimed * 1e9 * limit.bits_per_weight / 8),
                "have": gigabytes(limit.usable_bytes - limit.other_bytes), "limit": billions(limit.params),
                "other_bytes": limit.other_bytes,
            },
        )  # fmt: skip


def _size(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """A file size that is not the file's."""
    for model_id, name, claimed in rule["rows"]:
        model = catalogue(model_id)
        actual = None if model is None else file_bytes(model, format_of(name))
        if model is None or actual is None or abs(claimed * 1e9 - actual) <= _TOLERANCE * actual:
            continue
        bits = actual * 8 / model.params("text")
        yield make(
            "size",
            {
                "model": short_name(model_id), "format": plain_format(name), "claimed": f"{claimed} GB",
                "actual": gigabytes(actual), "params": billions(model.params("text")), "bits": f"{bits:.2f}",
                "off": f"{(claimed * 1e9 / actual - 1) * 100:+.0f} %",
            },
        )  # fmt: skip


def _runs(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """Said to run, and does not fit."""
    for model_id, name in rule["rows"]:
        item = world.judged(rule["on"], model_id, name)
        if item is None or item.fits or item.budget is None:
            continue
        row = fit_row(item)
        yield make(
            "runs",
            {
                "model": short_name(model_id), "format": plain_format(name), "count": len(world.part(rule["on"]).machine.devices),
                "actual": "–" if row.file_bytes is None else gigabytes(row.file_bytes),
                "lack_bytes": row.lack_bytes or 0, "context": item.deployment.context_tokens,
                "usable_bytes": sum(device.usable_bytes for device in item.budget.devices),
            },
        )  # fmt: skip


def _room(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """Said to leave plenty of room: it fits, with a context far below the model's."""
    for model_id, name in rule["rows"]:
        item = world.judged("all", model_id, name)
        if item is None or item.budget is None or not item.fits:
            continue
        longest = item.budget.kv.max_context_tokens
        if longest < item.deployment.model.max_context_tokens // 2:
            yield make(
                "room",
                {
                    "model": short_name(model_id), "format": plain_format(name), "longest": longest,
                    "limit": item.deployment.model.max_context_tokens,
                    "left_bytes": sum(d.usable_bytes - d.used_bytes for d in item.budget.devices),
                },
            )  # fmt: skip


def _context_share(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """A fixed percentage for a context: the share differs by model, because the cache does."""
    for tokens, percent in rule["rows"]:
        parts = [(model_id, *_cache_of(world, model_id, tokens, 1)) for model_id in _MODELS_OF_SHARES]
        known = [(model_id, kv, share) for model_id, kv, share in parts if kv]
        if known and any(abs(share - percent) > _SHARE_TOLERANCE * percent for _, _, share in known):
            figures = tuple(
                f"{short_name(model_id)} {kv / GIB:.2f} GiB ({share:.0f} %)" for model_id, kv, share in known
            )
            yield make("context_share", {"context": tokens, "percent": f"{percent} %", "figures": figures})


def _users_share(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """A fixed percentage for a number of users."""
    tokens = world.rig.workload.context_tokens
    for users, percent in rule["rows"]:
        parts = [(model_id, *_cache_of(world, model_id, tokens, users)) for model_id in _MODELS_OF_SHARES[1:]]
        known = [(model_id, kv, share) for model_id, kv, share in parts if kv]
        if known and any(abs(share - percent) > _SHARE_TOLERANCE * percent for _, _, share in known):
            figures = tuple(
                f"{short_name(model_id)} {kv / GIB:.1f} GiB ({share:.0f} %)" for model_id, kv, share in known
            )
            yield make(
                "users_share", {"users": users, "percent": f"{percent} %", "context": tokens, "figures": figures}
            )


def _cache_of(world: ClaimWorld, model_id: str, tokens: int, users: int) -> tuple[int, float]:
    """(bytes of the cache of some users, percent of the file); zeros where it is not known."""
    item = world.judged("all", model_id, _FORMAT_OF_SHARES)
    model = catalogue(model_id)
    size = None if model is None else file_bytes(model, format_of(_FORMAT_OF_SHARES))
    if item is None or model is None or size is None or tokens > model.max_context_tokens:
        return 0, 0.0
    deployment = replace(item.deployment, context_tokens=tokens * users, concurrent_requests=users)
    kv = engine(deployment.engine).cache_bytes(deployment, users, "cache")
    return kv, 100 * kv / size


def _usable(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """GB and GiB taken for each other, and a reserve that nobody takes."""
    devices = world.rig.machine.devices
    seen = sum(device.engine_visible_bytes for device in devices)
    if abs(rule["claimed_gb"] * 1e9 - seen) > _TOLERANCE * seen:
        yield make(
            "usable",
            {
                "claimed": f"{rule['claimed_gb']} GB", "usable_bytes": seen, "usable_gb": gigabytes(seen),
                "memory_bytes": sum(device.memory_bytes for device in devices), "count": len(devices),
            },
        )  # fmt: skip


def _share_used(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """The file taken for all that is used."""
    item = world.judged("all", rule["model"], rule["format"])
    if item is None or item.budget is None or not item.fits:
        return
    used = sum(device.used_bytes for device in item.budget.devices)
    usable = sum(device.usable_bytes for device in item.budget.devices)
    size = file_bytes(item.deployment.model, item.deployment.weight_format)
    if size is not None and abs(used / usable - rule["claimed_share"]) > _TOLERANCE:
        yield make(
            "share_used",
            {
                "model": short_name(rule["model"]), "format": plain_format(rule["format"]), "claimed": rule["claimed"],
                "context": item.deployment.context_tokens, "used_bytes": used, "usable_bytes": usable,
                "share": f"{100 * used / usable:.0f} %", "actual": gigabytes(size),
            },
        )  # fmt: skip


def _all_memory(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """Unified memory: the GPU may use only a share of it."""
    device = world.rig.machine.devices[0]
    if device.engine_visible_bytes < device.memory_bytes:
        yield make(
            "all_memory",
            {
                "memory_bytes": device.memory_bytes, "usable_bytes": device.engine_visible_bytes,
                "share": f"{100 * device.engine_visible_bytes / device.memory_bytes:.0f} %",
            },
        )  # fmt: skip


def _file_fits(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """A file smaller than the memory that does not run: the one that lacks least."""
    table = world.table("all")
    memory = sum(d.memory_bytes for d in table.machine.devices) or (table.machine.host.ram_bytes or 0)
    close = [
        row for row in table.rows
        if not row.item.fits and row.lack_bytes and row.file_bytes and row.file_bytes < memory
        and row.item.deployment.weight_format.gguf_mix
    ]  # fmt: skip
    row = min(close, key=lambda item: item.lack_bytes or 0, default=None)
    if row is None or row.file_bytes is None or row.item.budget is None:
        return
    parts = [p for d in row.item.budget.devices for p in d.items] or list(row.item.budget.host_items)
    yield make(
        "file_fits",
        {
            "model": short_name(row.item.deployment.model.id), "format": plain_format(row.item.deployment.weight_format.name),
            "file_bytes": row.file_bytes, "memory_bytes": memory, "lack_bytes": row.lack_bytes or 0,
            "kv_bytes": sum(p.likely_bytes for p in parts if p.code == "kv_cache"),
            "other_bytes": sum(p.likely_bytes for p in parts if p.code not in {"kv_cache", "weights"}),
            "context": row.item.deployment.context_tokens,
        },
    )  # fmt: skip


def _host_ram(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """RAM as a share of the model: with every layer on GPUs little stays in RAM."""
    item = world.comparison
    if item is None or item.budget is None:
        return
    size = file_bytes(item.deployment.model, item.deployment.weight_format)
    if size and item.budget.host_bytes < rule["share"] / 200 * size:
        yield make(
            "host_ram",
            {
                "share": f"{rule['share']} %", "model": short_name(item.deployment.model.id),
                "format": plain_format(item.deployment.weight_format.name), "host_bytes": item.budget.host_bytes,
                "claimed": gigabytes(size * rule["share"] / 100),
            },
        )  # fmt: skip


def _perplexity(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """Steps of 0.1 in perplexity between formats: what measurements say they lose."""
    model = catalogue("meta-llama/Llama-3.1-70B-Instruct")
    lost = []
    for name, _ in rule["rows"]:
        found = None if model is None else format_quality(format_of(name), model)
        if found is None:
            return
        loss = found.kl_divergence
        lost.append(f"{plain_format(name)} {loss.likely:.3f} ({loss.low:.3f}–{loss.high:.3f})")
    claimed = tuple(f"{plain_format(name)} {value}" for name, value in rule["rows"])
    yield make("perplexity", {"claimed": claimed, "figures": tuple(lost)})


def _layers_flag(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """Layers without the output layer: it counts as one more."""
    model = catalogue(rule["model"])
    if model is not None and rule["claimed"] < len(model.layers) + 1:
        yield make(
            "layers_flag",
            {
                "model": short_name(model.id),
                "claimed": rule["claimed"],
                "layers": len(model.layers),
                "all": len(model.layers) + 1,
            },
        )


def _ollama_context(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """The default context of a server is not the model's."""
    state = world.rig.support.get("ollama")
    default = None if state is None else engine("ollama").default_context_tokens
    if state is None or default is None:
        return
    try:
        tokens = default(world.rig.machine)
    except FactMissing:
        return
    says = "ollama_context_long" if tokens > _SHORT_CONTEXT else "ollama_context_short"
    yield make("ollama_context", {"tokens": tokens, "engine": "ollama", "version": str(state.version)}, says)


SIZES: Mapping[str, Callable[[ClaimWorld, Mapping[str, Any]], Iterator[Claim]]] = {
    "limit": _limit, "size": _size, "runs": _runs, "room": _room, "context_share": _context_share, "users_share": _users_share,
    "usable": _usable, "all_memory": _all_memory, "file_fits": _file_fits, "host_ram": _host_ram, "perplexity": _perplexity,
    "layers_flag": _layers_flag, "share_used": _share_used, "ollama_context": _ollama_context,
}  # fmt: skip
