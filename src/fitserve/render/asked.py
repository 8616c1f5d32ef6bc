"""The answer to a question: as Markdown, for the terminal, and as the JSON of CONTRACT."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.ask.questions import community_questions
from fitserve.ask.types import AskAnswer, Understood
from fitserve.emit.commands import shell_texts
from fitserve.emit.of_plan import served_of
from fitserve.emit.steps import steps
from fitserve.engines.registry import engine
from fitserve.plan.answer import launch_command
from fitserve.render.asked_blocks import Part, Parts
from fitserve.render.forms import SCHEMA_VERSION
from fitserve.render.json_form import plan_form
from fitserve.render.layout import Rows, indented
from fitserve.render.texts import Texts

_PLANS = 5


@dataclass(frozen=True, slots=True)
class _Written:
    """Parts of an answer in a language."""

    parts: tuple[Part, ...]


def _written(answer: AskAnswer, texts: Texts) -> _Written:
    return _Written(tuple(Parts(texts).of(answer)))


def answer_markdown(answer: AskAnswer, texts: Texts) -> str:
    """The answer as Markdown."""
    return "\n\n".join(_markdown(part) for part in _written(answer, texts).parts) + "\n"


def _markdown(part: Part) -> str:
    if part.kind == "heading":
        return f"### {part.text}"
    if part.kind == "bullets":
        return "\n".join(f"- {line}" for line in part.lines)
    if part.kind == "table":
        return "\n".join(_table(part))
    if part.kind == "code":
        fence = "```" if "```" not in part.text else "````"
        return f"{fence}{part.language}\n{part.text.rstrip()}\n{fence}"
    return f"**{part.text}**" if part.strong else part.text


def _table(part: Part) -> Iterator[str]:
    yield "| " + " | ".join(name.removeprefix(">") for name in part.headings) + " |"
    yield "|" + "|".join("---:" if name.startswith(">") else "---" for name in part.headings) + "|"
    for row in part.rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def answer_view(answer: AskAnswer, texts: Texts) -> RenderableType:
    """The answer for a terminal."""
    shown: list[RenderableType] = []
    for part in _written(answer, texts).parts:
        shown += list(_shown(part))
    return Group(*shown)


def _shown(part: Part) -> Iterator[RenderableType]:
    if part.kind == "heading":
        yield Text("")
        yield Text(part.text, style="bold cyan")
    elif part.kind == "bullets":
        for line in part.lines:
            yield indented(f"· {_plain(line)}", indent=2)
    elif part.kind == "table":
        yield Rows(part.headings, part.rows, lead=1)
    elif part.kind == "code":
        for line in part.text.splitlines():
            yield Text(f"  {line}", no_wrap=True, overflow="ignore")
        yield Text("")
    else:
        yield Text(_plain(part.text), style="bold" if part.strong else "")


def _plain(text: str) -> str:
    return text.replace("**", "").replace("`", "")


def answer_form(answer: AskAnswer, texts: Texts) -> dict[str, Any]:
    """JSON of the contract."""
    return {
        "schema_version": SCHEMA_VERSION,
        "question": answer.understood.text,
        "language": texts.language,
        "kind": answer.kind,
        "understood": understood_form(answer.understood),
        "assumed": [texts.reason(reason) for reason in answer.assumed],
        "verdict": None if answer.kind == "unclear" else answer.verdict,
        "answer": answer_markdown(answer, texts),
        "plans": [plan_form(item, texts, answer.rate, answer.use) for item in answer.plans[:_PLANS]],
        "commands": _commands(answer),
        "follow_up": list(answer.follow_up),
    }


def questions_form(texts: Texts) -> dict[str, Any]:
    """The list of prepared questions."""
    rows = [
        {
            "id": item.id, "title": item.title[texts.language], "question": item.question[texts.language],
            "kind": item.kind, "tags": list(item.tags),
        }
        for item in community_questions()
    ]  # fmt: skip
    return {"schema_version": SCHEMA_VERSION, "language": texts.language, "questions": rows}


def understood_form(asked: Understood) -> dict[str, Any]:
    """The fields of a question."""
    memory = asked.memory_bytes or max((item.memory_bytes or 0 for item in asked.gpus), default=0) or None
    return {
        "model": next(iter(asked.models), None),
        "models": list(asked.models),
        "gpus": [{"gpu": item.gpu, "count": item.count} for item in asked.gpus],
        "memory_bytes": memory,
        "ram_bytes": asked.ram_bytes,
        "engine": next(iter(asked.engines), None),
        "engines": list(asked.engines),
        "engine_version": asked.engine_version,
        "weight_format": next(iter(asked.formats), None),
        "weight_formats": list(asked.formats),
        "kv_format": asked.kv_format,
        "context_tokens": asked.context_tokens,
        "concurrency": asked.concurrency,
        "os": asked.os,
        "method": asked.method,
        "use": asked.use,
        "min_tok_per_s": asked.min_tok_per_s,
        "usd_per_hour": None if asked.usd_per_hour is None else float(asked.usd_per_hour),
        "budget_usd": None if asked.budget_usd is None else float(asked.budget_usd),
        "hours": [float(hours) for hours in asked.hours],
        "failures": list(asked.errors),
        "unknown": list(asked.unknown),
    }


def _commands(answer: AskAnswer) -> list[str]:
    """Texts to run for the first plan: download, start, test, in the shell of its system."""
    item = next((plan for plan in answer.plans if plan.fits), None)
    command = None if item is None else launch_command(item)
    if item is None or command is None or answer.kind == "unclear":
        return []
    system = item.deployment.machine.host.os
    shell = "powershell" if system == "windows" else "bash"
    after = steps(served_of(item, command))
    texts = [None if after[name] is None else after[name].shells[shell] for name in ("download",)]  # type: ignore[union-attr]
    start = shell_texts(command, system in engine(item.deployment.engine).native_os)[shell]
    test = after["smoke_test"]
    return [text for text in (*texts, start, None if test is None else test.shells[shell]) if text]
