"""The use case: a question to its answer."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from fitserve.ask.choices import quant
from fitserve.ask.comparing import compare
from fitserve.ask.ground import Ground, ground_of
from fitserve.ask.offers import buy, whatfits
from fitserve.ask.other import FromLog, cost, failure, finetune, quantize, unclear
from fitserve.ask.parsed import Parser, merged
from fitserve.ask.running import context, fit, howto, speed, users
from fitserve.ask.serving import engines
from fitserve.ask.types import AskAnswer, Understood
from fitserve.ask.understand import understand
from fitserve.plan.world import World

_ANSWERS: Mapping[str, Callable[[Ground], AskAnswer]] = {
    "fit": fit, "howto": howto, "context": context, "users": users, "speed": speed, "quant": quant, "engine": engines,
    "compare": compare, "buy": buy, "whatfits": whatfits, "finetune": finetune, "quantize": quantize, "unclear": unclear,
}  # fmt: skip


def ask(
    text: str, world: World, today: str, *, language: str | None = None, parse: Parser | None = None,
    from_log: FromLog | None = None, **known: Any,
) -> AskAnswer:  # fmt: skip
    """The answer to a question in Korean or English. Raises InputError where the fields cannot be.

    `parse` reads what the grammar did not understand; `from_log` explains quoted errors; `known` are fields that win.
    """
    asked = understand(text, language)
    if parse is not None and (asked.kind == "unclear" or asked.unknown):
        asked = merged(asked, parse(text))
    return answer_to(replace(asked, **known), world, today, from_log)


def answer_to(asked: Understood, world: World, today: str, from_log: FromLog | None = None) -> AskAnswer:
    """The answer to fields that are understood."""
    ground = ground_of(asked, world)
    if asked.unknown and not asked.models and asked.kind not in {"failure", "cost", "whatfits"}:
        asked = replace(asked, kind="unclear")
        ground = replace(ground, asked=asked)
    if asked.kind == "cost":
        return cost(ground, today)
    if asked.kind == "failure":
        return failure(ground, from_log)
    return _ANSWERS[asked.kind](ground)
