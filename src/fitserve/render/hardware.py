"""The answer of `hardware`: kinds of GPU that carry the load, the cheapest first."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.plan.hardware import Choice, HardwareChoices
from fitserve.render.forms import SCHEMA_VERSION, reason_form
from fitserve.render.human import bytes_text
from fitserve.render.json_form import parallel_text, plan_form
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.money import price_text
from fitserve.render.speed_text import rate_text, speed_cells
from fitserve.render.texts import Texts, value_text

_NAMES = (
    ">count", "gpu", "engine", "format", "split", ">per_user", ">all_users", ">first_token", ">rent_hour", ">list_price",
)  # fmt: skip
_NONE = "–"


def hardware_form(answer: HardwareChoices, texts: Texts) -> dict[str, Any]:
    """JSON: every choice with its plan and prices; GPUs that do not carry the load by name."""
    return {
        "schema_version": SCHEMA_VERSION,
        "request": answer.request.model_dump(mode="json"),
        "choices": [
            {
                "gpu": choice.gpu, "count": choice.count, "users_within_targets": choice.users,
                "usd_per_hour": None if choice.usd_per_hour is None else float(choice.usd_per_hour),
                "list_usd": None if choice.list_usd is None else float(choice.list_usd),
                "plan": plan_form(choice.item, texts, answer.rate, answer.request.use),
            }
            for choice in answer.choices
        ],
        "without": list(answer.without),
        "notes": [reason_form(reason, texts) for reason in answer.notes],
    }  # fmt: skip


def hardware_view(answer: HardwareChoices, texts: Texts) -> RenderableType:
    """A row a kind of GPU."""
    parts: list[RenderableType] = []
    if answer.choices:
        parts.append(
            Rows(headings_of(_NAMES, texts), tuple(_cells(choice, answer, texts) for choice in answer.choices), lead=2)
        )
    else:
        parts.append(Text(texts.label("nothing_carries"), style="bold red"))
    if answer.without:
        parts.append(indented(texts.label("without", gpus=", ".join(answer.without)), style="dim", indent=0))
    parts += [indented(f"· {texts.reason(reason)}", style="dim", indent=0) for reason in answer.notes]
    return Group(*parts)


def _cells(choice: Choice, answer: HardwareChoices, texts: Texts) -> tuple[str, ...]:
    deployment, speed = choice.item.deployment, choice.item.speed
    per_user, first = speed_cells(choice.item)
    rent = _NONE
    if choice.usd_per_hour is not None:
        rent = price_text(answer.rate.of(choice.usd_per_hour), answer.rate.currency, texts.language)
    return (
        str(choice.count),
        f"{choice.gpu} ({bytes_text(deployment.machine.devices[0].memory_bytes)})",
        value_text("engine", deployment.engine),
        deployment.weight_format.name,
        parallel_text(deployment.tp, deployment.pp) if deployment.device_count > 1 else _NONE,
        per_user,
        _NONE if speed is None else rate_text(speed.output_tok_per_s.likely),
        first,
        rent,
        _NONE if choice.list_usd is None else f"${choice.list_usd:,.0f}",
    )
