"""The benchmark: ask the server, prepare prompts, warm up, load level by level, check the client itself."""

import asyncio
import contextlib
import json
import os
import statistics
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import fitserve
from fitserve.bench.calibration import calibration_of, is_limited, mock_server, streams_of
from fitserve.bench.client import Target, send
from fitserve.bench.figures import figures
from fitserve.bench.load import Loaded, Watch, drive
from fitserve.bench.prompts import Length, conversation_lengths, file_prompts, random_lengths, random_prompts
from fitserve.bench.records import Prompt, RequestRecord
from fitserve.bench.request import BenchRequest, ServerRequest
from fitserve.bench.server import name_in_requests, served_models, token_counter
from fitserve.bench.types import BenchResult, Level, LoadResult, OnProgress, Progress
from fitserve.bench.wire import Wire
from fitserve.foundation.errors import BenchFailed, InputError
from fitserve.foundation.reasons import Reason, note, warning

PROMPT_TOKENS: Final = 512
OUTPUT_TOKENS: Final = 128
PROMPTS_A_STREAM: Final = 5
FEWEST_PROMPTS: Final = 10
SECONDS_OF_ARRIVALS: Final = 20
_WARM_TOKENS: Final = 8
_PROBE_WORDS: Final = 64
_FATAL: Final = frozenset({"http_400", "http_401", "http_403", "http_404", "http_405", "http_422", "connect"})
_ELSEWHERE: Final = frozenset({"http_404", "http_405", "http_501"})
_EARLY_SHARE: Final = 0.05
_ASK_S: Final = 30.0
_FIRST_S: Final = 120.0


def run_bench(
    request: BenchRequest, *, on_progress: OnProgress | None = None, cancel: threading.Event | None = None
) -> BenchResult:
    """Measures a server; blocks until it is done. `cancel` ends it early with what is there (`is_partial`).

    `on_progress` is called from the thread that runs this, about twice a second; what it costs is measured with the
    server. Raises BenchFailed where there is nothing to measure, InputError for a request that cannot be.
    """
    watch = Watch(on_progress=on_progress, cancel=cancel)
    if request.client != "builtin":
        from fitserve.bench.external import run_client  # other programs only when one is asked for

        return run_client(request, watch)
    return asyncio.run(_Bench(request, watch).run())


def levels_of(request: BenchRequest) -> tuple[Level, ...]:
    """Levels in the order given; one request at a time where neither concurrency nor rate is said."""
    if request.rate:
        caps = request.concurrency or (None,)
        return tuple(Level(concurrency=cap, rate_per_s=rate) for rate in request.rate for cap in caps)
    return tuple(Level(concurrency=streams) for streams in request.concurrency or (1,))


def prompt_count(request: BenchRequest, level: Level) -> int:
    """As said, else five a stream (ten at least), or the arrivals of twenty seconds."""
    if request.num_prompts is not None:
        return request.num_prompts
    if level.rate_per_s is not None:
        return max(FEWEST_PROMPTS, round(level.rate_per_s * SECONDS_OF_ARRIVALS))
    return max(FEWEST_PROMPTS, PROMPTS_A_STREAM * (level.concurrency or 1))


def ignores_eos(request: BenchRequest) -> bool:
    """As said, else for made-up prompts: their answers must have the length that was asked for."""
    return request.data is None if request.ignore_eos is None else request.ignore_eos


def api_key_of(request: ServerRequest) -> str | None:
    """The key, or the value of the variable that holds it. Raises InputError where that is not set."""
    if request.api_key is not None or request.api_key_env is None:
        return request.api_key
    value = os.environ.get(request.api_key_env)
    if not value:
        raise InputError.of("variable_not_set", flag="--api-key-env", name=request.api_key_env)
    return value


def extra_of(request: BenchRequest) -> dict[str, Any]:
    """The fields of --extra-body. Raises InputError where it is no JSON object."""
    if request.extra_body is None:
        return {}
    try:
        found = json.loads(request.extra_body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise InputError.of("extra_body_wrong", given=request.extra_body[:80])
    return found


def reached_name(request: ServerRequest) -> str:
    """The name of the model in requests, as the server lists it. Raises BenchFailed."""

    async def asked() -> str:
        wire = Wire(request.url, api_key_of(request))
        try:
            listed = await served_models(wire, request.url, _ASK_S)
        finally:
            await wire.aclose()
        return name_in_requests(request.url, request.model, request.served_model, listed)

    return asyncio.run(asked())


class _Bench:
    """One benchmark with the builtin client."""

    def __init__(self, request: BenchRequest, watch: Watch) -> None:
        self.request = request
        self.watch = watch
        self.extra = extra_of(request)
        self.wire = Wire(request.url, api_key_of(request))
        self.notes: list[Reason] = []
        self.tokens_a_word: float | None = None

    async def run(self) -> BenchResult:
        request, started = self.request, datetime.now(UTC).isoformat(timespec="seconds")
        try:
            listed = await served_models(self.wire, request.url, request.timeout)
            model = name_in_requests(request.url, request.model, request.served_model, listed)
            target = await self._reached(model)
            runs = await self._levels(target)
        finally:
            await self.wire.aclose()
        partial = any(run.is_partial for run in runs) or len(runs) < len(levels_of(request))
        return BenchResult(
            request=request, model=model, endpoint=target.endpoint, client="builtin",
            client_version=fitserve.__version__, started=started, runs=tuple(runs), notes=tuple(self.notes),
            is_partial=partial,
        )  # fmt: skip

    async def _reached(self, model: str) -> Target:
        """The endpoint that answers; a server that refuses every request is no server to measure."""
        wanted = self.request.endpoint
        has_messages = self.request.data is None and self.request.dataset == "conversations"
        order = ("chat", "completions") if has_messages else ("completions", "chat")
        failed: RequestRecord | None = None
        for endpoint in order if wanted == "auto" else (wanted,):
            target = Target(
                endpoint=endpoint, model=model, ignore_eos=ignores_eos(self.request), timeout_s=self.request.timeout,
                extra=self.extra,
            )  # fmt: skip
            words = " ".join(f"word {index}" for index in range(_PROBE_WORDS // 2))
            patient = replace(target, timeout_s=min(target.timeout_s, _FIRST_S))
            tried = await send(self.wire, patient, Prompt(text=words, tokens=_PROBE_WORDS, output_tokens=2), 0, 0.0)
            if tried.failure is not None and tried.failure.kind == "timeout":
                raise BenchFailed.of("bench_no_answer", url=self.request.url, seconds=patient.timeout_s)
            if tried.failure is None or tried.failure.kind not in _FATAL:
                self._learn(tried)
                return target
            failed = failed if failed is not None and tried.failure.kind in _ELSEWHERE else tried
        assert failed is not None and failed.failure is not None
        raise BenchFailed.of(
            "bench_refused", url=self.request.url, model=model, status=failed.failure.kind.removeprefix("http_"),
            detail=failed.failure.detail,
        )  # fmt: skip

    def _learn(self, tried: RequestRecord) -> None:
        if tried.failure is not None:
            self.notes.append(warning("bench_first_failed", kind=tried.failure.kind, detail=tried.failure.detail))
        elif tried.has_usage:
            self.tokens_a_word = max(0.1, tried.prompt_tokens / _PROBE_WORDS)
        else:
            self.notes.append(warning("bench_no_usage"))

    async def _levels(self, target: Target) -> list[LoadResult]:
        levels = levels_of(self.request)
        runs: list[LoadResult] = []
        with contextlib.ExitStack() as stack:
            mock = stack.enter_context(mock_server()) if self.request.calibrate else None
            for index, level in enumerate(levels):
                watch = replace(
                    self.watch, shown=Progress(phase="load", level=level, level_index=index, levels=len(levels))
                )
                prompts = await self._prompts(target, level, index, watch)
                warm = await self._warm(target, prompts, level, watch)
                if warm is None:
                    break
                loaded = await drive(
                    self.wire, target, prompts, level, self.request.burstiness, self.request.seed + index, watch
                )
                run = self._result(level, loaded, prompts)
                if mock is not None and not loaded.is_partial:
                    self._tell(watch, "calibrate")
                    run = replace(run, calibration=await calibration_of(mock, run))
                limited = is_limited(run.calibration, run.figures, run.loop_late_ms or 0.0, streams_of(run))
                run = replace(run, client_limited=limited)
                runs.append(run)
                if loaded.is_partial:
                    break
        return runs

    def _tell(self, watch: Watch, phase: str) -> None:
        if watch.on_progress is not None:
            watch.on_progress(replace(watch.shown, phase=phase))

    async def _prompts(self, target: Target, level: Level, index: int, watch: Watch) -> list[Prompt]:
        request = self.request
        self._tell(watch, "prompts")
        if request.data is not None:
            count = request.num_prompts
            return file_prompts(request.data, count, request.output_tokens, request.output_tokens or OUTPUT_TOKENS)
        seed, count = request.seed + index * 7919, prompt_count(request, level)
        lengths = lengths_of(request, count, seed)
        counter = await token_counter(self.wire, target.model, target.endpoint)
        prompts = await random_prompts(lengths, seed, counter, self.tokens_a_word)
        if index == 0 and not all(prompt.is_exact for prompt in prompts):
            self.notes.append(note("bench_lengths_rough"))
        return prompts

    async def _warm(self, target: Target, prompts: Sequence[Prompt], level: Level, watch: Watch) -> Loaded | None:
        """Opens connections and warms the server with requests of the same kind; None when it was stopped."""
        count = (level.concurrency or FEWEST_PROMPTS) if self.request.warmup is None else self.request.warmup
        if watch.is_cancelled:
            return None
        if count == 0:
            return Loaded(records=(), duration_s=0.0)
        few = [
            replace(_reworded(prompts[index % len(prompts)]), output_tokens=min(_WARM_TOKENS, prompts[0].output_tokens))
            for index in range(count)
        ]
        shown = replace(watch.shown, phase="warm_up")
        streams = Level(concurrency=min(count, level.concurrency or count))
        warm = await drive(self.wire, target, few, streams, 1.0, 0, replace(watch, shown=shown))
        return None if warm.is_partial else warm

    def _result(self, level: Level, loaded: Loaded, prompts: Sequence[Prompt]) -> LoadResult:
        done = [record for record in loaded.records if record.failure is None]
        return LoadResult(
            level=level,
            figures=figures(loaded.records, loaded.duration_s, self.request.targets),
            records=loaded.records,
            loop_late_ms=loaded.loop_late_s * 1000,
            prompt_tokens_mean=statistics.fmean(record.prompt_tokens for record in done) if done else None,
            output_tokens_mean=statistics.fmean(record.output_tokens for record in done) if done else None,
            notes=(*_unsent(loaded, prompts), *_notes(done, prompts)),
            is_partial=loaded.is_partial,
        )


def lengths_of(request: BenchRequest, count: int, seed: int) -> list[Length]:
    """Lengths of made-up prompts."""
    if request.dataset == "conversations":
        return conversation_lengths(count, seed)
    prompt, output = request.prompt_tokens or PROMPT_TOKENS, request.output_tokens or OUTPUT_TOKENS
    return random_lengths(count, prompt, output, float(request.length_spread or 0), seed)


def _reworded(prompt: Prompt) -> Prompt:
    """The same length with another beginning, so that the server does not know the prompt when it is measured."""
    if prompt.text is None:
        return prompt
    first, _, rest = prompt.text.partition(" ")
    return replace(prompt, text=f"{rest} {first}" if rest else prompt.text)


def _unsent(loaded: Loaded, prompts: Sequence[Prompt]) -> list[Reason]:
    missing = len(prompts) - len(loaded.records)
    return [warning("bench_gave_up", count=missing)] if missing and not loaded.is_partial else []


def _notes(done: Sequence[RequestRecord], prompts: Sequence[Prompt]) -> list[Reason]:
    """What somebody who reads the figures should know."""
    found: list[Reason] = []
    asked = {index: prompt.output_tokens for index, prompt in enumerate(prompts)}
    short = sum(record.output_tokens < asked[record.index] for record in done)
    if short:
        found.append(note("bench_answers_short", count=short, total=len(done)))
    unclosed = sum(not record.is_done for record in done)
    if unclosed:
        found.append(note("bench_no_done", count=unclosed, total=len(done)))
    early = [r for r in done if r.first_text_s is not None and r.first_text_s > r.ttft_s * (1 + _EARLY_SHARE)]
    if early:
        text_ms = statistics.fmean(r.first_text_s or 0.0 for r in early) * 1000
        found.append(note("bench_first_chunk_empty", count=len(early), total=len(done), text_ms=round(text_ms, 1)))
    return found
