"""Engines that run other engines: Ollama, LM Studio, text-generation-webui.

Their memory is the parent's, their commands are their own.
"""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import deployment, machine
from fitserve.emit.commands import shell_texts
from fitserve.engines.contract import Candidate, Deployment, Engine, LaunchCommand
from fitserve.engines.option_lists import option_row
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FactMissing, InputError
from fitserve.foundation.facts import load_json
from fitserve.foundation.reasons import Verdict
from fitserve.foundation.units import GIB, MIB
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format
from fitserve.search.evaluate import evaluate

EIGHT_B = "meta-llama/Llama-3.1-8B-Instruct"
QWEN = "Qwen/Qwen3-8B"
MOE = "Qwen/Qwen3-30B-A3B"
GEMMA4 = "google/gemma-4-31B-it"
VISION = "meta-llama/Llama-3.2-11B-Vision-Instruct"
MIRRORS = ["ollama", "lmstudio", "text-generation-webui"]
SPLIT = "/models/Big-00001-of-00003.gguf"


def made(name: str, model: str = QWEN, gpu: str = "rtx-3090", mix: str = "Q4_K_M", **changes: Any) -> Deployment:
    on = changes.pop("on", None) or (machine(gpu) if gpu else machine(ram_bytes=64 * GIB))
    return deployment(model, f"gguf:{mix}" if mix[0] in "QIBM" else mix, name, on, **changes)


CONSTRAINTS = [
    ("ollama", GEMMA4, "Q4_K_M", "h100-sxm-80gb", {"engine_version": "0.11.0"}, "architecture_too_new"),
    ("ollama", "Qwen/Qwen3-8B", "Q4_K_M", "rtx-3090", {"engine_version": "0.6.5"}, "architecture_too_new"),
    ("ollama", GEMMA4, "Q4_K_M", "h100-sxm-80gb", {"engine_version": "0.24.0"}, "library_model_only"),
    ("ollama", VISION, "Q4_K_M", "rtx-3090", {}, "architecture_dropped"),
    ("ollama", EIGHT_B, "awq-4bit", "rtx-4090", {}, "format_not_supported"),
    ("ollama", EIGHT_B, "IQ4_KS", "rtx-4090", {}, "format_of_a_fork"),
    ("ollama", EIGHT_B, "Q4_K_M", "rtx-4090", {"kv_format": "q5_1"}, "kv_format_not_supported"),
    ("ollama", EIGHT_B, "Q4_K_M", "rtx-4090", {"kv_format": "bf16"}, "kv_format_not_supported"),
    (
        "ollama", EIGHT_B, "Q4_K_M", "rtx-4090",
        {"kv_format": "q8_0", "options": {"OLLAMA-FLASH-ATTENTION": "0"}}, "quantized_value_needs_flash_attention",
    ),
    ("ollama", EIGHT_B, "Q4_K_M", "rtx-4090", {"options": {"no-such": "1"}}, "option_unknown"),
    ("ollama", EIGHT_B, "Q4_K_M", "rtx-4090", {"repository": SPLIT}, "split_gguf_not_imported"),
    ("ollama", EIGHT_B, "Q4_K_M", "rtx-4090", {"repository": "/models/a\nb.gguf"}, "modelfile_cannot_name"),
    ("ollama", EIGHT_B, "Q4_K_M", "rtx-4090", {}, "library_tag_unchecked"),
    ("ollama", EIGHT_B, "Q6_K", "rtx-4090", {}, "gguf_file_for_modelfile"),
    ("ollama", EIGHT_B, "Q4_K_M", "rtx-3060-12gb", {}, "default_context_differs"),
    ("ollama", EIGHT_B, "Q4_K_M", "rtx-4090", {"context_tokens": 8192}, "default_context_differs"),
    ("ollama", EIGHT_B, "Q4_K_M", "rtx-4090", {}, "server_already_runs"),
    ("lmstudio", EIGHT_B, "bf16", "rtx-4090", {}, "format_not_supported"),
    ("lmstudio", EIGHT_B, "Q4_K_M", "rtx-4090", {"kv_format": "q8_0"}, "kv_format_set_in_app"),
    ("lmstudio", EIGHT_B, "Q4_K_M", "rtx-4090", {"options": {"ctx-size": "1"}}, "option_unknown"),
    ("lmstudio", EIGHT_B, "Q4_K_M", "rtx-4090", {}, "headless_daemon"),
    ("text-generation-webui", EIGHT_B, "exl2:4.65bpw", "rtx-4090", {}, "format_not_supported"),
    ("text-generation-webui", EIGHT_B, "Q4_K_M", "rtx-4090", {"kv_format": "q5_0"}, "kv_format_not_supported"),
    ("text-generation-webui", EIGHT_B, "Q4_K_M", "rtx-4090", {"options": {"gpu-memory": "20"}}, "option_gone"),
    ("text-generation-webui", EIGHT_B, "Q4_K_M", "rtx-4090", {"options": {"nothing": "20"}}, "option_unknown"),
    ("text-generation-webui", EIGHT_B, "Q4_K_M", "rtx-4090", {}, "gguf_in_models_folder"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "model", "mix", "gpu", "changes", "code"), CONSTRAINTS)
def test_constraints(name: str, model: str, mix: str, gpu: str, changes: dict[str, Any], code: str) -> None:
    reasons = evaluate(made(name, model, gpu, mix, **changes)).reasons
    assert code in {reason.code for reason in reasons}
    assert all(reason.parameters.get("engine", name) == name for reason in reasons), "reasons speak of the mirror"


ABSENT = [
    ("ollama", EIGHT_B, {"context_tokens": 32768}, "default_context_differs"),
    ("ollama", GEMMA4, {"on": machine("h100-sxm-80gb")}, "library_model_only"),
    ("ollama", EIGHT_B, {"engine_version": "0.5.5"}, "architecture_too_new"),
    ("lmstudio", EIGHT_B, {}, "gguf_file_needed"),
]


@pytest.mark.parametrize(("name", "model", "changes", "code"), ABSENT)
def test_reasons_that_do_not_hold_are_not_given(name: str, model: str, changes: dict[str, Any], code: str) -> None:
    assert code not in {reason.code for reason in evaluate(made(name, model, "rtx-4090", **changes)).reasons}


DEFAULT_CONTEXTS = [
    # total memory of the GPUs as Ollama sees it: below 23 GiB, from 23, from 47
    (("rtx-3060-12gb",), 4096), (("rtx-4090",), 32768), (("rtx-3060-12gb", "rtx-3060-12gb"), 32768),
    (("rtx-4090", "rtx-4090"), 262144), (("h100-sxm-80gb",), 262144), ((), 4096),
]  # fmt: skip


@pytest.mark.parametrize(("gpus", "tokens"), DEFAULT_CONTEXTS)
def test_the_context_that_ollama_takes_unasked(gpus: tuple[str, ...], tokens: int) -> None:
    on = machine(*gpus, ram_bytes=64 * GIB)
    reasons = evaluate(made("ollama", EIGHT_B, on=on, pp=max(1, len(gpus)), context_tokens=8000)).reasons
    found = next(reason for reason in reasons if reason.code == "default_context_differs")
    assert found.parameters["default_tokens"] == tokens


PINS = [("0.32.15", "b10488"), ("0.31.0", "b9840"), ("0.30.0", "b9452"), ("0.30.4", "b9493")]


@pytest.mark.parametrize(("release", "build"), PINS)
@pytest.mark.parametrize("slots", [1, 3])
def test_ollama_needs_what_the_build_inside_needs(release: str, build: str, slots: int) -> None:
    inside = engine("llama.cpp")
    asked = made("ollama", EIGHT_B, engine_version=release, max_num_seqs=slots, context_tokens=4096)
    plain = replace(
        asked, engine="llama.cpp", engine_version=build, max_num_seqs=None,
        options={"ctx-size": str(4096 * slots), "parallel": str(slots)},
    )  # fmt: skip
    ours, theirs = engine("ollama").budget(asked), inside.budget(plain)
    assert ours.devices == theirs.devices and ours.host_items == theirs.host_items
    assert ours.kv == replace(theirs.kv, max_context_tokens=ours.kv.max_context_tokens)
    assert ours.max_num_seqs == slots
    assert engine("ollama").outcome(ours) == inside.outcome(theirs) == "ok"
    assert engine("ollama").log_figures(asked, ours) == inside.log_figures(plain, theirs)
    whole = replace(asked, options={"ctx-size": str(4096 * slots)})  # as measured cases state a context
    assert engine("ollama").cache_bytes(whole, slots, "cache") == inside.cache_bytes(plain, slots, "cache")


def test_a_cache_by_hand() -> None:
    # Llama 3.1 8B: 32 layers x 8 heads x 128 x (K and V) x 2 bytes = 128 KiB a token; 2 requests of 8192 tokens
    budget = engine("ollama").budget(made("ollama", EIGHT_B, max_num_seqs=2, context_tokens=8192))
    assert budget.devices[0].item("kv_cache") == 2 * 8192 * 128 * 1024 == 2 * GIB
    # the compute buffer of a build before b10000 holds the logits of 512 tokens: 128256 x 512 x 4 = 250.5 MiB
    older = engine("ollama").budget(made("ollama", EIGHT_B, engine_version="0.30.0"))
    assert older.devices[0].item("compute_buffer") >= 250 * MIB
    # LM Studio's two slots share the same 16384 tokens
    shared = engine("lmstudio").budget(made("lmstudio", EIGHT_B, max_num_seqs=2, context_tokens=8192))
    assert shared.devices[0].item("kv_cache") == 2 * GIB and shared.kv.capacity_tokens == 16384


def test_runners_before_llama_server_are_judged_with_a_wider_buffer() -> None:
    def buffer(version: str) -> Any:
        budget = engine("ollama").budget(made("ollama", EIGHT_B, engine_version=version))
        return next(item for item in budget.devices[0].items if item.code == "compute_buffer")

    own, new = buffer("0.24.0"), buffer("0.30.0")
    assert own.basis.kind == "estimated" and new.basis.kind == "measured"
    assert own.bytes.high - own.bytes.low > new.bytes.high - new.bytes.low


def test_the_fixture_of_ollamas_own_tests() -> None:
    # evidence ollama-test-3b: Llama 3.2 3B Q4_K_M, 32768 tokens; two GPUs hold 852.89 + 1065.46 and 1920 + 1664 MiB
    chosen = engine("ollama")
    options = chosen.given_options({"context_tokens": 32768})
    asked = made("ollama", "meta-llama/Llama-3.2-3B", context_tokens=32768, options=options)
    figures = chosen.log_figures(asked, chosen.budget(asked))
    assert figures["model_mib.CPU_Mapped"].likely == pytest.approx(308.23, abs=0.01)
    assert figures["model_mib.CUDA0"].likely == pytest.approx(852.89 + 1065.46, abs=0.02)
    assert figures["kv_mib.CUDA0"].likely == 1920 + 1664


MEANINGS = [
    ({"num-ctx": "16384"}, {"context_tokens": 16384}),
    ({"num_ctx": "16384", "OLLAMA-CONTEXT-LENGTH": "2048"}, {"context_tokens": 16384}),
    ({"OLLAMA-NUM-PARALLEL": "3"}, {"max_num_seqs": 3}),
    ({"OLLAMA-KV-CACHE-TYPE": "q8_0"}, {"kv_format": "q8_0"}),
    ({"temperature": "0.6"}, {}),
]


@pytest.mark.parametrize(("options", "fields"), MEANINGS)
def test_options_of_ollama_mean_what_the_fields_mean(options: dict[str, str], fields: dict[str, Any]) -> None:
    by_option = engine("ollama").budget(made("ollama", options=options))
    by_field = engine("ollama").budget(made("ollama", **fields))
    assert by_option.devices == by_field.devices and by_option.max_num_seqs == by_field.max_num_seqs


def test_a_batch_and_a_wrong_number() -> None:
    wide = engine("ollama").budget(made("ollama", options={"num-batch": "2048"}))
    assert wide.devices[0].item("compute_buffer") > 3 * engine("ollama").budget(made("ollama")).devices[0].item(
        "compute_buffer"
    )
    with pytest.raises(InputError):
        engine("ollama").budget(made("ollama", options={"num-ctx": "many"}))


# --- the Modelfile, read back by the rules of parser/parser.go ---

COMMANDS = {"FROM", "PARAMETER"}
KNOWN = {row["name"]: row["kind"] for row in load_json("fitserve.engines.ollama", "options/0.32.15.json")["rows"]}


def parsed(text: str) -> list[tuple[str, str]]:
    """(command or parameter, value) of a Modelfile: values end at a line break unless quotes are open."""
    found: list[tuple[str, str]] = []
    lines = re.split(r"[\r\n]", text)
    while lines:
        line = lines.pop(0)
        if not line.strip() or line.startswith("#"):
            continue
        command, _, rest = line.partition(" ")
        name = command
        assert re.fullmatch("[A-Za-z]+", command), line
        if command.upper() == "PARAMETER":
            name, _, rest = rest.partition(" ")
        value = rest.strip(" \t")
        while value.startswith('"""') and not (len(value) >= 6 and value.endswith('"""')):
            value += "\n" + lines.pop(0)
        if value.startswith('"""'):
            value = value[3:-3]
        elif value.startswith('"'):
            value = value[1:-1]
        found.append((name, "".join(rune for rune in value if rune.isprintable())))
    return found


def modelfile(asked: Deployment) -> list[tuple[str, str]]:
    command = engine("ollama").command(asked)
    assert [file.path for file in command.files] == ["Modelfile"]
    return parsed(command.files[0].text)


PATHS = [
    "/models/Qwen3 8B (copy).gguf", "/모델/라마 8B.gguf", '/models/"quoted".gguf', "C:\\models\\a b.gguf", "~/x.gguf",
    "/models/it's # 1; rm -rf $HOME.gguf", "/models/trailing ", "../up.gguf",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_awkward_paths_in_the_modelfile(path: str) -> None:
    assert modelfile(made("ollama", repository=path))[0] == ("FROM", path)


@pytest.mark.parametrize("name", ['"starts with a quote.gguf', "weights.gguf", " space first.gguf", "#hash.gguf"])
def test_a_bare_name_is_a_file_beside_the_modelfile(name: str) -> None:
    assert modelfile(made("ollama", repository=name))[0] == ("FROM", f"./{name}")


@given(st.text(min_size=1, max_size=40))
def test_paths_stay_inert_in_the_modelfile(path: str) -> None:
    asked = made("ollama", repository=f"/m/{path}.gguf")
    reasons = engine("ollama").blockers(asked)
    if any(reason.code == "modelfile_cannot_name" for reason in reasons):
        return
    commands = modelfile(asked)
    assert [name for name, _ in commands] == ["FROM", "num_ctx"]
    assert commands[0][1] == re.sub(r"-\d{5}-of-\d{5}(?=\.gguf$)", "-merged", f"/m/{path}.gguf")
    assert commands[1][1] == "8192"


@pytest.mark.parametrize("path", ["a\nFROM b", "a\rb", "a\tb", "a\x00b", "a\u200bb", "a\u00a0b", "a\u2028b"])
def test_names_that_the_parser_would_change_are_refused(path: str) -> None:
    judged = evaluate(made("ollama", repository=f"/m/{path}.gguf"))
    assert judged.verdict is Verdict.NOT_SUPPORTED and judged.has("modelfile_cannot_name")


MODELFILES: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {"FROM": "qwen3:8b", "num_ctx": "8192"}),
    ({"mix": "Q6_K"}, {"FROM": "./Qwen3-8B-Q6_K.gguf", "num_ctx": "8192"}),
    ({"offload_layers": 10}, {"num_gpu": "27"}),  # 36 layers and the output, less 10
    ({"offload_layers": 37}, {"num_gpu": "0"}),
    ({"repository": SPLIT}, {"FROM": "/models/Big-merged.gguf"}),
    ({"options": {"top-k": "20", "stop": "</s>"}}, {"top_k": "20", "stop": "</s>"}),
]


@pytest.mark.parametrize(("changes", "lines"), MODELFILES)
def test_modelfiles(changes: dict[str, Any], lines: dict[str, str]) -> None:
    commands = modelfile(made("ollama", **changes))
    assert lines.items() <= dict(commands).items()
    assert {name for name, _ in commands if name.isupper()} <= COMMANDS
    assert all(KNOWN[name] in {"modelfile_parameter", "option"} for name, _ in commands if not name.isupper())


def test_experts_are_left_to_the_fit_and_a_full_card_to_num_gpu() -> None:
    on = machine("rtx-3060-12gb", ram_bytes=64 * GIB)
    experts = made("ollama", MOE, on=on, offload_layers=30)
    budget = evaluate(experts).budget
    assert budget is not None and "num_gpu" not in dict(modelfile(experts))
    assert budget.devices[0].used_bytes < budget.devices[0].usable_bytes
    full = made("ollama", QWEN, on=on, mix="Q8_0", context_tokens=24576)
    assert evaluate(full).fits and evaluate(full).has("num_gpu_set")
    assert dict(modelfile(full))["num_gpu"] == "37"


ENVIRONMENTS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {"OLLAMA_CONTEXT_LENGTH": "8192", "OLLAMA_NUM_PARALLEL": "1"}),
    ({"max_num_seqs": 4}, {"OLLAMA_NUM_PARALLEL": "4"}),
    ({"kv_format": "q8_0"}, {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}),
    ({"engine_version": "0.24.0"}, {"OLLAMA_FLASH_ATTENTION": "1"}),
    ({"gpu": "arc-b580"}, {"OLLAMA_VULKAN": "1"}),
    ({"options": {"ollama-keep-alive": "1h"}}, {"OLLAMA_KEEP_ALIVE": "1h"}),
    ({"on": machine("rtx-3090", "rtx-3090")}, {"CUDA_VISIBLE_DEVICES": "0"}),
]


@pytest.mark.parametrize(("changes", "env"), ENVIRONMENTS)
def test_environments(changes: dict[str, Any], env: dict[str, str]) -> None:
    command = engine("ollama").command(made("ollama", **changes))
    assert env.items() <= dict(command.env).items()
    assert all(KNOWN[name] == "env" for name in command.env)
    assert ("OLLAMA_KV_CACHE_TYPE" in command.env) == ("kv_format" in changes)


def test_the_steps_of_ollama_speak_of_one_name() -> None:
    command = engine("ollama").command(made("ollama"))
    assert command.argv == ("ollama", "serve") and command.port == 11434
    assert command.served_name == "qwen3-8b:q4_k_m"
    assert command.then == (
        ("ollama", "create", "qwen3-8b:q4_k_m", "-f", "Modelfile"),
        ("ollama", "run", "qwen3-8b:q4_k_m"),
    )


IMAGES = [
    ("rtx-3090", "ollama/ollama:0.32.15"), ("mi300x", "ollama/ollama:0.32.15-rocm"), ("m2-ultra-192gb", None),
    ("", "ollama/ollama:0.32.15"), ("arc-b580", None),
]  # fmt: skip


@pytest.mark.parametrize(("gpu", "image"), IMAGES)
def test_images_by_vendor(gpu: str, image: str | None) -> None:
    command = engine("ollama").command(made("ollama", gpu=gpu))
    assert command.image == image and command.cache_folder == "/root/.ollama"
    assert (shell_texts(command, True)["docker"] is None) == (image is None)


@pytest.mark.parametrize("name", MIRRORS)
@pytest.mark.parametrize("os", ["linux", "windows", "macos"])
def test_commands_on_every_system(name: str, os: str) -> None:
    gpu = "m2-ultra-192gb" if os == "macos" else "rtx-3090"
    judged = evaluate(made(name, on=machine(gpu, os=os)))
    assert judged.fits and os in engine(name).native_os
    texts = shell_texts(engine(name).command(judged.deployment), True)
    assert all(engine(name).command(judged.deployment).argv[0] in (texts[shell] or "") for shell in ("bash", "cmd"))


def _lms(asked: Deployment) -> LaunchCommand:
    return engine("lmstudio").command(asked)


LMS_CASES: list[dict[str, Any]] = [
    {},
    {"max_num_seqs": 3},
    {"offload_layers": 10},
    {"repository": "/m/a b.gguf"},
    {"options": {"ttl": "60"}},
]


@pytest.mark.parametrize("changes", LMS_CASES)
def test_lms_uses_flags_of_its_list(changes: dict[str, Any]) -> None:
    command = _lms(made("lmstudio", **changes))
    for argv in (command.argv, *command.then):
        for word in filter(lambda word: word.startswith("-"), argv):
            row = option_row("fitserve.engines.lmstudio", "0.4.21", word)
            assert row is not None
            assert any(argv[1:3] == (*name.split(), *argv[2:])[:2] for name in row["subcommands"]), (word, argv)


def test_given_flags_of_lms_stand_before_its_own_last_ones() -> None:
    words = _lms(made("lmstudio", options={"ttl": "60"})).then[1]
    assert words[-5:] == ("--ttl", "60", "--identifier", "qwen3-8b", "--yes")


def test_the_cache_of_several_sequences() -> None:
    # 36 layers x 8 heads x 128 x 2 x 2 bytes = 144 KiB a token; 3 sequences of 4096 tokens
    for name in MIRRORS[1:]:
        assert engine(name).cache_bytes(made(name, context_tokens=4096, options={"ctx-size": "12288"}), 3, "cache") == (
            12288 * 144 * 1024
        )


LOADS: list[tuple[dict[str, Any], dict[str, str]]] = [
    ({}, {"--context-length": "8192", "--parallel": "1", "--gpu": "max"}),
    ({"max_num_seqs": 4}, {"--context-length": "32768", "--parallel": "4"}),
    ({"offload_layers": 10}, {"--gpu": "0.72"}),  # 27 of 37 layers, rounded down
    ({"offload_layers": 37}, {"--gpu": "off"}),
    ({"gpu": ""}, {"--gpu": "off"}),
    ({"options": {"gpu": "0.5", "context-length": "4096"}}, {"--gpu": "0.5", "--context-length": "4096"}),
]


@pytest.mark.parametrize(("changes", "flags"), LOADS)
def test_loads_of_lm_studio(changes: dict[str, Any], flags: dict[str, str]) -> None:
    words = _lms(made("lmstudio", **changes)).then[1]
    assert words[:3] == ("lms", "load", "qwen3-8b")
    assert all(words[words.index(flag) + 1] == value for flag, value in flags.items())


def test_lm_studio_fetches_or_imports() -> None:
    assert _lms(made("lmstudio")).then[0] == ("lms", "get", "qwen3-8b@q4_k_m", "--gguf", "--yes")
    assert _lms(made("lmstudio", repository="/m/a b.gguf")).then[0] == (
        "lms",
        "import",
        "/m/a b.gguf",
        "--copy",
        "--yes",
    )


def test_slots_of_lm_studio_share_what_the_model_allows() -> None:
    judged = evaluate(made("lmstudio", on=machine("h100-sxm-80gb"), context_tokens=32768, concurrent_requests=4))
    queue = next(reason for reason in judged.reasons if reason.code == "requests_queue")
    assert judged.fits and queue.parameters["at_once"] == 1  # 40960 tokens hold one request of 32768
    assert judged.budget is not None and judged.budget.kv.capacity_tokens == 40960


TEXTGEN: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["--loader", "llama.cpp", "--ctx-size", "8192", "--parallel", "1", "--gpu-layers", "37", "--api", "--api-port", "5000"]),
    ({"max_num_seqs": 2}, ["--ctx-size", "16384", "--parallel", "2"]),
    ({"kv_format": "q8_0"}, ["--cache-type", "q8_0"]),
    ({"offload_layers": 10}, ["--gpu-layers", "27"]),
    ({"gpu": ""}, ["--gpu-layers", "0"]),
    ({"model": MOE, "offload_layers": 20}, ["--gpu-layers", "49", "--extra-flags", "n-cpu-moe=20"]),
    ({"model": MOE, "offload_layers": 48}, ["--gpu-layers", "49", "--cpu-moe"]),
    ({"options": {"ctx-size": "4096", "threads": "8", "no-mmap": "true"}}, ["--ctx-size", "4096", "--threads", "8", "--no-mmap"]),
    ({"on": machine("rtx-3090", "rtx-3090")}, ["--tensor-split", "1,0"]),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "words"), TEXTGEN)
def test_commands_of_text_generation_webui(changes: dict[str, Any], words: list[str]) -> None:
    argv = list(engine("tgw").command(made("tgw", **changes)).argv)
    assert argv[:3] == ["python", "server.py", "--model"]
    rest = iter(argv)
    assert all(word in rest for word in words), argv  # in this order
    for word in argv:
        if word.startswith("--"):
            row = option_row("fitserve.engines.text_generation_webui", "4.7.3", word)
            assert row is not None and (row["arity"] == 0 or argv[argv.index(word) + 1] is not None)


def test_text_generation_webui_has_its_own_batch() -> None:
    # modules/shared.py: --ubatch-size 1024, twice the default of llama.cpp
    ours = engine("tgw").budget(made("tgw"))
    theirs = engine("llama.cpp").budget(made("llama.cpp", options={"ubatch-size": "1024", "batch-size": "1024"}))
    assert ours.devices == theirs.devices


def test_removed_flags_are_in_no_option_list() -> None:
    chosen = engine("oobabooga")
    gone = chosen.facts["command_line"]["gone"]
    assert {"--gpu-memory", "--auto-devices"} <= set(gone)
    assert not set(gone) & chosen.known_options("4.7.3")


def _mlx() -> Engine:
    """A stand-in for a parent of another family, made of llama.cpp's."""
    return replace(
        engine("llama.cpp"), id="mlx", candidates=lambda *_: (Candidate(weight_format=parse_format("mlx-4bit")),)
    )


def test_a_parent_that_is_there_is_used_and_one_that_is_not_is_not_offered() -> None:
    from fitserve.engines.lmstudio import mirror

    model, on = catalog_model(QWEN), Machine(devices=machine("m2-ultra-192gb").devices, host=machine().host)
    alone, both = mirror({"llama.cpp": engine("llama.cpp")}), mirror({"llama.cpp": engine("llama.cpp"), "mlx": _mlx()})
    asked = made("lmstudio", on=on, mix="mlx-4bit")
    assert {c.weight_format.family for c in alone.candidates(model, on, "0.4.21")} == {"gguf"}
    assert {c.weight_format.family for c in both.candidates(model, on, "0.4.21")} == {"gguf", "mlx"}
    assert "format_not_supported" in {reason.code for reason in alone.blockers(asked)}
    assert "format_not_supported" not in {reason.code for reason in both.blockers(asked)}
    assert both.command(asked).then[0] == ("lms", "get", "qwen3-8b", "--mlx", "--yes")
    with pytest.raises(FactMissing):
        alone.budget(asked)


@pytest.mark.parametrize("name", MIRRORS)
def test_a_mirror_knows_what_is_published(name: str) -> None:
    identity = engine(name).facts["identity"]
    assert identity["id"] == name and "openai" in identity["apis"]
    assert json.dumps(engine(name).facts["command_line"]["programs"])
    assert [c.weight_format.name for c in engine(name).candidates(catalog_model(QWEN), machine("rtx-3090"), "1")]
