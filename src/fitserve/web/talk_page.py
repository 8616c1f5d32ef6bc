"""Discussions: questions of the community and of this machine, each with an answer that is computed when it is opened."""

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fitserve.ask.answer import ask
from fitserve.ask.questions import community_questions, question_of
from fitserve.ask.request import AskRequest
from fitserve.ask.text import language_of as language_of_text
from fitserve.ask.types import AskAnswer, Named
from fitserve.foundation.errors import InputError
from fitserve.hardware.identify import identify
from fitserve.ledger.questions import KeptQuestion, Questions
from fitserve.plan.machine import parse_gpu
from fitserve.plan.world import World
from fitserve.render.asked_blocks import Part, Parts
from fitserve.render.quoted_log import explained
from fitserve.render.texts import Texts, texts, value_text
from fitserve.web.asked import THIS_MACHINE, asked_of, gpu_fields, pick_of
from fitserve.web.blocks import Shown, headings, marked, plain_rows
from fitserve.web.errors import told
from fitserve.web.frame import page, texts_of, tokens_text, world_of
from fitserve.web.memo import Memo
from fitserve.web.names import gpu_title, short_name
from fitserve.web.shown import shown_view

router = APIRouter(include_in_schema=False)
_KINDS = (
    "howto", "fit", "quant", "engine", "context", "users", "speed", "compare", "buy", "whatfits", "cost", "finetune",
    "quantize", "failure",
)  # fmt: skip
_OWN = "q"
_ANSWERS: Memo[AskAnswer] = Memo(128)
_NO_QUERY = QueryParams("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A question to be opened: of the community, or asked here."""

    id: str
    text: str
    language: str
    title: str
    kind: str = ""
    tags: tuple[str, ...] = ()
    gpu: str = ""


@router.get("/discussions")
def talk_page(request: Request) -> Response:
    """The list."""
    return page(request, "talk.html", _listed(request) | {"told": None}, here="discussions")


@router.get("/discussions/{topic_id}")
def topic_page(request: Request, topic_id: str) -> Response:
    """The list with one answer open: what a shared link leads to."""
    told_now = _told(request, topic_id)
    return page(request, "talk.html", _listed(request) | {"told": told_now}, here="discussions")


@router.get("/part/discussions/{topic_id}")
def topic_part(request: Request, topic_id: str) -> Response:
    """One answer, for the dialog."""
    return page(request, "told.html", {"told": _told(request, topic_id)})


@router.post("/discussions")
async def ask_page(request: Request) -> Response:
    """Keeps a question and leads to its answer."""
    form = await request.form()
    text, gpu = str(form.get("question", "")), str(form.get("gpu", "")).strip()[:100]
    words = texts_of(request)
    with told(words) as problems:
        kept = await run_in_threadpool(_keep, text, gpu)
        return RedirectResponse(f"/discussions/{_OWN}{kept.id}", HTTPStatus.SEE_OTHER)
    values = await run_in_threadpool(_listed, request)
    return page(
        request,
        "talk.html",
        values | {"told": None, "problems": problems, "typed": text[:8000]},
        here="discussions",
        status=422,
    )


def _keep(text: str, gpu: str) -> KeptQuestion:
    question = AskRequest.read(question=text).question
    assert question is not None
    return Questions().keep(question, language_of_text(question), _hardware_text(gpu))


def _hardware_text(gpu: str) -> str:
    """`rtx-3090:2` of what was typed; raises InputError for no GPU."""
    if not gpu or gpu == THIS_MACHINE:
        return gpu
    name, count = parse_gpu(gpu)
    return f"{identify(name).device.id}:{count}"


def _listed(request: Request) -> dict[str, Any]:
    words, chosen = texts_of(request), request.query_params.get("kind", "")
    rows = [_community(item, words.language) for item in community_questions()]
    own: list[Topic] = []
    with told(words) as problems:
        own = [_kept(item) for item in Questions().newest()]
    known = {row.kind for row in rows}
    return {
        "rows": [row for row in rows if not chosen or row.kind == chosen], "own": own, "kind": chosen, "typed": "",
        "kinds": [(kind, words.text("web", f"ask_{kind}")) for kind in _KINDS if kind in known], "problems": problems,
        "kind_names": {kind: words.text("web", f"ask_{kind}") for kind in _KINDS},
    }  # fmt: skip


def _community(item: Any, language: str) -> Topic:
    words = texts(language)
    named = words.codes("tag")
    tags = tuple(words.text("tag", tag) if tag in named else tag for tag in item.tags)
    return Topic(
        id=item.id, text=item.question[language], language=language, title=item.title[language], kind=item.kind, tags=tags
    )  # fmt: skip


def _kept(item: KeptQuestion) -> Topic:
    return Topic(id=f"{_OWN}{item.id}", text=item.text, language=item.language, title=item.text, gpu=item.gpu)


def _topic(topic_id: str, language: str) -> Topic:
    number = topic_id.removeprefix(_OWN)
    try:
        if topic_id.startswith(_OWN) and number.isdigit():
            return _kept(Questions().get(int(number)))
        return _community(question_of(topic_id), language)
    except InputError:
        raise HTTPException(HTTPStatus.NOT_FOUND) from None


def _told(request: Request, topic_id: str) -> dict[str, Any]:
    """Question and answer, made together from the same text."""
    words, query = texts_of(request), request.query_params
    topic = _topic(topic_id, words.language)
    asked = asked_of(query)
    gpu = (asked.gpus[0] if asked.gpus else "") or topic.gpu
    shown_gpu = gpu_fields([gpu])[0] if gpu and gpu != THIS_MACHINE else ("", 1)
    values: dict[str, Any] = {
        "id": topic.id, "title": topic.title, "question": topic.text, "gpu": gpu, "gpu_name": shown_gpu[0],
        "gpu_count": shown_gpu[1], "tags": topic.tags,
        "problems": [], "answer": None,
    }  # fmt: skip
    with told(words) as problems:
        hardware = _hardware_text(gpu)
        answer = _answer(topic.text, words.language, hardware, _today(), world_of(request))
        values["answer"] = _answer_view(answer, texts(words.language))
    return values | {"problems": problems}


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


def _answer(text: str, language: str, gpu: str, today: str, world: World) -> AskAnswer:
    return _ANSWERS.of((text, language, gpu, today, world), lambda: _asked(text, language, gpu, today, world))


def _asked(text: str, language: str, gpu: str, today: str, world: World) -> AskAnswer:
    """The answer for the hardware that the question names, or for other hardware."""
    from_log = explained(texts(language), world)
    if not gpu:
        return ask(text, world, today, language=language, from_log=from_log)
    if gpu == THIS_MACHINE:
        return ask(
            text, world, today, language=language, from_log=from_log, gpus=(), memory_bytes=None, this_machine=True
        )
    name, count = parse_gpu(gpu)
    return ask(
        text, world, today, language=language, from_log=from_log, gpus=(Named(gpu=name, count=count),), memory_bytes=None,
        this_machine=False,
    )  # fmt: skip


_STATES = {"fits": "fits", "does_not_fit": "no", "not_supported": "unsup", "unknown": "unknown"}


def _answer_view(answer: AskAnswer, words: Texts) -> dict[str, Any]:
    asked = answer.understood
    best = next((item for item in answer.plans if item.fits), next(iter(answer.plans), None))
    state = _STATES.get(answer.verdict or "", "")
    shown = None if best is None or best.budget is None else shown_view(best, asked_of(_NO_QUERY), words, answer.rate)
    link = "" if best is None else _plan_link(best)
    return {
        "kind": answer.kind, "state": state, "verdict": words.text("web", f"verdict_{state}") if state else "",
        "blocks": [_shown(part) for part in Parts(words).of(answer)], "shown": shown, "plan": link,
        "models": list(asked.models), "gpus": [f"{item.gpu}:{item.count}" for item in asked.gpus],
        "understood": _understood(answer, words), "unknown": list(asked.unknown),
    }  # fmt: skip


def _plan_link(item: Any) -> str:
    deployment = item.deployment
    gpus = tuple(f"{gpu}:{count}" for gpu, count in deployment.machine.counts) or ("none",)
    change = {
        "model": deployment.model.id, "gpu": gpus, "context": deployment.context_tokens, "pick": pick_of(deployment),
        "concurrency": deployment.concurrent_requests,
    }  # fmt: skip
    return "/plan?" + asked_of(_NO_QUERY).query(change)


def _understood(answer: AskAnswer, words: Texts) -> list[str]:
    """What was read from the question, as tags."""
    asked = answer.understood
    found = [short_name(model) for model in asked.models]
    found += [
        words.text("web", "gpu_count", {"gpu": gpu_title(item.gpu), "number": str(item.count)}) for item in asked.gpus
    ]
    found += [value_text("engine", name) for name in asked.engines] + list(asked.formats)
    if asked.this_machine:
        found.append(words.text("web", "this_machine"))
    if asked.context_tokens:
        found.append(words.text("web", "context_tag", {"tokens": tokens_text(asked.context_tokens)}))
    if asked.concurrency:
        found.append(words.text("web", "users_tag", {"count": str(asked.concurrency)}))
    return found + [value for value in (asked.os, asked.method, asked.kv_format) if value]


def _shown(part: Part) -> Shown:
    """A part of an answer as the template draws it."""
    if part.kind == "table":
        return Shown(kind="table", headings=headings(part.headings), rows=plain_rows(part.rows))
    if part.kind == "code":
        return Shown(kind="code", plain=part.text.rstrip())
    if part.kind == "bullets":
        return Shown(kind="bullets", lines=tuple(map(marked, part.lines)))
    return Shown(kind="heading" if part.kind == "heading" else "text", text=marked(part.text), strong=part.strong)
