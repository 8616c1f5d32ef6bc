"""Beliefs in a question that are wrong for what it names: each is corrected in the first sentence of the answer."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fitserve.ask.types import Understood
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FitserveError
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, Source, note
from fitserve.hardware.identify import device
from fitserve.hardware.types import Accelerator
from fitserve.models.catalog.lookup import rows
from fitserve.models.names import resolve_name


def corrections(asked: Understood) -> tuple[Reason, ...]:
    """Sentences that put a question right, the weightiest first."""
    table = load_toml("fitserve.ask", "premises.toml")["premises"]
    found = [reason for row in table if _holds(row, asked) for reason in _made(row, asked)]
    every = [*_engines(asked), *found]
    return tuple(item for index, item in enumerate(every) if item not in every[:index])


def _holds(row: Mapping[str, Any], asked: Understood) -> bool:
    lower = asked.text.lower()
    count = max((item.count for item in asked.gpus), default=0)
    count = max(count, sum(item.count for item in asked.gpus) if not asked.are_alternatives else 0)
    if "words" in row and not re.search(row["words"], lower, re.ASCII):
        return False
    if "and_words" in row and not re.search(row["and_words"], lower, re.ASCII):
        return False
    if "formats" in row and not set(row["formats"]) & set(asked.formats):
        return False
    if count < row.get("least_gpus", 0):
        return False
    if "engines" in row and not set(row["engines"]) & set(asked.engines):
        return False
    if "format_family" in row and not any(name.split(":")[0] == row["format_family"] for name in asked.formats):
        return False
    return not (row.get("experts") and not any(_experts(model) for model in asked.models))


def _made(row: Mapping[str, Any], asked: Understood) -> Iterator[Reason]:
    source = Source(**row["source"]) if "source" in row else None
    code = row["code"]
    if "below" in row:
        for card in _devices(asked):
            have = card.capability_number
            if have is not None and have < row["below"]:
                yield _capability(code, card, _written(row["below"]), source)
    elif code == "pooled":
        yield note("ask_premise_pooled", gpus=_gpus(asked))
    elif code == "nvlink":
        yield note("ask_premise_nvlink")
    elif code == "gguf_vllm":
        yield note("ask_premise_gguf_vllm")
    elif code == "twice":
        yield note("ask_premise_twice")
    elif code == "active_only":
        for model in asked.models:
            if (sizes := _experts(model)) is not None:
                yield note("ask_premise_active_only", model=model, total=sizes[0], active=sizes[1])
    elif code == "closed" and not asked.models:
        yield note("ask_premise_closed")


def _capability(code: str, card: Accelerator, need: str, source: Source | None) -> Reason:
    have = card.compute_capability or "-"
    if code == "fp8":
        return note("ask_premise_fp8", source, gpu=card.id, have=have, need=need)
    if code == "fp4":
        return note("ask_premise_fp4", source, gpu=card.id, have=have, need=need)
    if code == "bf16":
        return note("ask_premise_bf16", source, gpu=card.id, have=have, need=need)
    return note("ask_premise_flash_attention", source, gpu=card.id, have=have, need=need)


def _engines(asked: Understood) -> Iterator[Reason]:
    """Engines on a system or on devices that they do not run on."""
    named = dict.fromkeys(
        [
            *asked.engines,
            *(name.split(":")[0].replace("exl", "exllamav") for name in asked.formats if name.startswith("exl")),
        ]
    )
    vendors = {card.vendor for card in _devices(asked)}
    for name in named:
        chosen = engine(name)
        if "apple" in vendors or (asked.os == "macos" and not vendors):
            if "macos" not in chosen.native_os:
                yield note("ask_premise_not_on_mac", engine=name)
        elif asked.os == "windows" and "windows" not in chosen.native_os:
            yield note("ask_premise_not_on_windows", engine=name)
        elif name == "mlx" and vendors and "apple" not in vendors:
            yield note("ask_premise_only_on_mac", engine=name)


def _devices(asked: Understood) -> list[Accelerator]:
    return [device(item.gpu) for item in asked.gpus if item.gpu != "none"]


def _gpus(asked: Understood) -> str:
    return " + ".join(f"{item.count} x {item.gpu}" for item in asked.gpus)


def _written(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"


def _experts(name: str) -> tuple[str, str] | None:
    """(all, active) parameters in billions of a mixture of experts; None for another model."""
    try:
        row = rows()[resolve_name(name).id]
    except (FitserveError, KeyError):
        return None
    total, active = row["total_params"], row["active_params"]
    if not total or not active or active >= 0.9 * total:
        return None
    return f"{total / 1e9:.0f}B", f"{active / 1e9:.0f}B"
