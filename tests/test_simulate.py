"""The simulation of serving: against a step-by-step reference, by hand, and by the laws that any queue keeps."""

from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

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
from fitserve.predict.step_table import StepTable
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

    def decode_s(self, batch: float, context_tokens: float) -> float:
        return self.step_s + self.sequence_s * batch + self.context_s * context_tokens

    def prefill_s(self, chunk_tokens: float, past_tokens: float) -> float:
        return self.step_s + self.token_s * chunk_tokens + self.past_s * chunk_tokens * (past_tokens + chunk_tokens / 2)

    def mixed_s(self, batch: float, context_tokens: float, chunk_tokens: float, past_tokens: float) -> float:
        return self.decode_s(batch, context_tokens) + self.prefill_s(chunk_tokens, past_tokens) - self.step_s


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


def close(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True)


def agree(times: Affine, policy: Scheduling, traffic: Traffic) -> ServingFigures:
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
        exact = Distribution.of(gaps)
        for name in ("p50", "p90", "p99"):
            assert getattr(figures.itl_s, name) == pytest.approx(getattr(exact, name), rel=0.015), name
    assert figures.peak_batch == naive.peak
    assert figures.kv_peak_tokens == (naive.most_used + naive.common) * policy.block_tokens
    if completed:
        assert figures.mean_batch * figures.makespan_s == close(naive.busy_s)
        assert figures.queue_share * sum(e2e) == close(sum(request.queued_s for request in completed))
    return figures


@settings(max_examples=200)
@given(TIMES, policies(), traffics())
def test_it_agrees_with_the_reference(times: Affine, policy: Scheduling, traffic: Traffic) -> None:
    agree(times, policy, traffic)


@settings(max_examples=200)
@given(
    times=TIMES,
    kv_tokens=st.integers(70, 200),
    block=st.sampled_from([1, 4, 16]),
    budget=st.integers(10, 80),
    mixes=st.booleans(),
    splits=st.booleans(),
    traffic=traffics(),
    output=st.builds(Uniform, st.integers(10, 20), st.integers(20, 45)),
)
def test_it_agrees_with_the_reference_when_the_cache_is_full(
    times: Affine, kv_tokens: int, block: int, budget: int, mixes: bool, splits: bool, traffic: Traffic, output: Uniform
) -> None:
    policy = Scheduling(
        max_num_seqs=10,
        max_batched_tokens=budget,
        kv_tokens=kv_tokens,
        block_tokens=block,
        mixes_decode=mixes,
        splits_prompts=splits,
    )
    agree(times, policy, replace(traffic, prompt=Uniform(5, 20), output=output, arrivals=Bursts()))


def test_preemption_is_within_what_was_compared() -> None:
    policy = Scheduling(max_num_seqs=10, max_batched_tokens=30, kv_tokens=120, block_tokens=4)
    traffic = Traffic(prompt=Uniform(5, 20), output=Uniform(10, 45), arrivals=ClosedLoop(10), request_count=40)
    for mixes in (True, False):
        assert agree(Affine(), replace(policy, mixes_decode=mixes), traffic).preemptions > 5


# --- by hand -----------------------------------------------------------------------------------------------------

STEP, TOKEN = 0.01, 0.0001  # seconds of a step and of a prompt token, those of Affine()
WIDE = Scheduling(max_num_seqs=64, max_batched_tokens=4096)


def run(arrivals: Any, prompt: int, output: int, count: int, policy: Scheduling = WIDE, **more: Any) -> ServingFigures:
    traffic = Traffic(prompt=Fixed(prompt), output=Fixed(output), arrivals=arrivals, request_count=count, **more)
    return simulate(Affine(), policy, traffic)


def test_one_request() -> None:
    figures = run(ClosedLoop(1), 100, 5, 1)
    assert figures.ttft_s.p50 == close(STEP + 100 * TOKEN)
    assert (figures.tpot_s.mean, figures.itl_s.p99) == (close(STEP), close(STEP))
    assert figures.e2e_s.p99 == figures.makespan_s == close(5 * STEP + 100 * TOKEN)
    assert figures.output_tok_per_s == close(5 / 0.06)
    assert figures.total_tok_per_s == close(105 / 0.06)
    assert (figures.peak_batch, figures.kv_peak_tokens, figures.queue_share) == (1, 104, 0.0)


def test_two_requests_share_steps() -> None:
    # step 1: prompt 1 and half of prompt 2; step 2: its rest and token 2 of the first; then one token each
    figures = run(ClosedLoop(2), 100, 3, 2, replace(WIDE, max_batched_tokens=150))
    first = STEP + 150 * TOKEN
    second = first + STEP + 50 * TOKEN
    assert figures.ttft_s.mean == close((first + second) / 2)
    assert figures.e2e_s.mean == close((second + STEP + second + 2 * STEP) / 2)
    assert figures.itl_s.mean == close((second - first + 3 * STEP) / 4)
    assert (figures.prefill_steps, figures.decode_steps) == (2, 3)


def test_prefill_in_its_own_steps_stalls_the_others() -> None:
    # the second comes while the first decodes: its prompt goes first, and the first waits for it
    arrivals, policy = Timed((0.0, 0.035)), replace(WIDE, mixes_decode=False)
    figures = run(arrivals, 100, 4, 2, policy)
    # the first: prefill till 0.02, tokens at 0.03 and 0.04, stalled till 0.06, last token at 0.07
    assert figures.itl_s.p99 == close(0.03 - 0.02 * 0.05) and figures.itl_s.p50 == close(STEP)
    assert figures.e2e_s.mean == close((0.07 + 0.09 - 0.035) / 2)
    mixed = run(arrivals, 100, 4, 2)
    assert mixed.itl_s.p99 == close(0.02 - 0.01 * 0.05)


def test_a_full_cache_preempts_the_youngest() -> None:
    # 2 prompts of 8 and 2 tokens each fill 20; the third step of decoding takes the cache of the second (10 tokens,
    # 3 made), the first goes on alone for 5 steps, then 11 tokens are computed again and 4 more decoded
    policy = Scheduling(max_num_seqs=2, max_batched_tokens=16, kv_tokens=20)
    figures = run(ClosedLoop(2), 8, 8, 2, policy)
    start, alone = STEP + 16 * TOKEN, 7 * STEP
    again = start + alone + STEP + 11 * TOKEN
    assert figures.preemptions == 1 and figures.recomputed_tokens == 10
    assert figures.e2e_s.mean == close((start + alone + again + 4 * STEP) / 2)
    assert figures.itl_s.mean == close((alone + again - start + 4 * STEP) / 14)
    assert figures.kv_peak_share == 1.0
    # one waits 5 steps for room
    assert figures.queue_share == close(5 * STEP / (2 * figures.e2e_s.mean))


def test_reserved_room_is_waited_for_and_never_taken_away() -> None:
    policy = Scheduling(max_num_seqs=2, max_batched_tokens=16, kv_tokens=20, reserves_output=True)
    figures = run(ClosedLoop(2), 8, 8, 2, policy)
    one = 8 * STEP + 8 * TOKEN
    assert figures.preemptions == 0 and figures.peak_batch == 1
    assert figures.e2e_s.mean == close(1.5 * one) and figures.kv_peak_tokens == 15


def test_slots_compute_a_prompt_in_physical_batches() -> None:
    policy = slots(2, context_tokens=300, batch_tokens=128, ubatch_tokens=64)
    # steps of 128 (two physical batches) and of 72 tokens (two)
    figures = run(ClosedLoop(1), 200, 1, 1, policy)
    assert figures.ttft_s.mean == close(4 * STEP + 200 * TOKEN)
    assert run(ClosedLoop(1), 200, 101, 2, policy).rejected == 2
    waiting = run(ClosedLoop(3), 10, 5, 3, policy)
    assert waiting.peak_batch == 2 and waiting.queue_share > 0.1


def test_a_found_prefix_is_not_computed() -> None:
    policy = Scheduling(max_num_seqs=4, max_batched_tokens=4096, kv_tokens=4000, block_tokens=16)
    assert run(ClosedLoop(1), 100, 1, 1, policy).ttft_s.mean == close(STEP + 100 * TOKEN)
    # 60 tokens are found, in whole blocks 48
    assert run(ClosedLoop(1), 100, 1, 1, policy, reused_share=0.6).ttft_s.mean == close(STEP + 52 * TOKEN)
    # all are found: the last is computed all the same, and with it its block
    assert run(ClosedLoop(1), 96, 1, 1, policy, reused_share=1.0).ttft_s.mean == close(STEP + 16 * TOKEN)
    shared = run(ClosedLoop(4), 100, 1, 4, policy, shared_prefix_tokens=160)
    assert shared.ttft_s.mean == close(STEP + 400 * TOKEN)
    # stored once: 160 and four times 100 in blocks of 16
    assert shared.kv_peak_tokens == 160 + 4 * 112


def test_what_can_never_run_is_rejected_and_the_rest_goes_on() -> None:
    policy = Scheduling(max_num_seqs=4, max_batched_tokens=64, kv_tokens=100)
    traffic = Traffic(prompt=Listed((10, 200, 20)), output=Fixed(10), arrivals=ClosedLoop(2), request_count=9)
    figures = simulate(Affine(), policy, traffic)
    assert (figures.completed, figures.rejected, figures.request_count) == (6, 3, 9)
    nothing = simulate(Affine(), policy, replace(traffic, prompt=Fixed(200)))
    assert nothing.completed == 0 and nothing.makespan_s == 0.0


def test_dispatch_comes_before_the_queue() -> None:
    plain, later = run(Poisson(3.0), 50, 4, 30), run(Poisson(3.0), 50, 4, 30, replace(WIDE, dispatch_s=0.02))
    assert later.ttft_s.mean == close(plain.ttft_s.mean + 0.02)


def test_goodput_counts_requests_that_keep_every_target() -> None:
    traffic = Traffic(prompt=Fixed(100), output=Fixed(5), arrivals=ClosedLoop(1), request_count=10)
    for targets, kept in (
        (Targets(), 10),
        (Targets(ttft_s=0.021, tpot_s=0.011, e2e_s=0.061), 10),
        (Targets(ttft_s=0.019), 0),
        (Targets(tpot_s=0.009), 0),
        (Targets(e2e_s=0.059), 0),
    ):
        figures = simulate(Affine(), WIDE, traffic, targets)
        assert figures.goodput_per_s == close(kept / figures.makespan_s)
    assert simulate(Affine(), WIDE, traffic).goodput_per_s is None


def test_impossible_policies_are_refused() -> None:
    with pytest.raises(ValueError, match="room for one token"):
        Scheduling(max_num_seqs=9, max_batched_tokens=8)
    with pytest.raises(ValueError, match="at least one"):
        Scheduling(max_num_seqs=0, max_batched_tokens=8)
    for arrivals in (ClosedLoop(0), Poisson(0.0), Poisson(1.0, burstiness=0.0)):
        with pytest.raises(ValueError, match=r"at least one user|above zero"):
            chat(arrivals, 2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        run(ClosedLoop(1), 1, 1, 1, reused_share=1.5)
    with pytest.raises(ValueError, match="at least one request"):
        run(ClosedLoop(1), 1, 1, 0)
    with pytest.raises(ValueError, match="needs a time"):
        Traffic(prompt=Fixed(1), output=Fixed(1), arrivals=Timed((0.0,)), request_count=2)


# --- laws --------------------------------------------------------------------------------------------------------

BUSY = Affine(step_s=0.008, sequence_s=2e-5, context_s=2.5e-8, token_s=4e-5, past_s=1e-9)
SERVER = Scheduling(max_num_seqs=64, max_batched_tokens=2048, block_tokens=16)


def chat(arrivals: Any, count: int, seed: int = 0) -> Traffic:
    return Traffic(
        prompt=Uniform.below(512, 0.8),
        output=Uniform.below(128, 0.8),
        arrivals=arrivals,
        request_count=count,
        seed=seed,
    )


@pytest.mark.parametrize("kv_tokens", [None, 30_000, 8_000])
@pytest.mark.parametrize("arrivals", [ClosedLoop(64), Poisson(8.0), Bursts()])
def test_time_in_the_server_is_its_mean_batch(arrivals: Any, kv_tokens: int | None) -> None:
    figures = simulate(BUSY, replace(SERVER, kv_tokens=kv_tokens), chat(arrivals, 400))
    served = figures.e2e_s.mean * (1 - figures.queue_share)
    assert figures.mean_batch == close(figures.requests_per_s * served)
    assert figures.completed == 400
    assert figures.output_tokens == sum(chat(arrivals, 400).output_tokens())


def test_users_of_a_closed_loop_are_always_in_the_system() -> None:
    figures = simulate(BUSY, SERVER, chat(ClosedLoop(32), 3200))
    assert figures.requests_per_s * figures.e2e_s.mean == pytest.approx(32, rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_seat_is_the_queue_of_theory(load: float) -> None:
    # one token, one seat: Poisson arrivals at a server of constant time; mean wait of M/D/1 (Pollaczek, Khinchine)
    service = STEP + 100 * TOKEN
    policy = Scheduling(max_num_seqs=1, max_batched_tokens=4096)
    figures = run(Poisson(load / service), 100, 1, 60_000, policy)
    wait = load * service / (2 * (1 - load))
    assert figures.ttft_s.mean == pytest.approx(service + wait, rel=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_a_higher_rate_never_makes_the_first_token_earlier(seed: int) -> None:
    means = [
        simulate(BUSY, SERVER, chat(Poisson(rate), 2000, seed)).ttft_s.mean
        for rate in (1.0, 4.0, 10.0, 16.0, 24.0, 60.0)
    ]
    assert means == sorted(means) and means[-1] > 5 * means[0]


def test_above_capacity_the_wait_grows_with_the_run() -> None:
    capacity = simulate(BUSY, SERVER, chat(ClosedLoop(64), 2000)).requests_per_s

    def at(share: float, count: int) -> ServingFigures:
        return simulate(BUSY, SERVER, chat(Poisson(capacity * share), count))

    assert at(1.5, 4000).ttft_s.mean > 1.8 * at(1.5, 2000).ttft_s.mean > 3 * at(1.5, 1000).ttft_s.mean
    assert at(0.6, 4000).ttft_s.mean == pytest.approx(at(0.6, 2000).ttft_s.mean, rel=0.1)
    assert at(1.5, 4000).requests_per_s == pytest.approx(capacity, rel=0.05)


def test_less_room_for_the_cache_means_waiting() -> None:
    policies = [replace(SERVER, kv_tokens=tokens) for tokens in (60_000, 20_000, 10_000, 5_000)]
    runs = [simulate(BUSY, policy, chat(ClosedLoop(64), 1000)) for policy in policies]
    assert runs[0].queue_share < 0.02 and runs[0].preemptions == 0
    for wide, tight in pairwise(runs):
        assert tight.ttft_s.mean > wide.ttft_s.mean
        assert tight.queue_share > wide.queue_share
        assert tight.output_tok_per_s < wide.output_tok_per_s
        assert tight.tpot_s.p50 < wide.tpot_s.p50, "fewer at once are faster each"


def test_a_full_cache_is_why_the_first_token_comes_late() -> None:
    # the same server with room for all users and for a third of them: the wait, not the prefill, makes TTFT long
    wide, tight = (
        simulate(BUSY, replace(SERVER, kv_tokens=tokens), chat(ClosedLoop(64), 640)) for tokens in (60_000, 12_000)
    )
    assert tight.ttft_s.mean > 5 * wide.ttft_s.mean
    assert tight.queue_share * tight.e2e_s.mean > 0.8 * tight.ttft_s.mean


def test_the_seed_decides_everything() -> None:
    for arrivals in (Poisson(8.0), Poisson(8.0, burstiness=0.3), ClosedLoop(16)):
        same = [simulate(BUSY, SERVER, chat(arrivals, 300, seed=7)) for _ in range(2)]
        assert same[0] == same[1]
        assert simulate(BUSY, SERVER, chat(arrivals, 300, seed=8)) != same[0]


def test_burstier_arrivals_wait_longer() -> None:
    smooth, bursty = (
        simulate(BUSY, SERVER, chat(Poisson(14.0, burstiness=shape), 3000)).ttft_s.mean for shape in (1.0, 0.1)
    )
    assert bursty > smooth


class Counting:
    """Step times that count how often they are asked for, with a kink where attention begins to matter."""

    def __init__(self) -> None:
        self.asked = 0

    def decode_s(self, batch: float, context_tokens: float) -> float:
        self.asked += 1
        return max(0.008, 1.1e-6 * context_tokens) + 2e-5 * batch**0.9

    def prefill_s(self, chunk_tokens: float, past_tokens: float) -> float:
        self.asked += 1
        return max(0.008, 4e-5 * chunk_tokens) + 1e-9 * chunk_tokens * (past_tokens + chunk_tokens / 2)

    def mixed_s(self, batch: float, context_tokens: float, chunk_tokens: float, past_tokens: float) -> float:
        attention = 1e-9 * chunk_tokens * (past_tokens + chunk_tokens / 2)
        linear = max(4e-5 * (chunk_tokens + batch) - 0.008, 0.0)
        return self.decode_s(batch, context_tokens) + linear + attention


def test_the_cost_is_that_of_events_not_of_tokens() -> None:
    asked = {}
    for count, output in ((100, 500), (1000, 500), (100, 4000)):
        times = Counting()
        traffic = Traffic(prompt=Fixed(500), output=Fixed(output), arrivals=Poisson(0.5), request_count=count)
        simulate(times, SERVER, traffic)
        asked[count, output] = times.asked
    assert asked[1000, 500] < 11 * asked[100, 500]
    assert asked[100, 4000] < 4 * asked[100, 500]
    assert asked[100, 4000] < 0.01 * 100 * 4000


def test_bent_step_times_stay_close_to_the_reference() -> None:
    for batch in (1, 3, 12):
        traffic = Traffic(
            prompt=Uniform(50, 900), output=Uniform(50, 700), arrivals=ClosedLoop(batch), request_count=4 * batch
        )
        figures, naive = simulate(Counting(), SERVER, traffic), Naive(Counting(), SERVER, traffic).run()
        assert figures.makespan_s == pytest.approx(naive.now, rel=0.005)
        assert figures.itl_s.p50 == pytest.approx(naive.gaps()[len(naive.gaps()) // 2], rel=0.02)


# --- parts -------------------------------------------------------------------------------------------------------


def test_a_table_of_step_times_is_close_and_asks_little() -> None:
    model, traffic = Counting(), chat(ClosedLoop(64), 1000)
    through = simulate(StepTable(model), SERVER, traffic)
    assert model.asked < 250, "a mixed step asks twice"
    direct = simulate(Counting(), SERVER, traffic)
    assert through.output_tok_per_s == pytest.approx(direct.output_tok_per_s, rel=0.01)
    assert through.ttft_s.p50 == pytest.approx(direct.ttft_s.p50, rel=0.03)
    assert through.tpot_s.p50 == pytest.approx(direct.tpot_s.p50, rel=0.01)


@given(st.integers(1, 2000), st.integers(1, 200_000), st.integers(1, 40_000), st.integers(0, 200_000))
def test_a_table_of_affine_times_is_exact(batch: int, mean: int, chunk: int, past: int) -> None:
    table, times = StepTable(BUSY), BUSY
    for _ in range(2):
        context = batch * mean
        assert table.decode_s(batch, context) == pytest.approx(times.decode_s(batch, context), rel=1e-9)
        assert table.prefill_s(chunk, past) == pytest.approx(times.prefill_s(chunk, past), rel=1e-9)
        mixed = times.mixed_s(batch, context, chunk, past)
        assert table.mixed_s(batch, context, chunk, past) == pytest.approx(mixed, rel=1e-9)


@given(st.lists(st.tuples(st.floats(1e-5, 1e3), st.integers(1, 50)), min_size=1, max_size=30))
def test_a_histogram_keeps_mean_and_percentiles(groups: list[tuple[float, int]]) -> None:
    histogram = Histogram()
    for value, count in groups:
        histogram.add(value, count)
    values = sorted(value for value, count in groups for _ in range(count))
    found = histogram.distribution()
    assert found.mean == close(sum(values) / len(values))
    for name in ("p50", "p90", "p99"):
        assert getattr(found, name) == pytest.approx(getattr(Distribution.of(values), name), rel=0.006), name


def test_percentiles_lie_between_ranks() -> None:
    found = Distribution.of([4.0, 1.0, 3.0, 2.0])
    assert (found.mean, found.p50) == (2.5, 2.5)
    assert found.p90 == close(3.7) and found.p99 == close(3.97)


def test_lengths_are_those_of_their_distribution() -> None:
    chance = Random(1)  # noqa: S311 - lengths, no secret
    uniform = Uniform.below(1024, 0.8).draw(20_000, chance)
    assert (min(uniform), max(uniform)) == (819, 1024)
    assert sum(uniform) / 20_000 == pytest.approx(921.5, rel=0.01)
    around = Uniform.around(100, 0.25).draw(5_000, chance)
    assert (min(around), max(around)) == (75, 125)
    log = sorted(Lognormal(300.0, 1.0).draw(60_000, chance))
    assert sum(log) / 60_000 == pytest.approx(300, rel=0.03)
    # the median of a lognormal is its mean divided by exp(sigma^2 / 2)
    assert log[30_000] == pytest.approx(300 / 1.6487, rel=0.03)
    assert max(Lognormal(300.0, 1.0, most_tokens=512).draw(5_000, chance)) == 512
    assert list(Listed((3, 0, 5)).draw(5, chance)) == [3, 1, 5, 3, 1]


def test_arrivals_are_those_of_their_kind() -> None:
    sent = chat(Poisson(5.0), 50_000).sent_s()
    assert sent[-1] == pytest.approx(10_000, rel=0.02) and list(sent) == sorted(sent)
    assert list(chat(Bursts(2, 1.5), 5).sent_s()) == [0.0, 0.0, 1.5, 1.5, 3.0]
    assert list(chat(Timed((0.5, 0.7, 0.9)), 2).sent_s()) == [0.5, 0.7]


def test_a_load_becomes_traffic() -> None:
    load = Load(prompt_tokens=10, output_tokens=3, concurrent_requests=4)
    traffic = traffic_of(load, default_count=40)
    assert traffic.arrivals == ClosedLoop(4) and traffic.request_count == 40
    assert list(traffic.output_tokens()) == [3] * 40
    assert traffic_of(replace(load, rate_per_s=2.0, request_count=9), default_count=40).arrivals == Poisson(2.0)
    assert traffic_of(replace(load, concurrent_requests=None), default_count=1).arrivals == ClosedLoop(1)
