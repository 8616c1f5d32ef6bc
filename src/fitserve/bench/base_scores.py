"""Scores of base models to set an evaluation beside: those of the packaged tables, and those measured beside a copy."""

import re
from collections.abc import Mapping
from typing import Any, Final

from fitserve.bench.eval_types import BaseScore, Comparison, Score
from fitserve.bench.request import EvalRequest
from fitserve.foundation.facts import load_toml
from fitserve.models.catalog.lookup import rows
from fitserve.predict.benchmarks import Figure, by_model, chance_error
from fitserve.predict.loss_rows import measurements

_SHOTS: Final = re.compile(r"\b(\d+)[ -]?shot", re.IGNORECASE)
_SHOTS_OF_TABLE: Final = re.compile(r"; *(\d+)(?: |$)")
_PERCENT: Final = "%"
_MOST: Final = 4
_KINDS: Final = {"maker": 0, "independent": 1, "other maker": 2}


def base_of(model: str) -> str:
    """The model that a quantized copy was made of; itself where it is none, or is not known."""
    row = rows().get(model)
    found = None if row is None else row.get("quantized_from")
    return str(found) if found else model


def compared_scores(
    request: EvalRequest, model: str, endpoint: str, scores: tuple[Score, ...]
) -> tuple[Comparison, ...]:
    """Each score that has a counterpart, beside it; the makers' own figures first."""
    base = base_of(request.model or model)
    found = []
    for score in scores:
        row = _row(score)
        if row is None and request.base_score is None:
            continue
        bases = _published(base, row) if row is not None else []
        if request.base_score is not None:
            bases = [BaseScore(value=request.base_score, standard_error=0.0, kind="given")]
        found += [
            Comparison(score=score, base=item, differences=_differences(score, item, endpoint))
            for item in bases[:_MOST]
        ]
    return tuple(found)


def _row(score: Score) -> Mapping[str, Any] | None:
    """The benchmark of a task, where this is the metric that people quote."""
    for row in load_toml("fitserve.bench", "eval_tasks.toml")["tasks"]:
        if score.task in row["names"] and score.metric == row["metric"] and score.chosen_by in row["filters"]:
            found: Mapping[str, Any] = row
            return found
    return None


def _published(base: str, row: Mapping[str, Any]) -> list[BaseScore]:
    name = row["benchmark"]
    figures = [figure for figure in by_model().get(base, ()) if figure.benchmark == name and figure.unit == _PERCENT]
    figures.sort(key=lambda figure: (_KINDS.get(figure.reporter_kind, 9), figure.table))
    found = [_of_figure(figure) for figure in figures if figure.runs != "thinking"]
    beside = {
        (item.baseline, item.source): BaseScore(
            value=item.baseline / 100, standard_error=0.0, kind="measured", benchmark=name,
            reporter=item.method, source=item.source,
        )
        for item in measurements()
        if item.model == base and item.metric == name
    }  # fmt: skip
    return found + list(beside.values())


def _of_figure(figure: Figure) -> BaseScore:
    return BaseScore(
        value=figure.value / 100, standard_error=chance_error(figure) / 100, kind="published", benchmark=figure.benchmark,
        setting=figure.setting, reporter=figure.reporter, source=figure.source, shots=shots_in(figure.setting),
    )  # fmt: skip


def shots_in(setting: str | None) -> int | None:
    """Examples before each question as a setting states them: `8-shot`, or the column of a card, `GSM-8K (CoT) ; 8 em`."""
    found = _SHOTS.search(setting or "") or _SHOTS_OF_TABLE.search(setting or "")
    return None if found is None else int(found[1])


def _differences(score: Score, base: BaseScore, endpoint: str) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
    found: list[tuple[str, tuple[tuple[str, int], ...]]] = []
    if base.shots is None and base.kind != "given":
        found.append(("eval_setting_unknown", ()))
    elif base.shots is not None and score.shots is not None and base.shots != score.shots:
        found.append(("eval_shots_differ", (("here", score.shots), ("there", base.shots))))
    if score.samples is not None and score.all_samples is not None and score.samples < score.all_samples:
        found.append(("eval_limit_differs", (("count", score.samples),)))
    if endpoint == "completions" and base.kind == "published":
        found.append(("eval_chat_differs", ()))
    return tuple(found)
