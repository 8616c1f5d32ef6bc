"""A simulated workload: percentiles as JSON and as a small table, and the requests that keep the targets."""

from collections.abc import Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from fitserve.foundation.intervals import Interval
from fitserve.predict.serving import PERCENTILES, Served
from fitserve.render.forms import interval_form
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.speed_text import seconds_text
from fitserve.render.texts import Texts

_DIGITS = 4
_ROWS = (("ttft", "row_ttft"), ("inter_token", "row_inter_token"), ("itl", "row_itl"), ("e2e", "row_e2e"))


def served_form(served: Served | None) -> dict[str, Any] | None:
    """`speed.percentiles`: each time with its mean and percentiles, the goodput, and what was simulated."""
    if served is None:
        return None

    def form(values: Mapping[str, Interval]) -> dict[str, Any]:
        return {name: interval_form(value, digits=_DIGITS) for name, value in values.items()}

    goodput = (
        None
        if served.goodput_per_s is None
        else {"requests_per_s": served.goodput_per_s, "share_within_targets": served.good_share}
    )
    return {
        **{f"{name}_s": form(values) for name, values in served.times_s.items()},
        "goodput": goodput,
        "requests_per_s": served.requests_per_s,
        "simulated": {
            "requests": served.request_count, "lengths_vary": served.is_varied, "arrivals_beyond": served.is_beyond,
            "mean_batch": served.mean_batch,
            "preemptions": served.preemptions,
            "kv_peak_share": served.kv_peak_share, "mean_s": dict(served.simulated_s),
        },
    }  # fmt: skip


def served_view(served: Served, use: str, texts: Texts) -> list[RenderableType]:
    """A row a time, a column a percentile; below, who keeps the targets and what the figures rest on."""
    headings = (*headings_of(("time", ">mean"), texts), *(f">{name}" for name in PERCENTILES[1:]))
    rows = tuple(
        (texts.label(label), *(seconds_text(served.times_s[name][column].likely) for column in PERCENTILES))
        for name, label in _ROWS
        if name in served.times_s
    )
    parts: list[RenderableType] = [
        Text(texts.label("percentiles"), style="bold"),
        Rows(headings, rows),
    ]
    if served.goodput_per_s is not None and served.good_share is not None:
        text = texts.label(
            "goodput", percent=round(100 * served.good_share), rate=_rate(served.goodput_per_s), all=_rate(served.requests_per_s)
        )  # fmt: skip
        parts.append(indented(text, indent=2))
    about = texts.label(
        "simulated", requests=served.request_count, batch=_rate(served.mean_batch), preemptions=served.preemptions or None,
        varied=use if served.is_varied else None,
    )  # fmt: skip
    about += "" if served.is_beyond else " " + texts.label("means_predicted")
    return [*parts, indented(about, style="dim", indent=2), Text("")]


def _rate(value: float) -> str:
    return f"{float(f'{value:.2g}'):,g}"
