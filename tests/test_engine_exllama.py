"""ExLlamaV2 and ExLlamaV3: hand-worked bytes, measured totals, constraints by table, config.yml by a YAML parser, laws."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import Ran, deployment, machine
from fitserve.engines.config_file import accepts, key_row, typed_value, yaml_text
from fitserve.engines.contract import Deployment
from fitserve.engines.exllamav2.memory import layer_token_bytes
from fitserve.engines.exllamav3.cache import layer_slot_bytes, layer_tokens_bytes
from fitserve.engines.exllamav3.settings import cache_bits, resolve
from fitserve.engines.layer_split import Room, fill
from fitserve.engines.registry import engine
from fitserve.footprint.body_and_head import embedding_bytes, head_bytes, layer_bytes, sign_vector_bytes
from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_json
from fitserve.foundation.units import GIB
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format
from fitserve.search.evaluate import evaluate

EIGHT_B = "meta-llama/Llama-3.1-8B-Instruct"
SEVENTY_B = "meta-llama/Llama-3.3-70B-Instruct"
GEMMA = "google/gemma-3-27b-it"
EXPERTS = "Qwen/Qwen3-30B-A3B"
OPTIONS = {"exllamav3": "1.6.5", "exllamav2": "0.3.2"}
FAMILY = {"exllamav3": "exl3", "exllamav2": "exl2"}


def made(name: str, model: str, weight_format: str, *gpus: str, **changes: Any) -> Deployment:
    return deployment(model, weight_format, name, machine(*gpus), **changes)


def codes(given_deployment: Deployment) -> set[str]:
    return {reason.code for reason in evaluate(given_deployment).reasons}


# 32 layers of 8 KV heads x 128: 1024 keys and 1024 values a layer; 32 values take bits x 4 + 2 bytes
@pytest.mark.parametrize(
    ("kv_format", "bytes_per_token"),
    [
        ("auto", 32 * 2 * 1024 * 2),
        ("8,8", 32 * 2 * 32 * 34),
        ("q6", 32 * 2 * 32 * 26),
        ("4,4", 32 * 2 * 32 * 18),
        ("8,4", 32 * 32 * (34 + 18)),
    ],
)
def test_cache_of_exllamav3_by_hand(kv_format: str, bytes_per_token: int) -> None:
    given_deployment = made("exllamav3", EIGHT_B, "exl3:4.0", "rtx-3090", kv_format=kv_format)
    assert sum(layer_tokens_bytes(given_deployment, resolve(given_deployment))) == bytes_per_token


@pytest.mark.parametrize(
    ("mode", "bytes_per_token"),
    [("FP16", 131_072), ("Q8", 32 * 1024 * 2 * 17 // 16), ("Q6", 32 * 1024 * 26 // 16), ("Q4", 32 * 1024 * 18 // 16)],
)
def test_cache_of_exllamav2_by_hand(mode: str, bytes_per_token: int) -> None:
    assert sum(layer_token_bytes(catalog_model(EIGHT_B), mode)) == bytes_per_token


@pytest.mark.parametrize(("kv_format", "each"), [("auto", 1152), ("8,8", 672), ("6,6", 544), ("4,4", 416)])
def test_latent_cache_as_the_source_states_it(kv_format: str, each: int) -> None:
    # exllamav3 1.6.5 cache/mla.py: bytes of a token and layer at a latent of 512 and a rotary key of 64
    given_deployment = made("exllamav3", "deepseek-ai/DeepSeek-V3", "exl3:2.5", "h200-sxm-141gb", kv_format=kv_format)
    assert set(layer_tokens_bytes(given_deployment, resolve(given_deployment))) == {each}


def test_sliding_layers_keep_a_window_only_where_the_engine_does() -> None:
    # gpt-oss-20b: every other of 24 layers slides over 128 tokens; 127 + 512 make 768 in pages, 8 heads x 64, 16 bit
    oss = made("exllamav3", "openai/gpt-oss-20b", "exl3:4.0", "rtx-3090")
    assert sum(layer_slot_bytes(oss)) == 12 * 768 * 8 * 64 * 2 * 2
    assert sum(layer_tokens_bytes(oss, resolve(oss))) == 12 * 8 * 64 * 2 * 2
    gemma = made("exllamav3", GEMMA, "exl3:4.0", "rtx-3090")
    assert sum(layer_slot_bytes(gemma)) == 0
    assert sum(layer_tokens_bytes(gemma, resolve(gemma))) == 62 * 2 * 2048 * 2


def test_weights_by_hand() -> None:
    model, weight_format = catalog_model(EIGHT_B), parse_format("exl3:4.0")
    body = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    norms = 32 * 2 * 4096 * 2
    assert sum(layer_bytes(model, weight_format)) == body // 2 + norms
    vectors = 2 * (4 * 4096 + 2 * (4096 + 1024) + 3 * (4096 + 14336))
    assert sum(sign_vector_bytes(model, weight_format)) == 32 * vectors
    assert head_bytes(model, weight_format, 6) == 128_256 * 4096 * 6 // 8 + 4096 * 2
    assert embedding_bytes(model) == 128_256 * 4096 * 2


# files without the embedding, in GiB: https://huggingface.co/turboderp/ERNIE-4.5-300B-A47B-PT-exl3, head 6 bit
ERNIE = [(2.0, 70.2), (2.1, 73.4), (2.25, 78.6), (2.5, 87.8), (3.0, 104.9), (3.25, 113.3), (4.0, 139.5)]


@pytest.mark.parametrize(("bits", "published_gib"), ERNIE)
def test_weights_as_published(bits: float, published_gib: float) -> None:
    model, weight_format = catalog_model("baidu/ERNIE-4.5-300B-A47B-PT"), parse_format(f"exl3:{bits}")
    size = sum(layer_bytes(model, weight_format)) + sum(sign_vector_bytes(model, weight_format))
    size += head_bytes(model, weight_format, 6)
    assert size / GIB == pytest.approx(published_gib, rel=0.004)


# https://github.com/turboderp-org/exllamav3/issues/50: RTX 4090, exllamav3 0.0.3, what the driver shows in MiB
MEASURED = [
    (GEMMA, "exl3:5.0", "q6", 2048, 17404),
    (GEMMA, "exl3:5.0", "q6", 12288, 19404),
    (GEMMA, "exl3:5.0", "q6", 22528, 21660),
    (GEMMA, "exl3:5.0", "q6", 30720, 23238),
    ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", "exl3:3.0", "auto", 2048, 19162),
    ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", "exl3:3.0", "auto", 12288, 21342),
    ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", "exl3:3.0", "auto", 20480, 23094),
]


@pytest.mark.parametrize(("model", "weight_format", "kv_format", "context", "measured_mib"), MEASURED)
def test_totals_as_measured(model: str, weight_format: str, kv_format: str, context: int, measured_mib: int) -> None:
    given_deployment = made(
        "exllamav3",
        model,
        weight_format,
        "rtx-4090",
        kv_format=kv_format,
        context_tokens=context,
        engine_version="0.0.3",
    )
    chosen = engine("exllamav3")
    figures = chosen.log_figures(given_deployment, chosen.budget(given_deployment))
    assert figures["total_mib.all"].likely == pytest.approx(measured_mib, rel=0.025)
    assert chosen.outcome(chosen.budget(given_deployment)) == "ok"


V3, V2 = "exllamav3", "exllamav2"
CONSTRAINTS = [
    (V3, EIGHT_B, "exl3:4.0", "v100-sxm-32gb", {}, "capability_too_low"),
    (V3, EIGHT_B, "exl3:4.0", "t4", {}, "extension_built_from_source"),
    (V3, EIGHT_B, "exl3:4.0", "t4", {"engine_version": "1.4.9"}, "capability_too_low"),
    (V3, EIGHT_B, "exl3:4.0", "mi300x", {}, "rdna_only"),
    (V3, EIGHT_B, "exl3:4.0", "rx-7900-xtx", {"engine_version": "1.5.0"}, "vendor_not_supported"),
    (V3, EIGHT_B, "exl3:4.0", "m2-ultra-192gb", {}, "vendor_not_supported"),
    (V3, EIGHT_B, "exl3:4.0", None, {}, "engine_needs_gpu"),
    (V3, EIGHT_B, "awq-4bit", "rtx-4090", {}, "format_not_supported"),
    (V3, EIGHT_B, "exl2:4.65", "rtx-4090", {}, "format_not_supported"),
    (V3, EIGHT_B, "exl3:9.5", "rtx-4090", {}, "bits_out_of_range"),
    (V3, "meta-llama/Llama-4-Scout-17B-16E-Instruct", "exl3:4.0", "h100-sxm-80gb", {}, "architecture_refused"),
    (V3, "openai/gpt-oss-20b", "exl3:4.0", "rtx-4090", {"engine_version": "0.0.24"}, "architecture_too_new"),
    (V3, "deepseek-ai/DeepSeek-V4-Flash", "exl3:3.0", "h200-sxm-141gb", {}, "fact_missing"),
    (V3, EIGHT_B, "exl3:4.0", "rtx-4090", {"kv_format": "fp8"}, "kv_format_not_supported"),
    (V3, EIGHT_B, "exl3:4.0", "rtx-4090", {"options": {"no-such-key": "1"}}, "option_unknown"),
    (V3, EIGHT_B, "exl3:4.0", "rtx-4090", {"options": {"cache-size": "4096"}}, "cache_shorter_than_context"),
    (V3, EIGHT_B, "exl3:4.0", "rtx-4090", {"offload_layers": 4}, "only_experts_on_cpu"),
    (V3, GEMMA, "exl3:4.0", "rtx-4090", {}, "vision_not_loaded"),
    (V3, EIGHT_B, "exl3:4.0", "rtx-4090", {}, "runs_in_tabbyapi"),
    (V2, EIGHT_B, "exl2:4.65", "v100-sxm-32gb", {}, "one_request_at_a_time"),
    (V2, EIGHT_B, "exl2:4.65", "mi300x", {}, "one_request_at_a_time"),
    (V2, EIGHT_B, "exl2:4.65", "m2-ultra-192gb", {}, "vendor_not_supported"),
    (V2, EIGHT_B, "exl2:4.65", None, {}, "engine_needs_gpu"),
    (V2, EIGHT_B, "awq-4bit", "rtx-4090", {}, "format_not_supported"),
    (V2, EIGHT_B, "exl3:4.0", "rtx-4090", {}, "format_not_supported"),
    (V2, EIGHT_B, "exl2:1.5", "rtx-4090", {}, "bits_out_of_range"),
    (V2, "openai/gpt-oss-20b", "exl2:4.0", "rtx-4090", {}, "architecture_unknown_to_engine"),
    (V2, "deepseek-ai/DeepSeek-V3", "exl2:4.0", "h200-sxm-141gb", {}, "attention_only"),
    (V2, "Qwen/Qwen3-8B", "exl2:4.0", "rtx-4090", {"engine_version": "0.2.4"}, "architecture_too_new"),
    (V2, EIGHT_B, "exl2:4.65", "rtx-4090", {"kv_format": "8,6"}, "kv_format_not_supported"),
    (V2, EIGHT_B, "exl2:4.65", "rtx-4090", {"offload_layers": 4}, "nothing_in_ram"),
    (V2, EIGHT_B, "exl2:4.65", "rtx-4090", {}, "exl2_needs_older_tabbyapi"),
]


@pytest.mark.parametrize(("name", "model", "weight_format", "gpu", "changes", "code"), CONSTRAINTS)
def test_constraints(
    name: str, model: str, weight_format: str, gpu: str | None, changes: dict[str, Any], code: str
) -> None:
    assert code in codes(made(name, model, weight_format, *([gpu] if gpu else []), **changes))


def test_tensor_parallelism_by_architecture() -> None:
    two = ["rtx-3090", "rtx-3090"]
    assert "no_tensor_parallelism" in codes(made(V3, "Qwen/Qwen3-Next-80B-A3B-Instruct", "exl3:3.0", *two, tp=2))
    assert "spreads_one_way_only" in codes(made(V3, SEVENTY_B, "exl3:4.0", *two, *two, tp=2, pp=2))
    together = evaluate(made(V3, SEVENTY_B, "exl3:4.0", *two, tp=2))
    assert together.fits and together.budget is not None
    first, second = (device.item("weights") for device in together.budget.devices)
    assert first == second


def test_layers_fill_one_device_after_the_other() -> None:
    rooms = [Room(limit_bytes=10, items=()), Room(limit_bytes=5, items=())]
    assert fill([4, 4, 4], rooms) == ((0, 0, 1), True)
    assert fill([4, 4, 4, 4], rooms) == ((0, 0, 1, 1), False)
    assert fill([4, 9, 1], rooms) == ((0, 1, 1), False)
    assert fill([], rooms) == ((), True)


def test_unequal_devices_are_filled_to_their_size() -> None:
    large_first = evaluate(made(V3, SEVENTY_B, "exl3:4.0", "rtx-5090", "rtx-3060-12gb", pp=2))
    assert large_first.fits and large_first.budget is not None
    large, small = large_first.budget.devices
    assert large.item("weights") > 2 * small.item("weights") > 0
    assert evaluate(made(V3, SEVENTY_B, "exl3:4.0", "rtx-3060-12gb", "rtx-5090", pp=2)).fits


def test_experts_of_the_first_layers_leave_the_device() -> None:
    whole = made(V3, EXPERTS, "exl3:4.0", "rtx-4090")
    moved = replace(whole, offload_layers=10)
    before, after = evaluate(whole).budget, evaluate(moved).budget
    assert before is not None and after is not None
    one = 128 * 3 * 2048 * 768 // 2
    assert after.host_bytes - before.host_bytes == 10 * one
    assert before.weights_bytes - after.weights_bytes == pytest.approx(0, abs=64)
    text = engine(V3).command(moved).files[0].text
    assert yaml.safe_load(text)["model"]["cpu_moe_offload_layers"] == 10


def test_as_many_requests_as_fit_share_the_cache() -> None:
    asked = made(V3, EIGHT_B, "exl3:6.0", "rtx-3060-12gb", context_tokens=16384, concurrent_requests=8)
    judged = evaluate(asked)
    assert judged.fits and judged.has("requests_queue") and judged.budget is not None
    keys = yaml.safe_load(engine(V3).command(asked).files[0].text)["model"]
    assert keys["cache_size"] % 16384 == 0 and keys["cache_size"] // 16384 == int(judged.budget.kv.max_concurrency)
    assert keys["max_seq_len"] == 16384


VARIANTS: list[dict[str, Any]] = [
    {},
    {"kv_format": "q8"},
    {"kv_format": "q6"},
    {"pp": 2},
    {"tp": 2},
    {"max_num_seqs": 3, "concurrent_requests": 3},
    {"options": {"chunk-size": "1024", "network.port": "6000", "autosplit_reserve": "96,256", "reasoning": "true"}},
    {"options": {"gpu_split": "20,24", "rope-alpha": "auto", "api_servers": "OAI,kobold"}, "pp": 2},
]


@pytest.mark.parametrize("name", [V3, V2])
@pytest.mark.parametrize("model", [EIGHT_B, EXPERTS, GEMMA])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_config_holds_known_keys_with_values_of_their_type(name: str, model: str, changes: dict[str, Any]) -> None:
    package, version = f"fitserve.engines.{name}", OPTIONS[name]
    command = engine(name).command(made(name, model, f"{FAMILY[name]}:4.0", "rtx-3090", "rtx-3090", **changes))
    assert command.argv == ("python", "main.py", "--config", "config.yml")
    parsed = yaml.safe_load(command.files[0].text)
    assert parsed["model"]["backend"] == name and parsed["network"]["host"] == "127.0.0.1"
    assert parsed["model"]["cache_size"] >= parsed["model"]["max_seq_len"]
    assert command.port == parsed["network"]["port"]
    for section, keys in parsed.items():
        for key, value in keys.items():
            row = key_row(package, version, f"{section}.{key}")
            assert row is not None and accepts(row, value), (section, key, value)


def test_unused_devices_are_hidden() -> None:
    assert dict(engine(V3).command(made(V3, EIGHT_B, "exl3:4.0", "rtx-3090", "rtx-3090")).env) == {
        "CUDA_VISIBLE_DEVICES": "0"
    }
    assert dict(engine(V3).command(made(V3, EIGHT_B, "exl3:4.0", "rx-7900-xtx", "rx-7900-xtx")).env) == {
        "HIP_VISIBLE_DEVICES": "0"
    }
    assert not engine(V3).command(made(V3, EIGHT_B, "exl3:4.0", "rtx-3090", "rtx-3090", pp=2)).env


AWKWARD = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from("\"'\\:#{}[]&*!|>%@`$-?,\n\r\t\0\x85\u2028한글 ")),
    max_size=40,
)


@given(AWKWARD, AWKWARD)
def test_any_text_comes_out_of_yaml_as_it_went_in(name: str, folder: str) -> None:
    text = yaml_text({"model": {"model_dir": folder, "model_name": name, "cache_size": 256}, "empty": {}})
    assert yaml.safe_load(text) == {"model": {"model_dir": folder, "model_name": name, "cache_size": 256}}


@pytest.mark.parametrize(
    "name", ['a"; rm -rf ~ #', "제목: 모델 #1", "line\nbreak", "$(id)`id`%PATH%", "- yes", "null", "1e3"]
)
def test_awkward_local_folders_are_inert(name: str) -> None:
    local = replace(catalog_model(EIGHT_B), id=f"/data/모델/{name}", is_local=True)
    command = engine(V3).command(deployment(local, "exl3:4.0", V3, machine("rtx-3090")))
    parsed = yaml.safe_load(command.files[0].text)["model"]
    assert (parsed["model_dir"], parsed["model_name"]) == ("/data/모델", name)
    assert set(yaml.safe_load(command.files[0].text)) == {"network", "model"}


WRONG = [
    ("cache_size", "1000"), ("cache_size", "0"), ("cache-mode", "9,9"), ("cache_mode", "int8"), ("vision", "maybe"),
    ("port", "x"), ("draft_mode", "fast"), ("max_batch_size", "0"), ("gpu_split", "a,b"), ("template_vars_force", "{"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_wrong_values_are_refused(key: str, value: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(made(V3, EIGHT_B, "exl3:4.0", "rtx-3090", options={key: value}))
    assert caught.value.problems[0].code == "option_wrong"


@pytest.mark.parametrize(("name", "version"), OPTIONS.items())
def test_defaults_of_the_key_list_are_values_of_their_own_type(name: str, version: str) -> None:
    rows = load_json(f"fitserve.engines.{name}", f"options/{version}.json")["rows"]
    assert len(rows) > 55 and len({alias for row in rows for alias in row["aliases"]}) == len(rows)
    for row in rows:
        assert accepts(row, row["default"]), row["name"]
        if isinstance(row["default"], bool):
            assert typed_value(row, str(row["default"])) is row["default"]


@pytest.mark.parametrize(
    ("text", "bits"),
    [("auto", (16, 16)), ("FP16", (16, 16)), ("Q8", (8, 8)), ("q8_0", (8, 8)), ("6, 4", (6, 4)), ("fp8", None)],
)
def test_names_of_cache_formats(text: str, bits: tuple[int, int] | None) -> None:
    assert cache_bits(text) == bits


@given(st.sampled_from([V3, V2]), st.sampled_from([EIGHT_B, EXPERTS, GEMMA, SEVENTY_B]), st.data())
def test_more_bits_never_take_fewer_bytes(name: str, model: str, data: st.DataObject) -> None:
    low, high = sorted(data.draw(st.lists(st.floats(2.0, 8.0), min_size=2, max_size=2)))
    sizes = []
    for bits in (low, high):
        budget = evaluate(made(name, model, f"{FAMILY[name]}:{bits:.2f}", "h200-sxm-141gb")).budget
        assert budget is not None
        total = sum(device.used_bytes for device in budget.devices) + budget.host_bytes
        assert budget.total_bytes.likely == pytest.approx(total, rel=1e-6) and total >= budget.weights_bytes > 0
        sizes.append(total)
    assert sizes[0] <= sizes[1]


@given(
    st.sampled_from([V3, V2]),
    st.sampled_from([EIGHT_B, "openai/gpt-oss-20b", GEMMA, "Qwen/Qwen3-Next-80B-A3B-Instruct"]),
    st.sampled_from([("rtx-3090",), ("rtx-3090", "rtx-5090"), ("rtx-3060-12gb",) * 3]),
    st.integers(256, 60_000),
    st.integers(256, 60_000),
)
def test_a_longer_context_never_takes_less(name: str, model: str, gpus: tuple[str, ...], one: int, other: int) -> None:
    short, long = (
        evaluate(made(name, model, f"{FAMILY[name]}:3.0", *gpus, pp=len(gpus), context_tokens=context))
        for context in sorted((one, other))
    )
    if short.budget is None or long.budget is None:
        return
    assert sum(d.used_bytes for d in short.budget.devices) <= sum(d.used_bytes for d in long.budget.devices) + 8
    assert short.budget.kv.bytes_at_context <= long.budget.kv.bytes_at_context
    assert not (long.fits and short.is_memory_only)
    if long.fits:
        assert long.budget.kv.max_context_tokens >= max(one, other) // 256 * 256


def test_the_widest_context_fits_and_a_page_more_does_not() -> None:
    asked = made(V3, SEVENTY_B, "exl3:4.0", "rtx-3090", "rtx-3090", pp=2)
    budget = evaluate(asked).budget
    assert budget is not None
    longest = budget.kv.max_context_tokens
    assert evaluate(replace(asked, context_tokens=longest)).fits
    assert not evaluate(replace(asked, context_tokens=longest + 256)).fits


def test_keys_are_read_from_a_declaration() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    try:
        import tabbyapi_options
    finally:
        sys.path.pop(0)
    source = """
SIZES = Literal["FP16", "Q8"]
MODES = Union[SIZES, constr(pattern=r"^[2-8],[2-8]$")]
class ModelConfig(BaseConfigModel):
    cache_size: Optional[int] = Field(None, description="no text is taken", multiple_of=256, gt=0)
    cache_mode: Optional[MODES] = Field("FP16")
    gpu_split: List[float] = Field(default_factory=list)
    _hidden: int = PrivateAttr(3)
class TabbyConfigModel(BaseModel):
    model: Optional[ModelConfig] = Field(default_factory=ModelConfig.model_construct)
"""
    size, mode, split = tabbyapi_options.keys(source)
    assert (size["name"], size["value_type"], size["multiple_of"], size["above"]) == (
        "model.cache_size",
        "integer",
        256,
        0,
    )
    assert mode["choices"] == ["FP16", "Q8"] and mode["pattern"] == "^[2-8],[2-8]$" and mode["default"] == "FP16"
    assert (split["arity"], split["value_type"], split["default"]) == ("*", "number", [])
    assert "description" not in size


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--engine", "exllamav3", "--format", "exl3:4.25"], 'model_name: "Llama-3.3-70B-Instruct-exl3-4.25bpw"'),
        (["--engine", "tabby", "--format", "exl3:3.0", "--os", "windows"], "python main.py `"),
        (["--engine", "exllamav2", "--format", "exl2:4.65"], "004e83741234"),
        (["--engine", "exl2", "--format", "exl2:4.65", "--lang", "ko"], "파일 config.yml"),
    ],
)
def test_answers_show_what_to_start(cli: Callable[..., Ran], arguments: list[str], expected: str) -> None:
    ran = cli("plan", SEVENTY_B, "--gpu", "rtx-3090:2", *arguments)
    assert ran.code == 0 and expected in ran.out
    bare = cli("plan", SEVENTY_B, "--gpu", "rtx-3090:2", *arguments, "--json").json()["plans"][0]
    assert yaml.safe_load(bare["command"]["files"][0]["text"])["model"]["gpu_split_auto"] is True
