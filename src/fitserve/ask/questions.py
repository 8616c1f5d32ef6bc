"""Questions of the community as data; each is answered by computation when it is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fitserve.ask.answer import ask
from fitserve.ask.other import FromLog
from fitserve.ask.types import AskAnswer
from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_toml
from fitserve.plan.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class CommunityQuestion:
    """A question with its title in each language. `model` (empty: none) and `gpus` (id:count) are what it is about."""

    id: str
    kind: str
    model: str
    gpus: tuple[str, ...]
    tags: tuple[str, ...]
    title: Mapping[str, str]
    question: Mapping[str, str]


@lru_cache(maxsize=1)
def community_questions() -> tuple[CommunityQuestion, ...]:
    """All questions in the order of the file."""
    return tuple(
        CommunityQuestion(**{**row, "gpus": tuple(row["gpus"]), "tags": tuple(row["tags"])})
        for row in load_toml("fitserve.ask", "questions.toml")["questions"]
    )


def question_of(question_id: str) -> CommunityQuestion:
    """The question with an id. Raises InputError where there is none."""
    found = next((item for item in community_questions() if item.id == question_id.strip().lower()), None)
    if found is None:
        raise InputError.of("question_unknown", given=question_id[:80])
    return found


def answer_of(
    question: CommunityQuestion, language: str, world: World, today: str, from_log: FromLog | None = None
) -> AskAnswer:
    """The computed answer to a question in a language; `today`: YYYY-MM-DD."""
    return ask(question.question[language], world, today, language=language, from_log=from_log)
