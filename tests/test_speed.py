"""Speed of batching engines: laws that hold for every deployment, bounds from bytes, two results kept out of the fit."""

import itertools
import json
from dataclasses import replace
from types import MappingProxyType

import pytest

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.engines.registry import engine
from fitserve.evidence.cases import packaged_cases
from fitserve.evidence.score import rows_of
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_json
from fitserve.hardware.identify import device, gpu_rows
from fitserve.hardware.types import Host, Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format
from fitserve.predict.batched import batched_speed, room_of
from fitserve.predict.gpu_rates import gpu_rates
from fitserve.predict.scales import coefficients, scales_of, terms_of
from fitserve.predict.step import ScaledSteps, step_parts
from fitserve.predict.types import Load, Speed
from fitserve.predict.work import cache_read_bytes, matrices

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
EXPERTS = "Qwen/Qwen3-30B-A3B"
LATENT = "deepseek-ai/DeepSeek-R1"


def _deployment(
    model: str = LLAMA, gpu: str = "h100-sxm-80gb", tp: int = 1, weight_format: str = "bf16", **given: object
) -> Deployment:
    fields: dict[str, object] = {"engine": "vllm", "engine_version": "0.19.0", "context_tokens": 8192} | given
    machine = Machine(devices=(device(gpu),) * tp * int(str(fields.get("pp", 1))), host=Host())
    return Deployment(
        model=catalog_model(model), machine=machine, weight_format=parse_format(weight_format), tp=tp, **fields
    )  # type: ignore[arg-type]


def _budget(deployment: Deployment) -> MemoryBudget:
    return engine(deployment.engine).budget(deployment)


def _speed(deployment: Deployment, load: Load) -> Speed:
    return batched_speed(deployment, _budget(deployment), load)


def _steps(deployment: Deployment, kv_format: str = "bf16") -> ScaledSteps:
    gpu = gpu_rates(deployment.machine.devices[0].id)
    scales = scales_of(terms_of(deployment, gpu), coefficients())
    return ScaledSteps(
        parts=step_parts(deployment, kv_format), decode_scales=scales.decode, prefill_scales=scales.prefill
    )


DEPLOYMENTS = [
    _deployment(),
    _deployment(EXPERTS, tp=2),
    _deployment(LATENT, gpu="b200-sxm-180gb", tp=8, weight_format="fp8-block"),
    _deployment(gpu="rtx-3090", tp=2, weight_format="awq-4bit"),
    _deployment(gpu="mi300x"),
    _deployment(gpu="v100-sxm-32gb"),
    _deployment(EXPERTS, gpu="rtx-4090", tp=2, weight_format="gptq-4bit"),
]
IDS = [f"{d.model.id.rpartition('/')[2]}-{d.machine.devices[0].id}" for d in DEPLOYMENTS]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=IDS)
def test_more_work_never_takes_less_time(deployment: Deployment) -> None:
    steps = _steps(deployment)
    contexts = [steps.decode_s(16, 16 * tokens) for tokens in (128, 512, 2048, 8192, 32768)]
    batches = [steps.decode_s(batch, batch * 2048) for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256)]
    chunks = [steps.prefill_s(tokens, 0) for tokens in (16, 64, 256, 1024, 4096, 8192)]
    for times in (contexts, batches, chunks):
        assert all(later >= earlier for earlier, later in itertools.pairwise(times)), times
    assert steps.prefill_s(512, 8192) > steps.prefill_s(512, 0)
    assert steps.mixed_s(8, 8 * 1024, 512, 0) > steps.decode_s(8, 8 * 1024)
    rates = [batch / time for batch, time in zip((1, 2, 4, 8, 16, 32, 64, 128, 256), batches, strict=True)]
    assert all(later >= 0.98 * earlier for earlier, later in itertools.pairwise(rates)), rates


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=IDS)
def test_no_step_is_faster_than_the_memory(deployment: Deployment) -> None:
    gpu = gpu_rates(deployment.machine.devices[0].id)
    dense = [item for item in matrices(deployment.model, deployment.weight_format, deployment.tp) if not item.experts]
    weights = sum(item.bytes * item.count for item in dense)
    least = weights / gpu.bandwidth_bytes_per_s
    for batch in (1, 32, 256):
        assert _steps(deployment).decode_s(batch, batch * 1024) >= least
    parts = step_parts(deployment, "bf16")
    read = cache_read_bytes(deployment.model, 4096, 2.0, deployment.tp) * 64
    assert parts.decode(64, 64 * 4096)[4] == pytest.approx(read / gpu.bandwidth_bytes_per_s)


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=IDS)
@pytest.mark.parametrize("users", [1, 64, 400])
def test_more_bandwidth_is_never_slower(deployment: Deployment, users: int) -> None:
    slow = gpu_rates(deployment.machine.devices[0].id)
    fast = replace(
        slow,
        bandwidth_bytes_per_s=slow.bandwidth_bytes_per_s * 1.5,
        flop_per_s=MappingProxyType({name: rate * 1.5 for name, rate in slow.flop_per_s.items()}),
    )
    load = Load(prompt_tokens=512, output_tokens=256, concurrent_requests=users)
    budget = _budget(deployment)
    one, two = (batched_speed(deployment, budget, load, gpu) for gpu in (slow, fast))
    assert two.inter_token_s.likely <= one.inter_token_s.likely
    assert two.ttft_s.likely <= one.ttft_s.likely * 1.001
    assert two.output_tok_per_s.likely >= one.output_tok_per_s.likely


def test_tensor_parallel_shortens_a_large_model_and_costs_a_small_one_little() -> None:
    load = Load(prompt_tokens=1024, output_tokens=1024, concurrent_requests=16)
    large = [_speed(_deployment("meta-llama/Llama-3.3-70B-Instruct", tp=tp), load) for tp in (4, 8)]
    assert large[1].inter_token_s.likely < large[0].inter_token_s.likely
    by_cable = _steps(_deployment(gpu="rtx-4090", tp=8)).decode_s(64, 64 * 1024)
    parts = step_parts(_deployment(gpu="rtx-4090", tp=8), "bf16").decode(64, 64 * 1024)
    switched = step_parts(_deployment(tp=8), "bf16").decode(64, 64 * 1024)
    assert parts[6] > 3 * switched[6]  # PCIe against NVSwitch
    assert by_cable > 0


@pytest.mark.parametrize("users", [1, 8, 64, 256])
def test_figures_agree_with_each_other(users: int) -> None:
    speed = _speed(_deployment(), Load(prompt_tokens=512, output_tokens=512, concurrent_requests=users))
    whole = speed.ttft_s.likely + 511 * speed.inter_token_s.likely
    assert speed.output_tok_per_s.likely == pytest.approx(users * 512 / whole, rel=0.05)
    for value in (speed.ttft_s, speed.inter_token_s, speed.output_tok_per_s):
        assert 0 < value.low <= value.likely <= value.high


def test_users_beyond_the_cache_queue() -> None:
    small = _deployment("Qwen/Qwen3-32B", context_tokens=8192, max_num_seqs=256)
    few, many = (
        _speed(small, Load(prompt_tokens=4096, output_tokens=1024, concurrent_requests=users)) for users in (2, 256)
    )
    assert many.ttft_s.likely > 10 * few.ttft_s.likely
    assert any(reason.code == "speed_queueing" for reason in many.reasons)
    assert not any(reason.code == "speed_queueing" for reason in few.reasons)


def test_arrivals_below_and_above_what_the_server_carries() -> None:
    deployment = _deployment()
    calm, more, over = (
        _speed(deployment, Load(prompt_tokens=512, output_tokens=256, rate_per_s=rate, request_count=2000))
        for rate in (1.0, 10.0, 500.0)
    )
    assert calm.output_tok_per_s.likely == pytest.approx(256, rel=0.1)
    assert calm.inter_token_s.likely < more.inter_token_s.likely < over.inter_token_s.likely
    assert over.ttft_s.likely > 5 * more.ttft_s.likely


@pytest.mark.parametrize("gpu", ["apple-m3-ultra", "gaudi3"])
def test_no_basis_is_refused(gpu: str) -> None:
    with pytest.raises(FactMissing):
        gpu_rates(gpu)


def test_every_gpu_has_rates_or_a_reason() -> None:
    known = 0
    for gpu in gpu_rows():
        try:
            rates = gpu_rates(gpu)
        except FactMissing as missing:
            assert missing.fact and missing.where
            continue
        known += 1
        assert rates.flop_per_s["bf16"] > 1e12 and rates.bandwidth_bytes_per_s > 1e10
    assert known >= 80


def test_inherited_speed_says_so_and_is_less_certain() -> None:
    load = Load(prompt_tokens=512, output_tokens=256, concurrent_requests=4)
    measured, inherited = _speed(_deployment(), load), _speed(_deployment(gpu="rtx-4090"), load)
    assert any(reason.code == "speed_inherited" for reason in inherited.reasons)
    assert not any(reason.code == "speed_inherited" for reason in measured.reasons)
    widths = [s.inter_token_s.high / s.inter_token_s.low for s in (measured, inherited)]
    assert widths[1] > widths[0]


# Document 002: one B200, 1024 tokens in and out, 512 users, 2,560 requests, vLLM of August 2025. In no fit.
SCOUT = {"fp8": (4002.32, 102.25, 21437.04), "nvfp4": (6798.82, 70.11, 2847.42)}


def _scout(weight_format: str) -> tuple[Deployment, MemoryBudget, Load]:
    name = {"fp8": "FP8", "nvfp4": "FP4"}[weight_format]
    deployment = _deployment(
        f"nvidia/Llama-4-Scout-17B-16E-Instruct-{name}", gpu="b200-sxm-180gb", weight_format=weight_format,
        engine_version="0.10.1", kv_format="fp8", context_tokens=9216, max_num_seqs=512,
        options={"gpu-memory-utilization": "0.9", "max-num-batched-tokens": "8192"},
    )  # fmt: skip
    load = Load(prompt_tokens=1024, output_tokens=1024, concurrent_requests=512, request_count=2560)
    return deployment, _budget(deployment), load


@pytest.mark.parametrize("weight_format", ["fp8", "nvfp4"])
def test_scout_on_b200(weight_format: str) -> None:
    rate, gap_ms, ttft_ms = SCOUT[weight_format]
    speed = batched_speed(*_scout(weight_format))
    assert speed.output_tok_per_s.likely == pytest.approx(rate, rel=0.3)
    assert speed.inter_token_s.likely * 1e3 == pytest.approx(gap_ms, rel=0.3)
    assert ttft_ms / 2 <= speed.ttft_s.likely * 1e3 <= ttft_ms * 2


def test_scout_waits_for_room_with_fp8_weights_only() -> None:
    (_, heavy, load), (deployment, light, _) = _scout("fp8"), _scout("nvfp4")
    rooms = [room_of(deployment, budget, load) for budget in (heavy, light)]
    assert rooms[0].is_cache_bound and rooms[0].batch < 400
    assert not rooms[1].is_cache_bound and rooms[1].batch == 512
    codes = [{reason.code for reason in batched_speed(*_scout(name)).reasons} for name in ("fp8", "nvfp4")]
    assert "speed_queueing" in codes[0] and "speed_queueing" not in codes[1]


def test_scout_is_in_no_fit() -> None:
    ids = json.dumps(load_json("fitserve.predict", "data/speed_cases.json"))
    assert len(ids) > 1000 and "scout" not in ids.lower()


@pytest.fixture(scope="module")
def closed() -> list[tuple[bool, str, float, bool]]:
    """(is MoE, metric, relative error, inside) of every tenth packaged closed loop."""
    found = []
    cases = [case for case in packaged_cases() if case.kind == "serving_speed" and not case.doubt]
    for case in cases[::10]:
        for row in rows_of(case):
            if row.error_pct is not None and not case.given.get("rate_per_s"):
                is_moe = "experts" in str(terms_of_case(case.given["model"]))
                found.append((is_moe, row.metric, abs(row.error_pct), bool(row.is_inside)))
    return found


def terms_of_case(model: str) -> str:
    """experts or dense."""
    from fitserve.evidence.given import model_of

    return "experts" if any(layer.experts for layer in model_of({"model": model}).model.layers) else "dense"


@pytest.mark.parametrize(
    ("is_moe", "metric", "most"),
    [
        (False, "inter_token_ms.mean", 16.0), (True, "inter_token_ms.mean", 14.0),
        (False, "ttft_ms.mean", 35.0), (True, "ttft_ms.mean", 30.0),
    ],
)  # fmt: skip
def test_measured_cases_stay_as_near_as_they_are(
    closed: list[tuple[bool, str, float, bool]], is_moe: bool, metric: str, most: float
) -> None:
    errors = sorted(error for body, name, error, _ in closed if body is is_moe and name == metric)
    assert len(errors) >= 20
    assert errors[len(errors) // 2] <= most
    inside = [flag for _, name, _, flag in closed if name == metric]
    assert 0.8 <= sum(inside) / len(inside) <= 1.0


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=IDS)
def test_users_who_queue_take_nothing_from_those_who_are_served(deployment: Deployment) -> None:
    budget = _budget(replace(deployment, max_num_seqs=128))
    served, queued = [], []
    for users in (32, 48, 64, 96, 112, 127, 128, 160, 256, 1024):
        speed = batched_speed(deployment, budget, Load(prompt_tokens=512, output_tokens=256, concurrent_requests=users))
        (queued if speed.is_queued else served).append(speed.output_tok_per_s.likely)
    assert queued
    assert min(queued) >= 0.98 * max(served, default=0.0)


def test_equal_requests_run_in_waves_where_prompts_go_first() -> None:
    given = {"prompt_tokens": 1024, "output_tokens": 256, "concurrent_requests": 64}
    by_engine = {}
    for name, version in (("sglang", "0.5.6"), ("vllm", "0.19.0")):
        deployment = _deployment(engine=name, engine_version=version)
        alike, mixed = (_speed(deployment, Load(**given, has_equal_lengths=equal)) for equal in (True, False))
        by_engine[name] = (alike, mixed)
    waves, mixed = by_engine["sglang"]
    assert waves.ttft_s.likely > mixed.ttft_s.likely
    assert waves.inter_token_s.likely < mixed.inter_token_s.likely
    bunches, mixed = by_engine["vllm"]
    assert bunches.inter_token_s.likely == pytest.approx(mixed.inter_token_s.likely)
    assert mixed.ttft_s.likely < bunches.ttft_s.likely < waves.ttft_s.likely


def test_idle_replicas_make_no_tokens() -> None:
    one, four = _deployment(), replace(_deployment(), dp=4)
    load = Load(prompt_tokens=512, output_tokens=256, concurrent_requests=1)
    budget = _budget(one)
    assert batched_speed(four, budget, load).output_tok_per_s.likely == pytest.approx(
        batched_speed(one, budget, load).output_tok_per_s.likely, rel=0.1
    )
