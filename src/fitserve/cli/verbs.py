"""The verbs: each parses its values into a request, makes one call, and hands the answer to the output."""

import sys
from collections.abc import Callable
from typing import Any

from rich.console import RenderableType

from fitserve.cli.output import check_out, write
from fitserve.emit.of_plan import launch_of
from fitserve.engines.registry import engine
from fitserve.foundation.errors import WorldError
from fitserve.foundation.reasons import note
from fitserve.hardware.report_file import ReportedMachine
from fitserve.hardware.types import Machine
from fitserve.models.readers.reference import read_reference
from fitserve.plan.answer import Answer, estimate, fit, plan
from fitserve.plan.request import EstimateRequest, FitRequest, PlanRequest
from fitserve.plan.world import ModelRead, World
from fitserve.predict.correction import Measured
from fitserve.render.json_form import answer_form, estimate_form, plan_title
from fitserve.render.tables import as_text, estimate_view, fit_view, plan_view
from fitserve.render.texts import Texts

Values = dict[str, Any]
_FIT_ROWS = 40


def world() -> World:
    """The outside of the command line: files, hub, this machine's drivers."""
    return World(
        read_model=_read_model, this_machine=_this_machine, read_hardware=_read_hardware,
        installed_version=_installed_version, measured=_measured,
    )  # fmt: skip


def _read_hardware(name: str) -> ReportedMachine:
    from fitserve.cli.hardware_file import read_hardware_file

    return read_hardware_file(name)


def _measured() -> tuple[Measured, ...]:
    """Load tests that the ledger keeps; none when there is no ledger yet."""
    from fitserve.ledger.store import Ledger
    from fitserve.plan.here import measured_of

    ledger = Ledger()
    return tuple(measured_of(form) for form in ledger.corrections().values()) if ledger.path.exists() else ()


def _installed_version(engine_id: str) -> str | None:
    from fitserve.hardware.probe.engines import installed_version  # a program is started only when its version is asked

    row = engine(engine_id).facts.get("installed")
    return None if row is None else installed_version(row)


def _this_machine() -> Machine:
    from fitserve.cli.this_machine import this_machine  # drivers are looked at only when nobody names a machine

    return this_machine()


def _read_model(text: str) -> ModelRead:
    found = read_reference(text)
    notes = [note("part_unaccounted", part=part) for part in found.model.unaccounted]
    if found.layout_of is not None:
        notes.append(note("layout_of_base", given=text, model=found.layout_of))
    return ModelRead(
        model=found.model,
        weight_format=found.weight_format,
        repository=found.repository,
        is_file=found.is_file,
        notes=tuple(notes),
    )


def _split(values: Values) -> tuple[Values, bool, str | None]:
    """Request fields, --json and --out."""
    rest = {key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    check_out(values.get("out"))
    return rest, bool(values.get("json")), values.get("out")


def _write(
    form: Callable[[], Values], view: RenderableType, as_json: bool, out: str | None, answer: Answer, texts: Texts
) -> None:
    """Files of a command are those of the best plan."""
    best = answer.plans[0] if answer.plans else None

    def markdown() -> str:
        from fitserve.render.plan_markdown import plan_markdown

        return plan_markdown(as_text(view), best, texts)

    write(
        form,
        view,
        as_json,
        out,
        markdown,
        lambda folder: None if best is None else launch_of(best, folder),
    )


def _remember(kind: str, answer: Answer) -> None:
    """Keeps what was asked and what came of it; a ledger that cannot be written is told, and nothing else."""
    from fitserve.ledger.store import Ledger
    from fitserve.ledger.types import Kind

    best = answer.plans[0] if answer.plans else None
    result = {"verdict": "fits" if best is not None else "none", "plans": len(answer.plans)}
    asked = answer.request.model_dump(mode="json", exclude_unset=True)
    title = str(asked.get("model", "")) if best is None else plan_title(best)
    try:
        Ledger().add(Kind(kind), title, result, request=asked)
    except WorldError as error:
        print(f"! {error}", file=sys.stderr)


def run_plan(values: Values, texts: Texts) -> int:
    """`fitserve plan`."""
    fields, as_json, out = _split(values)
    answer = plan(PlanRequest.read(**fields), world())
    _remember("plan", answer)
    _write(lambda: answer_form(answer, texts), plan_view(answer, texts), as_json, out, answer, texts)
    return 0 if answer.is_yes else 1


def run_estimate(values: Values, texts: Texts) -> int:
    """`fitserve estimate`."""
    fields, as_json, out = _split(values)
    answer = estimate(EstimateRequest.read(**fields), world())
    _remember("estimate", answer)
    _write(lambda: estimate_form(answer, texts), estimate_view(answer, texts), as_json, out, answer, texts)
    return 0 if answer.is_yes else 1


def run_compare(values: Values, texts: Texts) -> int:
    """`fitserve compare`."""
    from fitserve.plan.compare import CompareRequest, compare
    from fitserve.render.comparison import comparison_form, comparison_view

    fields, as_json, out = _split(values)
    fields["variants"] = tuple(fields.get("variants") or ())
    answer = compare(CompareRequest.read(**fields), world())
    write(lambda: comparison_form(answer, texts), comparison_view(answer, texts), as_json, out)
    return 0 if answer.is_yes else 1


def run_hardware(values: Values, texts: Texts) -> int:
    """`fitserve hardware`."""
    from fitserve.plan.hardware import HardwareChoiceRequest, which_hardware
    from fitserve.render.hardware import hardware_form, hardware_view

    fields, as_json, out = _split(values)
    answer = which_hardware(HardwareChoiceRequest.read(**fields), world())
    write(lambda: hardware_form(answer, texts), hardware_view(answer, texts), as_json, out)
    return 0 if answer.is_yes else 1


def run_fit(values: Values, texts: Texts) -> int:
    """`fitserve fit`."""
    fields, as_json, out = _split(values)
    request = FitRequest.read(**fields)
    answer: Answer = fit(request, world())
    view = fit_view(answer, texts, request.limit or _FIT_ROWS)
    _write(lambda: answer_form(answer, texts), view, as_json, out, answer, texts)
    return 0 if answer.is_yes else 1
