"""The simulation of serving: against a step-by-step reference, by hand, and by the laws that any queue keeps."""

import random
from dataclasses import dataclass, replace
from math import isnan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitserve.predict.arrivals import (
    Bursts,
    ClosedLoop,
    Fixed,
    Listed,
    Lognormal,
    Poisson,
    Timed,
    Traffic,
    Uniform,
    traffic_of,
)
from fitserve.predict.figures import Distribution, Histogram, ServingFigures, Targets
from fitserve.predict.scheduling import Scheduling, slots
from fitserve.predict.simulate import simulate
from fitserve.predict.types import Load
from naive_serving import Naive


@dataclass(frozen=True)
class Affine:
    """Step times that are affine in batch and context, as a memory-bound decode step is."""

    step_s: float = 0.01
    sequence_s: float = 0.0
    context_s: float = 0.0
    token_s: float = 0.0001
    past_s: float = 0.0

    def decode_s(self, batch: int, context_tokens: int) -> float:
        return self.step_s + self.sequence_s * batch + self.context_s * context_tokens

    def prefill_s(self, chunk_tokens: int, past_tokens: int) -> float:
        return self.token_s * chunk_tokens + self.past_s * chunk_tokens * past_tokens


LENGTHS = st.one_of(
    st.lists(st.integers(1, 60), min_size=1, max_size=12).map(lambda tokens: Listed(tuple(tokens))),
    st.builds(Fixed, st.integers(1, 80)),
    st.builds(Uniform, st.integers(1, 20), st.integers(20, 60)),
)
ARRIVALS = st.one_of(
    st.builds(ClosedLoop, st.integers(1, 12)),
    st.builds(Poisson, st.sampled_from([0.31, 2.7, 9.1, 63.0]), st.sampled_from([1.0, 0.4])),
    st.builds(Bursts, st.sampled_from([None, 1, 3]), st.sampled_from([0.0, 0.0731, 1.137])),
)
TIMES = st.builds(
    Affine,
    step_s=st.sampled_from([0.0101, 0.00317]),
    sequence_s=st.sampled_from([0.0, 0.000213]),
    context_s=st.sampled_from([0.0, 0.0000517]),
    token_s=st.sampled_from([0.0, 0.000371]),
    past_s=st.sampled_from([0.0, 0.00000133]),
)


@st.composite
def policies(draw: st.DrawFn) -> Scheduling:
    seats = draw(st.integers(1, 10))
    return Scheduling(
        max_num_seqs=seats,
        max_batched_tokens=draw(st.integers(seats, 90)),
        kv_tokens=draw(st.none() | st.integers(60, 400)),
        block_tokens=draw(st.sampled_from([1, 2, 4, 16])),
        mixes_decode=draw(st.booleans()),
        splits_prompts=draw(st.booleans()),
        reserves_output=draw(st.booleans()),
        watermark_share=draw(st.sampled_from([0.0, 0.07])),
        ubatch_tokens=draw(st.sampled_from([None, None, 7, 32])),
        max_request_tokens=draw(st.sampled_from([None, 90])),
        dispatch_s=draw(st.sampled_from([0.0, 0.00471])),
    )


@st.composite
def traffics(draw: st.DrawFn) -> Traffic:
    return Traffic(
        prompt=draw(LENGTHS),
        output=draw(LENGTHS),
        arrivals=draw(ARRIVALS),
        request_count=draw(st.integers(1, 30)),
        seed=draw(st.integers(0, 99)),
        reused_share=draw(st.sampled_from([0.0, 0.0, 0.5, 1.0])),
        shared_prefix_tokens=draw(st.sampled_from([0, 0, 5, 16])),
    )


def close(value: float) -> float:
    return pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True)  # type: ignore[no-any-return]


@settings(max_examples=400)
@given(TIMES, policies(), traffics())
def test_it_agrees_with_the_reference(times: Affine, policy: Scheduling, traffic: Traffic) -> None:
    figures, naive = simulate(times, policy, traffic), Naive(times, policy, traffic).run()
    completed, gaps = naive.queue, naive.gaps()
    assert (figures.completed, figures.rejected) == (len(completed), len(naive.requests) - len(completed))
    assert figures.preemptions == naive.preemptions
    assert figures.output_tokens == sum(request.output for request in completed)
    assert figures.prompt_tokens == sum(request.prompt for request in completed)
    assert figures.makespan_s == close(naive.now - completed[0].sent if completed else 0.0)
    ttft = [request.token_times[0] - request.sent for request in completed]
    e2e = [request.token_times[-1] - request.sent for request in completed]
    tpot = [(e - t) / (r.output - 1) for e, t, r in zip(e2e, ttft, completed, strict=True) if r.output > 1]
    for found, values in ((figures.ttft_s, ttft), (figures.e2e_s, e2e), (figures.tpot_s, tpot)):
        exact = Distribution.of(values)
        for name in ("mean", "p50", "p90", "p99"):
            assert getattr(found, name) == close(getattr(exact, name)), name
    if gaps:
        assert figures.itl_s.mean == close(sum(gaps) / len(gaps))
        for share, value in ((0.5, figures.itl_s.p50), (0.9, figures.itl_s.p90), (0.99, figures.itl_s.p99)):
            assert value == pytest.approx(gaps[int((len(gaps) - 1) * share)], rel=0.015)
    assert figures.peak_batch == naive.peak
    assert figures.kv_peak_tokens == (naive.most_used + naive.common) * policy.block_tokens
    if completed:
        assert figures.mean_batch * figures.makespan_s == close(naive.busy_s)
        assert figures.queue_share * sum(e2e) == close(sum(request.queued_s for request in completed))
