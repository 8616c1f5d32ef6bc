"""The simulated workload of an estimate: levels, percentiles, goodput; what more hardware and other settings change."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitserve.cli.main import main
from fitserve.cli.verbs import world
from fitserve.plan.answer import Answer, estimate, plan
from fitserve.plan.request import EstimateRequest, PlanRequest
from fitserve.predict.figures import Targets
from fitserve.predict.serving import PERCENTILES, Served, Spread, served
from fitserve.predict.types import Load
from fitserve.search.evaluate import Evaluated
from fitserve.search.serve import kept_targets, spread_of
from fitserve.search.variants import AXES, gains
from fitserve.workload.presets import uses
from fitserve.workload.types import Targets as Wished
from fitserve.workload.types import Workload

MODEL = "Qwen/Qwen3-8B"
ENGINES = {"vllm": ("h100:1", "fp8"), "sglang": ("h100:1", "fp8"), "llama.cpp": ("rtx-4090:1", "Q4_K_M")}


def estimated(engine: str = "vllm", gpu: str | None = None, **fields: object) -> Answer:
    """An estimate of the model on an engine's usual GPU."""
    usual, weight_format = ENGINES[engine]
    asked = {"model": MODEL, "gpu": (gpu or usual,), "engine": (engine,), "format": weight_format, "context": 8192}
    return estimate(EstimateRequest.read(**asked | fields), world())


BASES: dict[str, Evaluated] = {name: estimated(name, concurrency=4).plans[0] for name in ENGINES}


def run(base: Evaluated, load: Load, targets: Targets, spread: Spread) -> Served:
    from fitserve.predict.speed import speed_of

    assert base.budget is not None
    found = served(base.deployment, base.budget, load, speed_of(base.deployment, base.budget, load), spread, targets)
    assert found is not None
    return found


LOADS = st.builds(
    Load, prompt_tokens=st.sampled_from([64, 1024, 3000]), output_tokens=st.sampled_from([2, 64, 700]),
    concurrent_requests=st.sampled_from([1, 3, 16, 90]),
) | st.builds(
    Load, prompt_tokens=st.sampled_from([64, 1024]), output_tokens=st.sampled_from([2, 300]),
    rate_per_s=st.sampled_from([0.05, 1.0, 20.0]),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(ENGINES)), LOADS, st.sampled_from([0.0, 0.8]), st.sampled_from([0.05, 1.0, 30.0]))
def test_percentiles_are_ordered_and_means_are_the_predicted_ones(
    engine: str, load: Load, sigma: float, wished_s: float
) -> None:
    from fitserve.predict.speed import speed_of

    base = BASES[engine]
    assert base.budget is not None
    found = run(base, load, Targets(ttft_s=wished_s), Spread(prompt_sigma=sigma, output_sigma=sigma))
    speed = speed_of(base.deployment, base.budget, load)
    for values in found.times_s.values():
        for value in values.values():
            assert 0 <= value.low <= value.likely <= value.high
        p50, p90, p99 = (values[name].likely for name in PERCENTILES[1:])
        assert p50 <= p90 <= p99
    if found.is_beyond:
        assert load.rate_per_s is not None and found.requests_per_s < load.rate_per_s and not speed.is_queued
    else:
        assert found.times_s["ttft"]["mean"].likely == pytest.approx(speed.ttft_s.likely)
        assert found.requests_per_s * load.output_tokens == pytest.approx(speed.output_tok_per_s.likely)
    assert found.times_s["inter_token"]["mean"].likely == pytest.approx(speed.inter_token_s.likely)
    assert found.good_share is not None and 0 <= found.good_share <= 1
    assert found.goodput_per_s is not None and found.goodput_per_s <= found.requests_per_s


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(ENGINES)), st.floats(0.01, 5), st.floats(1, 3))
def test_a_laxer_target_is_kept_by_no_fewer(engine: str, wished_s: float, times: float) -> None:
    load = Load(prompt_tokens=1024, output_tokens=128, concurrent_requests=12)
    strict, lax = (
        run(BASES[engine], load, Targets(ttft_s=value), Spread(prompt_sigma=0.5, output_sigma=1.0)).good_share
        for value in (wished_s, wished_s * times)
    )
    assert strict is not None and lax is not None and strict <= lax


def test_without_targets_there_is_no_goodput_and_one_request_after_the_other_is_never_late() -> None:
    found = run(BASES["vllm"], Load(prompt_tokens=512, output_tokens=64, concurrent_requests=1), Targets(), Spread())
    assert found.good_share is None and found.goodput_per_s is None
    ttft = found.times_s["ttft"]
    assert ttft["p99"].likely == pytest.approx(ttft["p50"].likely, rel=0.02)
    assert found.mean_batch == pytest.approx(1, abs=0.05)


def test_a_share_of_the_prompt_in_the_cache_shortens_the_simulated_first_token() -> None:
    load = Load(prompt_tokens=6000, output_tokens=64, concurrent_requests=2)
    cold, warm = (run(BASES["vllm"], load, Targets(), Spread(reused_share=share)) for share in (0.0, 0.9))
    assert warm.simulated_s["ttft"] < 0.6 * cold.simulated_s["ttft"]


@pytest.mark.parametrize("use", uses())
def test_lengths_vary_as_the_purpose_says_unless_they_were_stated(use: str) -> None:
    free = spread_of(Workload(context_tokens=8192, use=use))
    fixed = spread_of(Workload(context_tokens=8192, use=use, prompt_tokens=100, output_tokens=10))
    assert free.prompt_sigma > 0 and free.output_sigma > 0
    assert fixed == Spread()


def test_the_slower_of_two_wishes_for_the_next_token_counts() -> None:
    assert kept_targets(Wished(inter_token_s=0.1, min_tok_per_s=20)) == Targets(tpot_s=0.05)
    assert kept_targets(Wished(ttft_s=1)) == Targets(ttft_s=1)


@pytest.mark.parametrize("language", ["en", "ko"])
def test_an_estimate_shows_percentiles_goodput_pictures_and_more_hardware(
    language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "estimate",
        MODEL,
        "--gpu",
        "h100:1",
        "--engine",
        "vllm",
        "--format",
        "fp8",
        "--concurrency",
        "32",
        "--ttft",
        "1s",
    ]
    assert main([*flags, "--lang", language]) == 0
    shown = capsys.readouterr().out
    for part in ("p99", "2 x h100-sxm-80gb", "⠊", {"en": "Within the targets", "ko": "목표를 지키는 요청"}[language]):
        assert part in shown
    assert main([*flags, "--lang", language, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    figures = answer["plan"]["speed"]["percentiles"]
    assert figures["goodput"]["share_within_targets"] <= 1 and figures["simulated"]["lengths_vary"]
    assert {"ttft_s", "inter_token_s", "itl_s", "e2e_s"} <= set(figures)
    assert {"devices", "card"} <= {step["kind"] for step in answer["what_if"]}


@settings(max_examples=6, deadline=None)
@given(st.sampled_from(["h100", "a100-sxm-80gb", "l40s"]), st.floats(10, 60))
def test_twice_the_gpus_of_a_fast_link_carry_no_fewer_users(gpu: str, rate: float) -> None:
    answer = estimated(gpu=f"{gpu}:1", min_tok_per_s=rate, concurrency=2)
    users = answer.plans[0].users_within_targets
    doubled = next(step for step in answer.outlook if step.kind == "devices" and step.count == 2)
    assert users is not None and doubled.users is not None
    assert doubled.users >= users


def test_the_next_card_reads_faster_and_holds_no_less() -> None:
    answer = estimated(gpu="a100-sxm-80gb:1")
    step = next(step for step in answer.outlook if step.kind == "card")
    own, other = (item.deployment.machine.devices[0] for item in (answer.plans[0], step.item))
    assert (other.bandwidth_bytes_per_s or 0) >= 1.15 * (own.bandwidth_bytes_per_s or 0)
    assert other.memory_bytes >= own.memory_bytes and other.vendor == own.vendor
    assert step.item.deployment.weight_format == answer.plans[0].deployment.weight_format


def planned(**fields: object) -> Answer:
    return plan(
        PlanRequest.read(**{"model": "Qwen/Qwen3-32B", "gpu": ("h100:8",), "engine": ("vllm",)} | fields), world()
    )


def test_variants_win_on_the_axes_that_they_name_and_change_one_knob() -> None:
    base = planned(concurrency=512, use="batch").plans[0]
    assert {"dp", "kv_format"} <= {fix.knob for fix in base.variants}
    before = gains(base)
    assert before is not None
    for fix in base.variants:
        after = gains(fix.result)
        assert fix.result.fits and after is not None
        better = tuple(axis for axis, own, other in zip(AXES, before, after, strict=True) if other >= 1.1 * own)
        assert fix.wins == better != ()
        changed, own = fix.result.deployment, base.deployment
        same = {
            "kv_format": own.kv_format,
            "max_num_seqs": own.max_num_seqs,
            "tp": own.tp,
            "pp": own.pp,
            "dp": own.dp,
            "ep": own.ep,
        }
        restored = replace(changed, **same)  # type: ignore[arg-type]
        assert restored == own


def test_what_the_user_fixed_has_no_variant() -> None:
    base = planned(concurrency=512, use="batch", tp=2, pp=1, dp=4, ep=1, kv_format="fp8", max_num_seqs=256).plans[0]
    assert base.variants == () and base.deployment.max_num_seqs == 256


def test_experts_get_a_variant_of_their_own() -> None:
    found = planned(model="Qwen/Qwen3-30B-A3B", gpu=("h100:2",), tp=2, concurrency=64)
    assert all(fix.knob in {"ep", "kv_format", "max_num_seqs", "dp"} for item in found.plans for fix in item.variants)


def test_who_serves_everybody_ranks_before_who_lets_them_wait() -> None:
    plans = [item for item in planned(concurrency=512).plans if item.deployment.weight_format.name == "fp8"]
    waiting = [item.speed.is_queued for item in plans if item.speed is not None]
    assert waiting == sorted(waiting) and waiting[0] is False


def test_arrivals_that_are_more_than_is_answered_are_said() -> None:
    """One slot that takes seconds for an answer, and requests that come faster."""
    item = estimated("llama.cpp", rate=2.0).plans[0]
    assert item.served is not None and item.speed is not None
    assert item.served.is_beyond == item.has("arrivals_beyond") == (not item.speed.is_queued)
    calm = estimated("llama.cpp", rate=0.01).plans[0]
    assert calm.served is not None and not calm.served.is_beyond and not calm.has("arrivals_beyond")


def test_arrivals_that_are_kept_up_with_are_the_throughput() -> None:
    item = estimated(rate=2.0, prompt_tokens=1024, output_tokens=256).plans[0]
    assert item.speed is not None
    assert item.speed.output_tok_per_s.likely == pytest.approx(2.0 * 256, rel=0.1)
