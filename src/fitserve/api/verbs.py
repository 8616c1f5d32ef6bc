"""The verbs that programs may call, as functions of a request and the outside: REST, MCP and Python give the same answers.

No web package is needed here. A verb's modules are loaded when it is first asked.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from fitserve.plan.request import Request
from fitserve.plan.world import World
from fitserve.render.texts import Texts

Form = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What an answer depends on beside its request: the world, the day (YYYY-MM-DD), who reads a price file."""

    world: World
    today: str
    read_prices: Callable[[str], Any] | None = None
    """None where no file may be read."""
    language: str | None = None
    """The language that was asked for; None leaves it to the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An answer: the value, whether it is a yes, and its JSON in a language."""

    answer: Any
    is_yes: bool
    form: Callable[[Texts], Form]
    language: str | None = None
    """The language of the answer, where that follows from the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A verb: its name, where its request stands, and how it is answered."""

    name: str
    request: str
    run: Callable[[Any, Outside], Outcome]

    @property
    def model(self) -> type[Request]:
        """The request's model."""
        module, _, name = self.request.partition(":")
        found: type[Request] = getattr(import_module(f"fitserve.{module}"), name)
        return found

    def read(self, fields: Mapping[str, Any]) -> Request:
        """The request of these fields. Raises InputError with everything that is wrong."""
        return self.model.read(**fields)


def _plan(request: Any, outside: Outside) -> Outcome:
    from fitserve.plan.answer import plan
    from fitserve.render.json_form import answer_form

    answer = plan(request, outside.world)
    return Outcome(answer=answer, is_yes=answer.is_yes, form=lambda texts: answer_form(answer, texts))


def _estimate(request: Any, outside: Outside) -> Outcome:
    from fitserve.plan.answer import estimate
    from fitserve.render.json_form import estimate_form

    answer = estimate(request, outside.world)
    return Outcome(answer=answer, is_yes=answer.is_yes, form=lambda texts: estimate_form(answer, texts))


def _fit(request: Any, outside: Outside) -> Outcome:
    from fitserve.plan.answer import fit
    from fitserve.render.json_form import answer_form

    answer = fit(request, outside.world)
    return Outcome(answer=answer, is_yes=answer.is_yes, form=lambda texts: answer_form(answer, texts))


def _compare(request: Any, outside: Outside) -> Outcome:
    from fitserve.plan.compare import compare
    from fitserve.render.comparison import comparison_form

    answer = compare(request, outside.world)
    return Outcome(answer=answer, is_yes=answer.is_yes, form=lambda texts: comparison_form(answer, texts))


def _hardware(request: Any, outside: Outside) -> Outcome:
    from fitserve.plan.hardware import which_hardware
    from fitserve.render.hardware import hardware_form

    answer = which_hardware(request, outside.world)
    return Outcome(answer=answer, is_yes=answer.is_yes, form=lambda texts: hardware_form(answer, texts))


def _check(request: Any, outside: Outside) -> Outcome:
    from fitserve.check.answer import check
    from fitserve.render.checked import check_form

    answer = check(request, outside.world)
    return Outcome(answer=answer, is_yes=answer.is_ok, form=lambda texts: check_form(answer, texts))


def _guide(request: Any, outside: Outside) -> Outcome:
    from fitserve.guides.build import guide
    from fitserve.render.guide_json import guide_form

    answer = guide(request, outside.world)
    return Outcome(answer=answer, is_yes=answer.is_yes, form=lambda texts: guide_form(request, answer, texts))


def _cost(request: Any, outside: Outside) -> Outcome:
    from fitserve.foundation.errors import InputError
    from fitserve.plan.cost import cost
    from fitserve.render.cost import cost_form

    own_prices = None
    if request.prices is not None:
        if outside.read_prices is None:
            raise InputError.of("file_not_here", flag="--prices")
        own_prices = outside.read_prices(request.prices)
    answer = cost(request, outside.today, own_prices)
    return Outcome(answer=answer, is_yes=True, form=lambda texts: cost_form(answer, texts))


def _finetune(request: Any, outside: Outside) -> Outcome:
    from fitserve.emit.trainers import trainer_files
    from fitserve.emit.trainers.types import run_of
    from fitserve.foundation.reasons import Verdict
    from fitserve.plan.finetune import finetune
    from fitserve.plan.finetune_serving import served
    from fitserve.render.finetune import finetune_form

    answer = finetune(request, outside.world)
    files = trainer_files(request.trainer, run_of(answer))
    server = served(answer, outside.world) if answer.verdict is not Verdict.NOT_SUPPORTED else None
    is_yes = answer.verdict is Verdict.FITS
    return Outcome(answer=answer, is_yes=is_yes, form=lambda texts: finetune_form(answer, files, server, texts))


def _quantize(request: Any, outside: Outside) -> Outcome:
    from fitserve.emit.quantizers import quantizer_files
    from fitserve.foundation.errors import InputError
    from fitserve.foundation.reasons import Verdict
    from fitserve.plan.quantize import quantize
    from fitserve.render.quantize import quantize_form

    if request.run:
        raise InputError.of("runs_nothing_here", flag="--run")
    answer = quantize(request, outside.world)
    files = quantizer_files(answer)
    is_yes = answer.verdict is Verdict.FITS
    return Outcome(answer=answer, is_yes=is_yes, form=lambda texts: quantize_form(answer, files, texts, None))


def _clients(request: Any, _: Outside) -> Outcome:
    from fitserve.emit.clients.answer import clients
    from fitserve.plan.request import ClientsRequest
    from fitserve.render.clients import clients_form

    fields = request.model_dump(exclude={"client"}, exclude_unset=True)
    listed = clients(request.client, ClientsRequest.read(**fields))
    return Outcome(answer=tuple(listed), is_yes=True, form=lambda texts: clients_form(listed, texts))


def _diagnose(request: Any, outside: Outside) -> Outcome:
    from fitserve.diagnose.answer import diagnose
    from fitserve.diagnose.request import DiagnoseRequest
    from fitserve.render.diagnosed import diagnosis_form

    hints = DiagnoseRequest.model_construct(**request.model_dump(exclude={"log"}, exclude_unset=True))
    answer = diagnose([request.log.encode("utf-8", "replace")], hints, outside.world)
    return Outcome(answer=answer, is_yes=answer.is_found, form=lambda texts: diagnosis_form(answer, texts))


def _ask(request: Any, outside: Outside) -> Outcome:
    from fitserve.ask.answer import ask
    from fitserve.ask.questions import answer_of, question_of
    from fitserve.ask.text import language_of
    from fitserve.foundation.errors import InputError
    from fitserve.render.asked import answer_form

    if request.id is not None:
        language = outside.language or "en"
        answer = answer_of(question_of(request.id), language, outside.world, outside.today)
    elif request.question is not None:
        language = outside.language or language_of(request.question)
        answer = ask(request.question, outside.world, outside.today, language=language)
    else:
        raise InputError.of("question_missing")
    is_yes = answer.is_yes and answer.kind != "unclear"
    return Outcome(answer=answer, is_yes=is_yes, form=lambda texts: answer_form(answer, texts), language=language)


_LISTED = (
    Verb(name="plan", request="plan.request:PlanRequest", run=_plan),
    Verb(name="estimate", request="plan.request:EstimateRequest", run=_estimate),
    Verb(name="fit", request="plan.request:FitRequest", run=_fit),
    Verb(name="compare", request="plan.compare:CompareRequest", run=_compare),
    Verb(name="hardware", request="plan.hardware:HardwareChoiceRequest", run=_hardware),
    Verb(name="check", request="check.request:CheckRequest", run=_check),
    Verb(name="diagnose", request="api.requests:DiagnoseQuery", run=_diagnose),
    Verb(name="ask", request="api.requests:AskQuery", run=_ask),
    Verb(name="guide", request="guides.request:GuideRequest", run=_guide),
    Verb(name="cost", request="plan.cost_request:CostRequest", run=_cost),
    Verb(name="finetune", request="plan.finetune_request:FinetuneRequest", run=_finetune),
    Verb(name="quantize", request="plan.quantize_request:QuantizeRequest", run=_quantize),
    Verb(name="clients", request="api.requests:ClientsQuery", run=_clients),
)
VERBS: Mapping[str, Verb] = {verb.name: verb for verb in _LISTED}
"""By name. Catalogues, cases and runs have no request and are read directly."""
