"""What people type: models, GPUs, formats."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitserve.engines.registry import ENTRIES, engine
from fitserve.foundation.errors import InputError
from fitserve.foundation.units import GIB
from fitserve.hardware.identify import gpu_rows, identify
from fitserve.models.catalog.lookup import aliases, rows
from fitserve.models.formats import parse_format
from fitserve.models.names import near_misses, resolve_name
from fitserve.plan.machine import parse_gpu

SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"


@pytest.mark.parametrize(
    ("text", "model_id"),
    [
        (SCOUT, SCOUT),
        (SCOUT.lower(), SCOUT),
        ("scout", SCOUT),
        ("Llama 4 Scout", SCOUT),
        ("llama4:scout", SCOUT),
        ("라마 4 스카우트", SCOUT),
        ("스카우트", SCOUT),
        ("llama3.1:8b", "meta-llama/Llama-3.1-8B-Instruct"),
        ("Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"),
        ("qwen3:32b", "Qwen/Qwen3-32B"),
        ("qwen3_32b", "Qwen/Qwen3-32B"),
        ("큐웬3 32b", "Qwen/Qwen3-32B"),
        ("엑사원 4.0 32b", "LGAI-EXAONE/EXAONE-4.0-32B"),
        ("딥시크 v3", "deepseek-ai/DeepSeek-V3"),
        ("젬마3 27b", "google/gemma-3-27b-it"),
        ("llama 8B, 8.03 B parameters", "meta-llama/Llama-3.1-8B"),
    ],
)
def test_models_by_any_name(text: str, model_id: str) -> None:
    found = resolve_name(text).id
    assert found == model_id or (text.startswith("llama 8B") and "8B" in found)


@pytest.mark.parametrize(
    ("text", "model_id", "weight_format"),
    [
        ("bartowski/Llama-3.3-70B-Instruct-GGUF:Q4_K_M", "meta-llama/Llama-3.3-70B-Instruct", "gguf:Q4_K_M"),
        ("llama3.1:8b-instruct-q4_K_M", "meta-llama/Llama-3.1-8B-Instruct", "gguf:Q4_K_M"),
        ("TheBloke/Mistral-7B-Instruct-v0.2-AWQ", "mistralai/Mistral-7B-Instruct-v0.2", "awq-4bit"),
        ("mlx-community/Qwen3-8B-4bit-mlx", "Qwen/Qwen3-8B", "mlx-4bit"),
        ("someone/Qwen3-8B-my-finetune-GPTQ-Int4", "Qwen/Qwen3-8B", "gptq-4bit"),
    ],
)
def test_names_that_state_a_format(text: str, model_id: str, weight_format: str) -> None:
    found = resolve_name(text)
    assert (found.id, found.weight_format) == (model_id, weight_format)


@pytest.mark.parametrize(
    "text", ["Crow-4B-Opus-Distill_Qwen3.5", "NousResearch/Hermes-3-Llama-3.1-8B", "my-Qwen3.6-27B-merge"]
)
def test_derivatives_take_the_layout_of_their_base(text: str) -> None:
    assert resolve_name(text).variant_of


@pytest.mark.parametrize(
    "text",
    ["llama-99b", "gpt-7", "", "🦙", "cerebras/Qwen3-32B-REAP-20B", "Qwen3.6-40B-Super", "Goliath-8x70B-qwen3-32b"],
)
def test_names_that_mean_nothing_known(text: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_name(text)
    assert caught.value.problems[0].code == "unknown_model"


def test_near_misses_are_offered() -> None:
    assert "Qwen/Qwen3-32B" in near_misses("qwen3-33b")
    assert any("Llama-3.3-70B" in name for name in near_misses("lama-3.3-70b-instuct"))


def test_every_alias_and_id_resolves_to_its_target() -> None:
    assert len(rows()) > 470 and len(aliases()) > 2200
    for alias, model_id in aliases().items():
        assert resolve_name(alias).id == model_id
    for model_id in rows():
        assert resolve_name(model_id).id == model_id


@given(st.text(max_size=40))
def test_any_text_is_resolved_or_refused(text: str) -> None:
    try:
        assert resolve_name(text).id in rows()
    except InputError as error:
        assert error.problems[0].code == "unknown_model"


@pytest.mark.parametrize(
    ("text", "gpu"),
    [
        ("NVIDIA A100-SXM4-80GB", "a100-sxm-80gb"),
        ("NVIDIA GeForce RTX 3090", "rtx-3090"),
        ("Tesla V100-SXM2-32GB", "v100-sxm-32gb"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm-80gb"),
        ("3090", "rtx-3090"),
        ("rtx3090", "rtx-3090"),
        ("RTX 4090", "rtx-4090"),
        ("a100 80gb", "a100-sxm-80gb"),
        ("v100 32gb", "v100-sxm-32gb"),
        ("b200", "b200-sxm-180gb"),
    ],
)
def test_gpus_by_driver_and_by_mouth(text: str, gpu: str) -> None:
    assert identify(text).device.id == gpu


def test_the_driver_memory_decides_between_cards_of_one_name() -> None:
    small = identify("NVIDIA A100-PCIE-40GB", 40 * GIB).device
    assert small.memory_bytes < 45 * GIB
    assert identify("m2-ultra-192gb").device.memory_bytes == 192 * GIB
    mac = identify("mac-studio-64gb")
    assert mac.device.vendor == "apple" and mac.device.memory_bytes == 64 * GIB and mac.assumed


def test_every_catalogue_gpu_is_found_by_its_id() -> None:
    assert len(gpu_rows()) > 120
    for gpu_id in gpu_rows():
        assert identify(gpu_id).device.id == gpu_id


def test_unknown_gpus_get_near_misses() -> None:
    with pytest.raises(InputError) as caught:
        identify("rtx 9090")
    assert dict(caught.value.problems[0].parameters)["near"]


@given(st.text(max_size=30))
def test_any_text_is_a_gpu_or_refused(text: str) -> None:
    try:
        assert identify(text).device.memory_bytes > 0
    except InputError as error:
        assert error.problems[0].code == "unknown_gpu"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtx-3090:2", ("rtx-3090", 2)),
        ("2x rtx 3090", ("rtx 3090", 2)),
        ("3090 x4", ("3090", 4)),
        ("b200", ("b200", 1)),
    ],
)
def test_counts_of_gpus(text: str, expected: tuple[str, int]) -> None:
    assert parse_gpu(text) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Q4_K_M", "gguf:Q4_K_M"),
        ("q4_k_m", "gguf:Q4_K_M"),
        ("awq", "awq-4bit"),
        ("gptq", "gptq-4bit"),
        ("nf4", "bnb-4bit"),
        ("int8", "int8-w8a8"),
        ("w8a8", "int8-w8a8"),
        ("exl2:4.65", "exl2:4.65bpw"),
        ("bf16", "bf16"),
        ("nvfp4", "nvfp4"),
        ("mlx-4bit", "mlx-4bit"),
    ],
)
def test_formats_by_any_name(text: str, name: str) -> None:
    assert parse_format(text).name == name


def test_formats_and_engines_that_are_none() -> None:
    with pytest.raises(InputError):
        parse_format("q99_super")
    with pytest.raises(InputError):
        engine("llm-o-matic")
    for known in ENTRIES:
        for name in (known.id, *known.names, known.id.upper()):
            assert engine(name).id == known.id
