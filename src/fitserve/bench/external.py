"""Other load generators: `vllm bench serve` and aiperf, run as they are, and their results in the form of our own.

Field names: vllm/benchmarks/serve.py 0.32.0; profile_export_aiperf.json of aiperf 0.13.0.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fitserve.bench.client import PATHS
from fitserve.bench.figures import Figures, Summary, figures
from fitserve.bench.load import Watch
from fitserve.bench.processes import reason_in, run_program
from fitserve.bench.records import Failure, RequestRecord
from fitserve.bench.request import BenchRequest
from fitserve.bench.run import (
    OUTPUT_TOKENS,
    PROMPT_TOKENS,
    api_key_of,
    ignores_eos,
    levels_of,
    prompt_count,
    reached_name,
)
from fitserve.bench.types import BenchResult, Level, LoadResult, Progress
from fitserve.foundation.errors import BenchFailed, InputError
from fitserve.foundation.reasons import note

_PROGRAMS: Final = {"vllm": "vllm", "aiperf": "aiperf"}
_BACKENDS: Final = {"completions": "openai", "chat": "openai-chat"}
_MS: Final = 1000.0
_RESULT: Final = {"vllm": "result.json", "aiperf": "profile_export_aiperf.json"}


def client_argv(request: BenchRequest, level: Level, index: int, model: str, folder: str) -> tuple[str, ...]:
    """The command of the chosen client for one level; its result goes into `folder`. Raises InputError."""
    for flag, value in (("--data", request.data), ("--extra-body", request.extra_body)):
        if value is not None:
            raise InputError.of("client_data_unfit", client=request.client, flag=flag)
    if request.dataset != "random":
        raise InputError.of("client_data_unfit", client=request.client, flag="--dataset")
    return (_aiperf if request.client == "aiperf" else vllm_argv)(request, level, index, model, folder)


def vllm_argv(request: BenchRequest, level: Level, index: int, model: str, folder: str | None) -> tuple[str, ...]:
    """`vllm bench serve` for one level; without `folder` the result is not saved."""
    endpoint = "chat" if request.endpoint == "chat" else "completions"
    tokenizer = request.tokenizer or request.model or model
    argv = [
        request.client_path or "vllm",
        "bench",
        "serve",
        "--backend",
        _BACKENDS[endpoint],
        "--base-url",
        request.url,
    ]
    argv += ["--endpoint", PATHS[endpoint], "--model", tokenizer]
    argv += [] if tokenizer == model else ["--served-model-name", model]
    argv += _dataset(request)
    argv += ["--ignore-eos"] if ignores_eos(request) else []
    argv += [] if level.concurrency is None else ["--max-concurrency", str(level.concurrency)]
    if level.rate_per_s is not None:
        argv += ["--request-rate", f"{level.rate_per_s:g}", "--burstiness", f"{request.burstiness:g}"]
    argv += ["--num-prompts", str(prompt_count(request, level)), "--num-warmups", str(_warmups(request, level))]
    argv += ["--seed", str(request.seed + index), "--percentile-metrics", "ttft,tpot,itl,e2el"]
    argv += ["--metric-percentiles", "50,90,99", *_goodput(request, ("ttft", "tpot", "e2el"), vllm=True)]
    if folder is not None:
        argv += ["--save-result", "--save-detailed", "--result-dir", folder, "--result-filename", _RESULT["vllm"]]
    return tuple(argv)


def _dataset(request: BenchRequest) -> list[str]:
    if request.data is not None:
        # -1: the lengths that stand in the lines
        length = -1 if request.output_tokens is None else request.output_tokens
        return ["--dataset-name", "custom", "--dataset-path", request.data, "--custom-output-len", str(length)]
    lengths = str(request.prompt_tokens or PROMPT_TOKENS), str(request.output_tokens or OUTPUT_TOKENS)
    words = ["--dataset-name", "random", "--random-input-len", lengths[0], "--random-output-len", lengths[1]]
    return words + (["--random-range-ratio", str(request.length_spread)] if request.length_spread else [])


def _warmups(request: BenchRequest, level: Level) -> int:
    return (level.concurrency or 1) if request.warmup is None else request.warmup


def _goodput(request: BenchRequest, names: tuple[str, str, str], vllm: bool) -> list[str]:
    given = (request.ttft, request.inter_token, request.e2e)
    words = [f"{name}:{value * _MS:g}" for name, value in zip(names, given, strict=True) if value is not None]
    if not words:
        return []
    return ["--goodput", *words] if vllm else ["--goodput", " ".join(words)]


def _aiperf(request: BenchRequest, level: Level, index: int, model: str, folder: str) -> tuple[str, ...]:
    endpoint = "chat" if request.endpoint == "chat" else "completions"
    argv = [request.client_path or "aiperf", "profile", "--model", model, "--url", request.url, "--streaming"]
    argv += ["--endpoint-type", endpoint, "--tokenizer", request.tokenizer or request.model or model]
    prompt, output = request.prompt_tokens or PROMPT_TOKENS, request.output_tokens or OUTPUT_TOKENS
    spread = float(request.length_spread or 0)
    argv += ["--synthetic-input-tokens-mean", str(prompt), "--output-tokens-mean", str(output)]
    if spread:
        # the standard deviation of a uniform distribution of this half width
        deviations = (f"{length * spread / 3**0.5:.1f}" for length in (prompt, output))
        argv += ["--synthetic-input-tokens-stddev", next(deviations), "--output-tokens-stddev", next(deviations)]
    argv += ["--extra-inputs", "ignore_eos:true"] if ignores_eos(request) else []
    argv += [] if level.concurrency is None else ["--concurrency", str(level.concurrency)]
    argv += [] if level.rate_per_s is None else ["--request-rate", f"{level.rate_per_s:g}"]
    argv += ["--request-count", str(prompt_count(request, level)), "--random-seed", str(request.seed + index)]
    if warmups := _warmups(request, level):
        argv += ["--warmup-request-count", str(warmups)]
    argv += ["--use-server-token-count", "--use-legacy-max-tokens", "--ui-type", "none", "--artifact-dir", folder]
    argv += _goodput(request, ("time_to_first_token", "inter_token_latency", "request_latency"), vllm=False)
    return tuple(argv)


def run_client(request: BenchRequest, watch: Watch) -> BenchResult:
    """Runs another client level by level. Raises BenchFailed, InputError."""
    started, key = datetime.now(UTC).isoformat(timespec="seconds"), api_key_of(request)
    model = reached_name(request)
    program = shutil.which(request.client_path or _PROGRAMS[request.client])
    if program is None:
        raise BenchFailed.of("client_missing", program=request.client_path or _PROGRAMS[request.client])
    request = request.model_copy(update={"client_path": program})
    runs: list[LoadResult] = []
    levels, version, stopped = levels_of(request), "", False
    for index, level in enumerate(levels):
        shown = Progress(phase="client", level=level, level_index=index, levels=len(levels))
        with tempfile.TemporaryDirectory(prefix="fitserve-bench-") as folder:
            found = _one(request, level, index, model, folder, key, replace(watch, shown=shown))
        if found is None:
            stopped = True
            break
        run, version = found
        runs.append(run)
    return BenchResult(
        request=request, model=model, endpoint="chat" if request.endpoint == "chat" else "completions",
        client=request.client, client_version=version, started=started, runs=tuple(runs), is_partial=stopped,
    )  # fmt: skip


def _one(
    request: BenchRequest, level: Level, index: int, model: str, folder: str, key: str | None, watch: Watch
) -> tuple[LoadResult, str] | None:
    """A level and the client's version; None when it was stopped."""
    argv = client_argv(request, level, index, model, folder)
    environment = dict(os.environ) | ({} if key is None else {"OPENAI_API_KEY": key})
    if request.client == "aiperf" and key is not None:
        argv = (*argv, "--api-key", key)  # it reads no variable

    def told(line: str) -> None:
        if watch.on_progress is not None:
            watch.on_progress(replace(watch.shown, text=line[:200]))

    try:
        code, output = run_program(argv, environment, Path(folder), told, watch.cancel)
    except OSError as error:
        raise BenchFailed.of("client_failed", program=argv[0], detail=error.strerror or str(error)) from error
    if code is None:
        return None
    if code != 0:
        raise BenchFailed.of("client_failed", program=request.client, detail=reason_in(output))
    path = Path(folder) / _RESULT[request.client]
    try:
        found = json.loads(path.read_bytes())
        read = aiperf_result if request.client == "aiperf" else vllm_result
        return read(found, level, request)
    except (OSError, ValueError, KeyError, TypeError) as error:
        detail = f"{type(error).__name__}: {error}"[:200]
        raise BenchFailed.of("client_result_missing", program=request.client, detail=detail) from error


def vllm_result(found: Mapping[str, Any], level: Level, request: BenchRequest) -> tuple[LoadResult, str]:
    """The detailed result of `vllm bench serve`: its lists become records, whose figures are the same by definition."""
    records = tuple(_vllm_records(found))
    seen = figures(records, float(found["duration"]), request.targets)
    done = max(1, seen.completed)
    run = LoadResult(
        level=level, figures=seen, records=records,
        prompt_tokens_mean=seen.total_input_tokens / done, output_tokens_mean=seen.total_output_tokens / done,
    )  # fmt: skip
    return run, str(found.get("version", ""))


def _vllm_records(found: Mapping[str, Any]) -> list[RequestRecord]:
    began = min(found["start_times"], default=0.0)
    records = []
    for index, start in enumerate(found["start_times"]):
        times, error = [found["ttfts"][index]], found["errors"][index]
        for gap in found["itls"][index]:
            times.append(times[-1] + gap)
        is_bad = bool(error) or found["output_lens"][index] == 0
        records.append(
            RequestRecord(
                index=index, start_s=start - began, chunk_s=() if is_bad else tuple(times),
                end_s=times[-1], prompt_tokens=found["input_lens"][index], output_tokens=found["output_lens"][index],
                queue_s=found.get("queue_times", [0.0] * (index + 1))[index], has_usage=True,
                failure=Failure("client", (str(error).strip().splitlines() or ["?"])[-1][:300]) if is_bad else None,
            )
        )  # fmt: skip
    return records


def aiperf_result(found: Mapping[str, Any], level: Level, request: BenchRequest) -> tuple[LoadResult, str]:
    """The summary of aiperf: its inter-token latency is our time per output token, its inter-chunk latency our gap."""

    def amount(name: str) -> float:
        return float(found.get(name, {}).get("avg") or 0.0)

    done = round(amount("request_count"))
    output = round(amount("total_osl") or amount("total_output_tokens"))
    seen = Figures(
        completed=done, failed=round(amount("error_request_count")), duration_s=float(found["benchmark_duration"]["avg"]),
        total_input_tokens=round(amount("total_isl")), total_output_tokens=output,
        ttft_ms=_summary(found, "time_to_first_token"), inter_token_ms=_summary(found, "inter_token_latency"),
        itl_ms=_summary(found, "inter_chunk_latency"), e2e_ms=_summary(found, "request_latency"),
        good=round(amount("good_request_count")) if request.targets.are_given else None,
        errors={"client": round(amount("error_request_count"))} if amount("error_request_count") else {},
    )  # fmt: skip
    run = LoadResult(
        level=level, figures=seen, prompt_tokens_mean=seen.total_input_tokens / max(1, done),
        output_tokens_mean=output / max(1, done), notes=(note("bench_client_figures", program="aiperf", detail=""),),
    )  # fmt: skip
    return run, str(found.get("aiperf_version", ""))


def _summary(found: Mapping[str, Any], name: str) -> Summary | None:
    row = found.get(name)
    if not isinstance(row, dict) or row.get("p50") is None:
        return None
    keys = {"mean": "avg", "std": "std", "p50": "p50", "p90": "p90", "p99": "p99"}
    return Summary(**{ours: float(row[theirs]) for ours, theirs in keys.items()}, count=int(row.get("count", 0)))
