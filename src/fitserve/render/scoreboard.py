"""The scoreboard of predicted against measured: JSON, table, Markdown."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group as Stack
from rich.console import RenderableType
from rich.text import Text

from fitserve.evidence.score import Group, Row, interval_or_word
from fitserve.render.forms import reason_form
from fitserve.render.human import percent_text
from fitserve.render.layout import Rows
from fitserve.render.texts import Texts

_FEWEST = 1
_KEYS = ("group", "metric", "cases", "answered", "median", "p90", "bias", "right", "inside")


def scoreboard_form(groups: Sequence[Group], rows: Sequence[Row], texts: Texts) -> dict[str, Any]:
    """The answer of `validate`."""
    return {
        "schema_version": 1,
        "groups": [
            {
                "kind": group.kind,
                "metric": group.metric,
                "doubted": group.doubted,
                "cases": group.cases,
                "answered": group.answered,
                "median_abs_pct": group.median_abs_pct,
                "p90_abs_pct": group.p90_abs_pct,
                "bias_pct": group.bias_pct,
                "right_pct": group.right_pct,
                "inside_interval_pct": group.inside_interval_pct,
            }
            for group in groups
        ],
        "cases": [
            {
                "id": row.case.id,
                "kind": row.case.kind,
                "metric": row.metric,
                "predicted": interval_or_word(row.predicted),
                "measured": row.measured,
                "error_pct": row.error_pct,
                "unanswered": None if row.unanswered is None else reason_form(row.unanswered, texts),
            }
            for row in rows
        ],
    }


def _cells(group: Group) -> tuple[str, ...]:
    return (
        group.kind,
        group.metric,
        str(group.cases),
        str(group.answered),
        percent_text(group.median_abs_pct),
        percent_text(group.p90_abs_pct),
        percent_text(group.bias_pct),
        percent_text(group.right_pct),
        percent_text(group.inside_interval_pct),
    )


def _headings(texts: Texts) -> list[str]:
    return [texts.text("validate", key) for key in _KEYS]


def unanswered_counts(rows: Iterable[Row], texts: Texts) -> list[tuple[int, str]]:
    """How many measured figures have no prediction, by reason."""
    found = Counter(
        texts.reason(row.unanswered) for row in rows if row.unanswered is not None and row.measured is not None
    )
    return [(count, text) for text, count in found.most_common()]


def scoreboard_view(
    groups: Sequence[Group], rows: Sequence[Row], texts: Texts, most_reasons: int = 12
) -> RenderableType:
    """Tables of the headline, the doubted rows, and what was not answered."""
    parts: list[RenderableType] = []
    for doubted in (False, True):
        chosen = [group for group in groups if group.doubted is doubted and group.answered >= _FEWEST]
        if not chosen:
            continue
        if doubted:
            parts.append(Text(texts.text("validate", "doubtful"), style="bold"))
        first, second, *figures = _headings(texts)
        headings = (first, second, *(f">{heading}" for heading in figures))
        parts.append(Rows(headings, tuple(map(_cells, chosen)), lead=2))
    reasons = unanswered_counts(rows, texts)
    if reasons:
        parts.append(Text(texts.text("validate", "unanswered"), style="bold"))
        parts += [Text(f"  {count:>5}  {text}") for count, text in reasons[:most_reasons]]
    return Stack(*parts)


def markdown_table(headings: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]
    return "\n".join(lines)


def scoreboard_markdown(groups: Sequence[Group], rows: Sequence[Row], texts: Texts) -> str:
    """The scoreboard as a Markdown page."""
    parts = []
    for doubted in (False, True):
        chosen = [group for group in groups if group.doubted is doubted and group.cases]
        if chosen:
            title = texts.text("validate", "doubtful" if doubted else "headline")
            parts.append(f"### {title}\n\n{markdown_table(_headings(texts), map(_cells, chosen))}")
    reasons = Counter(row.unanswered.code for row in rows if row.unanswered is not None and row.measured is not None)
    if reasons:
        lines = "\n".join(f"- {count} × `{code}`" for code, count in reasons.most_common())
        parts.append(f"### {texts.text('validate', 'unanswered')}\n\n{lines}")
    return "\n\n".join(parts) + "\n"
