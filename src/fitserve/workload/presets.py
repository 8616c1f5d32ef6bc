"""Defaults by purpose."""

from fitserve.foundation.facts import load_toml
from fitserve.workload.types import Workload


def preset(use: str) -> Workload:
    """The workload of a purpose when nothing else is said; raises KeyError for a purpose that is none."""
    row = load_toml("fitserve.workload", "presets.toml")[use]
    return Workload(
        context_tokens=row["context_tokens"], concurrent_requests=row["concurrent_requests"],
        prompt_tokens=row["prompt_tokens"], output_tokens=row["output_tokens"], use=use,
        prompt_sigma=row["prompt_sigma"], output_sigma=row["output_sigma"],
    )  # fmt: skip


def uses() -> tuple[str, ...]:
    """Names of the purposes."""
    return tuple(load_toml("fitserve.workload", "presets.toml"))
