"""`fitserve runs`: the list, one run, the report, and forgetting."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fitserve.cli.output import check_out, save, write
from fitserve.cli.verbs import world
from fitserve.foundation.errors import FitserveError, InputError
from fitserve.launch.session import reconciled
from fitserve.ledger.export import SCHEMA, cases_of
from fitserve.ledger.shape import run_form
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Run, State
from fitserve.plan.answer import plan
from fitserve.plan.request import PlanRequest
from fitserve.render.markdown import html_page
from fitserve.render.runs import corrections_view, report_markdown, run_view, runs_form, runs_view
from fitserve.render.texts import Texts

_SHOWN = 30
_ALTERNATIVES = 3
_FORMS = (".md", ".html", ".json", ".txt")


def run_runs(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve runs [RUN | report | forget RUN | export RUN… | corrections | drop NAME|all]`."""
    words = [str(word) for word in values.get("what") or ()]
    ledger = Ledger()
    reconciled(ledger)
    if words[:1] == ["report"] and len(words) == 1:
        return _report(ledger, texts, values)
    check_out(values.get("out"))
    if words[:1] == ["export"]:
        return _export(ledger, words[1:], values)
    if words[:1] in (["corrections"], ["drop"]):
        return _corrections(ledger, words, texts, values)
    if words[:1] == ["forget"] and len(words) > 1:
        for word in words[1:]:
            ledger.forget(_number(word))
        words = []
    if len(words) > 1:
        raise InputError.of("argument_extra", given=words[1])
    if words:
        run = ledger.get(_number(words[0]))
        form = {"schema_version": 1, **run_form(run, is_whole=True)}
        write(lambda: form, run_view(run, texts), bool(values.get("json")), values.get("out"))
        return 0
    runs = ledger.runs(limit=_SHOWN)
    write(lambda: runs_form(runs), runs_view(runs, texts), bool(values.get("json")), values.get("out"))
    return 0


def _export(ledger: Ledger, words: Sequence[str], values: dict[str, Any]) -> int:
    """Evidence cases of load tests. Raises InputError for a run that has none."""
    cases = []
    for word in words:
        run = ledger.get(_number(word))
        server = None if run.parent is None else ledger.get(run.parent)
        found = cases_of(run, server, world().this_machine().host.cpu_name)
        if not found:
            raise InputError.of("run_without_cases", given=word)
        cases += found
    form = {"schema": SCHEMA, "cases": cases}
    write(lambda: form, json.dumps(form, ensure_ascii=False, indent=1), bool(values.get("json")), values.get("out"))
    return 0


def _corrections(ledger: Ledger, words: Sequence[str], texts: Texts, values: dict[str, Any]) -> int:
    """What corrects this machine's predictions; `drop` removes it."""
    known = ledger.corrections()
    if words[0] == "drop":
        names = list(known) if words[1:] == ["all"] else list(words[1:])
        for name in names:
            if not ledger.drop_correction(name):
                raise InputError.of("correction_unknown", given=name, known=tuple(known))
        known = ledger.corrections()
    form = {"schema_version": 1, "corrections": [{"name": name, **row} for name, row in known.items()]}
    write(lambda: form, corrections_view(known, texts), bool(values.get("json")), values.get("out"))
    return 0


def _number(text: str) -> int:
    if not text.isdigit():
        raise InputError.of("run_unknown", given=text)
    return int(text)


def _report(ledger: Ledger, texts: Texts, values: dict[str, Any]) -> int:
    """To a file by its name, else Markdown on standard output."""
    out = values.get("out")
    if out is not None and Path(out).suffix.lower() not in _FORMS:
        raise InputError.of("out_kind_unknown", given=out, known=_FORMS)
    runs = ledger.runs()
    here = world()
    markdown = report_markdown(runs, here.this_machine(), _alternatives(runs, texts), texts)
    if out is None and not values.get("json"):
        print(markdown, end="")  # Markdown is not wrapped
        return 0
    if out is None or Path(out).suffix.lower() in {".json", ".txt"}:
        write(lambda: runs_form(runs), markdown, bool(values.get("json")), out)
        return 0
    title = texts.text("runs", "report_title")
    save(Path(out), html_page(markdown, title, texts.language) if out.lower().endswith(".html") else markdown)
    return 0


def _alternatives(runs: Sequence[Run], texts: Texts) -> list[str]:
    """What the planner would start on this machine for each model whose last attempt failed."""
    lines = []
    last: dict[str, Run] = {}
    for run in reversed(runs):
        model = (run.deployment or {}).get("model")
        if model is not None:
            last[str(model)] = run
    for model, run in last.items():
        if run.state not in {State.FAILED, State.LOST}:
            continue
        try:
            answer = plan(PlanRequest.read(model=model), world())
        except FitserveError:
            continue  # a file that has gone; the attempt itself is in the report
        for item in answer.plans[:_ALTERNATIVES]:
            chosen = item.deployment
            values = {
                "model": model,
                "format": chosen.weight_format.name,
                "engine": chosen.engine,
                "context": chosen.context_tokens,
            }
            lines.append(texts.text("runs", "alternative", values))
    return lines
