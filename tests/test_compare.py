"""Variants side by side."""

from collections.abc import Callable

import pytest

from conftest import Ran

Cli = Callable[..., Ran]


def test_formats_of_one_model_on_two_engines(cli: Cli) -> None:
    variants = [
        "meta-llama/Meta-Llama-3-70B-Instruct format=exl2:4.65 engine=exllamav2",
        "meta-llama/Meta-Llama-3-70B-Instruct format=Q4_K_M engine=llama.cpp",
        "meta-llama/Meta-Llama-3-70B-Instruct format=awq engine=vllm",
    ]
    ran = cli("compare", *variants, "--gpu", "rtx-3090:2", "--context", "8192", "--json")
    found = ran.json()["variants"]
    assert [item["variant"] for item in found] == variants
    formats = [item["plan"]["deployment"]["weight_format"] for item in found]
    assert formats == ["exl2:4.65bpw", "gguf:Q4_K_M", "awq-4bit"]
    sizes = [item["plan"]["memory"]["weights_bytes"] / 2**30 for item in found]
    assert all(36 < size < 43 for size in sizes), sizes


def test_a_variant_says_only_what_differs(cli: Cli) -> None:
    ran = cli("compare", "gpu=rtx-3090:2", "gpu=rtx-5090", "--model", "Qwen/Qwen3-32B", "--json")
    gpus = [item["plan"]["deployment"]["gpus"][0]["gpu"] for item in ran.json()["variants"]]
    assert gpus == ["rtx-3090", "rtx-5090"]


def test_the_same_variant_twice_is_the_same_plan(cli: Cli) -> None:
    found = cli("compare", "Qwen/Qwen3-8B", "Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--json").json()["variants"]
    assert found[0]["plan"] == found[1]["plan"]


def test_a_path_of_windows_stays_whole(cli: Cli) -> None:
    ran = cli("compare", r"C:\models\x.gguf", "Qwen/Qwen3-8B", "--gpu", "rtx-4090")
    assert ran.code == 2 and r"C:\models\x.gguf" in ran.err


@pytest.mark.parametrize("language", ["en", "ko"])
def test_why_one_does_not_run_is_said(cli: Cli, language: str) -> None:
    ran = cli("compare", "Qwen/Qwen3-32B format=bf16", "Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--lang", language)
    assert ran.code == 0 and "✗" in ran.out


@pytest.mark.parametrize("variants", [["Qwen/Qwen3-8B"], ["Qwen/Qwen3-8B a=1", "Qwen/Qwen3-8B"], ["no such", "x y"]])
def test_bad_variants(cli: Cli, variants: list[str]) -> None:
    ran = cli("compare", *variants, "--gpu", "rtx-4090")
    assert ran.code == 2 and ran.err.strip()
