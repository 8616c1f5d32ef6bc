"""The main job end to end: the machines of the mission, what must come out on them, and laws over every plan."""

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Ran
from contract import ANSWER, ESTIMATE
from fitserve.foundation.errors import InputError
from fitserve.hardware.types import Host, Machine
from fitserve.models.catalog.lookup import rows
from fitserve.models.readers.reference import read_reference
from fitserve.plan.answer import plan
from fitserve.plan.request import PlanRequest
from fitserve.plan.world import ModelRead, World
from fitserve.search.rank import rank_key

Cli = Callable[..., Ran]
SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
GIB = 2**30


def formats(answer: Any, key: str, engine: str) -> list[str]:
    return [item["deployment"]["weight_format"] for item in answer[key] if item["deployment"]["engine"] == engine]


def rejected(answer: Any, engine: str, weight_format: str) -> Any:
    return next(
        item for item in answer["rejected"]
        if (item["deployment"]["engine"], item["deployment"]["weight_format"]) == (engine, weight_format)
    )  # fmt: skip


def codes(item: Any) -> set[str]:
    return {reason["code"] for reason in item["reasons"]}


@pytest.fixture
def scout_on_a100(cli: Cli) -> Any:
    ran = cli("plan", SCOUT, "--gpu", "a100-sxm-80gb", "--context", "8192", "--concurrency", "1", "--json")
    assert ran.code == 0
    return ran.json()


def test_scout_on_an_a100_runs_in_four_bit_on_vllm(scout_on_a100: Any) -> None:
    first = scout_on_a100["plans"][0]
    assert (first["deployment"]["engine"], first["deployment"]["weight_format"]) == ("vllm", "w4a16")
    items = {item["code"]: item["bytes"] for item in first["memory"]["devices"][0]["items"]}
    assert {"weights", "kv_cache", "activations", "cuda_graphs", "runtime"} <= set(items)
    # 16 experts x 48 layers in 4 bit, the rest in 16: between 55 and 65 GiB with the rotary table
    assert 55 * GIB < items["weights"] < 65 * GIB
    argv = first["command"]["argv"]
    assert argv[:3] == ["vllm", "serve", "RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"]
    assert argv[argv.index("--max-model-len") + 1] == "8192"
    assert "vllm/vllm-openai:v0.33.0" in first["command"]["shells"]["docker"]


def test_scout_on_an_a100_does_not_run_in_16_or_8_bit(scout_on_a100: Any) -> None:
    bf16, fp8 = rejected(scout_on_a100, "vllm", "bf16"), rejected(scout_on_a100, "vllm", "fp8")
    assert bf16["verdict"] == fp8["verdict"] == "does_not_fit"
    assert bf16["memory"]["weights_bytes"] > 200 * GIB and fp8["memory"]["weights_bytes"] > 100 * GIB
    assert "fp8_not_accelerated" in codes(fp8) and "weights_exceed_memory" in codes(fp8)
    assert {"w4a16"} <= {fix["change"].get("format") for fix in bf16["fixes"]}
    assert any(str(fix["change"].get("gpu", "")).startswith("a100-sxm-80gb:") for fix in bf16["fixes"])
    assert "gguf:Q4_K_M" in formats(scout_on_a100, "plans", "llama.cpp")


def test_scout_on_two_3090_under_windows(cli: Cli) -> None:
    answer = cli("plan", "scout", "--gpu", "rtx-3090:2", "--os", "windows", "--context", "8192", "--json").json()
    assert formats(answer, "plans", "vllm") == []
    assert not {"gguf:Q4_K_M", "gguf:Q8_0"} & set(formats(answer, "plans", "llama.cpp"))
    w4a16 = rejected(answer, "vllm", "w4a16")
    assert {"weights_exceed_memory", "runs_in_docker_desktop"} <= codes(w4a16)
    models = {
        fix["change"]["model"] for item in answer["rejected"] for fix in item["fixes"] if "model" in fix["change"]
    }
    assert len(models) == 1 and models <= set(rows())
    for item in answer["plans"]:
        assert item["command"]["shells"]["powershell"].startswith("llama-server")


def test_vllm_under_windows_is_the_docker_command(cli: Cli) -> None:
    answer = cli("plan", "llama3.1:8b", "--gpu", "rtx-3090", "--os", "windows", "--engine", "vllm", "--json").json()
    shells = answer["plans"][0]["command"]["shells"]
    assert shells["cmd"].startswith("docker run") and shells["powershell"].startswith("docker run")
    assert "HF_TOKEN" in shells["cmd"] and "HF_TOKEN=" not in shells["cmd"]


def test_seventy_b_on_two_v100(cli: Cli) -> None:
    answer = cli("plan", "llama 3.3 70b", "--gpu", "v100 32gb:2", "--context", "8192", "--json").json()
    assert {"gguf:Q4_K_M", "gguf:Q5_K_M", "gguf:Q6_K"} <= set(formats(answer, "plans", "llama.cpp"))
    assert "gguf:Q8_0" in formats(answer, "rejected", "llama.cpp")
    fixes = [fix["change"] for fix in rejected(answer, "vllm", "gptq-4bit")["fixes"]]
    assert {"engine": "vllm", "engine-version": "0.19.1"} in fixes
    assert "server-cuda12-" in answer["plans"][0]["command"]["shells"]["docker"]


def test_scout_on_a_b200_is_accelerated(cli: Cli) -> None:
    answer = cli("plan", "scout", "--gpu", "b200", "--context", "8192", "--json").json()
    for item in answer["plans"]:
        assert not {"fp8_not_accelerated", "fp4_not_accelerated"} & codes(item)
    assert {"fp8", "nvfp4"} <= set(formats(answer, "plans", "vllm"))


def test_a_mac_and_a_machine_without_gpu(cli: Cli) -> None:
    mac = cli("plan", "qwen3-32b", "--gpu", "mac-studio-64gb", "--json").json()
    assert formats(mac, "plans", "vllm") == [] and "gguf:Q8_0" in formats(mac, "plans", "llama.cpp")
    assert mac["plans"][0]["deployment"]["os"] == "macos"
    cpu = cli("plan", "qwen3-8b", "--gpu", "none", "--ram", "24", "--json").json()
    assert cpu["plans"] and all(item["memory"]["devices"] == [] for item in cpu["plans"])
    assert all(item["memory"]["host_bytes"] < 22 * GIB for item in cpu["plans"])


@pytest.mark.parametrize(("gpu", "ram", "expected", "assumed"), [
    ("m3-max", "64", 64, False), ("m3-max-64gb", None, 64, False), ("m3-max", None, 128, True), ("gb10", "100", 100, False),
])  # fmt: skip
def test_shared_memory_is_what_the_user_says(cli: Cli, gpu: str, ram: str | None, expected: int, assumed: bool) -> None:
    answer = cli("plan", "qwen3-32b", "--gpu", gpu, *(("--ram", ram) if ram else ()), "--json").json()
    assert answer["plans"][0]["memory"]["devices"][0]["capacity_bytes"] == expected * GIB
    assert ("unified_memory_assumed" in {reason["code"] for reason in answer["notes"]}) == assumed


def test_experts_released_in_mxfp4_stay_so_in_a_gguf(cli: Cli) -> None:
    answer = cli("plan", "gpt-oss-20b", "--gpu", "rtx-4090", "--json").json()
    assert formats(answer, "plans", "llama.cpp") == ["gguf:MXFP4_MOE"]
    qualities = {item["deployment"]["weight_format"]: item["quality"]["class"] for item in answer["plans"]}
    assert (qualities["mxfp4"], qualities["gguf:MXFP4_MOE"]) == ("original", "near_lossless")


def test_this_machine_is_looked_at_when_none_is_named(cli: Cli) -> None:
    ran = cli("plan", "qwen3-0.6b", "--json")
    assert ran.code == 0
    assert {"this_machine", "this_machine_without_gpu"} & {reason["code"] for reason in ran.json()["notes"]}


@pytest.mark.parametrize(
    "argv",
    [
        ("plan", "scout", "--gpu", "a100-sxm-80gb"),
        ("plan", "deepseek-v3", "--gpu", "rtx-4090", "--ram", "64"),
        ("plan", "qwen3-30b-a3b", "--gpu", "rtx-3090", "--ram", "64", "--context", "32k"),
        ("plan", "gpt-oss-20b", "--gpu", "none", "--ram", "32"),
        ("fit", "--gpu", "rtx-3060-12gb", "--family", "qwen3", "--limit", "5"),
    ],
)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_answers_keep_the_contract(cli: Cli, argv: tuple[str, ...], language: str) -> None:
    answer = cli(*argv, "--json", "--lang", language).json()
    jsonschema.validate(answer, ANSWER)
    for item in (*answer["plans"], *answer["rejected"]):
        assert (item["command"] is not None) == (item["verdict"] == "fits")


def test_an_estimate_keeps_the_contract(cli: Cli) -> None:
    ran = cli(
        "estimate",
        "llama3.1:8b",
        "--gpu",
        "rtx-4090",
        "--engine",
        "vllm==0.10.0",
        "--format",
        "bf16",
        "--context",
        "16k",
        "--json",
    )
    assert ran.code == 0
    jsonschema.validate(ran.json(), ESTIMATE)
    assert ran.json()["plan"]["deployment"]["engine_version"] == "0.10.0"
    assert ran.json()["plan"]["memory"]["kv_bytes_per_token"] == 32 * 8 * 128 * 2 * 2
    assert ran.json()["plan"]["memory"]["kv_bytes_at_context"] == 32 * 8 * 128 * 2 * 2 * 16384


def test_an_estimate_that_does_not_fit_says_so_and_what_would_help(cli: Cli) -> None:
    ran = cli("estimate", "llama-3.3-70b", "--gpu", "rtx-4090", "--engine", "vllm", "--format", "bf16", "--json")
    assert ran.code == 1
    assert ran.json()["plan"]["verdict"] == "does_not_fit" and ran.json()["plan"]["fixes"]


def test_too_many_users_queue_and_that_is_a_warning(cli: Cli) -> None:
    answer = cli(
        "plan",
        "llama3.1:8b",
        "--gpu",
        "rtx-4090",
        "--engine",
        "vllm",
        "--format",
        "bf16",
        "--concurrency",
        "500",
        "--json",
    ).json()
    first = answer["plans"][0]
    assert first["verdict"] == "fits" and "requests_queue" in codes(first)


def test_offload_only_when_asked_or_when_the_ram_is_known(cli: Cli) -> None:
    plain = cli("plan", "llama-3.3-70b", "--gpu", "rtx-4090", "--format", "Q4_K_M", "--engine", "llama.cpp", "--json")
    assert plain.code == 1
    fix = next(f for f in plain.json()["rejected"][0]["fixes"] if "offload" in f["change"])
    assert fix["plan"]["verdict"] == "fits" and fix["plan"]["host_bytes"] > 10 * GIB
    known = cli(
        "plan",
        "llama-3.3-70b",
        "--gpu",
        "rtx-4090",
        "--format",
        "Q4_K_M",
        "--engine",
        "llama.cpp",
        "--ram",
        "64",
        "--json",
    ).json()
    assert known["plans"][0]["deployment"]["offload_layers"] == fix["change"]["offload"]
    asked = cli(
        "plan",
        "llama-3.3-70b",
        "--gpu",
        "rtx-4090",
        "--format",
        "Q4_K_M",
        "--engine",
        "llama.cpp",
        "--offload",
        "auto",
        "--json",
    ).json()
    assert asked["plans"] and asked["rejected"] == []
    tight = cli(
        "plan",
        "llama-3.3-70b",
        "--gpu",
        "rtx-4090",
        "--format",
        "Q4_K_M",
        "--engine",
        "llama.cpp",
        "--offload",
        "auto",
        "--ram",
        "16",
        "--json",
    )
    assert tight.code == 1


def test_a_context_that_is_too_long_gets_the_longest_that_fits(cli: Cli) -> None:
    argv = ("--gpu", "rtx-4090", "--engine", "vllm", "--format", "bf16", "--json")
    ran = cli("plan", "llama3.1:8b", "--context", "131072", *argv)
    assert ran.code == 1
    fixes = ran.json()["rejected"][0]["fixes"]
    context = next(fix["change"]["context"] for fix in fixes if "context" in fix["change"])
    assert context % 256 == 0
    again = cli("plan", "llama3.1:8b", "--context", str(context), *argv)
    assert again.code == 0
    assert cli("plan", "llama3.1:8b", "--context", str(context + 2048), *argv).code == 1


def test_mixed_machines_take_layers_by_memory(cli: Cli) -> None:
    answer = cli(
        "plan",
        "llama-3.3-70b",
        "--gpu",
        "rtx-3090",
        "--gpu",
        "rtx-4060-ti-16gb",
        "--format",
        "Q3_K_M",
        "--engine",
        "llama.cpp",
        "--json",
    ).json()
    devices = answer["plans"][0]["memory"]["devices"]
    assert [device["gpu"] for device in devices] == ["rtx-3090", "rtx-4060-ti-16gb"]
    assert devices[0]["used_bytes"] > devices[1]["used_bytes"]


def test_a_quantized_repository_fixes_its_format(cli: Cli) -> None:
    answer = cli("plan", "Qwen/Qwen3-8B-AWQ", "--gpu", "rtx-3090", "--json").json()
    assert set(formats(answer, "plans", "vllm")) == {"awq-4bit"}
    assert cli("plan", "Qwen/Qwen3-8B-AWQ", "--gpu", "rtx-3090", "--format", "fp8").code == 2


def test_a_fine_tune_is_served_under_its_own_name(cli: Cli) -> None:
    answer = cli("plan", "NousResearch/Hermes-3-Llama-3.1-8B", "--gpu", "rtx-4090", "--engine", "vllm", "--json").json()
    assert answer["plans"][0]["command"]["argv"][2] == "NousResearch/Hermes-3-Llama-3.1-8B"
    assert "layout_of_base" in {reason["code"] for reason in answer["notes"]}


def test_fit_lists_models_with_their_best_format(cli: Cli) -> None:
    answer = cli("fit", "--gpu", "rtx-4090", "--family", "qwen3", "--json").json()
    found = {item["deployment"]["model"]: item for item in answer["plans"]}
    assert found["Qwen/Qwen3-8B"]["deployment"]["weight_format"] == "bf16"
    assert (
        found["Qwen/Qwen3-32B"]["deployment"]["weight_format"].startswith("gguf:Q4")
        or "awq" in found["Qwen/Qwen3-32B"]["deployment"]["weight_format"]
    )
    assert all(item["verdict"] == "fits" for item in answer["plans"])
    assert cli("fit", "--gpu", "rtx-4090", "--family", "no-such-family").code == 2


def _world() -> World:
    def read(text: str) -> ModelRead:
        found = read_reference(text)
        return ModelRead(
            model=found.model, weight_format=found.weight_format, repository=found.repository, is_file=found.is_file
        )

    return World(read_model=read, this_machine=lambda: Machine(devices=(), host=Host(ram_bytes=24 * GIB)))


MODELS = st.sampled_from(list(rows()))
GPUS = st.lists(
    st.sampled_from(
        [
            "rtx-3060-12gb",
            "rtx-3090",
            "rtx-4090",
            "a100-sxm-40gb",
            "h100-sxm-80gb",
            "v100-sxm-32gb",
            "mi300x",
            "b200",
            "l4",
        ]
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60)
@given(MODELS, GPUS, st.sampled_from(["1024", "8k", "32k"]), st.sampled_from([1, 4, 32]), st.sampled_from([None, "64"]))
def test_laws_of_every_plan(model: str, gpus: list[str], context: str, concurrency: int, ram: str | None) -> None:
    try:
        answer = plan(
            PlanRequest.read(model=model, gpu=gpus, context=context, concurrency=concurrency, ram=ram), _world()
        )
    except InputError as error:
        assert {problem.code for problem in error.problems} <= {"context_beyond_model"}
        return
    keys = [rank_key(item) for item in answer.plans]
    assert keys == sorted(keys)
    for item in answer.plans:
        assert item.fits and item.budget is not None
        assert all(device.used_bytes <= device.usable_bytes for device in item.budget.devices)
        assert item.deployment.device_count <= max(1, len(item.deployment.machine.devices))
    for item in answer.rejected:
        assert not item.fits and any(reason.severity == "blocker" for reason in item.reasons)
        for fix in item.fixes:
            assert fix.result.fits, "a fix is recomputed, not a phrase"
            assert fix.change
