"""The tools: which verbs, what agents are told of them, and a call."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fitserve.api.schemas.request_schemas import request_schema
from fitserve.api.verbs import VERBS, Outside
from fitserve.foundation.errors import FactMissing, FitserveError, InputError, WorldError
from fitserve.mcp.compact import compact
from fitserve.render.texts import LANGUAGES, Texts, texts

ABOUT = (
    "fitserve computes whether a language model runs on given hardware: memory by part, speed with its uncertainty, the"
    " exact launch command, and why other engines or formats do not work. Ask it instead of estimating VRAM or engine"
    " flags from memory. GPU names as people say them (`rtx-4090`, `a100-sxm-80gb:2`); without `gpu` it is the machine that"
    " the server runs on. Sizes are GiB; ranges are [low, likely, high]. Verdicts: fits, does_not_fit, not_supported, unknown."
)
_DESCRIPTIONS: Mapping[str, str] = {
    "plan": (
        "Find out how to run a model on a machine. Gives the best plan of up to three engines (memory, speed, quality of the"
        " weight format, price, launch command) and why other engines are out. Use it first when somebody asks whether or"
        " how a model runs on their GPU. Narrow it with engine, format, context, concurrency."
    ),
    "estimate": (
        "Judge one deployment that is fully fixed (model, GPU, engine, format, context): does it start, what does the memory"
        " go to, how fast is it at 1 to many users. Use it to verify numbers, not to search."
    ),
    "fit": "List which models of the catalogue run on a machine, best first. Use `use` (chat, coding, agent, rag) and `family`.",
    "compare": (
        "Put 2 to 8 variants side by side, each as `MODEL key=value` or `key=value`, for instance"
        " [\"format=awq\", \"format=Q4_K_M engine=llama.cpp\"]; what they share stands in the other fields."
    ),
    "hardware": "Which GPUs, and how many of each, serve a model to so many users at once, cheapest first.",
    "check": (
        "Check a launch command or script (vllm, sglang, llama-server, ollama, docker, compose, and others) before it is run:"
        " unknown or removed options, settings that will not fit, unsafe ones; gives the corrected command. Runs nothing."
    ),
    "diagnose": (
        "Find the cause in the log of an engine that failed, and fixes that were computed. Pass the end of the log as text;"
        " say gpu, model and engine where you know them."
    ),
    "ask": "Answer a question in words (Korean or English) about models, GPUs, memory, engines, speed or cost.",
    "guide": "What a machine is good for: set-ups by purpose with commands, the largest model by format, which engines run.",
    "cost": "Price of hours on a GPU or at a rate, in any currency, and per million tokens at a stated throughput.",
}  # fmt: skip
_LANGUAGE = {"enum": list(LANGUAGES), "description": "Language of the texts: en or ko. Default: en."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as clients list it."""

    name: str
    description: str
    schema: dict[str, Any]


def tools() -> tuple[Tool, ...]:
    """All tools."""
    words = texts("en")
    found = []
    for name, description in _DESCRIPTIONS.items():
        if name in VERBS:
            schema = request_schema(VERBS[name].model, words)
            schema["properties"]["lang"] = _LANGUAGE
            found.append(Tool(name=name, description=description, schema=schema))
    return tuple(found)


def call(name: str, given: Mapping[str, Any], outside: Outside) -> tuple[dict[str, Any], bool]:
    """The short answer of a tool, and whether it is one: False with an error in words. Raises KeyError for no tool."""
    verb = VERBS[name] if name in _DESCRIPTIONS else VERBS[""]
    fields = dict(given)
    language = fields.pop("lang", None) or "en"
    words = texts(language if language in LANGUAGES else "en")
    try:
        if language not in LANGUAGES:
            raise InputError.of("choice_wrong", flag="--lang", given=str(language)[:40], choices=", ".join(LANGUAGES))
        outcome = verb.run(verb.read(fields), replace(outside, language=given.get("lang")))
        form = outcome.form(words if outcome.language is None else texts(outcome.language))
        return {"yes": outcome.is_yes, **compact(name, form)}, True
    except FitserveError as error:
        return {"error": _told(error, words)}, False


def _told(error: FitserveError, words: Texts) -> str:
    if isinstance(error, InputError):
        return words.input_error(error)
    if isinstance(error, WorldError):
        return words.world_error(error)
    assert isinstance(error, FactMissing)
    return words.text("reason", "fact_missing", {"fact": error.fact, "where": error.where})
