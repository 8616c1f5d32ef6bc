"""Speed of one stream: laws, measured anchors, what is refused, the fitted data."""

import itertools
import json
import math
from dataclasses import replace
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitserve.engines.contract import Deployment
from fitserve.evidence.cases import packaged_cases
from fitserve.evidence.given import Unanswered
from fitserve.evidence.predict import predict
from fitserve.evidence.speed_cases import stream_case
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.intervals import Interval
from fitserve.hardware.identify import device, gpu_rows, identify
from fitserve.hardware.processors import processor
from fitserve.hardware.types import Host, Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format
from fitserve.models.names import resolve_name
from fitserve.predict.stream_job import StreamJob, stream_facts, stream_job
from fitserve.predict.stream_terms import Term, decode_terms, prefill_terms, total_s
from fitserve.predict.streams import level_of, stream_rates, stream_speed
from fitserve.predict.types import Load
from fitserve.predict.work import cache_read_bytes, read_per_token_bytes

DATA: dict[str, Any] = json.loads(files("fitserve.predict.data").joinpath("streams.json").read_text())
LLAMA_8B, MOE = "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-30B-A3B"
CARDS = ["rtx-4090", "rtx-3090", "rx-7900-xtx", "apple-m3-max-40c", "gb10", "ryzen-ai-max-395", "gtx-1050-ti"]


def deployment(
    gpu: str | None = "rtx-4090",
    count: int = 1,
    model: str = LLAMA_8B,
    weights: str = "gguf:Q4_K_M",
    engine: str = "llama.cpp",
    cpu: str | None = None,
    **more: Any,
) -> Deployment:
    devices = (identify(gpu).device,) * count if gpu else ()
    options = more.pop("options", {})
    return Deployment(
        model=catalog_model(resolve_name(model).id), machine=Machine(devices=devices, host=Host(cpu_name=cpu)),
        engine=engine, engine_version="b9000", weight_format=parse_format(weights), pp=count, context_tokens=8192,
        options=MappingProxyType(options), **more,
    )  # fmt: skip


def decode(depth: float = 512, **given_fields: Any) -> Interval:
    return stream_rates(deployment(**given_fields), 512, depth).decode_tok_per_s


@pytest.mark.parametrize("gpu", CARDS)
@pytest.mark.parametrize("model", [LLAMA_8B, MOE])
def test_more_bits_are_never_faster(gpu: str, model: str) -> None:
    rates = [decode(gpu=gpu, model=model, weights=f"gguf:{mix}").likely for mix in ("Q4_K_M", "Q6_K", "Q8_0", "F16")]
    assert all(fewer > more for fewer, more in itertools.pairwise(rates))
    assert rates[0] > rates[2] > 1.2 * rates[3]


@pytest.mark.parametrize("gpu", CARDS)
def test_no_rate_exceeds_what_the_bandwidth_allows(gpu: str) -> None:
    made = deployment(gpu=gpu)
    read = read_per_token_bytes(made.model, made.weight_format) + cache_read_bytes(made.model, 4096, 2)
    bandwidth = made.machine.devices[0].bandwidth_bytes_per_s
    assert bandwidth is not None
    assert stream_rates(made, 512, 4096).decode_tok_per_s.high <= bandwidth / read * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(
    shallow=st.integers(0, 60_000), deeper=st.integers(1, 60_000), gpu=st.sampled_from(CARDS),
    engine=st.sampled_from(["llama.cpp", "ollama", "mlx", "vllm"]),
)  # fmt: skip
def test_deeper_is_never_faster(shallow: int, deeper: int, gpu: str, engine: str) -> None:
    weights = "gguf:Q4_K_M" if engine in {"llama.cpp", "ollama"} else "mlx-4bit" if engine == "mlx" else "awq"
    job = stream_job(deployment(gpu=gpu, engine=engine, weights=weights))
    coefficients = DATA["coefficients"]
    near, far = (total_s(decode_terms(job, depth), coefficients) for depth in (shallow, shallow + deeper))
    assert near <= far * (1 + 1e-12)


@settings(max_examples=30, deadline=None)
@given(layers=st.integers(0, 31), model=st.sampled_from([LLAMA_8B, MOE]), cpu=st.sampled_from([None, "Ryzen 9 7950X"]))
def test_more_layers_in_ram_are_never_faster(layers: int, model: str, cpu: str | None) -> None:
    less, more = (decode(model=model, cpu=cpu, offload_layers=count or None).likely for count in (layers, layers + 1))
    assert more <= less * (1 + 1e-9)


def test_whole_layers_in_ram_cost_more_than_their_experts() -> None:
    experts = decode(model=MOE, cpu="Ryzen 9 7950X", options={"n-cpu-moe": "48"}).likely
    layers = decode(model=MOE, cpu="Ryzen 9 7950X", options={"gpu-layers": "0"}).likely
    assert layers < experts < decode(model=MOE).likely


def test_cards_in_a_row_make_one_stream_no_faster() -> None:
    one, two = (stream_rates(deployment(count=count), 4096, 512) for count in (1, 2))
    assert two.decode_tok_per_s.likely <= one.decode_tok_per_s.likely * 1.02
    assert "speed_layers_in_turn" in {reason.code for reason in two.reasons}
    assert (
        two.prefill_tok_per_s.likely > one.prefill_tok_per_s.likely
    )  # chunks of a prompt run through them as a pipeline


@settings(max_examples=30, deadline=None)
@given(streams=st.integers(1, 63), gpu=st.sampled_from(CARDS), model=st.sampled_from([LLAMA_8B, MOE]))
def test_more_streams_take_longer_together(streams: int, gpu: str, model: str) -> None:
    job = stream_job(deployment(gpu=gpu, model=model))
    fewer, more = (total_s(decode_terms(job, 512, count), DATA["coefficients"]) for count in (streams + 1, streams + 2))
    assert fewer <= more * (1 + 1e-9)


def test_terms_add_up_and_take_their_coefficients() -> None:
    terms = (Term(2.0, ("a", "b")), Term(3.0, ("c",)))
    assert total_s(terms, {}) == 5.0
    assert total_s(terms, {"a": math.log(2), "b": math.log(0.5), "c": math.log(4)}) == pytest.approx(14.0)


def test_the_base_of_decode_is_bytes_over_bandwidth() -> None:
    job = stream_job(deployment(gpu="rtx-4090"))
    read = [term.base_s for term in decode_terms(job, 0) if term.keys[0] == "read"]
    made = deployment()
    assert sum(read) == pytest.approx(read_per_token_bytes(made.model, made.weight_format) / 1.008e12)


def test_attention_grows_with_the_square_of_the_prompt() -> None:
    job = stream_job(deployment())

    def attention(tokens: int) -> float:
        return sum(term.base_s for term in prefill_terms(job, tokens, 0) if term.keys[0] == "attention")

    assert attention(8192) == pytest.approx(4 * attention(4096))


# evidence single_stream_speed: llamabench-ab2e050156, llamabench-5e8490f5e1, exllamav2-f23a569e86
ANCHORS = [
    ("llama.cpp", "gb10", "openai/gpt-oss-120b", "gguf:MXFP4", 58.72),
    ("llama.cpp", "apple-m2-ultra", "google/gemma-3-4b-it", "gguf:Q4_0", 134.28),
    ("exllamav2", "rtx-3090-ti", "codellama/CodeLlama-34b-hf", "exl2:4.0bpw", 44.0),
]


@pytest.mark.parametrize(("engine", "gpu", "model", "weights", "measured"), ANCHORS)
def test_anchors(engine: str, gpu: str, model: str, weights: str, measured: float) -> None:
    found = decode(depth=64, gpu=gpu, model=model, weights=weights, engine=engine)
    assert found.low <= measured <= found.high
    assert found.likely == pytest.approx(measured, rel=0.25)


def test_an_unknown_processor_is_refused_and_an_unnamed_one_assumed_beside_a_gpu() -> None:
    assert processor("Imaginary 9000X") is None
    with pytest.raises(FactMissing):
        stream_rates(deployment(gpu=None, cpu="Imaginary 9000X"), 512, 0)
    beside = stream_rates(deployment(offload_layers=8), 512, 0)
    assert "speed_ram_assumed" in {reason.code for reason in beside.reasons}
    alone = stream_rates(deployment(), 512, 0).decode_tok_per_s
    mixed = beside.decode_tok_per_s
    assert mixed.high / mixed.low > alone.high / alone.low


def test_sockets_share_the_work() -> None:
    one, two = processor("Intel Xeon Gold 6138"), processor("2x Intel Xeon Gold 6138")
    assert one is not None and two is not None
    assert two.bandwidth_bytes_per_s == 2 * one.bandwidth_bytes_per_s == 2 * 6 * 8 * 2666e6
    assert decode(gpu=None, cpu="2x Intel Xeon Gold 6138").likely > 0


def test_an_engine_without_a_law_and_a_backend_without_measurements_are_refused() -> None:
    with pytest.raises(FactMissing):
        stream_rates(deployment(engine="tensorrt-llm", weights="fp8"), 512, 0)
    odd = replace(identify("rtx-4090").device, id="odd", vendor="odd", compute_capability="99.9")
    made = deployment()
    with pytest.raises(FactMissing):
        stream_rates(replace(made, machine=Machine(devices=(odd,), host=Host())), 512, 0, backend="odd")


def test_a_card_without_measurements_takes_its_family_with_a_wider_interval() -> None:
    assert "rtx-4060" not in DATA["known"]["devices"]
    known, other = (stream_rates(deployment(gpu=gpu), 512, 512) for gpu in ("rtx-4070", "rtx-4060"))
    assert level_of(stream_job(deployment(gpu="rtx-4060")), DATA) == "family"
    spread = [rates.decode_tok_per_s.high / rates.decode_tok_per_s.low for rates in (known, other)]
    assert spread[0] < spread[1]
    assert [reason.code for reason in other.reasons] == ["speed_without_measurements"]
    assert other.basis[0].kind == "estimated" and known.basis[0].kind == "fitted"


def _jobs() -> list[StreamJob]:
    found = []
    for gpu in gpu_rows():
        if device(gpu).vendor in {"nvidia", "amd", "apple"} and device(gpu).bandwidth_bytes_per_s:
            found.append(stream_job(deployment(gpu=gpu)))
    return found


def test_every_card_of_the_catalogue_has_an_answer() -> None:
    jobs = _jobs()
    assert len(jobs) > 100
    for job in jobs:
        assert level_of(job, DATA) in {"gpu", "family", "backend"}
        seconds = total_s(decode_terms(job, 512), DATA["coefficients"])
        floor = read_per_token_bytes(job.model, job.weight_format) / job.devices[0].bandwidth_bytes_per_s
        assert floor * 0.95 < seconds < floor * 12, job.devices[0].id


def test_a_server_with_slots() -> None:
    made = deployment()
    loads = [Load(prompt_tokens=512, output_tokens=256, concurrent_requests=count) for count in (1, 4, 16)]
    one, four, many = (stream_speed(made, None, load) for load in loads)
    assert one.inter_token_s.likely < four.inter_token_s.likely
    assert one.output_tok_per_s.likely < four.output_tok_per_s.likely
    assert many.output_tok_per_s.likely == pytest.approx(four.output_tok_per_s.likely)  # four slots: the rest waits
    assert many.ttft_s.likely > 10 * four.ttft_s.likely
    assert [reason.code for reason in many.reasons] == ["speed_queueing"]
    for speed in (one, four, many):
        assert speed.ttft_s.low <= speed.ttft_s.likely <= speed.ttft_s.high


def test_arrivals_count_by_their_time_in_the_system() -> None:
    made = deployment()
    rare, dense = (
        stream_speed(made, None, Load(prompt_tokens=512, output_tokens=256, rate_per_s=rate)) for rate in (0.01, 10.0)
    )
    assert dense.inter_token_s.likely > rare.inter_token_s.likely


def test_options_reach_the_job() -> None:
    given_fields = {
        "engine": "llama.cpp", "backend": "ROCm 7.1.1", "gpu": "rx-7900-xtx", "gpu_count": 2, "model": LLAMA_8B,
        "weight_format": "gguf:Q4_0", "phase": "prefill", "tokens": 2048, "depth_tokens": 4096, "ubatch_tokens": 2048,
        "k_format": "q8_0", "v_format": "q8_0", "flash_attention": False, "split_mode": "row", "n_cpu_moe": 3,
    }  # fmt: skip
    made = stream_case(given_fields)
    job = stream_job(made.deployment, made.backend)
    assert (job.backend, job.chunk_tokens, job.kv_element_bytes) == ("hip", 2048, 34 / 32)
    assert (job.has_flash_attention, job.tensor_parallel, job.host_experts) == (False, True, 3)


def test_speculation_is_not_guessed() -> None:
    case = {"engine": "vllm", "model": LLAMA_8B, "gpu": "rtx-4090", "phase": "decode", "speculative_method": "mtp"}
    with pytest.raises(Unanswered) as raised:
        stream_case(case)
    assert raised.value.reason.code == "speculation_not_predicted"


def test_the_fitted_data_names_its_cases() -> None:
    ids = set(json.loads(files("fitserve.predict.data").joinpath("streams_cases.json").read_text()))
    packaged = {case.id for case in packaged_cases() if case.kind == "single_stream_speed" and not case.doubt}
    doubted = {case.id for case in packaged_cases() if case.doubt}
    assert len(ids) > 1500 and len(ids & packaged) > 500 and not ids & doubted
    for phase, table in DATA["errors"].items():
        assert {"gpu", "family", "backend"} <= set(table), phase
        for row in table.values():
            assert 0 < row["low"] < 1 < row["high"]
    assert max(abs(value) for value in DATA["coefficients"].values()) < 8
    assert {"llama.cpp", "ollama", "mlx", "exllamav2"} <= set(stream_facts()["engines"])


def test_packaged_cases_are_predicted() -> None:
    errors, inside = [], []
    for case in packaged_cases():
        if case.kind != "single_stream_speed" or case.doubt:
            continue
        try:
            found = predict(case)["tok_per_s"]
        except Unanswered:
            continue
        assert isinstance(found, Interval)
        measured = case.measured["tok_per_s"]
        errors.append(abs(found.likely / measured - 1))
        inside.append(found.contains(measured))
    errors.sort()
    assert len(errors) > 500
    assert errors[len(errors) // 2] < 0.08 and sum(inside) / len(inside) > 0.85


@pytest.mark.parametrize("gpu", ["rtx-4090", "rtx-3060-12gb", "apple-m3-max-40c", "rx-7900-xtx"])
def test_a_dense_model_is_slower_by_the_bytes_that_a_format_reads(gpu: str) -> None:
    """Q6_K reads 1.36 times the bytes of Q4_K_M, Q5_K_M lies between: neither unpacking nor launches hide that."""
    four, five, six = (decode(gpu=gpu, weights=f"gguf:{mix}").likely for mix in ("Q4_K_M", "Q5_K_M", "Q6_K"))
    assert six < five < four
    assert 1.1 < four / six < 1.4
