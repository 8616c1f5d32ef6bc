"""The form beside an answer: hardware, model, workload; every control is a part of the address."""

from typing import Any

from fitserve.engines.registry import ENTRIES
from fitserve.render.texts import Texts, value_text
from fitserve.search.evaluate import Evaluated
from fitserve.web.asked import THIS_MACHINE, Asked, gpu_fields
from fitserve.web.frame import tokens_text
from fitserve.workload.presets import preset, uses

FORMATS = (
    "bf16", "fp8", "mxfp4", "nvfp4", "w4a16", "awq-4bit", "gptq-4bit", "int8-w8a8", "gguf:Q8_0", "gguf:Q6_K",
    "gguf:Q5_K_M", "gguf:Q4_K_M", "gguf:IQ4_XS", "gguf:Q3_K_M", "gguf:Q2_K", "exl3:4.0bpw", "mlx-8bit", "mlx-4bit",
)  # fmt: skip
KV_FORMATS = ("fp8", "fp8_e5m2", "q8_0", "q4_0")
SYSTEMS = (("linux", "Linux"), ("windows", "Windows"), ("macos", "macOS"))
CURRENCIES = ("USD", "KRW", "EUR", "JPY")
_SHOWN = (
    "model", "format", "engine", "engine_version", "kv_format", "os", "ram", "use", "currency", "offload", "exchange_rate",
    "context", "concurrency", "prompt_tokens", "output_tokens", "variants", "family",
)  # fmt: skip
"""What has a control; everything else that was asked travels with the form."""
_LEAST_CONTEXT, _MOST_CONTEXT = 10, 20
"""Powers of two between which the slider of the context moves."""
_USERS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_TOKENS = tuple(2**power for power in range(6, 18))


def rig_view(asked: Asked, item: Evaluated | None, words: Texts) -> dict[str, Any]:
    """Values of the controls; where nothing was asked, what the answer took."""
    use = asked.one("use", "chat") if asked.one("use", "chat") in uses() else "chat"
    usual = preset(use)
    context = _whole(asked.one("context")) or (
        item.deployment.context_tokens if item is not None else usual.context_tokens
    )
    users = _whole(asked.one("concurrency")) or usual.concurrent_requests
    limit = item.deployment.model.max_context_tokens if item is not None else 1 << _MOST_CONTEXT
    steps = sorted({*(2**n for n in range(_LEAST_CONTEXT, _MOST_CONTEXT + 1) if 2**n <= limit), limit, context})
    gpus = gpu_fields(text for text in asked.gpus if text not in {THIS_MACHINE, "none"})
    return {
        "gpus": gpus or [("", 1)], "is_this": THIS_MACHINE in asked.gpus or not asked.gpus, "is_cpu": "none" in asked.gpus,
        "model": asked.one("model"), "format": asked.one("format"), "engine": asked.one("engine").partition("==")[0],
        "formats": _with(FORMATS, asked.one("format")),
        "engines": [(entry.id, value_text("engine", entry.id)) for entry in ENTRIES],
        "engine_version": asked.one("engine_version") or asked.one("engine").partition("==")[2],
        "kv_format": asked.one("kv_format"), "kv_formats": _with(KV_FORMATS, asked.one("kv_format")),
        "os": asked.one("os"), "systems": SYSTEMS, "ram": asked.one("ram").removesuffix("GiB"),
        "use": use, "uses": [(name, words.text("web", f"use_{name}")) for name in uses()],
        "currency": asked.one("currency", "USD"), "currencies": _with(CURRENCIES, asked.one("currency")),
        "offload": asked.one("offload", "no"), "exchange_rate": asked.values.get("exchange_rate", ()),
        "rest": {name: given for name, given in asked.values.items() if name not in _SHOWN},
        "dials": [
            _dial("context", context, steps, words), _dial("concurrency", users, sorted({*_USERS, users}), words),
            _dial("prompt_tokens", _whole(asked.one("prompt_tokens")), [0, *_tokens(asked, "prompt_tokens")], words),
            _dial("output_tokens", _whole(asked.one("output_tokens")), [0, *_tokens(asked, "output_tokens")], words),
        ],
        "summary": _summary(asked, words), "pick": asked.pick,
    }  # fmt: skip


def _tokens(asked: Asked, name: str) -> list[int]:
    given = _whole(asked.one(name))
    return sorted({*_TOKENS, *([given] if given else [])})


def _whole(text: str) -> int:
    """A count that was typed; zero for anything else, which the request itself refuses."""
    digits = text.lower().removesuffix("k")
    if not digits.isdigit() or len(digits) > 9:
        return 0
    return int(digits) * (1024 if text.lower().endswith("k") else 1)


def _dial(name: str, value: int, steps: list[int], words: Texts) -> dict[str, Any]:
    """A slider over listed values: its position is their index."""
    own = words.text("web", "own_choice")
    shown = [own if step == 0 else tokens_text(step) if name != "concurrency" else f"{step:,}" for step in steps]
    full = [own if step == 0 else f"{step:,}" for step in steps]
    middle = len(steps) // 2
    return {
        "name": name, "label": words.text("web", f"dial_{name}"), "unit": words.text("web", f"unit_{name}"), "steps": steps,
        "value": value, "at": steps.index(value) if value in steps else 0, "texts": full,
        "ends": (shown[0], shown[middle], shown[-1]),
    }  # fmt: skip


def _with(listed: tuple[str, ...], given: str) -> tuple[str, ...]:
    return listed if not given or given in listed else (given, *listed)


def _summary(asked: Asked, words: Texts) -> str:
    """The folded form in a line."""
    machine = ", ".join(text.replace(":", " × ") for text in asked.gpus if text not in {THIS_MACHINE, "none"})
    if not machine:
        machine = "CPU" if "none" in asked.gpus else words.text("web", "this_machine")
    return machine
