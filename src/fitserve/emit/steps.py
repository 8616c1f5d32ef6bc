"""What comes before and after the start: download, a first request, an evaluation, a load test.

The evaluation and the load test are those of the vLLM recipe of Llama 4 Scout
(https://docs.vllm.ai/projects/recipes/en/latest/Llama/Llama4-Scout.html), whose benchmark_serving.py is now
`vllm bench serve`.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fitserve.emit.scripts import step_shells
from fitserve.emit.shells import folded, single

_EVAL_CONCURRENCY = 128
_WORKLOAD_TOKENS = 1024
_PROMPTS_PER_USER = 5
_ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_./:\-]*")
_ANSWER_TOKENS = 32
_QUESTION = "Reply with one word: ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A model as clients of its server see it. `has_completions`: the server answers /v1/completions too."""

    repository: str | None
    """What is to be downloaded; None for a local model, or where the repository is not known."""
    file: str | None = None
    """The one file of the repository that is needed, where not all are."""
    tokenizer: str
    """Repository or folder of the tokenizer."""
    name: str
    """Model name in requests."""
    port: int
    context_tokens: int
    concurrency: int
    most_at_once: int
    is_chat: bool = True
    has_completions: bool = True
    is_gated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command and its text in each shell."""

    argv: tuple[str, ...]
    shells: Mapping[str, str | None]


def steps(served: Served) -> dict[str, Step | None]:
    """The steps by their name in the answer; None for one that cannot be given."""
    return {
        "download": _download(served),
        "smoke_test": _smoke_test(served),
        "eval": _eval(served),
        "benchmark": _benchmark(served),
    }


def _download(served: Served) -> Step | None:
    if served.repository is None:
        return None
    only = () if served.file is None else ("--include", served.file, "--local-dir", ".")
    argv = ("hf", "download", served.repository, *only)
    return Step(argv=argv, shells=step_shells(argv))


def _base(served: Served) -> str:
    return f"http://127.0.0.1:{served.port}"


def _smoke_test(served: Served) -> Step:
    asked: dict[str, object] = {"model": served.name}
    if served.is_chat:
        asked["messages"] = [{"role": "user", "content": _QUESTION}]
    else:
        asked["prompt"] = _QUESTION
    body = json.dumps(asked | {"max_tokens": _ANSWER_TOKENS})
    url = f"{_base(served)}/v1/{'chat/' if served.is_chat else ''}completions"
    rest = ("--url", url, "--header", "Content-Type: application/json", "--data", body)
    words = ["Invoke-RestMethod", "-Method", "Post", "-Uri", single(url)]
    words += ["-ContentType", single("application/json"), "-Body", single(body)]
    invoke = folded(words, " `\n  ") + " | ConvertTo-Json -Depth 8"
    shells = step_shells(("curl", *rest)) | {
        "powershell": invoke,
        "powershell7": invoke,
        "cmd": step_shells(("curl.exe", *rest))["cmd"],
    }
    return Step(argv=("curl", *rest), shells=shells)


def _eval(served: Served) -> Step:
    kind = "local-completions" if served.has_completions else "local-chat-completions"
    url = f"{_base(served)}/v1/{'' if served.has_completions else 'chat/'}completions"
    arguments = {
        "base_url": url,
        "model": served.name,
        "tokenized_requests": False,
        "tokenizer_backend": None,
        "num_concurrent": max(1, min(_EVAL_CONCURRENCY, served.most_at_once)),
        "timeout": 120,
        "max_retries": 5,
    }
    if _ARGUMENT.fullmatch(served.name) and served.name.lower() not in {"true", "false", "none", "nan", "inf"}:
        written = ",".join(f"{name}={value}" for name, value in arguments.items())
    else:
        written = json.dumps(arguments)  # the other form that lm_eval takes, for names with a comma or a quote
    argv = ["lm_eval", "--model", kind, "--tasks", "gsm8k", "--model_args", written]
    argv += [] if served.has_completions else ["--apply_chat_template"]
    return Step(argv=tuple(argv), shells=step_shells(argv))


def _benchmark(served: Served) -> Step:
    """vLLM has no Windows build, so its load test has no text for Windows shells."""
    tokens = str(min(_WORKLOAD_TOKENS, max(1, served.context_tokens // 2)))
    backend = "openai" if served.has_completions else "openai-chat"
    argv = ["vllm", "bench", "serve", "--backend", backend, "--base-url", _base(served), "--model", served.tokenizer]
    argv += [] if served.name == served.tokenizer else ["--served-model-name", served.name]
    argv += [] if served.has_completions else ["--endpoint", "/v1/chat/completions"]
    argv += ["--dataset-name", "random", "--random-input-len", tokens, "--random-output-len", tokens, "--ignore-eos"]
    argv += ["--max-concurrency", str(served.concurrency)]
    argv += ["--num-prompts", str(_PROMPTS_PER_USER * served.concurrency), "--save-result"]
    return Step(argv=tuple(argv), shells=step_shells(argv, runs_on_windows=False))
