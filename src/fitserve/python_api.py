"""The verbs as functions: the same requests as the command line, typed results, `to_dict()` equal to its --json.

>>> import fitserve
>>> found = fitserve.plan("Qwen/Qwen3-8B", gpu="rtx-4090", context="16k")
>>> found.is_yes, found.best.deployment.engine in {"vllm", "sglang", "llama.cpp", "exllamav3"}
(True, True)
>>> found.best.budget.total_bytes.likely <= found.best.budget.devices[0].usable_bytes
True
>>> found.to_dict()["plans"][0]["verdict"]
'fits'

Keyword arguments are the flags of the command line with `_` for `-`. Several values are a list or a tuple, one value may
stand alone. Wrong input raises `fitserve.InputError`, whose `problems` name everything that is wrong:

>>> try:
...     fitserve.plan("Qwen/Qwen3-8B", gpu="rtx-4090", context="many")
... except fitserve.InputError as error:
...     print(error.problems[0].code)
tokens_wrong

Nothing is written: unlike the command line, these functions keep no ledger of what was asked.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from fitserve.api.verbs import VERBS, Outcome, Outside
from fitserve.foundation.errors import FactMissing, FitserveError, InputError, WorldError
from fitserve.render.texts import LANGUAGES, texts

if TYPE_CHECKING:
    from fitserve.ask.types import AskAnswer
    from fitserve.check.answer import CheckAnswer
    from fitserve.diagnose.types import Diagnosis
    from fitserve.guides.types import Guide
    from fitserve.plan.answer import Answer  # noqa: F401 - named in a base class, as text
    from fitserve.plan.compare import Comparison
    from fitserve.plan.cost import CostAnswer
    from fitserve.plan.hardware import HardwareChoices
    from fitserve.plan.world import World
    from fitserve.search.evaluate import Evaluated

__all__ = [
    "FactMissing", "FitserveError", "InputError", "Plans", "Result", "WorldError", "ask", "check", "compare", "cost",
    "diagnose", "estimate", "fit", "guide", "hardware", "plan",
]  # fmt: skip

T = TypeVar("T")
Several = str | Iterable[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(Generic[T]):
    """An answer. `answer` is the value with its types; `is_yes` is what exit code 0 of the command line says."""

    answer: T
    is_yes: bool
    _outcome: Outcome = field(repr=False)

    def to_dict(self, lang: str | None = None) -> dict[str, Any]:
        """The JSON of the command line, with texts in a language: `en` or `ko`; None is that of the answer, else English.

        Raises InputError for another one.
        """
        chosen = lang or self._outcome.language or LANGUAGES[0]
        if chosen not in LANGUAGES:
            raise InputError.of("choice_wrong", flag="--lang", given=chosen[:40], choices=", ".join(LANGUAGES))
        return self._outcome.form(texts(chosen))

    def to_json(self, lang: str | None = None) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(lang), ensure_ascii=False, indent=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plans(Result["Answer"]):
    """The answer of `plan`, `estimate` and `fit`."""

    @property
    def plans(self) -> "tuple[Evaluated, ...]":
        """What fits, best first."""
        return self.answer.plans

    @property
    def rejected(self) -> "tuple[Evaluated, ...]":
        """What does not, with reasons and fixes."""
        return self.answer.rejected

    @property
    def best(self) -> "Evaluated | None":
        """The first plan; None when nothing fits."""
        return self.answer.plans[0] if self.answer.plans else None


def _ask(name: str, given: dict[str, Any], world: "World | None", lang: str | None = None) -> Outcome:
    if world is None:
        from fitserve.cli.verbs import world as outside_of_the_command_line  # readers and probes, only when asked

        world = outside_of_the_command_line()
    from fitserve.cli.cost import read_price_file

    verb = VERBS[name]
    fields = {key: _listed(value) for key, value in given.items()}
    today = datetime.now(UTC).date().isoformat()
    return verb.run(verb.read(fields), Outside(world=world, today=today, read_prices=read_price_file, language=lang))


def _listed(value: object) -> object:
    """Any iterable but text as a tuple."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else value


def _plans(outcome: Outcome) -> Plans:
    return Plans(answer=outcome.answer, is_yes=outcome.is_yes, _outcome=outcome)


def _result(outcome: Outcome) -> Result[Any]:
    return Result(answer=outcome.answer, is_yes=outcome.is_yes, _outcome=outcome)


def plan(model: str, *, world: "World | None" = None, **flags: Any) -> Plans:
    """Ranked plans for a model on a machine (`gpu`; without it this one), and why everything else was rejected.

    `world` replaces files, hub and this machine by something else, for tests and servers.

    >>> found = plan("Qwen/Qwen3-32B", gpu=["a100-sxm-80gb:2"], engine="vllm", context="32k", concurrency=8)
    >>> found.best.deployment.tp
    2
    """
    return _plans(_ask("plan", {"model": model, **flags}, world))


def estimate(model: str, *, world: "World | None" = None, **flags: Any) -> Plans:
    """One fully fixed deployment, judged.

    >>> judged = estimate("Qwen/Qwen3-8B", gpu="rtx-4090", engine="vllm", format="bf16", context="8k")
    >>> round(judged.to_dict()["plan"]["memory"]["weights_bytes"] / 2**30, 1)  # GiB
    15.3
    """
    return _plans(_ask("estimate", {"model": model, **flags}, world))


def fit(*, world: "World | None" = None, **flags: Any) -> Plans:
    """Which models of the catalogue run on a machine.

    >>> models = fit(gpu="rtx-3060-12gb", family="gemma", limit=5)
    >>> 0 < len(models.plans) <= 5
    True
    """
    return _plans(_ask("fit", flags, world))


def compare(variants: Iterable[str], *, world: "World | None" = None, **flags: Any) -> "Result[Comparison]":
    """Two to eight variants side by side, each `MODEL key=value …` or `key=value …`.

    >>> sides = compare(["format=awq", "format=Q4_K_M"], model="Qwen/Qwen3-8B", gpu="rtx-4090")
    >>> [side.item.deployment.weight_format.name for side in sides.answer.variants]
    ['awq-4bit', 'gguf:Q4_K_M']
    """
    return _result(_ask("compare", {"variants": variants, **flags}, world))


def hardware(model: str, *, world: "World | None" = None, **flags: Any) -> "Result[HardwareChoices]":
    """Which GPUs, and how many of each, serve a model to so many users.

    >>> choices = hardware("Qwen/Qwen3-8B", gpu=["rtx-4090", "l40s"], concurrency=4).answer.choices
    >>> {choice.gpu for choice in choices} <= {"rtx-4090", "l40s"}
    True
    """
    return _result(_ask("hardware", {"model": model, **flags}, world))


def check(command: str, *, world: "World | None" = None, **flags: Any) -> "Result[CheckAnswer]":
    """A launch command or script (text, not a file) to findings and the right command. Runs nothing.

    >>> found = check("vllm serve Qwen/Qwen3-8B --max-modle-len 8192", gpu="rtx-4090")
    >>> found.is_yes, found.to_dict()["findings"][0]["parameters"]["near"]
    (False, '--max-model-len')
    """
    return _result(_ask("check", {"command": command, **flags}, world))


def diagnose(log: str, *, world: "World | None" = None, **flags: Any) -> "Result[Diagnosis]":
    """The text of a log (not its file) to its causes, with fixes that were computed.

    >>> from fitserve.api.schemas.examples import EXAMPLES
    >>> log = EXAMPLES["diagnose"]["out-of-memory"][1]["log"]
    >>> diagnose(log, engine="vllm").answer.causes[0].code
    'memory.torch_oom'
    """
    return _result(_ask("diagnose", {"log": log, **flags}, world))


def ask(question: str, *, lang: str | None = None, world: "World | None" = None) -> "Result[AskAnswer]":
    """A question in words, answered in its own language unless `lang` says otherwise.

    >>> found = ask("Does Qwen3-8B in BF16 run on one RTX 4090 with vLLM?")
    >>> found.answer.kind, found.to_dict()["understood"]["model"]
    ('fit', 'Qwen/Qwen3-8B')
    """
    return _result(_ask("ask", {"question": question}, world, lang))


def guide(*, world: "World | None" = None, **flags: Any) -> "Result[Guide]":
    """Everything about some hardware.

    >>> "balanced" in {setup.purpose for setup in guide(gpu="rtx-4090").answer.setups}
    True
    """
    return _result(_ask("guide", flags, world))


def cost(*, world: "World | None" = None, **flags: Any) -> "Result[CostAnswer]":
    """What hours and tokens cost; amounts are decimals.

    >>> [str(row.usd) for row in cost(usd_per_hour="8.155", hours=[10, 50]).answer.rows]
    ['81.550', '407.750']
    """
    return _result(_ask("cost", flags, world))
