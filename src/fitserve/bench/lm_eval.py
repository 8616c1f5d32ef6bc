"""lm_eval in an environment of its own: its command, its progress, its results, and what its failures mean."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from fitserve.bench.client import PATHS
from fitserve.bench.eval_types import Score
from fitserve.bench.processes import reason_in, run_program
from fitserve.bench.request import EvalRequest
from fitserve.foundation.errors import BenchFailed, InputError
from fitserve.foundation.facts import load_toml

_READY: Final = ".ready"
_KINDS: Final = {"completions": "local-completions", "chat": "local-chat-completions"}
_RETRIES: Final = 3
_USUAL_PROGRESS: Final = re.compile(r"(?:Requesting API|Running \w+ requests)[^:]*: +\d+%\|[^|]*\| *(\d+)/(\d+)")
_NAMED: Final = re.compile(r"^(?:task|group): *['\"]?([\w.\-]+)", re.MULTILINE)
_MOST_YAML_BYTES: Final = 1 << 20


def lm_eval_version() -> str:
    """The release that is installed and was tried."""
    return str(load_toml("fitserve.bench", "eval_tasks.toml")["lm_eval"]["version"])


def environment_folder() -> Path:
    """Where lm_eval is kept: in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    folder = Path(base) if base else Path.home() / ".cache"
    return folder / "fitserve" / f"lm_eval-{lm_eval_version()}"


def _program_in(folder: Path) -> Path:
    return folder / ("Scripts/lm_eval.exe" if sys.platform == "win32" else "bin/lm_eval")


def find_program(request: EvalRequest) -> str | None:
    """lm_eval as named, or that of our own environment; None when that has to be made first. Raises BenchFailed."""
    if request.lm_eval is not None:
        found = shutil.which(request.lm_eval)
        if found is None:
            raise BenchFailed.of("client_missing", program=request.lm_eval)
        return found
    folder = environment_folder()
    return str(_program_in(folder)) if (folder / _READY).is_file() else None


def install(cancel: threading.Event | None = None) -> str:
    """Makes the environment and gives its program. An unfinished one is never used. Raises BenchFailed."""
    folder = environment_folder()
    wanted = [f"lm_eval[api]=={lm_eval_version()}", "transformers"]  # its tokenizers, without torch
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    steps = (
        [sys.executable, "-m", "venv", "--clear", str(folder)],
        [str(python), "-m", "pip", "install", "-q", *wanted],
    )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for step in steps:
            code, output = run_program(step, os.environ, folder.parent, None, cancel)
            if code is None:
                raise BenchFailed.of("lm_eval_stopped")
            if code != 0:
                raise BenchFailed.of("lm_eval_install_failed", where=str(folder), detail=reason_in(output))
        (folder / _READY).touch()
    except (OSError, subprocess.SubprocessError) as error:
        raise BenchFailed.of("lm_eval_install_failed", where=str(folder), detail=str(error)) from error
    return str(_program_in(folder))


def task_folders(request: EvalRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(task names, folders to look for definitions in). Raises InputError for a file that is none."""
    if not request.task_file:
        return request.tasks, ()
    names: list[str] = []
    folders: list[str] = []
    for given in request.task_file:
        path = Path(given)
        if not path.exists():
            raise InputError.of("task_file_missing", given=given)
        folders.append(str((path if path.is_dir() else path.parent).resolve()))
        found = [name for file in _yaml_files(path) for name in _NAMED.findall(_text(file))]
        if not found:
            raise InputError.of("task_file_unnamed", given=given)
        names += found
    are_default = request.tasks == EvalRequest.model_fields["tasks"].default
    return tuple(dict.fromkeys(names if are_default else request.tasks)), tuple(dict.fromkeys(folders))


def _yaml_files(path: Path) -> Iterable[Path]:
    return sorted(path.glob("*.y*ml")) if path.is_dir() else (path,)


def _text(path: Path) -> str:
    try:
        return path.read_bytes()[:_MOST_YAML_BYTES].decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError.of("file_missing", where=str(path), detail=error.strerror or str(error)) from error


def argv_of(request: EvalRequest, program: str, model: str, endpoint: str, folder: str) -> tuple[str, ...]:
    """The command; the key goes by the environment, never on the line."""
    tasks, folders = task_folders(request)
    arguments: dict[str, Any] = {
        "base_url": request.url + PATHS[endpoint], "model": model, "num_concurrent": request.concurrency,
        "max_retries": _RETRIES, "timeout": max(1, round(request.timeout)), "tokenized_requests": False,
    }  # fmt: skip
    if request.tokenizer is None:
        arguments["tokenizer_backend"] = None
    else:
        arguments |= {"tokenizer": request.tokenizer, "tokenizer_backend": "huggingface"}
    if request.context is not None:
        arguments["max_length"] = request.context
    argv = [program, "--model", _KINDS[endpoint], "--tasks", ",".join(tasks), "--model_args", json.dumps(arguments)]
    argv += ["--apply_chat_template"] if endpoint == "chat" else []
    for flag, value in (("--limit", request.limit), ("--num_fewshot", request.fewshot), ("--seed", request.seed)):
        argv += [] if value is None else [flag, str(value)]
    argv += [] if request.output_tokens is None else ["--gen_kwargs", f"max_gen_toks={request.output_tokens}"]
    for path in folders[:1]:  # it takes one
        argv += ["--include_path", path]
    return (*argv, "--output_path", folder)


def progress_in(line: str) -> tuple[int, int] | None:
    """(answered, all) of a line that its progress bar draws."""
    found = _USUAL_PROGRESS.search(line)
    return None if found is None else (int(found[1]), int(found[2]))


def results_in(folder: Path) -> dict[str, Any] | None:
    """The newest result file below a folder; None where there is none that can be read."""
    files = sorted(folder.rglob("results_*.json"), key=lambda path: path.stat().st_mtime)
    for path in reversed(files):
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        if isinstance(found, dict) and isinstance(found.get("results"), dict):
            return found
    return None


def scores_of(found: Mapping[str, Any]) -> tuple[Score, ...]:
    """Every metric of every task of a result file; tasks that only group others come with their own figures."""
    scores = []
    for task, row in found["results"].items():
        for key, value in row.items():
            metric, comma, chosen_by = key.partition(",")
            if not comma or metric.endswith("_stderr") or isinstance(value, bool) or not isinstance(value, int | float):
                continue
            error = row.get(f"{metric}_stderr,{chosen_by}")
            samples = found.get("n-samples", {}).get(task, {})
            scores.append(
                Score(
                    task=task, metric=metric, chosen_by=chosen_by, value=float(value),
                    standard_error=float(error) if isinstance(error, int | float) else None,
                    samples=samples.get("effective"), all_samples=samples.get("original"),
                    shots=_whole(found.get("n-shot", {}).get(task)),
                    higher_is_better=found.get("higher_is_better", {}).get(task, {}).get(metric),
                )
            )  # fmt: skip
    return tuple(scores)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


_MEANINGS: Final = (
    ("lm_eval_task_unknown", re.compile(r"Tasks? not found|No tasks specified")),
    ("lm_eval_chat", re.compile(r"Loglikelihood is not supported for chat")),
    ("lm_eval_tokenizer", re.compile(
        r"Tokenizer is required|No module named 'transformers'|instantiate the backend tokenizer|"
        r"[Tt]okenizer for|is not a local folder|Can't load tokenizer"
    )),
    ("lm_eval_network", re.compile(
        r"Couldn't reach|LocalEntryNotFound|OfflineModeIsEnabled|huggingface\.co|DatasetNotFoundError"
    )),
    ("lm_eval_server", re.compile(
        r"ClientResponseError: \d+|ClientConnectorError|API request failed|ServerDisconnectedError|RetryError|"
        r"ReadTimeout|TimeoutError"
    )),
)  # fmt: skip
"""What lines of lm_eval's output mean, the surest first; seen with 0.4.13."""


def failure_of(model: str, tasks: tuple[str, ...], output: str) -> BenchFailed:
    """What an output that ended in an error means."""
    lines = [line.strip() for line in output.splitlines()]
    for code, pattern in _MEANINGS:
        found = [line for line in lines if pattern.search(line)]
        if found:
            return BenchFailed.of(code, tasks=", ".join(tasks), model=model, detail=found[-1][-300:])
    return BenchFailed.of("lm_eval_failed", detail=reason_in(output))


def run_lm_eval(
    request: EvalRequest, program: str, model: str, endpoint: str, key: str | None, on_line: Any,
    cancel: threading.Event | None,
) -> tuple[dict[str, Any], tuple[str, ...]]:  # fmt: skip
    """(its result file, its command). Raises BenchFailed."""
    tasks, _ = task_folders(request)
    with tempfile.TemporaryDirectory(prefix="fitserve-eval-") as folder:
        argv = argv_of(request, program, model, endpoint, folder)
        environment = dict(os.environ) | ({} if key is None else {"OPENAI_API_KEY": key})
        try:
            code, output = run_program(argv, environment, Path(folder), on_line, cancel)
        except OSError as error:
            raise BenchFailed.of("lm_eval_failed", detail=error.strerror or str(error)) from error
        if code is None:
            raise BenchFailed.of("lm_eval_stopped")
        found = results_in(Path(folder))
    if code != 0:
        raise failure_of(model, tasks, output)
    if found is None:
        raise BenchFailed.of("lm_eval_no_result", where=shlex.quote(folder), detail=reason_in(output))
    return found, argv
