"""SGLang and TensorRT-LLM: constraints by table, policy against the sources, memory against public logs, commands."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import deployment, machine
from fitserve.engines.contract import Deployment
from fitserve.engines.option_lists import scanned_versions
from fitserve.engines.registry import engine
from fitserve.engines.sglang.memory import budget as sglang_budget
from fitserve.engines.sglang.memory import token_pool_bytes
from fitserve.engines.sglang.policy import prefill_graphs, resolve
from fitserve.engines.sglang.rules import FACTS
from fitserve.engines.sglang.rules import option as sglang_option
from fitserve.engines.tensorrt_llm.memory import state_bytes
from fitserve.engines.tensorrt_llm.rules import option as trt_option
from fitserve.footprint.kv_cache import state_elements
from fitserve.footprint.ranks import rank_request_bytes, rank_state_bytes, rank_token_bytes
from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Severity, Verdict
from fitserve.foundation.units import GIB
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.search.evaluate import evaluate

EIGHT_B = "meta-llama/Llama-3.1-8B-Instruct"
SEVENTY_B = "meta-llama/Llama-3.3-70B-Instruct"
SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"


def codes(made: Deployment) -> set[str]:
    return {reason.code for reason in evaluate(made).reasons}


CANDIDATE = {"engine_version": "1.4.0rc1"}
CONSTRAINTS = [
    ("sglang", EIGHT_B, "bf16", "v100-sxm-32gb", {}, "capability_too_low"),
    ("sglang", EIGHT_B, "bf16", "t4", {}, "runs_in_float16"),
    ("sglang", EIGHT_B, "fp8", "a100-sxm-80gb", {}, "fp8_not_accelerated"),
    ("sglang", EIGHT_B, "fp8", "t4", {}, "format_needs_capability"),
    ("sglang", EIGHT_B, "nvfp4", "h100-sxm-80gb", {}, "fp4_not_accelerated"),
    ("sglang", EIGHT_B, "nvfp4", "h100-sxm-80gb", {"engine_version": "0.5.9"}, "format_needs_capability"),
    ("sglang", EIGHT_B, "w4a16", "t4", {}, "format_needs_capability"),
    ("sglang", "openai/gpt-oss-20b", "mxfp4", "h100-sxm-80gb", {"engine_version": "0.4.6.post5"}, "format_too_new"),
    ("sglang", EIGHT_B, "exl2:4.65bpw", "rtx-4090", {}, "format_not_supported"),
    ("sglang", EIGHT_B, "gguf:Q4_K_M", "rtx-4090", {}, "sglang_gguf_one_file"),
    ("sglang", SCOUT, "w4a16", "h100-sxm-80gb", {"engine_version": "0.4.3.post4"}, "architecture_too_new"),
    ("sglang", "ai21labs/Jamba-v0.1", "bf16", "h100-sxm-80gb", {}, "sglang_transformers_backend"),
    ("sglang", EIGHT_B, "bf16", "mi300x", {}, None),
    ("sglang", EIGHT_B, "w4a16", "mi300x", {}, "sglang_rocm_format_unread"),
    ("sglang", EIGHT_B, "bf16", "rx-7900-xtx", {}, "sglang_rocm_family_missing"),
    ("sglang", EIGHT_B, "bf16", "m2-ultra-192gb", {}, "sglang_metal_experimental"),
    ("sglang", EIGHT_B, "bf16", "m2-ultra-192gb", {"engine_version": "0.5.9"}, "vendor_not_supported"),
    ("sglang", EIGHT_B, "bf16", "rtx-3090", {"kv_format": "fp8"}, "kv_fp8_needs_capability"),
    ("sglang", EIGHT_B, "bf16", "rtx-4090", {"kv_format": "q8_0"}, "kv_format_not_supported"),
    ("sglang", EIGHT_B, "bf16", "rtx-4090", {"options": {"no-such-option": "1"}}, "option_unknown"),
    ("sglang", EIGHT_B, "bf16", "rtx-4090", {"context_tokens": 200_000}, "context_beyond_model"),
    ("sglang", EIGHT_B, "bf16", "rtx-4090", {"options": {"mem-fraction-static": "0.98"}}, "sglang_reserve_small"),
    ("sglang", EIGHT_B, "bf16", "rtx-4090", {"context_tokens": 16_384}, "sglang_share_could_rise"),
    ("tensorrt-llm", EIGHT_B, "fp8", "a100-sxm-80gb", {}, "format_needs_capability"),
    ("tensorrt-llm", EIGHT_B, "fp8", "rtx-4090", {}, "trtllm_quantize_first"),
    ("tensorrt-llm", EIGHT_B, "nvfp4", "h100-sxm-80gb", {}, "format_needs_capability"),
    ("tensorrt-llm", EIGHT_B, "nvfp4", "rtx-5090", {}, "trtllm_quantize_first"),
    ("tensorrt-llm", EIGHT_B, "awq-4bit", "b200-sxm-180gb", {}, "trtllm_format_not_on_family"),
    ("tensorrt-llm", "deepseek-ai/DeepSeek-R1", "fp8-block", "rtx-4090", {}, "format_needs_capability"),
    ("tensorrt-llm", EIGHT_B, "int8-w8a8", "h100-sxm-80gb", {}, "format_not_supported"),
    ("tensorrt-llm", EIGHT_B, "gguf:Q4_K_M", "h100-sxm-80gb", {}, "format_not_supported"),
    ("tensorrt-llm", EIGHT_B, "bf16", "v100-sxm-32gb", {}, "capability_too_low"),
    ("tensorrt-llm", EIGHT_B, "bf16", "t4", {}, "capability_too_low"),
    ("tensorrt-llm", EIGHT_B, "bf16", "mi300x", {}, "vendor_not_supported"),
    ("tensorrt-llm", EIGHT_B, "bf16", "m2-ultra-192gb", {}, "vendor_not_supported"),
    ("tensorrt-llm", "google/gemma-4-31B-it", "bf16", "h100-sxm-80gb", {}, "architecture_too_new"),
    ("tensorrt-llm", "ai21labs/Jamba-v0.1", "bf16", "h100-sxm-80gb", {}, "architecture_unknown_to_engine"),
    ("tensorrt-llm", "ibm-granite/granite-3.3-8b-instruct", "bf16", "h100-sxm-80gb", CANDIDATE, "trtllm_autodeploy"),
    ("tensorrt-llm", EIGHT_B, "bf16", "h100-sxm-80gb", {"kv_format": "q8_0"}, "kv_format_not_supported"),
    ("tensorrt-llm", EIGHT_B, "bf16", "h100-sxm-80gb", {"kv_format": "nvfp4"}, "format_needs_capability"),
    ("tensorrt-llm", EIGHT_B, "bf16", "h100-sxm-80gb", {"options": {"kv_cache_dtype": "fp8"}}, "option_unknown"),
    ("tensorrt-llm", SCOUT, "w4a16", "h100-sxm-80gb", {}, "format_not_supported"),
]  # fmt: skip


@pytest.mark.parametrize(("engine_name", "model_id", "weight_format", "gpu", "changes", "code"), CONSTRAINTS)
def test_constraints(
    engine_name: str, model_id: str, weight_format: str, gpu: str, changes: dict[str, Any], code: str | None
) -> None:
    made = deployment(model_id, weight_format, engine_name, machine(gpu), **changes)
    if code is None:
        assert evaluate(made).verdict is Verdict.FITS
    else:
        assert code in codes(made)


@pytest.mark.parametrize("engine_name", ["sglang", "tensorrt-llm"])
def test_platforms_in_words(engine_name: str) -> None:
    on_windows = deployment(EIGHT_B, "bf16", engine_name, machine("rtx-4090", os="windows"))
    assert "runs_in_docker_desktop" in codes(on_windows)
    without = evaluate(deployment(EIGHT_B, "bf16", engine_name, machine(ram_bytes=64 * GIB)))
    assert without.verdict is Verdict.NOT_SUPPORTED and without.budget is None
    mixed = deployment(EIGHT_B, "bf16", engine_name, machine("rtx-4090", "rtx-3090"), tp=2)
    assert "mixed_devices_as_smallest" in codes(mixed)


@pytest.mark.parametrize(("tp", "code"), [(3, "heads_not_divisible"), (4, None)])
@pytest.mark.parametrize("engine_name", ["sglang", "tensorrt-llm"])
def test_heads_divide(engine_name: str, tp: int, code: str | None) -> None:
    found = codes(deployment(SEVENTY_B, "bf16", engine_name, machine(*["h100-sxm-80gb"] * tp), tp=tp))
    assert code in found if code else not found & {"heads_not_divisible", "width_not_divisible"}


@pytest.mark.parametrize("engine_name", ["sglang", "tensorrt-llm"])
def test_pipelines_only_where_tensor_parallelism_does_not_divide(engine_name: str) -> None:
    chosen, on = engine(engine_name), machine(*["h200-sxm-141gb"] * 8)
    assert (1, 8) not in chosen.splits(catalog_model("deepseek-ai/DeepSeek-R1"), on, chosen.versions[-1])
    # 29568 columns among 8 are 28.9 groups of 128: a GPTQ checkpoint needs stages instead
    assert {(8, 1), (1, 8)} <= set(chosen.splits(catalog_model("Qwen/Qwen2.5-72B-Instruct"), on, chosen.versions[-1]))


def test_groups_of_a_quantized_width_stay_whole() -> None:
    made = deployment("Qwen/Qwen2.5-72B-Instruct", "gptq-4bit", "sglang", machine(*["a100-sxm-80gb"] * 8), tp=8)
    assert "group_not_divisible" in codes(made)


def test_a_checkpoint_of_another_maker_is_unknown_to_tensorrt_llm() -> None:
    made = deployment(
        SCOUT, "fp8", "tensorrt-llm", machine("b200-sxm-180gb"),
        repository="RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic",
    )  # fmt: skip
    judged = evaluate(made)
    assert judged.verdict is Verdict.UNKNOWN and judged.has("trtllm_checkpoint_unread")


def test_tensorrt_llm_offers_nvidias_checkpoints() -> None:
    offered = engine("tensorrt-llm").candidates(catalog_model(SCOUT), machine("b200-sxm-180gb"), "1.2.1")
    named = {candidate.weight_format.name: candidate.repository for candidate in offered if candidate.repository}
    assert named == {
        "fp8": "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8",
        "nvfp4": "nvidia/Llama-4-Scout-17B-16E-Instruct-FP4",
    }


# Static shares as the sources compute them by hand: 0.5.23 on 24564 MiB, one rank: 512 + 4096 x 1.5 + 128 + 48 x 2 +
# 50 x 8 = 7280; on 81559 MiB, four ranks: 512 + 8192 x 1.5 + 512 + 512 x 2 + 58 x 8 = 14800. 0.5.9 has no prefill graphs:
# 512 + 2048 x 1.5 + 128 + 24 x 2 = 3760. 0.5.2: 2867.2 + 102.4 = 2969.6. 0.4.6: 0.88.
SHARES = [
    ("0.5.23", "rtx-4090", 1, 1 - 7280 / 24564),
    ("0.5.9", "rtx-4090", 1, 1 - 3760 / 24564),
    ("0.5.3.post3", "rtx-4090", 1, 1 - (3760 - 16) / 24564),
    ("0.5.2", "rtx-4090", 1, 1 - 2969.6 / 24564),
    ("0.4.6.post5", "rtx-4090", 1, 0.88),
    ("0.5.23", "h100-sxm-80gb", 4, 1 - 14800 / 81559),
    ("0.5.2", "h100-sxm-80gb", 4, 1 - (9728 + 4 * 512) / 81559),
    ("0.4.6.post5", "h100-sxm-80gb", 4, 0.85),
]


@pytest.mark.parametrize(("version", "gpu", "tp", "share"), SHARES)
def test_the_static_share_is_that_of_the_release(version: str, gpu: str, tp: int, share: float) -> None:
    made = deployment(EIGHT_B, "bf16", "sglang", machine(*[gpu] * tp), tp=tp, engine_version=version)
    assert resolve(made).static_share == pytest.approx(share, abs=6e-4)


def test_multimodal_models_and_latent_attention_get_less() -> None:
    on = machine("h100-sxm-80gb")
    plain = resolve(deployment(EIGHT_B, "bf16", "sglang", on)).static_share
    assert resolve(deployment("google/gemma-3-27b-it", "bf16", "sglang", on)).static_share < 0.97 * plain
    latent = resolve(deployment("deepseek-ai/DeepSeek-V2-Lite-Chat", "bf16", "sglang", on)).static_share
    assert latent == pytest.approx(1 - (512 + 12288 + 128 + 512 + 1536) / 81559, abs=6e-4)


@pytest.mark.parametrize(("chunk", "count"), [(2048, 42), (4096, 50), (8192, 58), (16384, 74)])
def test_prefill_sizes_are_those_of_the_source(chunk: int, count: int) -> None:
    ranges = [range(4, 33, 4), range(48, 257, 16), range(288, 513, 32), range(576, 1025, 64), range(1280, 4097, 256)]
    listed = [size for part in [*ranges, range(4608, chunk + 1, 512)] for size in part if size <= chunk]
    assert prefill_graphs(chunk) == len(listed) == count


@pytest.mark.parametrize("value", ["much", "0", "1.5"])
def test_a_share_that_is_none_is_refused(value: str) -> None:
    made = deployment(EIGHT_B, "bf16", "sglang", machine("rtx-4090"), options={"mem-fraction-static": value})
    with pytest.raises(InputError):
        resolve(made)
    trt = deployment(EIGHT_B, "bf16", "tensorrt-llm", machine("rtx-4090"), options={"free_gpu_memory_fraction": value})
    with pytest.raises(InputError):
        engine("tensorrt-llm").budget(trt)


# Public logs: tokens of the cache and its GiB on one rank. (engine, model, ranks, tokens, GiB, where)
LOGS = [
    ("sglang", "Qwen/Qwen3-235B-A22B", 4, 367_404, 2 * 8.23, "https://github.com/vllm-project/vllm/issues/21348"),
    ("sglang", "Qwen/Qwen3-30B-A3B", 4, 2_090_351, 2 * 23.92, "https://github.com/sgl-project/sglang/pull/15909"),
    ("sglang", "Qwen/Qwen3.5-397B-A17B", 2, 580_364, 2 * 4.15, "https://github.com/kvcache-ai/ktransformers/issues/1870"),
    ("tensorrt-llm", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1, 3_731_744, 78.30, "https://github.com/triton-inference-server/tutorials/pull/150"),
    ("tensorrt-llm", "Qwen/Qwen2.5-7B-Instruct", 1, 301_472, 16.10, "https://github.com/NVIDIA/TensorRT-LLM/issues/5306"),
]  # fmt: skip


@pytest.mark.parametrize(("engine_name", "model_id", "tp", "tokens", "gib", "url"), LOGS)
def test_cache_bytes_are_those_of_public_logs(
    engine_name: str, model_id: str, tp: int, tokens: int, gib: float, url: str
) -> None:
    assert url.startswith("https://")
    model = catalog_model(model_id)
    made = deployment(model_id, "bf16", engine_name, machine(*["h200-sxm-141gb"] * tp), tp=tp)
    per_token = (
        token_pool_bytes(made, range(len(model.layers)))
        if engine_name == "sglang"
        else rank_request_bytes(model, 4096, 2.0, tp, keeps_windows=False) / 4096
    )
    assert per_token * tokens / GIB == pytest.approx(gib, rel=0.005)


def test_a_pool_as_the_log_of_four_h100_says() -> None:
    # vllm-project/vllm issue 21348: Qwen3-235B-A22B-FP8, TP 4, --mem-fraction-static 0.93: 16.46 GiB a rank
    made = deployment(
        "Qwen/Qwen3-235B-A22B", "fp8-block", "sglang", machine(*["h100-sxm-80gb"] * 4), tp=4,
        options={"mem-fraction-static": "0.93"}, engine_version="0.4.9.post6",
    )  # fmt: skip
    budget = sglang_budget(made)
    pool = budget.devices[0].item("kv_cache") / GIB
    runtime = next(item for item in budget.devices[0].items if item.code == "runtime")
    spread = (runtime.bytes.high - runtime.bytes.low) / 2 / GIB
    assert pool == pytest.approx(16.46, abs=spread)
    assert pool == pytest.approx(16.46, rel=0.06)


def test_states_as_the_logs_say() -> None:
    # ktransformers issue 1870: 82 slots and one for padding take 7.29 + 0.13 GiB; KV gets 1 / 1.9 of the pool
    qwen = catalog_model("Qwen/Qwen3.5-397B-A17B")
    assert rank_state_bytes(qwen, 2) * 83 / GIB == pytest.approx(7.42, rel=0.01)
    states_of_log, cache_of_log = 7.29 + 0.13, 2 * 4.15
    assert states_of_log / cache_of_log == pytest.approx(FACTS.value("state_memory_ratio"), rel=0.02)
    # TensorRT-LLM issue 8642: 135.00 GiB of state for 2048 requests, in 16 bit
    nemotron = catalog_model("nvidia/NVIDIA-Nemotron-Nano-9B-v2")
    states = [state_elements(mixer) for layer in nemotron.layers for mixer in layer.mixers]
    assert sum(state.recurrent for state in states if state) * 2 * 2048 / GIB == pytest.approx(135.0, rel=0.001)
    assert 135.0 < state_bytes(nemotron, 1, range(len(nemotron.layers))) * 2048 / GIB < 1.05 * 135.0


def test_recurrent_models_share_the_pool_and_name_their_batch() -> None:
    on = machine(*["h100-sxm-80gb"] * 4)
    made = deployment("Qwen/Qwen3-Next-80B-A3B-Instruct", "bf16", "sglang", on, tp=4)
    budget = sglang_budget(made)
    exact = rank_token_bytes(made.model, 2.0, 4) * 8192 * 4
    assert exact < budget.kv.bytes_at_context < 1.2 * exact + 16 * rank_state_bytes(made.model, 4)
    trt = engine("tensorrt-llm").command(replace(made, engine="tensorrt-llm", engine_version="1.2.1")).argv
    assert trt[trt.index("--max_batch_size") + 1] == "64"


def test_windowed_layers_count_by_the_pool_ratio() -> None:
    made = deployment("openai/gpt-oss-20b", "mxfp4", "sglang", machine("h100-sxm-80gb"))
    layers = range(len(made.model.layers))
    whole = rank_token_bytes(made.model, 2.0)
    assert token_pool_bytes(made, layers) == pytest.approx(whole * 0.9)  # half of the layers at 0.8
    assert token_pool_bytes(replace(made, options={"swa-full-tokens-ratio": "0.1"}), layers) == pytest.approx(
        whole * 0.55
    )
    gemma = deployment("google/gemma-2-9b-it", "bf16", "sglang", machine("h100-sxm-80gb"))
    assert token_pool_bytes(gemma, range(len(gemma.model.layers))) == rank_token_bytes(gemma.model, 2.0)


def test_rotary_tables_of_ten_million_positions() -> None:
    # sglang srt/layers/rotary_embedding/base.py: float32, [10485760, 128]
    made = deployment(SCOUT, "nvfp4", "sglang", machine("b200-sxm-180gb"))
    short = replace(made.model, max_context_tokens=8192)
    extra = sglang_budget(made).weights_bytes - sglang_budget(replace(made, model=short)).weights_bytes
    assert extra == pytest.approx((10_485_760 - 8192) * 128 * 4, rel=1e-6)


VARIANTS: list[dict[str, Any]] = [
    {}, {"kv_format": "fp8"}, {"max_num_seqs": 4}, {"tp": 2}, {"pp": 2}, {"dp": 2}, {"tp": 2, "ep": 2}, {"context_tokens": 32768},
]  # fmt: skip
EVERY = [("sglang", version) for version in engine("sglang").versions] + [
    ("tensorrt-llm", version) for version in scanned_versions("fitserve.engines.tensorrt_llm")
]


@pytest.mark.parametrize(("engine_name", "version"), EVERY)
def test_commands_use_only_options_of_their_release(engine_name: str, version: str) -> None:
    chosen, on = engine(engine_name), machine("h200-sxm-141gb", "h200-sxm-141gb")
    row_of = sglang_option if engine_name == "sglang" else trt_option
    seen = 0
    for model_id, weight_format in [
        (EIGHT_B, "bf16"),
        (EIGHT_B, "fp8"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "bf16"),
    ]:
        for changes in VARIANTS:
            made = deployment(model_id, weight_format, engine_name, on, engine_version=version, **changes)
            if evaluate(made).verdict is not Verdict.FITS:
                continue
            argv, seen = chosen.command(made).argv, seen + 1
            for index, word in enumerate(argv):
                if word.startswith("--"):
                    row = row_of(version, word)
                    assert row is not None, f"{word} is no option of {engine_name} {version}"
                    takes = index + 1 < len(argv) and not argv[index + 1].startswith("--")
                    assert takes == (row["arity"] != "0"), word
                    assert not takes or not row.get("choices") or argv[index + 1] in row["choices"], (
                        word,
                        argv[index + 1],
                    )
    assert seen > 3 or version.startswith("0.4.0")


def test_the_entry_is_that_of_the_release() -> None:
    on = machine("h100-sxm-80gb")
    new, old = (deployment(EIGHT_B, "bf16", "sglang", on, engine_version=v) for v in ("0.5.23", "0.5.9"))
    assert engine("sglang").command(new).argv[:4] == ("sglang", "serve", "--model-path", EIGHT_B)
    assert engine("sglang").command(old).argv[:3] == ("python3", "-m", "sglang.launch_server")
    assert engine("sglang").command(new).image == "lmsysorg/sglang:v0.5.23"
    amd = deployment(EIGHT_B, "bf16", "sglang", machine("mi300x"))
    assert engine("sglang").command(amd).image == "lmsysorg/sglang:v0.5.23-rocm720-mi30x"


def test_tensorrt_llm_settings_without_an_option_go_into_a_file() -> None:
    made = deployment(EIGHT_B, "bf16", "tensorrt-llm", machine("h100-sxm-80gb"), kv_format="fp8", context_tokens=32768)
    old = engine("tensorrt-llm").command(made)
    assert old.files[0].text == "kv_cache_config: {dtype: fp8, free_gpu_memory_fraction: 0.9}\n"
    assert "--enable_chunked_prefill" in old.argv and old.files[0].path in old.argv
    assert old.image == "nvcr.io/nvidia/tensorrt-llm/release:1.2.1"
    new = engine("tensorrt-llm").command(replace(made, engine_version="1.4.0rc1"))
    assert new.files == () and new.argv[new.argv.index("--kv_cache_dtype") + 1] == "fp8"
    hopper = deployment("openai/gpt-oss-120b", "mxfp4", "tensorrt-llm", machine("h100-sxm-80gb"))
    assert engine("tensorrt-llm").command(hopper).files[0].text == "moe_config: {backend: TRITON}\n"
    assert "trtllm_config_file" in codes(hopper)


def test_fp8_made_on_loading_is_named_and_a_checkpoint_is_not() -> None:
    on = machine("h100-sxm-80gb")
    made = engine("sglang").command(deployment(EIGHT_B, "fp8", "sglang", on)).argv
    assert made[made.index("--quantization") + 1] == "fp8"
    named = deployment(EIGHT_B, "fp8", "sglang", on, repository="RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8")
    assert "--quantization" not in engine("sglang").command(named).argv


def test_candidates_are_no_versions_to_start_from() -> None:
    chosen = engine("tensorrt-llm")
    assert chosen.versions[-1] == "1.2.1" and not chosen.is_newer("1.4.0rc1") and chosen.is_newer("1.5.0")
    judged = evaluate(
        deployment("google/gemma-4-31B-it", "bf16", "tensorrt-llm", machine("h100-sxm-80gb"), engine_version="1.4.0rc1")
    )
    assert judged.verdict is Verdict.FITS


ORIGINALS = [model_id for model_id, row in rows().items() if row["quantized_from"] is None]
models = st.sampled_from(ORIGINALS)
cards = st.sampled_from(["rtx-3090", "rtx-4090", "a100-sxm-80gb", "h100-sxm-80gb", "b200-sxm-180gb", "mi300x"])
names = st.sampled_from(["sglang", "tensorrt-llm"])
formats = st.sampled_from(["bf16", "fp8", "awq-4bit", "nvfp4"])


@given(models, cards, names, formats, st.sampled_from([1, 2, 4]), st.integers(256, 65536))
def test_memory_is_the_sum_of_its_parts_and_holds_the_weights(
    model_id: str, gpu: str, name: str, weight_format: str, count: int, context: int
) -> None:
    made = deployment(model_id, weight_format, name, machine(*[gpu] * count), pp=count, context_tokens=context)
    judged = evaluate(made)
    if judged.budget is None:
        return
    total = sum(device.used_bytes for device in judged.budget.devices)
    assert total >= judged.budget.weights_bytes > 0
    interval = judged.budget.total_bytes
    assert interval.low <= interval.likely <= interval.high and interval.likely == pytest.approx(total, rel=1e-6)
    if judged.fits:
        assert all(device.used_bytes <= device.usable_bytes + 8 for device in judged.budget.devices)
        assert judged.budget.kv.max_context_tokens >= context


@given(models, cards, names, formats, st.integers(256, 32768), st.integers(256, 32768))
def test_a_longer_context_never_needs_less(
    model_id: str, gpu: str, name: str, weight_format: str, one: int, other: int
) -> None:
    first = deployment(model_id, weight_format, name, machine(gpu), context_tokens=min(one, other))
    short, long = evaluate(first), evaluate(replace(first, context_tokens=max(one, other)))
    if short.budget is None or long.budget is None:
        return
    assert short.budget.kv.bytes_at_context <= long.budget.kv.bytes_at_context
    if short.verdict is Verdict.DOES_NOT_FIT:
        assert not long.fits


@given(models, cards, names)
def test_every_answer_has_a_reason_or_a_command(model_id: str, gpu: str, name: str) -> None:
    made = deployment(model_id, "bf16", name, machine(gpu))
    judged = evaluate(made)
    if judged.fits:
        assert engine(name).command(made).argv[-1].isdigit()
    else:
        assert any(reason.severity is Severity.BLOCKER for reason in judged.reasons)


@pytest.mark.parametrize("engine_name", ["sglang", "tensorrt-llm"])
def test_the_command_line_table_names_real_options(engine_name: str) -> None:
    chosen = engine(engine_name)
    newest = scanned_versions(chosen.package)
    known = set().union(*(chosen.known_options(version) for version in newest))
    table = chosen.facts["command_line"]
    for words in table["reads"].values():
        assert any(word in known for word in words)
    for name, row in table["gone"].items():
        assert name not in chosen.known_options("9.9"), name
        assert not row["instead"] or row["instead"].split()[0] in chosen.known_options("9.9"), name
