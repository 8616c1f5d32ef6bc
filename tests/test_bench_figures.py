"""Figures of a load: vLLM's definitions on records made by hand, its field names, arrivals, plots."""

import itertools
import math
import statistics
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitserve.bench.arrivals import arrival_times
from fitserve.bench.calibration import is_limited
from fitserve.bench.compare import compared
from fitserve.bench.figures import Figures, Summary, Targets, figures, summary
from fitserve.bench.prompts import conversation_lengths, random_lengths
from fitserve.bench.records import Failure, RequestRecord
from fitserve.bench.request import BenchRequest
from fitserve.bench.types import BenchResult, Calibration, Level, LoadResult, tolerance_of
from fitserve.bench.vllm_form import vllm_form
from fitserve.foundation.intervals import Interval
from fitserve.predict.types import Speed
from fitserve.render.svg_plots import Bar, Series, line_plot, stacked, tick_step, timeline


def record(
    index: int, start_s: float, chunks: tuple[float, ...], tokens: int, failure: Failure | None = None
) -> RequestRecord:
    return RequestRecord(
        index=index, start_s=start_s, chunk_s=chunks, end_s=9.0, prompt_tokens=10, output_tokens=tokens,
        has_usage=True, failure=failure,
    )  # fmt: skip


RECORDS = (
    record(0, 0.0, (0.5, 0.6, 0.8), 5),  # five tokens in three chunks
    record(1, 0.5, (0.7,), 1),
    record(2, 1.0, (1.0, 1.5), 2),
    record(3, 1.0, (0.1,), 4, Failure("http_500", "oops")),
)


def test_the_definitions_are_those_of_vllm() -> None:
    """By hand after vllm/benchmarks/serve.py (calculate_metrics) of 0.32.0."""
    seen = figures(RECORDS, 4.0, Targets(ttft_s=0.7, inter_token_s=0.1))
    assert (seen.completed, seen.failed, seen.total_input_tokens, seen.total_output_tokens) == (3, 1, 30, 8)
    assert (seen.request_per_s, seen.output_tok_per_s, seen.total_tok_per_s) == (0.75, 2.0, 9.5)
    assert seen.ttft_ms is not None and seen.ttft_ms.mean == pytest.approx(1000 * (0.5 + 0.7 + 1.0) / 3)
    # the time after the first chunk by the tokens after the first; one token has none
    assert seen.inter_token_ms is not None and seen.inter_token_ms.count == 2
    assert seen.inter_token_ms.mean == pytest.approx(1000 * (0.3 / 4 + 0.5 / 1) / 2)
    # gaps between chunks, whatever they hold
    assert seen.itl_ms is not None and seen.itl_ms.mean == pytest.approx(1000 * (0.1 + 0.2 + 0.5) / 3)
    assert seen.e2e_ms is not None and seen.e2e_ms.p50 == pytest.approx(800)
    assert seen.good == 2 and seen.goodput_per_s == 0.5 and dict(seen.errors) == {"http_500": 1}
    # seconds from the first request: chunks 0.5, 0.6, 0.8 | 1.2 | 2.0, 2.5; a request counts in each second it touches
    assert (seen.peak_output_tok_per_s, seen.peak_concurrent_requests) == (3.0, 2)


def test_nothing_done_has_no_times() -> None:
    seen = figures(RECORDS[3:], 1.0, Targets(e2e_s=1.0))
    assert seen.ttft_ms is None and seen.peak_output_tok_per_s is None and seen.good == 0 and seen.failed == 1


@given(st.lists(st.floats(0, 1e3), min_size=2, max_size=60))
def test_a_summary_is_that_of_numpy(values: list[float]) -> None:
    found = summary(values)
    assert found is not None and found.count == len(values)
    cuts = statistics.quantiles(values, n=100, method="inclusive")  # numpy's default interpolation
    for percent, value in ((50, found.p50), (90, found.p90), (99, found.p99)):
        assert value == pytest.approx(1000 * cuts[percent - 1], abs=1e-6)
    assert found.mean == pytest.approx(1000 * statistics.fmean(values), abs=1e-6)
    assert found.std == pytest.approx(1000 * statistics.pstdev(values), abs=1e-3)


@given(st.integers(1, 400), st.floats(0.1, 50), st.floats(0.2, 5), st.integers(0, 99))
def test_arrivals_keep_their_rate(count: int, rate: float, burstiness: float, seed: int) -> None:
    times = arrival_times(count, rate, burstiness, seed)
    assert times == sorted(times) == arrival_times(count, rate, burstiness, seed)
    assert times[-1] == pytest.approx(count / rate)


def test_burstiness_orders_the_spread_of_gaps() -> None:
    def spread(burstiness: float) -> float:
        times = arrival_times(4000, 10, burstiness, 1)
        gaps = [b - a for a, b in itertools.pairwise(times)]
        return statistics.pstdev(gaps) / statistics.fmean(gaps)

    # the coefficient of variation of a gamma distribution is 1 / sqrt(shape)
    for burstiness in (0.25, 1.0, 4.0):
        assert spread(burstiness) == pytest.approx(burstiness**-0.5, rel=0.1)


def test_lengths() -> None:
    assert {(length.prompt, length.output) for length in random_lengths(5, 100, 20, 0.0, 1)} == {(100, 20)}
    spread = random_lengths(500, 100, 20, 0.3, 1)
    assert {length.prompt for length in spread} == set(range(70, 131)) and min(x.output for x in spread) == 14
    talks = conversation_lengths(3000, 1)
    assert all(4 <= t.prompt <= 1024 and t.prompt + t.output <= 2048 for t in talks)
    assert (
        100 < statistics.fmean(t.prompt for t in talks) < 200 and 200 < statistics.fmean(t.output for t in talks) < 340
    )


VLLM_KEYS = (
    "date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness max_concurrency duration "
    "completed failed total_input_tokens total_output_tokens request_throughput request_goodput output_throughput "
    "total_token_throughput input_lens output_lens ttfts itls latencies start_times queue_times errors "
    "max_output_tokens_per_s max_concurrent_requests rtfx mean_ttft_ms median_ttft_ms std_ttft_ms p50_ttft_ms p90_ttft_ms "
    "p99_ttft_ms mean_tpot_ms median_tpot_ms std_tpot_ms p50_tpot_ms p90_tpot_ms p99_tpot_ms mean_itl_ms median_itl_ms "
    "std_itl_ms p50_itl_ms p90_itl_ms p99_itl_ms mean_e2el_ms median_e2el_ms std_e2el_ms p50_e2el_ms p90_e2el_ms "
    "p99_e2el_ms mean_client_queue_time_ms median_client_queue_time_ms std_client_queue_time_ms p50_client_queue_time_ms "
    "p90_client_queue_time_ms p99_client_queue_time_ms"
)


def result_of(*runs: LoadResult) -> BenchResult:
    request = BenchRequest.read(url="http://127.0.0.1:1")
    return BenchResult(
        request=request, model="m", endpoint="completions", client="builtin", client_version="0",
        started="2026-11-20T10:00:00+00:00", runs=runs,
    )  # fmt: skip


def test_the_field_names_are_those_of_vllm() -> None:
    run = LoadResult(level=Level(concurrency=2), figures=figures(RECORDS, 4.0, Targets()), records=RECORDS)
    form = vllm_form(result_of(run), run)
    assert set(form) == set(VLLM_KEYS.split())
    assert (
        form["itls"][0] == pytest.approx([0.1, 0.2])
        and form["ttfts"][3] == 0.0
        and form["errors"][3] == "http_500: oops"
    )
    assert form["date"] == "20261120-100000" and form["request_rate"] == "inf" and form["request_goodput"] is None


def calibration(ttft_ms: float, itl_ms: float, streams: int = 64, lost: float = 0.0) -> Calibration:
    return Calibration(
        streams=streams, kept_ttft_ms=100.0, kept_itl_ms=10.0, seen_ttft_ms=100.0 + ttft_ms, seen_itl_ms=10.0 + itl_ms,
        lost_share=lost, tolerance=tolerance_of(streams),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "limited"),
    [
        (calibration(1.9, 0.0), False), (calibration(2.1, 0.0), True), (calibration(0.0, 0.25), True),
        (calibration(9.0, 0.9, streams=512), False), (calibration(11.0, 0.0, streams=512), True),
        (calibration(0.0, 0.0, lost=0.2), True), (calibration(math.inf, 0.0), True),
    ],
)  # fmt: skip
def test_the_client_says_when_it_is_the_limit(found: Calibration, limited: bool) -> None:
    def times(mean: float) -> Summary:
        return Summary(mean=mean, std=0.0, p50=mean, p90=mean, p99=mean, count=1)

    seen = Figures(
        completed=1, failed=0, duration_s=1.0, total_input_tokens=1, total_output_tokens=1,
        ttft_ms=times(100.0), itl_ms=times(10.0),
    )  # fmt: skip
    assert is_limited(found, seen, 0.0, found.streams) is limited
    assert (
        is_limited(None, seen, 1.9, 64) is False
        and is_limited(None, seen, 2.1, 64)
        and not is_limited(None, seen, 9, 512)
    )


def test_predicted_beside_measured() -> None:
    run = LoadResult(level=Level(concurrency=2), figures=figures(RECORDS, 4.0, Targets()), records=RECORDS)
    speed = Speed(
        ttft_s=Interval(0.5, 1.1, 2.0),
        inter_token_s=Interval(0.01, 0.02, 0.03),
        output_tok_per_s=Interval(1.0, 1.0, 3.0),
    )
    rows = {item.metric: item for item in compared(run, speed)}
    assert rows["ttft_s"].is_inside and rows["ttft_s"].difference_pct == pytest.approx(50)
    assert not rows["inter_token_s"].is_inside and rows["output_tok_per_s"].difference_pct == pytest.approx(-50)


@given(st.floats(1e-9, 1e9))
def test_ticks_are_few_and_round(span: float) -> None:
    step = tick_step(span)
    assert 1 <= span / step <= 5 * (1 + 1e-9)
    assert float(f"{step:e}".split("e")[0]) in {1.0, 2.0, 5.0}


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0, 1e6)), max_size=8),
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10), st.booleans()), max_size=20),
)
def test_plots_are_well_formed_and_repeatable(
    points: list[tuple[float, float]], spans: list[tuple[float, float, bool]]
) -> None:
    def drawn() -> str:
        bars = [Bar(start, start + length / 2, start + length, is_good) for start, length, is_good in spans]
        plot = line_plot("a <b> & c", "x", "ms", [Series("s<", tuple(points)), Series("empty", ())])
        return stacked([plot, timeline("지연 <시간>", "s", bars)])

    root = ET.fromstring(drawn())  # noqa: S314 - our own text
    assert root.tag.endswith("svg") and drawn() == drawn()
    circles = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(circles) == len(points) and all(0 <= float(c.attrib["cy"]) <= 400 for c in circles)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) == 2 * len(spans)
