"""Quantization jobs: the tool and its needs, recipes, what is refused, and a job that runs with a tool of ours."""

import ast
import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran
from fitserve.cli.verbs import world
from fitserve.emit.quantizers import ignored_modules, quantizer_files
from fitserve.footprint.weights import checkpoint_bytes, weight_bytes
from fitserve.foundation.errors import InputError, LaunchFailed
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.reasons import Verdict
from fitserve.launch.quantize_run import Work, is_there, progress_of, run_steps, runnable
from fitserve.ledger.store import Ledger
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format
from fitserve.plan.quantize import QuantizeAnswer, quantize
from fitserve.plan.quantize_request import QuantizeRequest
from fitserve.plan.world import World
from fitserve.training.quantize import hessian_bytes, kept_parts, largest_layer_bytes, result_bytes, tools_for

SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct"
SMALL = "Qwen/Qwen2.5-0.5B-Instruct"


@pytest.fixture(scope="module")
def outside() -> World:
    return world()


def _answer(outside: World, **changes: Any) -> QuantizeAnswer:
    return quantize(QuantizeRequest.read(**{"model": SMALL, "gpu": ["rtx-4090"], "ram": "64GiB", **changes}), outside)


def test_scout_to_four_bits_on_one_a100(outside: World) -> None:
    """217 GB of BF16 in RAM, two layers of 4.5 GB and their Hessians on the GPU (llm-compressor docs/guides/memory.md)."""
    answer = _answer(outside, model=SCOUT, format="w4a16", gpu=["a100 80gb"], ram="256GB")
    job = answer.needs
    assert answer.verdict is Verdict.FITS and job is not None and answer.tool is not None
    assert (answer.tool.name, answer.tool.algorithm) == ("llm-compressor", "gptq")
    assert 217e9 < job.ram_bytes < 256e9
    assert largest_layer_bytes(answer.model) == pytest.approx(4.5e9, rel=0.05)
    assert job.gpu_bytes == pytest.approx(
        2 * largest_layer_bytes(answer.model) + hessian_bytes(answer.model, answer.weight_format), rel=0.05
    )
    assert job.input_bytes == pytest.approx(checkpoint_bytes(answer.model), rel=0.01)
    assert job.disk_bytes >= job.input_bytes + job.output_bytes.likely
    assert job.output_bytes.contains(
        weight_bytes(catalog_model("RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16"), parse_format("w4a16"))
    )
    assert 1 < job.hours.low < job.hours.likely < job.hours.high
    assert answer.published == ("RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16",)
    assert {"lm_head", "router", "vision", "embedding"} <= {part for part, _ in answer.kept}
    assert answer.then is not None and answer.then.deployment.weight_format.name == "w4a16"
    assert _answer(outside, model=SCOUT, gpu=["a100 80gb"], ram="128GiB").verdict is Verdict.DOES_NOT_FIT


def test_fewer_samples_are_proposed_where_they_help(outside: World) -> None:
    answer = _answer(outside, model="Qwen/Qwen3-32B", format="w4a16", ram="72GiB")
    blocker = next(reason for reason in answer.reasons if reason.code == "job_exceeds_ram")
    assert isinstance(blocker.parameters["samples"], int)
    assert (
        _answer(outside, model="Qwen/Qwen3-32B", ram="72GiB", samples=blocker.parameters["samples"]).verdict
        is Verdict.FITS
    )
    hopeless = _answer(outside, model="Qwen/Qwen3-32B", format="w4a16", ram="32GiB")
    assert next(r for r in hopeless.reasons if r.code == "job_exceeds_ram").parameters["samples"] is None


def test_hours_come_from_the_paper() -> None:
    """GPTQ, arXiv:2210.17323: 175 billion weights in four hours on one A100, with 128 samples."""
    row = load_toml("fitserve.training", "quantizers.toml")["rates"]["gptq"]
    assert 175e9 / row["params_per_s"] / 3600 == pytest.approx(4, rel=0.001)


@pytest.mark.parametrize(
    ("form", "tool", "engine"),
    [
        ("w4a16", "llm-compressor", "vllm"), ("fp8", "llm-compressor", "vllm"), ("awq", "llm-compressor", "vllm"),
        ("gptq", "GPTQModel", "vllm"), ("nvfp4", "llm-compressor", "vllm"), ("nvfp4", "nvidia-modelopt", "tensorrt-llm"),
        ("exl3:4", "exllamav3", "exllamav3"), ("Q4_K_M", "llama.cpp", "llama.cpp"), ("mlx-4bit", "mlx-lm", "mlx"),
        ("autoround-int4", "auto-round", "vllm"),
    ],
)  # fmt: skip
def test_the_tool_of_a_format_and_engine(form: str, tool: str, engine: str) -> None:
    assert tools_for(parse_format(form), engine)[0].name == tool


def test_a_deprecated_tool_is_named_with_its_successor(outside: World) -> None:
    answer = _answer(outside, format="awq", tool="AutoAWQ")
    assert answer.tool is not None and answer.tool.name == "llm-compressor"
    assert "tool_deprecated" in {reason.code for reason in answer.reasons}
    assert "tool_replaces" in {reason.code for reason in answer.notes}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"format": "bf16"}, "format_is_plain"), ({"format": "nf4"}, "made_while_loading"),
        ({"format": "w4a16", "engine": "llama.cpp"}, "no_tool_makes"), ({"format": "w4a16", "tool": "exllamav3"}, "tool_unknown"),
    ],
)  # fmt: skip
def test_what_no_job_makes_is_said(outside: World, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        _answer(outside, **changes)
    assert [problem.code for problem in caught.value.problems] == [code]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"model": "Qwen/Qwen3-32B-AWQ", "format": "w4a16"}, Verdict.NOT_SUPPORTED),
        ({"model": "Qwen/Qwen3-32B-AWQ", "format": "awq"}, Verdict.NOT_SUPPORTED),
        ({"format": "mlx-4bit"}, Verdict.NOT_SUPPORTED), ({"format": "w4a16", "disk": "1GiB"}, Verdict.DOES_NOT_FIT),
        ({"model": SCOUT, "format": "nvfp4", "tool": "nvidia-modelopt", "ram": "512GiB"}, Verdict.DOES_NOT_FIT),
    ],
)  # fmt: skip
def test_jobs_that_cannot_be_done(outside: World, changes: dict[str, Any], verdict: Verdict) -> None:
    assert _answer(outside, **changes).verdict is verdict


def test_fewer_bits_are_never_more_bytes() -> None:
    model = catalog_model("Qwen/Qwen3-8B")
    sizes = [result_bytes(model, parse_format(name)).likely for name in ("fp8", "w4a16")]
    mixes = [
        result_bytes(model, parse_format(name)).likely
        for name in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")
    ]
    assert sizes == sorted(sizes, reverse=True) and mixes == sorted(mixes, reverse=True)
    kept = dict(kept_parts(model, parse_format("w4a16")))
    assert kept["lm_head"] == kept["embedding"] == 151936 * 4096 * 2


SCRIPTS: list[dict[str, Any]] = [
    {"format": "w4a16"}, {"format": "fp8"}, {"format": "awq"}, {"format": "nvfp4"}, {"format": "gptq"},
    {"format": "w4a16", "model": SCOUT, "calibration": "my.jsonl", "ram": "512GiB"},
]  # fmt: skip


@pytest.mark.parametrize("changes", SCRIPTS, ids=str)
def test_scripts_call_what_the_tool_has(outside: World, changes: dict[str, Any]) -> None:
    answer = _answer(outside, **changes)
    made = quantizer_files(answer)
    assert made is not None
    keys = load_json("fitserve.emit.trainers", "keys.json")["llm-compressor"]["keys"]
    for node in ast.walk(ast.parse(made.files[0].text)):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {
            "oneshot",
            "GPTQModifier",
            "QuantizationModifier",
        }:
            assert {keyword.arg for keyword in node.keywords} <= set(keys)
    assert repr(answer.output) in made.files[0].text


def test_options_of_commands_are_those_of_the_tool(outside: World) -> None:
    keys = load_json("fitserve.emit.trainers", "keys.json")
    for form, name in (("exl3:4", "exllamav3"), ("mlx-4bit", "mlx")):
        made = quantizer_files(_answer(outside, format=form))
        assert made is not None
        flags = {word for word in made.steps[0].argv if word.startswith("--")}
        assert flags <= set(keys[name]["keys"])


def test_gguf_takes_steps_and_a_matrix_where_one_is_needed(outside: World) -> None:
    made = quantizer_files(_answer(outside, format="IQ2_XS"))
    assert made is not None
    assert [step.argv[0] for step in made.steps] == ["python", "llama-imatrix", "llama-quantize"]
    assert "--imatrix" in made.steps[2].argv
    plain = quantizer_files(_answer(outside, format="Q4_K_M"))
    assert plain is not None and [step.argv[0] for step in plain.steps] == ["python", "llama-quantize"]


def test_what_stays_unquantized_stands_in_the_recipe() -> None:
    ignored = ignored_modules(catalog_model(SCOUT), "w4a16")
    assert (
        "lm_head" in ignored and any("router" in name for name in ignored) and any("vision" in name for name in ignored)
    )
    assert any("self_attn" in name for name in ignored)  # as the size counts them
    assert ignored_modules(catalog_model(SMALL), "w4a16") == ["lm_head"]


def _tool(folder: Path, body: str) -> str:
    path = folder / "llama-quantize"
    path.write_text(f"#!{sys.executable}\nimport sys, pathlib\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


WRITES = """
print("[   1/   2] blk.0.a - [ 1, 1]")
print("[   2/   2] blk.0.b")
pathlib.Path(sys.argv[-2]).write_bytes(b"GGUF1234")
"""


def test_a_job_runs_tells_and_is_not_done_twice(tmp_path: Path) -> None:
    target, seen = tmp_path / "out.gguf", []
    argv = runnable(("llama-quantize", "in.gguf", str(target), "Q4_K_M"), "Q4_K_M", _tool(tmp_path, WRITES), tmp_path)
    assert argv is not None
    work = [Work(argv=argv, makes=target, bytes=8)]
    done = run_steps(work, seen.append)
    assert (done.bytes, done.skipped) == (8, ()) and target.read_bytes() == b"GGUF1234"
    assert [(progress.done, progress.whole) for progress in seen] == [(1, 2), (2, 2)]
    assert run_steps(work, seen.append).skipped == (target,)


def test_a_job_that_dies_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    target = tmp_path / "out.gguf"
    program = _tool(tmp_path, WRITES + '\nprint("out of memory")\nraise SystemExit(3)')
    work = [Work(argv=(program, "in", str(target), "Q4_K_M"), makes=target, bytes=8)]
    with pytest.raises(LaunchFailed, match="out of memory"):
        run_steps(work, lambda progress: None)
    assert not target.exists() and not is_there(work[0]) and list(tmp_path.glob(".*part")) == []


def test_a_disk_that_is_too_small_is_seen_before(tmp_path: Path) -> None:
    work = [Work(argv=("false",), makes=tmp_path / "out.gguf", bytes=1 << 60)]
    with pytest.raises(InputError) as caught:
        run_steps(work, lambda progress: None)
    assert caught.value.problems[0].code == "disk_too_small"


def test_progress_is_read_off_the_lines_of_the_tool() -> None:
    found = progress_of("[ 102/ 111] blk.10.ffn_up.weight  - [ 768, 2048, 1, 1], type = f16, converting to q4_K")
    assert (found.line, found.done, found.whole) == ("blk.10.ffn_up.weight", 102, 111)


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_the_verb_answers_in_words_json_and_files(cli: Callable[..., Ran], tmp_path: Path, lang: str) -> None:
    flags = ["quantize", SMALL, "--format", "w4a16", "--gpu", "rtx-4090", "--ram", "64", "--lang", lang]
    shown = cli(*flags, "--dry-run")
    assert shown.code == 0 and "llm-compressor" in shown.out and not Ledger().runs()
    out = tmp_path / "make.py"
    plan = json.loads(cli(*flags, "--json", "--out", str(out)).out)["plan"]
    assert plan["verdict"] == "fits" and plan["tool"]["name"] == "llm-compressor" and plan["result"] is None
    assert plan["needs"]["ram_bytes"] > 0 and out.read_text() == plan["config"]["files"][0]["text"]
    assert [str(kept.kind) for kept in Ledger().runs()] == ["quantize"]
    assert cli(*flags, "--out", str(tmp_path / "run.sh")).code == 0 and (tmp_path / "run.sh").exists()
    assert cli("quantize", SMALL, "--format", "bf16", "--gpu", "none", "--lang", lang).code == 2


def test_a_run_without_the_tool_says_how_to_get_it(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ran = cli("quantize", SMALL, "--format", "w4a16", "--gpu", "rtx-4090", "--ram", "64", "--run")
    assert ran.code == 2 and "--program" in ran.err
