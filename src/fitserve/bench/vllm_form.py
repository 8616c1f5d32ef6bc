"""A load with the field names that `vllm bench serve --save-result --save-detailed` writes (0.32.0)."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from fitserve.bench.figures import Summary
from fitserve.bench.records import RequestRecord
from fitserve.bench.types import BenchResult, LoadResult

_BACKENDS = {"completions": "openai", "chat": "openai-chat"}
_MS = 1000.0


def vllm_form(result: BenchResult, run: LoadResult, detailed: bool = True) -> dict[str, Any]:
    """One run. Texts of answers are not kept, so `generated_texts` is left out."""
    seen, level = run.figures, run.level
    form: dict[str, Any] = {
        "date": datetime.fromisoformat(result.started).strftime("%Y%m%d-%H%M%S"),
        "endpoint_type": _BACKENDS[result.endpoint],
        "backend": _BACKENDS[result.endpoint],
        "label": None,
        "model_id": result.model,
        "tokenizer_id": result.request.tokenizer or result.model,
        "num_prompts": seen.completed + seen.failed,
        "request_rate": "inf" if level.rate_per_s is None else level.rate_per_s,
        "burstiness": result.request.burstiness,
        "max_concurrency": level.concurrency,
        "duration": seen.duration_s,
        "completed": seen.completed,
        "failed": seen.failed,
        "total_input_tokens": seen.total_input_tokens,
        "total_output_tokens": seen.total_output_tokens,
        "request_throughput": seen.request_per_s,
        "request_goodput": seen.goodput_per_s,
        "output_throughput": seen.output_tok_per_s,
        "total_token_throughput": seen.total_tok_per_s,
        "max_output_tokens_per_s": seen.peak_output_tok_per_s or 0.0,
        "max_concurrent_requests": seen.peak_concurrent_requests or 0,
        "rtfx": 0.0,
    }
    if detailed:
        form |= _details(run.records)
    for name, times in _times(run):
        form |= {f"mean_{name}_ms": times.mean, f"median_{name}_ms": times.p50, f"std_{name}_ms": times.std}
        form |= {f"p50_{name}_ms": times.p50, f"p90_{name}_ms": times.p90, f"p99_{name}_ms": times.p99}
    return form


def _times(run: LoadResult) -> Iterator[tuple[str, Summary]]:
    none = Summary(mean=0.0, std=0.0, p50=0.0, p90=0.0, p99=0.0, count=0)
    seen = run.figures
    yield "ttft", seen.ttft_ms or none
    yield "tpot", seen.inter_token_ms or none
    yield "itl", seen.itl_ms or none
    yield "e2el", seen.e2e_ms or none
    if run.level.concurrency is not None:
        yield "client_queue_time", seen.queue_ms or none


def _details(records: tuple[RequestRecord, ...]) -> dict[str, Any]:
    """Lists over all requests, in seconds; a failed one has zeros and its error."""
    good = [record.failure is None for record in records]
    return {
        "input_lens": [record.prompt_tokens for record in records],
        "output_lens": [record.output_tokens if is_good else 0 for record, is_good in zip(records, good, strict=True)],
        "ttfts": [record.ttft_s if is_good else 0.0 for record, is_good in zip(records, good, strict=True)],
        "itls": [list(record.gaps_s) if is_good else [] for record, is_good in zip(records, good, strict=True)],
        "latencies": [record.latency_s if is_good else 0.0 for record, is_good in zip(records, good, strict=True)],
        "start_times": [record.start_s for record in records],
        "queue_times": [record.queue_s for record in records],
        "errors": [
            "" if record.failure is None else f"{record.failure.kind}: {record.failure.detail}" for record in records
        ],
    }
