"""Transformers, TGI and MLX: constraints by table, figures worked by hand, the split law, commands, inert scripts."""

import ast
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import deployment, machine
from fitserve.engines.contract import Deployment
from fitserve.engines.option_lists import option_row
from fitserve.engines.registry import engine
from fitserve.engines.transformers.command import script_text, settings
from fitserve.engines.transformers.memory import paged_overhead
from fitserve.engines.transformers.placement import RAM, Block, balanced, blocks_of, fill, spread, with_layers_in_ram
from fitserve.footprint.weights import weight_bytes
from fitserve.foundation.reasons import Severity
from fitserve.foundation.units import GIB
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.formats import parse_format
from fitserve.search.evaluate import evaluate

EIGHT_B = "meta-llama/Llama-3.1-8B-Instruct"
QWEN = "Qwen/Qwen3-8B"
SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
TRIO = ("transformers", "tgi", "mlx")
ORIGINALS = [name for name, row in rows().items() if row["quantized_from"] is None]


def codes(made: Deployment) -> set[str]:
    return {reason.code for reason in evaluate(made).reasons}


CONSTRAINTS = [
    # engine, model, format, GPU, changes, code that must be there
    ("transformers", SCOUT, "bf16", "a100-sxm-80gb", {"engine_version": "4.50.0"}, "architecture_too_new"),
    ("transformers", EIGHT_B, "gguf:Q4_K_M", "rtx-4090", {}, "format_not_supported"),
    ("transformers", EIGHT_B, "nvfp4", "b200", {}, "format_not_supported"),
    ("transformers", EIGHT_B, "bnb-8bit", "v100-sxm-32gb", {}, "format_needs_capability"),
    ("transformers", EIGHT_B, "bnb-4bit", "v100-sxm-32gb", {}, "runs_in_float16"),
    ("transformers", EIGHT_B, "fp8-block", "a100-sxm-80gb", {}, "hf_weights_dequantized"),
    ("transformers", EIGHT_B, "awq-4bit", "rtx-4090", {}, "hf_needs_packages"),
    ("transformers", EIGHT_B, "bf16", "rtx-4090", {"kv_format": "fp8"}, "kv_format_not_supported"),
    ("transformers", EIGHT_B, "bf16", "rtx-4090", {"options": {"load-in-4bit": "true"}}, "option_unknown"),
    ("transformers", EIGHT_B, "bnb-4bit", "rtx-4090", {"offload_layers": 4}, "bnb_not_in_ram"),
    ("transformers", "LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct", "bf16", "rtx-4090", {}, "hf_needs_remote_code"),
    ("transformers", EIGHT_B, "bf16", "rtx-4090", {"engine_version": "4.51.0"}, "script_without_server"),
    ("tgi", EIGHT_B, "bf16", "v100-sxm-32gb", {}, "capability_too_low"),
    ("tgi", EIGHT_B, "bf16", "m2-ultra-192gb", {}, "vendor_not_supported"),
    ("tgi", EIGHT_B, "bf16", "b200", {}, "tgi_gpu_newer"),
    ("tgi", EIGHT_B, "gguf:Q4_K_M", "rtx-4090", {}, "format_not_supported"),
    ("tgi", EIGHT_B, "bf16", "rtx-4090", {"options": {"no-such-option": "1"}}, "option_unknown"),
    ("tgi", EIGHT_B, "bf16", "rtx-4090", {"context_tokens": 200_000}, "context_beyond_model"),
    ("tgi", QWEN, "bf16", "rtx-4090", {}, "tgi_best_effort"),
    ("tgi", "deepseek-ai/DeepSeek-V2-Lite", "bf16", "a100-sxm-80gb", {}, "fact_missing"),
    ("mlx", EIGHT_B, "bf16", "mi300x", {}, "vendor_not_supported"),
    ("mlx", EIGHT_B, "bf16", "rtx-4090", {}, "mlx_cuda_backend"),
    ("mlx", EIGHT_B, "bf16", "v100-sxm-32gb", {}, "capability_too_low"),
    ("mlx", EIGHT_B, "mlx-4bit", "m2-ultra-192gb", {}, "mlx_convert_first"),
    ("mlx", EIGHT_B, "mlx-7bit", "m2-ultra-192gb", {}, "format_not_supported"),
    ("mlx", EIGHT_B, "gguf:Q4_K_M", "m2-ultra-192gb", {}, "format_not_supported"),
    ("mlx", SCOUT, "mlx-4bit", "m2-ultra-192gb", {"engine_version": "0.22.0"}, "architecture_too_new"),
    ("mlx", "tiiuae/falcon-7b-instruct", "bf16", "m2-ultra-192gb", {}, "mlx_model_type_missing"),
    ("mlx", "google/gemma-3-12b-it", "bf16", "m2-ultra-192gb", {"kv_format": "int8"}, "mlx_window_cache_not_quantized"),
    ("mlx", EIGHT_B, "bf16", "m2-ultra-192gb", {"kv_format": "int8", "engine_version": "0.31.3"}, "kv_format_not_supported"),
    ("mlx", EIGHT_B, "bf16", "m2-ultra-192gb", {"options": {"max-kv-size": "4096"}}, "option_unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "model_id", "weight_format", "gpu", "changes", "code"), CONSTRAINTS)
def test_constraints(
    name: str, model_id: str, weight_format: str, gpu: str, changes: dict[str, Any], code: str
) -> None:
    assert code in codes(deployment(model_id, weight_format, name, machine(gpu), **changes))


def test_tgi_says_that_it_is_archived_and_what_replaces_it() -> None:
    for gpu in ("a100-sxm-80gb", "v100-sxm-32gb"):
        found = evaluate(deployment(EIGHT_B, "bf16", "tgi", machine(gpu))).reasons
        said = next(reason for reason in found if reason.code == "engine_archived")
        assert said.severity is Severity.WARNING and said.source is not None
        assert said.parameters["instead"] == ("vLLM", "SGLang", "llama.cpp", "MLX")
        assert said.parameters["archived_since"] == "2026-03-21"


def test_a_matrix_in_nf4_and_in_mlx_by_hand() -> None:
    # 4096 x 4096 in NF4: 8 MiB of nibbles; 64 blocks a row of 8.125 bits each
    assert parse_format("nf4").matrix_bytes(4096, 4096) == 4096 * 4096 // 2 + 4096 * 64 * 65 // 64
    # MLX, groups of 64 with 16-bit scale and bias: 4 + 32 / 64 bits
    assert parse_format("mlx-4bit").effective_bits() == 4.5
    assert parse_format("mlx-4bit").matrix_bytes(4096, 4096) == 4096 * 4096 * 45 // 80
    assert [parse_format(f"mlx-{bits}bit").effective_bits() for bits in (3, 5, 6, 8)] == [3.5, 5.5, 6.5, 8.5]


def test_cache_bytes_by_hand() -> None:
    # Qwen3-8B: 36 layers, 8 KV heads of 128, keys and values
    elements = 36 * 2 * 8 * 128
    mlx = engine("mlx")
    plain = deployment(QWEN, "bf16", "mlx", machine("m2-ultra-192gb"))
    assert mlx.cache_bytes(plain, 1, "kv") == elements * 2 * 8192
    assert mlx.cache_bytes(replace(plain, context_tokens=8000), 1, "kv") == elements * 2 * 8192, "steps of 256"
    assert mlx.cache_bytes(replace(plain, kv_format="int8"), 1, "kv") == elements * 8192 * 17 // 16
    hf = deployment(QWEN, "bf16", "transformers", machine("rtx-4090"))
    assert engine("transformers").cache_bytes(hf, 3, "kv") == 3 * elements * 2 * 8192


def test_latent_attention_is_decompressed_before_the_release_that_keeps_it() -> None:
    made = deployment("deepseek-ai/DeepSeek-V2-Lite", "bf16", "transformers", machine("a100-sxm-80gb"))
    tokens = 27 * 8192 * 2
    assert engine("transformers").cache_bytes(made, 1, "kv") == tokens * (512 + 64)
    old = replace(made, engine_version="5.10.2")
    assert engine("transformers").cache_bytes(old, 1, "kv") == tokens * 16 * (128 + 64 + 128)
    # mlx-lm's DeepSeek-V2 keeps full heads, whatever the release
    mac = deployment("deepseek-ai/DeepSeek-V2-Lite", "bf16", "mlx", machine("m2-ultra-192gb"))
    assert engine("mlx").cache_bytes(mac, 1, "kv") == tokens * 16 * (128 + 64 + 128)


def test_windows_bound_the_cache_from_the_release_that_has_them() -> None:
    made = deployment("google/gemma-3-12b-it", "bf16", "transformers", machine("h100"), context_tokens=32768)
    old = replace(made, engine_version="4.55.0")
    hf = engine("transformers")
    assert hf.cache_bytes(made, 1, "kv") < hf.cache_bytes(old, 1, "kv") / 4


def test_the_tensors_beside_a_paged_cache_by_hand() -> None:
    # Qwen3-8B: hidden 4096, 32 heads and 8 KV heads of 128, vocabulary 151936; peak (2 x 32 + 8) x 128 x 2 bytes,
    # one mask in two sets of buffers: 2 x 2 x 8192 bytes a cached token
    fixed, each = paged_overhead(deployment(QWEN, "bf16", "transformers", machine("rtx-4090")))
    assert each == 18432 + 32768
    rows_of_logits = 1024 * (4096 * 2 + 151936 * 4)
    assert fixed == rows_of_logits + 8192 * (2 * (4096 + 4096 + 2048) + 18432) + 2 * 2 * 8192 * 8192


def test_a_dequantized_checkpoint_takes_the_room_of_bfloat16() -> None:
    budgets = [
        evaluate(deployment(EIGHT_B, "fp8-block", "transformers", machine(gpu))).budget for gpu in ("h100", "a100")
    ]
    assert budgets[0] is not None and budgets[1] is not None
    plain = evaluate(deployment(EIGHT_B, "bf16", "transformers", machine("a100"))).budget
    assert plain is not None and budgets[1].weights_bytes == plain.weights_bytes > 1.7 * budgets[0].weights_bytes


sizes = st.lists(st.integers(1, 10**9), min_size=1, max_size=40)


def _blocks(layers: list[int], ends: tuple[int, int]) -> tuple[Block, ...]:
    found = [Block(name=f"layer {index}", bytes=size, layer=index) for index, size in enumerate(layers)]
    return (Block(name="embeddings", bytes=ends[0]), *found, Block(name="head", bytes=ends[1]))


@given(
    sizes,
    st.tuples(st.integers(1, 10**9), st.integers(0, 10**9)),
    st.lists(st.integers(0, 10**10), min_size=1, max_size=5),
)
def test_a_split_holds_every_block_once_and_respects_its_limits(
    layers: list[int], ends: tuple[int, int], free: list[int]
) -> None:
    blocks = _blocks(layers, ends)
    made = spread(blocks, free)
    assert sum(made.bytes_at(place) for place in {*made.places}) == sum(block.bytes for block in blocks)
    assert sorted(layer for place in {*made.places} for layer in made.layers(place)) == list(range(len(layers)))
    for place, limit in enumerate(balanced(blocks, free)):
        assert made.bytes_at(place) <= limit <= free[place]
    order = [len(free) if place == RAM else place for place in made.places]
    assert order == sorted(order), "blocks stay in order"
    if RAM in made.places and 0 in made.places:
        assert made.bytes_at(0) + made.largest_in_ram <= free[0], "room to bring an offloaded layer back"


@given(sizes, st.tuples(st.integers(1, 10**9), st.integers(1, 10**9)), st.data())
def test_layers_in_ram_are_as_many_as_asked(layers: list[int], ends: tuple[int, int], data: st.DataObject) -> None:
    asked = data.draw(st.integers(1, len(layers)))
    blocks = _blocks(layers, ends)
    made = with_layers_in_ram(blocks, asked)
    assert made.layers(RAM) == tuple(range(len(layers) - asked, len(layers)))
    assert fill(blocks, made.max_memory) == made.places


def test_an_offloaded_plan_keeps_the_sum_and_names_the_split() -> None:
    on = machine("rtx-3060-12gb", ram_bytes=64 * GIB)
    made = deployment(EIGHT_B, "bf16", "transformers", on, offload_layers=20)
    judged = evaluate(made)
    assert judged.fits and judged.budget is not None
    whole = evaluate(replace(made, offload_layers=None)).budget
    assert whole is not None and judged.budget.weights_bytes == whole.weights_bytes
    assert judged.budget.details["layers"] == {0: tuple(range(12)), RAM: tuple(range(12, 32))}
    said = next(reason for reason in judged.reasons if reason.code == "device_map_split")
    assert said.parameters["split"] == ("GPU 0: 0-11", "RAM: 12-31")
    command = engine("transformers").command(made)
    assert command.argv[1] == "run_model.py" and "GPU 0: 0-11" in command.files[0].text
    given_memory = settings(made)["max_memory"]
    assert isinstance(given_memory, dict) and given_memory[0] < on.devices[0].engine_visible_bytes


def test_blocks_add_up_to_the_model() -> None:
    for name in (QWEN, "google/gemma-3-12b-it", "Qwen/Qwen3-30B-A3B"):
        model = catalog_model(name)
        for weight_format in (parse_format("bf16"), parse_format("nf4")):
            whole = weight_bytes(model, weight_format)
            assert sum(block.bytes for block in blocks_of(model, weight_format)) == pytest.approx(whole, rel=1e-6)


def _settings_of(text: str) -> dict[str, Any]:
    found = [node for node in ast.parse(text).body if isinstance(node, ast.AnnAssign)]
    assert len(found) == 1 and found[0].value is not None
    read = ast.literal_eval(found[0].value)
    assert isinstance(read, dict)
    return read


AWKWARD = [
    'a"b',
    "a'b",
    "a\\b",
    "C:\\models\\new",
    '"""',
    "{x}",
    "$(id)",
    "a\nb",
    "모델 폴더",
    "SETTINGS: dict = {}",
    "\u2028",
]


@given(st.one_of(st.text(), st.sampled_from(AWKWARD)))
def test_paths_in_the_script_stay_inert(path: str) -> None:
    made = deployment(
        EIGHT_B,
        "bf16",
        "transformers",
        machine("rtx-4090", ram_bytes=64 * GIB),
        offload_layers=4,
        repository=path or None,
    )
    text = script_text(made)
    assert _settings_of(text) == settings(made) and text.isascii()
    # apart from the settings the program is the same, whatever the path
    ours, plain = (ast.parse(script).body for script in (text, script_text(replace(made, repository="x"))))
    rest = [[ast.dump(node) for node in body if not isinstance(node, ast.AnnAssign)] for body in (ours, plain)]
    assert rest[0] == rest[1]


@pytest.mark.parametrize("name", TRIO)
def test_commands_use_only_options_of_their_release(name: str) -> None:
    chosen = engine(name)
    gpu = "m2-ultra-192gb" if name == "mlx" else "a100-sxm-80gb"
    for version in chosen.versions:
        for weight_format in ("bf16", "bnb-4bit", "bnb-8bit", "mlx-4bit", "awq-4bit", "fp8"):
            for requests in (1, 4, 200):
                made = deployment(
                    EIGHT_B, weight_format, name, machine(gpu), engine_version=version, concurrent_requests=requests
                )
                if not evaluate(made).fits:
                    continue
                options = [word for word in chosen.command(made).argv if word.startswith("--")]
                unknown = [word for word in options if word not in chosen.known_options(version)]
                assert options and not unknown, (version, weight_format, unknown)


def test_the_model_is_an_option_before_and_an_argument_after() -> None:
    made = deployment(EIGHT_B, "bnb-4bit", "transformers", machine("rtx-4090"))
    assert engine("transformers").command(made).argv[:3] == ("transformers", "serve", EIGHT_B)
    old = engine("transformers").command(replace(made, engine_version="4.57.6")).argv
    assert old[2:4] == ("--force-model", EIGHT_B) and "--load-in-4bit" in old and "--use-bnb-nested-quant" in old


def test_batches_only_where_the_release_and_the_model_can() -> None:
    many = deployment(EIGHT_B, "bf16", "transformers", machine("rtx-4090"), concurrent_requests=4)
    assert "--continuous-batching" in engine("transformers").command(many).argv
    for one in (
        replace(many, engine_version="4.57.6"),
        deployment("Qwen/Qwen3-Next-80B-A3B-Instruct", "bf16", "transformers", machine("b200"), concurrent_requests=4),
    ):
        assert "hf_one_at_a_time" in codes(one)
    mac = deployment(EIGHT_B, "bf16", "mlx", machine("m2-ultra-192gb"), concurrent_requests=4)
    argv = engine("mlx").command(mac).argv
    assert argv[argv.index("--decode-concurrency") + 1] == "4"
    assert "mlx_one_at_a_time" in codes(replace(mac, engine_version="0.28.4"))


def test_metal_limits_memory_and_how_to_raise_it_is_said() -> None:
    on = machine("apple-m2-pro")  # 32 GiB, of which Metal gives two thirds
    judged = evaluate(deployment("Qwen/Qwen3-32B", "mlx-4bit", "mlx", on, context_tokens=16384))
    assert not judged.fits and judged.budget is not None
    assert judged.budget.devices[0].usable_bytes == 32 * GIB * 2 // 3
    said = next(reason for reason in judged.reasons if reason.code == "metal_limit_can_be_raised")
    assert said.parameters["command"] == "sudo sysctl iogpu.wired_limit_mb=24576"


def test_old_conversations_keep_to_what_is_left() -> None:
    made = deployment(EIGHT_B, "bf16", "mlx", machine("apple-m2-pro"))
    argv = engine("mlx").command(made).argv
    bound = int(argv[argv.index("--prompt-cache-bytes") + 1])
    budget = engine("mlx").budget(made)
    assert 0 < bound <= budget.devices[0].usable_bytes - budget.devices[0].used_bytes


def test_tgi_runs_in_its_container_on_windows() -> None:
    made = deployment(EIGHT_B, "bf16", "tgi", machine("rtx-4090", os="windows"))
    command = engine("tgi").command(made)
    assert "runs_in_docker_desktop" in codes(made)
    assert command.image == "ghcr.io/huggingface/text-generation-inference:3.3.7"
    assert command.entrypoint == "/tgi-entrypoint.sh"


def test_every_reading_of_the_command_line_is_an_option() -> None:
    for name in TRIO:
        chosen = engine(name)
        line = chosen.facts["command_line"]
        listed = {option for version in chosen.versions for option in chosen.known_options(version)}
        assert line["programs"] and {option for spellings in line["reads"].values() for option in spellings} <= listed
        for option, gone in line["gone"].items():
            assert option not in chosen.known_options(chosen.versions[-1]) and gone["since"] and gone["source"]["ref"]


def test_a_row_of_each_kind_of_option_list() -> None:
    assert option_row("fitserve.engines.transformers", "5.23.0", "--no-continuous-batching") is not None
    assert (option_row("fitserve.engines.tgi", "3.0.1", "--quantize") or {})["choices"][0] == "awq"
    assert (option_row("fitserve.engines.mlx", "0.32.2", "--port") or {})["default"] == 8080


pairs = st.sampled_from(
    [("transformers", "bf16", "h100"), ("transformers", "bnb-4bit", "rtx-4090"), ("tgi", "bf16", "h100"),
     ("tgi", "awq-4bit", "rtx-4090"), ("mlx", "bf16", "m2-ultra-192gb"), ("mlx", "mlx-4bit", "apple-m2-pro")]
)  # fmt: skip


@given(st.sampled_from(ORIGINALS), pairs, st.integers(256, 65536), st.integers(1, 8))
def test_laws(model_id: str, pair: tuple[str, str, str], context: int, requests: int) -> None:
    name, weight_format, gpu = pair
    made = deployment(model_id, weight_format, name, machine(gpu), context_tokens=context, concurrent_requests=requests)
    judged, longer = evaluate(made), evaluate(replace(made, context_tokens=2 * context))
    if judged.budget is None or longer.budget is None:
        assert name == "tgi" or not judged.fits
        return
    budget = judged.budget
    assert budget.weights_bytes == sum(device.item("weights") for device in budget.devices) + budget.host_bytes
    assert budget.total_bytes.low <= budget.total_bytes.likely <= budget.total_bytes.high
    assert longer.budget.kv.bytes_at_context >= budget.kv.bytes_at_context
    assert longer.budget.kv.max_context_tokens <= budget.kv.max_context_tokens
    if judged.fits:
        assert all(device.used_bytes <= device.usable_bytes for device in budget.devices)
        assert budget.kv.max_context_tokens >= min(context, made.model.max_context_tokens)
