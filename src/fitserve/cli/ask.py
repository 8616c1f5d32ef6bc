"""`fitserve ask`: a question in Korean or English."""

import os
import sys
from datetime import UTC, datetime
from typing import Any

from fitserve.ask.answer import ask
from fitserve.ask.parsed import Parser
from fitserve.ask.request import MOST_LETTERS, AskRequest
from fitserve.ask.text import language_of
from fitserve.cli.output import check_out, write
from fitserve.cli.quoted_log import explained
from fitserve.cli.verbs import world
from fitserve.foundation.errors import InputError
from fitserve.render.asked import answer_form, answer_markdown, answer_view
from fitserve.render.texts import Texts, texts

_NO, _BAD_INPUT = 1, 2


def run_ask(values: dict[str, Any], words: Texts) -> int:
    """`fitserve ask "…" | - | --list | --id ID`."""
    check_out(values.get("out"))
    fields = {key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    if fields.get("question") == "-":
        fields["question"] = sys.stdin.read(MOST_LETTERS + 1)
    request = AskRequest.read(**fields)
    if request.list or request.id is not None:
        from fitserve.cli.community import run_community  # the list is read only when it is asked for

        return run_community(request, values, words)
    if request.question is None:
        raise InputError.of("question_missing")
    return _answer(request, request.question, values)


def _answer(request: AskRequest, question: str, values: dict[str, Any]) -> int:
    language = values.get("lang") or language_of(question)
    table = texts(language)
    today = datetime.now(UTC).date().isoformat()
    parse = _parser(request)
    answer = ask(question, world(), today, language=language, parse=parse, from_log=explained(table))
    write(
        lambda: answer_form(answer, table), answer_view(answer, table), bool(values.get("json")), values.get("out"),
        lambda: answer_markdown(answer, table),
    )  # fmt: skip
    if answer.kind == "unclear":
        return _BAD_INPUT
    return 0 if answer.is_yes else _NO


def _parser(request: AskRequest) -> Parser | None:
    """The endpoint that reads hard questions, where one is configured."""
    url = request.llm_url or os.environ.get("FITSERVE_LLM_URL")
    if not url:
        return None
    from fitserve.cli.question_reader import reader_at  # nothing of HTTP is loaded without an address

    return reader_at(url, request.llm_model or os.environ.get("FITSERVE_LLM_MODEL"))
