"""Engines: constraints by table, budgets against the engine's own figures, commands against the real option lists."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from conftest import deployment, machine
from fitserve.engines.contract import Deployment
from fitserve.engines.llama_cpp.memory import last_that_holds
from fitserve.engines.llama_cpp.settings import CELL_MULTIPLE
from fitserve.engines.option_lists import option_row
from fitserve.engines.registry import engine, engines
from fitserve.foundation.reasons import Severity, Verdict, verdict_of
from fitserve.foundation.units import GIB
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.search.evaluate import evaluate

ORIGINALS = [model_id for model_id, row in rows().items() if row["quantized_from"] is None]
EIGHT_B = "meta-llama/Llama-3.1-8B-Instruct"
SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"


def codes(made: Deployment) -> set[str]:
    return {reason.code for reason in evaluate(made).reasons}


CONSTRAINTS = [
    # engine, model, format, GPU, changes, code that must be there
    ("vllm", EIGHT_B, "bf16", "v100-sxm-32gb", {}, "capability_too_low"),
    ("vllm", EIGHT_B, "bf16", "v100-sxm-32gb", {"engine_version": "0.10.0"}, "runs_in_float16"),
    ("vllm", EIGHT_B, "fp8", "a100-sxm-80gb", {}, "fp8_not_accelerated"),
    ("vllm", EIGHT_B, "nvfp4", "h100-sxm-80gb", {}, "fp4_not_accelerated"),
    ("vllm", EIGHT_B, "awq-4bit", "v100-sxm-32gb", {"engine_version": "0.10.0"}, "format_needs_capability"),
    ("vllm", EIGHT_B, "exl2:4.65bpw", "rtx-4090", {}, "format_not_supported"),
    ("vllm", EIGHT_B, "bf16", "rtx-4090", {"context_tokens": 200_000}, "context_beyond_model"),
    ("vllm", EIGHT_B, "bf16", "rtx-4090", {"options": {"no-such-option": "1"}}, "option_unknown"),
    ("vllm", EIGHT_B, "bf16", "rtx-3090", {"kv_format": "fp8"}, "kv_fp8_needs_capability"),
    ("vllm", EIGHT_B, "bf16", "rtx-4090", {"kv_format": "q8_0"}, "kv_format_not_supported"),
    ("vllm", SCOUT, "w4a16", "a100-sxm-80gb", {"engine_version": "0.8.2"}, "architecture_too_new"),
    ("vllm", "google/gemma-2-9b-it", "bf16", "t4", {}, "model_needs_bfloat16"),
    ("vllm", EIGHT_B, "bf16", "m2-ultra-192gb", {}, "vendor_not_supported"),
    ("llama.cpp", EIGHT_B, "awq-4bit", "rtx-4090", {}, "format_not_gguf"),
    ("llama.cpp", EIGHT_B, "gguf:IQ4_KS", "rtx-4090", {}, "format_of_a_fork"),
    ("llama.cpp", "meta-llama/Llama-3.2-11B-Vision-Instruct", "gguf:Q4_K_M", "rtx-4090", {}, "no_gguf_converter"),
    ("llama.cpp", SCOUT, "gguf:Q4_K_M", "a100-sxm-80gb", {"engine_version": "b4000"}, "architecture_too_new"),
    ("llama.cpp", EIGHT_B, "gguf:Q4_K_M", "rtx-4090", {"kv_format": "fp8"}, "kv_format_not_supported"),
    ("llama.cpp", EIGHT_B, "gguf:UD-Q4_K_XL", "rtx-4090", {}, "publisher_recipe"),
]


@pytest.mark.parametrize(("engine_name", "model_id", "weight_format", "gpu", "changes", "code"), CONSTRAINTS)
def test_constraints(
    engine_name: str, model_id: str, weight_format: str, gpu: str, changes: dict[str, Any], code: str
) -> None:
    assert code in codes(deployment(model_id, weight_format, engine_name, machine(gpu), **changes))


def test_all_reasons_are_given_at_once() -> None:
    made = deployment(SCOUT, "fp8", "vllm", machine("v100-sxm-32gb"))
    assert {"capability_too_low", "format_needs_capability", "weights_exceed_memory", "runs_in_float16"} <= codes(made)


@pytest.mark.parametrize(("tp", "code"), [(3, "heads_not_divisible"), (16, None)])
def test_divisibility_of_heads(tp: int, code: str | None) -> None:
    made = deployment("meta-llama/Llama-3.3-70B-Instruct", "bf16", "vllm", machine(*["h100-sxm-80gb"] * tp), tp=tp)
    assert (code in codes(made)) if code else evaluate(made).fits


def test_groups_of_a_quantized_width_must_stay_whole() -> None:
    # Qwen2.5-72B: 29568 columns among 8 GPUs are 28.9 groups of 128
    made = deployment("Qwen/Qwen2.5-72B-Instruct", "gptq-4bit", "vllm", machine(*["a100-sxm-80gb"] * 8), tp=8)
    assert "group_not_divisible" in codes(made)


def test_llama_cpp_spreads_layers_and_vllm_needs_a_gpu() -> None:
    two = machine("rtx-3090", "rtx-3090")
    assert "splits_by_layer_only" in codes(deployment(EIGHT_B, "gguf:Q4_K_M", "llama.cpp", two, tp=2))
    assert "engine_needs_gpu" in codes(deployment(EIGHT_B, "bf16", "vllm", machine(ram_bytes=64 * GIB)))


def test_windows_runs_vllm_in_docker() -> None:
    assert "runs_in_docker_desktop" in codes(deployment(EIGHT_B, "bf16", "vllm", machine("rtx-4090", os="windows")))


def test_the_tables_of_vllm_defaults_by_release() -> None:
    old = deployment(EIGHT_B, "bf16", "vllm", machine("h100-sxm-80gb"), engine_version="0.10.0")
    new = deployment(EIGHT_B, "bf16", "vllm", machine("h100-sxm-80gb"))
    figures = [evaluate(made).budget for made in (old, new)]
    assert figures[0] is not None and figures[1] is not None
    shares = [budget.details["settings"].utilization for budget in figures if budget]
    assert shares == [0.9, 0.92]
    assert figures[1].details["settings"].limits.batched_tokens == 8192


def test_a_vllm_pool_as_the_log_of_an_h100_says() -> None:
    # evidence vllm-mem-052: gpt-oss-20b on H100 at 0.95, 13.64 GiB weights, 58.47 GiB pool, 1,277,184 tokens
    card = replace(machine("h100-sxm-80gb").devices[0], visible_bytes=int(79.19 * GIB))
    on = replace(machine("h100-sxm-80gb"), devices=(card,))
    made = deployment(
        "openai/gpt-oss-20b", "mxfp4", "vllm", on, engine_version="0.19.0", options={"gpu-memory-utilization": "0.95"}
    )
    figures = engine("vllm").log_figures(made, engine("vllm").budget(made))
    assert figures["weights_gib"].likely == pytest.approx(13.64, rel=0.01)
    assert figures["kv_cache_gib"].likely == pytest.approx(58.47, rel=0.02)
    assert figures["kv_tokens"].likely == pytest.approx(1_277_184, rel=0.02)


def test_llama_cpp_buffers_as_a_public_log_says() -> None:
    # evidence xd-3070_v3-8: Llama 3 8B Q4_K_M, 8192 tokens, build 2824
    made = deployment(
        "meta-llama/Meta-Llama-3-8B", "gguf:Q4_K_M", "llama.cpp", machine("rtx-3070"), engine_version="b2824",
        options={"flash-attn": "off"},
    )  # fmt: skip
    figures = engine("llama.cpp").log_figures(made, engine("llama.cpp").budget(made))
    assert figures["model_mib.CUDA0"].likely == pytest.approx(4403.49, abs=0.01)
    assert figures["model_mib.CPU"].likely == pytest.approx(281.81, abs=0.01)
    assert figures["kv_mib.CUDA0"].likely == 1024
    assert figures["compute_mib.CUDA0"].likely == pytest.approx(560, rel=0.01)


def test_experts_leave_the_gpu_first() -> None:
    on = machine("rtx-4090", ram_bytes=64 * GIB)
    made = deployment("Qwen/Qwen3-30B-A3B", "gguf:Q4_K_M", "llama.cpp", on, offload_layers=20)
    budget = evaluate(made).budget
    assert budget is not None
    host = sum(item.likely_bytes for item in budget.host_items if item.code == "weights")
    everything = evaluate(replace(made, offload_layers=None)).budget
    assert everything is not None and 5 * GIB < host < 12 * GIB
    assert budget.weights_bytes == everything.weights_bytes
    assert "--n-cpu-moe" in engine("llama.cpp").command(made).argv


models = st.sampled_from(ORIGINALS)
cards = st.sampled_from(
    ["rtx-3090", "rtx-4090", "a100-sxm-80gb", "h100-sxm-80gb", "b200-sxm-180gb", "v100-sxm-32gb", "mi300x"]
)
pairs = st.sampled_from(
    [("vllm", "bf16"), ("vllm", "fp8"), ("vllm", "w4a16"), ("vllm", "awq-4bit"), ("llama.cpp", "gguf:Q4_K_M"),
     ("llama.cpp", "gguf:Q8_0"), ("llama.cpp", "gguf:IQ2_M")]
)  # fmt: skip


@given(models, cards, pairs, st.sampled_from([1, 2, 4]), st.integers(256, 65536))
def test_memory_is_the_sum_of_its_parts_and_holds_the_weights(
    model_id: str, gpu: str, pair: tuple[str, str], count: int, context: int
) -> None:
    on = machine(*[gpu] * count, ram_bytes=2048 * GIB)
    judged = evaluate(deployment(model_id, pair[1], pair[0], on, pp=count, context_tokens=context))
    if judged.budget is None:
        return
    budget = judged.budget
    total = sum(device.used_bytes for device in budget.devices) + budget.host_bytes
    assert budget.total_bytes.likely == pytest.approx(total, rel=1e-6)
    assert budget.total_bytes.low <= budget.total_bytes.likely <= budget.total_bytes.high
    assert total >= budget.weights_bytes > 0
    placed = sum(device.item("weights") for device in budget.devices)
    assert (
        placed + sum(i.likely_bytes for i in budget.host_items if i.code == "weights") >= budget.weights_bytes - count
    )
    if judged.fits:
        assert all(device.used_bytes <= device.usable_bytes for device in budget.devices)
        assert budget.kv.max_context_tokens >= min(context, catalog_model(model_id).max_context_tokens) // 256 * 256


@given(models, cards, pairs, st.integers(256, 32768), st.integers(256, 32768))
def test_a_longer_context_never_needs_less(
    model_id: str, gpu: str, pair: tuple[str, str], one: int, other: int
) -> None:
    first = deployment(model_id, pair[1], pair[0], machine(gpu, ram_bytes=2048 * GIB), context_tokens=min(one, other))
    second = replace(first, context_tokens=max(one, other))
    short, long = evaluate(first), evaluate(second)
    if short.budget is None or long.budget is None:
        return
    assert short.budget.kv.bytes_at_context <= long.budget.kv.bytes_at_context
    if short.verdict is Verdict.DOES_NOT_FIT:
        assert not long.fits


@given(models, cards, pairs, st.sampled_from([1, 2, 8]))
def test_the_order_of_devices_does_not_matter(model_id: str, gpu: str, pair: tuple[str, str], count: int) -> None:
    on = machine(*[gpu] * count, ram_bytes=512 * GIB)
    made = deployment(model_id, pair[1], pair[0], on, pp=count)
    again = replace(made, machine=replace(on, devices=tuple(reversed(on.devices))))
    first, second = evaluate(made), evaluate(again)
    assert first.verdict is second.verdict
    if first.budget and second.budget:
        assert [d.used_bytes for d in first.budget.devices] == [d.used_bytes for d in second.budget.devices]


def _versions() -> list[tuple[str, str]]:
    return [(known.id, version) for known in engines() for version in known.versions]


VARIANTS = [
    {},
    {"kv_format": "fp8"},
    {"kv_format": "q8_0"},
    {"max_num_seqs": 4, "concurrent_requests": 4},
    {"tp": 2},
    {"pp": 2},
    {"offload_layers": 10},
]


def _usual(engine_name: str) -> tuple[str, Machine]:
    """A format and a machine on which an engine's newest release runs."""
    for weight_format in ("gguf:Q4_K_M", "bf16"):
        for on in (machine("h100-sxm-80gb", "h100-sxm-80gb", ram_bytes=256 * GIB), machine("m2-ultra-192gb")):
            if evaluate(deployment(EIGHT_B, weight_format, engine_name, on)).fits:
                return weight_format, on
    raise AssertionError(engine_name)


@pytest.mark.parametrize(("engine_name", "version"), _versions())
def test_commands_use_only_options_of_their_release(engine_name: str, version: str) -> None:
    chosen = engine(engine_name)
    weight_format, on = _usual(engine_name)
    seen = 0
    listed = chosen.known_options(version)
    for model_id, changes in itertools.product(
        [EIGHT_B, "Qwen/Qwen3-30B-A3B", "mistralai/Mixtral-8x7B-Instruct-v0.1"], VARIANTS
    ):
        made = deployment(model_id, weight_format, engine_name, on, engine_version=version, **changes)
        if verdict_of(evaluate(made).reasons) is not Verdict.FITS:
            continue
        argv = chosen.command(made).argv
        for word in argv[3:] if argv[1] == "-m" else argv:  # `python3 -m module` is no option of the server
            if word.startswith("-") and not word.lstrip("-").replace(".", "").isdigit():
                assert word in listed, f"{word} is no option of {engine_name} {version}"
        seen += 1
    assert seen or version in {"0.2.7"} or engine_name == "vllm"


def test_values_of_options_are_of_their_choices() -> None:
    made = deployment(EIGHT_B, "bf16", "vllm", machine("h100-sxm-80gb"), kv_format="fp8")
    argv = engine("vllm").command(made).argv
    row = option_row("fitserve.engines.vllm", "0.33.0", "--kv-cache-dtype")
    assert row is not None and argv[argv.index("--kv-cache-dtype") + 1] in (row.get("choices") or row["known_values"])


@given(models, cards, pairs)
def test_a_format_is_never_paired_with_an_engine_that_cannot_load_it(
    model_id: str, gpu: str, pair: tuple[str, str]
) -> None:
    other = "llama.cpp" if pair[0] == "vllm" else "vllm"
    judged = evaluate(deployment(model_id, pair[1], other, machine(gpu)))
    assert judged.verdict is Verdict.NOT_SUPPORTED
    assert any(reason.severity is Severity.BLOCKER and reason.code.startswith("format") for reason in judged.reasons)


@pytest.mark.parametrize(
    ("engine_name", "version", "option", "value", "said"),
    [
        ("vllm", "0.33.0", "enforce-eager", "true", ["--enforce-eager"]),
        ("vllm", "0.24.0", "enforce-eager", "false", ["--no-enforce-eager"]),
        ("vllm", "0.24.0", "no-enable-prefix-caching", "true", ["--no-enable-prefix-caching"]),
        ("vllm", "0.24.0", "no-enable-prefix-caching", "false", ["--enable-prefix-caching"]),
        ("vllm", "0.6.6.post1", "enforce-eager", "false", []),
        ("llama.cpp", "v0.5.0", "kv-unified", "off", ["--no-kv-unified"]),
        ("llama.cpp", "v0.5.0", "flash-attn", "off", ["--flash-attn", "off"]),
        ("llama.cpp", "b7551", "flash-attn", "off", ["--flash-attn", "off"]),
        ("llama.cpp", "b4747", "flash-attn", "off", []),
        ("llama.cpp", "b4747", "flash-attn", "on", ["--flash-attn"]),
    ],
)
def test_switches_given_on_or_off_say_so_in_the_words_of_the_release(
    engine_name: str, version: str, option: str, value: str, said: list[str]
) -> None:
    weight_format = "gguf:Q4_K_M" if engine_name == "llama.cpp" else "bf16"
    usual = {"engine_version": version}
    model = "meta-llama/Llama-3.1-8B-Instruct"
    given = deployment(model, weight_format, engine_name, machine("a100-sxm-80gb"), options={option: value}, **usual)
    argv = list(engine(engine_name).command(given).argv)
    bare = option.removeprefix("no-")
    words = [i for i, word in enumerate(argv) if word in {f"--{bare}", f"--no-{bare}"}]
    assert len(words) == (1 if said else 0)
    for start in words:
        assert argv[start : start + len(said)] == said


@pytest.mark.parametrize("version", ["b6325", "b7551", "b8929", "v0.5.0"])
def test_flash_attention_has_a_value_from_the_build_on_that_wants_one(version: str) -> None:
    given = deployment("Qwen/Qwen3-8B", "gguf:Q4_K_M", "llama.cpp", machine("rtx-3090"), engine_version=version)
    argv = engine("llama.cpp").command(given).argv
    assert argv[argv.index("--flash-attn") + 1] == "on"


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=60), st.integers(0, 10**10))
def test_the_longest_context_is_the_last_that_holds(steps: list[int], room: int) -> None:
    """Whatever the needs do between two contexts, as long as they do not shrink."""
    needs = list(itertools.accumulate(steps))

    assume(needs[-1] > room)

    def left(context: int) -> int:
        return room - needs[min(context // CELL_MULTIPLE, len(needs)) - 1]

    expected = max((count for count in range(1, len(needs)) if needs[count - 1] <= room), default=0)
    assert last_that_holds(left, len(needs)) == expected
