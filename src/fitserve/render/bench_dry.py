"""What a benchmark would send, and the same load by vLLM's client."""

import json
import shlex
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.bench.client import PATHS, Target, payload
from fitserve.bench.external import client_argv, vllm_argv
from fitserve.bench.records import Prompt
from fitserve.bench.request import BenchRequest, public_form
from fitserve.bench.run import OUTPUT_TOKENS, PROMPT_TOKENS, extra_of, ignores_eos, levels_of, prompt_count
from fitserve.bench.types import Level
from fitserve.render.bench import level_text
from fitserve.render.forms import SCHEMA_VERSION
from fitserve.render.layout import indented
from fitserve.render.texts import Texts


def _dry(request: BenchRequest) -> list[dict[str, Any]]:
    model = request.served_model or request.model or "MODEL"
    endpoint = "chat" if request.endpoint == "chat" else "completions"
    found = []
    for index, level in enumerate(levels_of(request)):
        found.append(
            {
                "concurrency": level.concurrency,
                "rate_per_s": level.rate_per_s,
                "num_prompts": prompt_count(request, level),
                "prompt_tokens": request.prompt_tokens or PROMPT_TOKENS,
                "output_tokens": request.output_tokens or OUTPUT_TOKENS,
                "path": PATHS[endpoint],
                "warmup": (level.concurrency or 1) if request.warmup is None else request.warmup,
                "argv": _argv(request, level, index, model),
            }
        )
    return found


def _argv(request: BenchRequest, level: Level, index: int, model: str) -> tuple[str, ...] | None:
    """The command of the client that was chosen; of the builtin one, that of vLLM with the same load, if it has it."""
    if request.client == "builtin" and request.dataset != "random":
        return None  # it takes lengths of conversations from a file of them only
    if request.client == "aiperf":
        return client_argv(request, level, index, model, "aiperf-result")
    return vllm_argv(request, level, index, model, None)


def _first_body(request: BenchRequest) -> dict[str, Any]:
    endpoint = "chat" if request.endpoint == "chat" else "completions"
    target = Target(
        endpoint=endpoint, model=request.served_model or request.model or "MODEL", ignore_eos=ignores_eos(request),
        extra=extra_of(request),
    )  # fmt: skip
    tokens = request.output_tokens or OUTPUT_TOKENS
    body: dict[str, Any] = json.loads(payload(target, Prompt(text="…", tokens=1, output_tokens=tokens)))
    return body


def dry_form(request: BenchRequest, texts: Texts) -> dict[str, Any]:
    """What would be sent, and the same by vLLM's client."""
    return {
        "schema_version": SCHEMA_VERSION, "request": public_form(request), "dry_run": True,
        "text": texts.label("bench_dry"), "body": _first_body(request), "loads": _dry(request),
    }  # fmt: skip


def dry_view(request: BenchRequest, texts: Texts) -> RenderableType:
    """The loads, a request, the command."""
    parts: list[RenderableType] = [Text(texts.label("bench_dry"), style="bold")]
    rows = _dry(request)
    for row, level in zip(rows, levels_of(request), strict=True):
        line = texts.label(
            "bench_dry_line", load=level_text(level, texts), prompts=row["num_prompts"], path=row["path"],
            prompt=row["prompt_tokens"], output=row["output_tokens"], warmup=row["warmup"],
        )  # fmt: skip
        parts.append(indented(line))
    parts += [Text(texts.label("bench_first_request"), style="bold")]
    parts.append(Text("  " + json.dumps(_first_body(request), ensure_ascii=False), overflow="ignore", no_wrap=True))
    commands = [row["argv"] for row in rows if row["argv"] is not None]
    if commands:
        parts.append(Text(texts.label("bench_vllm_command"), style="bold"))
        parts += [Text("  " + shlex.join(argv), overflow="ignore", no_wrap=True) for argv in commands]
    return Group(*parts)
