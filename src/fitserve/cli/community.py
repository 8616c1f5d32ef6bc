"""`fitserve ask --list` and `--id`: the prepared questions and their computed answers."""

from datetime import UTC, datetime
from typing import Any

from rich.console import Group
from rich.text import Text

from fitserve.ask.questions import answer_of, community_questions, question_of
from fitserve.ask.request import AskRequest
from fitserve.cli.output import write
from fitserve.cli.quoted_log import explained
from fitserve.cli.verbs import world
from fitserve.render.asked import answer_form, answer_markdown, answer_view, questions_form
from fitserve.render.layout import Rows, headings_of
from fitserve.render.texts import Texts


def run_community(request: AskRequest, values: dict[str, Any], words: Texts) -> int:
    """The list of questions, or the answer to one of them; the language is that of --lang or of the environment."""
    as_json, out = bool(values.get("json")), values.get("out")
    if request.id is None:
        rows = tuple((item.id, item.title[words.language], ", ".join(item.tags)) for item in community_questions())
        write(
            lambda: questions_form(words),
            Group(Rows(headings_of(("ask_id", "ask_title", "ask_tags"), words), rows)),
            as_json,
            out,
        )
        return 0
    question = question_of(request.id)
    today = datetime.now(UTC).date().isoformat()
    answer = answer_of(question, words.language, world(), today, from_log=explained(words))
    view = Group(Text(question.question[words.language], style="italic"), answer_view(answer, words))
    write(lambda: answer_form(answer, words), view, as_json, out, lambda: answer_markdown(answer, words))
    return 0 if answer.is_yes else 1
