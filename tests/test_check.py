"""`check`: scripts of every shell, options of a release, model and machine, and corrections that are clean themselves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Ran
from fitserve.check.answer import CheckAnswer, check
from fitserve.check.bash import read_bash
from fitserve.check.deployments import named
from fitserve.check.programs import invocation
from fitserve.check.request import CheckRequest
from fitserve.check.script import read_script
from fitserve.check.windows import read_cmd, read_powershell
from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Severity
from fitserve.hardware.types import Host, Machine
from fitserve.plan.world import World
from fitserve.render.texts import LANGUAGES, texts

Cli = Callable[..., Ran]
WORLD = World(read_model=named, this_machine=lambda: Machine(devices=(), host=Host()))


def judged(command: str, **fields: Any) -> CheckAnswer:
    return check(CheckRequest.read(command=command, **fields), WORLD)


def blockers(answer: CheckAnswer) -> set[str]:
    return {f.reason.code for f in answer.findings if f.reason.severity is Severity.BLOCKER}


def codes(answer: CheckAnswer) -> set[str]:
    return {f.reason.code for f in answer.findings}


FINDINGS = [
    # command, fields, code, what it points at
    ("vllm serve a/b --no-such-thing 1", {}, "option_never_known", "--no-such-thing"),
    ("vllm serve a/b --task generate", {}, "option_removed", "--task"),
    ("vllm serve a/b --attention-backend X", {"engine_version": "0.11.0"}, "option_too_new", "--attention-backend"),
    ("vllm serve a/b --dtype int3", {}, "option_choice_wrong", "--dtype int3"),
    ("vllm serve a/b --max-num-seqs many", {}, "option_type_wrong", "--max-num-seqs"),
    ("vllm serve a/b --max-model-len", {}, "option_value_missing", "--max-model-len"),
    ("vllm serve a/b --quantization exl2", {}, "value_not_in_registry", "--quantization exl2"),
    ("vllm serve a/b --tool-call-parser gemma4", {"engine_version": "0.18.1"}, "value_not_in_registry",
     "--tool-call-parser gemma4"),
    ("vllm serve a/b --compilation-config '{\"level\": 3}'", {}, "json_key_removed", "--compilation-config key level"),
    ("vllm serve Qwen/Qwen3-8B --quantization awq", {}, "quantization_not_of_checkpoint", "--quantization awq"),
    ("vllm serve openai/gpt-oss-20b", {"engine_version": "0.10.0"}, "architecture_too_new", "model openai/gpt-oss-20b"),
    ("vllm serve Qwen/Qwen3-8B-AWQ", {"gpu": ("v100-32gb",), "engine_version": "0.10.0"}, "format_needs_capability",
     "model Qwen/Qwen3-8B-AWQ"),
    ("vllm serve Qwen/Qwen3-8B -tp 3", {"gpu": ("rtx-3090:3",)}, "heads_not_divisible", "--tensor-parallel-size 3"),
    ("vllm serve Qwen/Qwen3-8B -tp 4", {"gpu": ("rtx-3090:2",)}, "ranks_exceed_devices", "--gpu"),
    ("vllm serve Qwen/Qwen3-32B", {"gpu": ("rtx-3090",)}, "weights_exceed_memory", "memory"),
    ("vllm serve a/b --gpu-memory-utilization 95", {"model": "Qwen/Qwen3-8B"}, "option_value_refused",
     "--gpu-memory-utilization 95"),
    ("llama-server -m x.gguf -fa --jinja", {}, "option_value_missing", "-fa"),
    ("llama-server -m x.gguf --no-mmap", {}, "option_removed", "--no-mmap"),
    ("llama-server -m x.gguf -mla 3 -fmoe", {}, "option_of_fork", "-mla"),
    ("llama-server -m Qwen3-8B-IQ2_K_R4.gguf", {}, "file_type_of_fork", "file type IQ2_K_R4"),
    ("llama-server -m x.gguf \\\n -ngl 80 \\  # layers\n -c 4096", {}, "comment_after_continuation", "\\"),
    ("llama-server -m x.gguf \\ \n -ngl 80", {}, "space_after_continuation", "\\"),
    ("llama-cli -m x.gguf --port 1", {}, "option_of_other_program", "--port"),
    ("./build/bin/main -m x.gguf", {}, "program_renamed", "./build/bin/main"),
    ("vllm serve a/b --enable-prefix-caching true", {}, "word_unexpected", "true"),
    ("llama-server -m 'x.gguf", {}, "quote_unclosed", "'"),
    ("llama-server \u2013m x.gguf", {}, "typographic_characters", "\u2013m"),
    ("docker run -p 8000:8000 vllm/vllm-openai:v0.11.0 --model Qwen/Qwen3-8B", {}, "container_without_gpu", "--gpus"),
    ("pip install -U vllm>=0.8.3", {}, "requirement_is_redirect", "vllm>=0.8.3"),
    ("python3 benchmarks/benchmark_serving.py --model x", {}, "tool_removed", "benchmark_serving.py"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "fields", "code", "what"), FINDINGS, ids=[row[2] + row[3][:12] for row in FINDINGS]
)
def test_findings(command: str, fields: dict[str, Any], code: str, what: str) -> None:
    answer = judged(command, **fields)
    found = {(f.reason.code, f.reason.parameters["what"]) for f in answer.findings}
    assert (code, what) in found
    assert not answer.is_ok
    for language in LANGUAGES:
        for finding in answer.findings:
            assert "{" not in texts(language).reason(finding.reason).replace("{}", "").partition(":")[0]


RIGHT = [
    ("vllm serve Qwen/Qwen3-8B --tensor_parallel_size=2 -O3", {"gpu": ("rtx-4090:2",)}),
    (
        "vllm serve Qwen/Qwen3-8B --kv-cache-memory 4000000000 --no-enable-prefix-caching",
        {},
    ),  # a prefix of the only match
    ("vllm serve Qwen/Qwen3-8B --speculative-config.method ngram", {}),
    ("vllm serve x --reasoning-parser mine --reasoning-parser-plugin mine.py", {}),
    ("CUDA_VISIBLE_DEVICES=0,1 nohup vllm serve Qwen/Qwen3-8B --max-model-len 8k &", {}),
    ("llama-server -m Qwen3-8B-Q4_K_M.gguf -ngl 99 -c 8192 -fa on --jinja", {"gpu": ("rtx-3060",)}),
    ("llama-cli -m Llama-3.1-8B-Instruct-Q4_K_M.gguf -p hi -cnv", {}),
    ("llama-server -m Llama-3.1-8B-Instruct-Q4_K_M.gguf -fa -ngl 99", {"engine_version": "b4747"}),
    ("docker run --rm --gpus all --ipc=host -p 127.0.0.1:8000:8000 vllm/vllm-openai:v0.11.0 --model Qwen/Qwen3-8B", {}),
    ("sudo docker run --runtime nvidia -e HF_TOKEN vllm/vllm-openai:v0.11.0 Qwen/Qwen3-8B", {}),
    ("llama-server -m x.gguf -mla 3 -fmoe -fa", {"engine": "ik_llama.cpp"}),
    ("pip install 'vllm>=0.8.3'", {}),
]


@pytest.mark.parametrize(("command", "fields"), RIGHT, ids=[row[0][:40] for row in RIGHT])
def test_right_commands_have_no_blocker(command: str, fields: dict[str, Any]) -> None:
    assert blockers(judged(command, **fields)) == set()


CORRECTIONS = [
    ("vllm serve Qwen/Qwen3-8B --max-model-length 8192 --task generate --gpu-memory-utilization 95",
     "vllm serve Qwen/Qwen3-8B --max-model-len 8192 --runner generate --gpu-memory-utilization 0.95"),
    ("vllm serve Qwen/Qwen3-8B --quantization awq", "vllm serve Qwen/Qwen3-8B-AWQ --quantization awq"),
    ("vllm serve a/b --compilation-config '{\"level\": 3}'", "vllm serve a/b --compilation-config {\"mode\": 3}"),
    ("vllm serve a/b --guided-decoding-backend xgrammar", "vllm serve a/b --structured-outputs-config.backend xgrammar"),
    ("llama-server -m x.gguf -fa --jinja --no-mmap", "llama-server -m x.gguf -fa on --jinja --load-mode none"),
    ("llama-server -m x.gguf --load-mode none --no-mmap", "llama-server -m x.gguf --load-mode none"),
    ("./main -m x.gguf -ngl 80 \\  # layers\n -c 4096", "./llama-cli -m x.gguf -ngl 80 -c 4096"),
    ("llama-server -m x.gguf -mla 3 -fmoe -c 4096", "llama-server -m x.gguf -c 4096"),
    ("python3 /bench/benchmark_serving.py --model x", "vllm bench serve --model x"),
    ("huggingface-cli download a/b", "hf download a/b"),
    ("docker run --gpus all -e HF_TOKEN=hf_abcdefghijklmnopqrstu vllm/vllm-openai:v0.5.1 --model openai/gpt-oss-20b",
     "docker run --gpus all -e HF_TOKEN vllm/vllm-openai:v0.10.1 --model openai/gpt-oss-20b"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "right"), CORRECTIONS, ids=[row[0][:40] for row in CORRECTIONS])
def test_corrections(command: str, right: str) -> None:
    answer = judged(command)
    assert answer.main is not None and answer.main.corrected is not None
    assert " ".join(answer.main.corrected) == right


@pytest.mark.parametrize("command", [row[0] for row in [*FINDINGS, *CORRECTIONS]], ids=lambda c: c[:40])
def test_a_correction_is_clean_itself(command: str) -> None:
    fields = next((row[1] for row in FINDINGS if row[0] == command), {})
    main = judged(command, **fields).main
    if main is None or main.corrected is None or main.corrected_version is not None:
        return
    from fitserve.emit.shells import bash

    again = judged(bash(main.corrected, {}), **fields)
    mendable = [f for f in again.findings if f.reason.severity is Severity.BLOCKER and f.edits]
    assert mendable == []


_JSON = '{"a b": "$x"}'
_ESCAPED = _JSON.replace('"', '\\"')
SHELLS = {
    "bash": f"A=1 vllm serve Qwen/Qwen3-8B \\\n  --max-model-len 8192 \\\n  --hf-overrides '{_JSON}' # done",
    "powershell": f"$env:A = '1'\nvllm serve Qwen/Qwen3-8B `\n  --max-model-len 8192 `\n  --hf-overrides '{_ESCAPED}'",
    "cmd": f'@echo off\nset A=1\nvllm serve Qwen/Qwen3-8B ^\n  --max-model-len 8192 ^\n  --hf-overrides "{_ESCAPED}"',
}


@pytest.mark.parametrize(("syntax", "text"), SHELLS.items())
def test_every_shell_says_the_same(syntax: str, text: str) -> None:
    script = read_script(text)
    assert script.syntax == syntax and not script.findings
    [statement] = script.statements
    assert statement.argv == (
        "vllm",
        "serve",
        "Qwen/Qwen3-8B",
        "--max-model-len",
        "8192",
        "--hf-overrides",
        '{"a b": "$x"}',
    )
    assert statement.env == {"A": "1"}


DOCUMENTS = {
    "compose": 'services:\n  llm:\n    image: vllm/vllm-openai:v0.11.0\n    command: ["--model", "a/b", "--nope", "1"]\n'
    "    deploy: {resources: {reservations: {devices: [{driver: nvidia, count: all}]}}}\n",
    "kubernetes": "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n"
    "      - image: vllm/vllm-openai:v0.11.0\n        args: [--model, a/b, --nope, '1']\n"
    "        resources: {limits: {nvidia.com/gpu: 1}}\n",
    "systemd": "[Unit]\nDescription=x\n[Service]\nEnvironment=A=1\nExecStart=/usr/bin/vllm serve a/b \\\n  --nope 1\n",
    "dockerfile": 'FROM vllm/vllm-openai:v0.11.0\nENV A=1\nCMD ["--model", "a/b", "--nope", "1"]\n',
    "markdown": "Start it:\n\n```bash\nvllm serve a/b --nope 1\n```\n",
}


@pytest.mark.parametrize(("kind", "text"), DOCUMENTS.items())
def test_configuration_files_are_read(kind: str, text: str) -> None:
    answer = judged(text)
    assert [f.reason.parameters["what"] for f in answer.findings if f.reason.code == "option_never_known"] == ["--nope"]


def test_broken_yaml_is_said() -> None:
    assert "yaml_broken" in blockers(judged("services:\n  llm: [\n  image: x"))


def test_lines_are_those_of_the_text() -> None:
    answer = judged(
        "text\n\n```bash\nvllm serve a/b \\\n  --nope 1\n```\n\n```bash\nllama-server -m x.gguf --nope\n```\n"
    )
    assert [f.reason.parameters["line"] for f in answer.findings if f.reason.code == "option_never_known"] == [5, 9]


def test_secrets_are_not_repeated(cli: Cli) -> None:
    token = "hf_" + "a1B2" * 8
    ran = cli("check", f"HF_TOKEN={token} vllm serve a/b --api-key sk-{'x' * 24} --nope 1", "--json")
    assert "secret_on_line" in {finding["code"] for finding in ran.json()["findings"]}
    assert token not in ran.out and "sk-xxxx" not in ran.out


def test_an_open_server_without_a_key() -> None:
    assert "open_without_key" in codes(judged("vllm serve a/b --host 0.0.0.0"))
    assert "open_without_key" not in codes(judged("vllm serve a/b --host 0.0.0.0 --api-key $KEY"))
    assert "open_without_key" not in codes(judged("vllm serve a/b --host 127.0.0.1"))


def test_what_runs_instead(cli: Cli) -> None:
    command = "vllm serve meta-llama/Llama-4-Scout-17B-16E-Instruct"
    ran = cli("check", command, "--gpu", "a100-80gb", "--json")
    answer = ran.json()
    assert ran.code == 1 and not answer["ok"]
    assert "weights_exceed_memory" in {finding["code"] for finding in answer["findings"]}
    assert answer["plan"]["verdict"] == "does_not_fit"
    assert answer["instead"]["verdict"] == "fits"
    assert answer["corrected"]["argv"] == answer["instead"]["command"]["argv"]
    again = cli("check", answer["corrected"]["shells"]["bash"], "--gpu", "a100-80gb", "--json")
    assert again.code == 0, again.out


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_commands_of_a_plan_are_clean(cli: Cli, language: str) -> None:
    for model, gpu in (("Qwen/Qwen3-32B", "a100-80gb"), ("meta-llama/Llama-3.3-70B-Instruct", "rtx-3090:2")):
        plans = cli("plan", model, "--gpu", gpu, "--json").json()["plans"]
        for item in plans[:6]:
            shells = item["command"]["shells"]
            for shell in ("bash", "powershell", "cmd", "docker"):
                if shells.get(shell):
                    ran = cli("check", shells[shell], "--gpu", gpu, "--model", model, "--lang", language)
                    assert ran.code == 0, (shells[shell], ran.out)


def test_a_file_and_standard_input(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "start.sh"
    path.write_text("#!/bin/bash\nvllm serve a/b \\\n  --nope 1\n")
    assert "--nope" in cli("check", str(path)).out


@pytest.mark.parametrize("given_text", ["", "   ", "x" * 300_000])
def test_no_command_is_bad_input(cli: Cli, given_text: str) -> None:
    ran = cli("check", given_text)
    assert ran.code == 2 and len(ran.err.strip().splitlines()) == 1


def test_installed_version_that_is_not_there(cli: Cli) -> None:
    assert cli("check", "vllm serve a/b", "--engine", "vllm", "--engine-version", "installed").code == 2


def test_unknown_engine_is_bad_input() -> None:
    with pytest.raises(InputError):
        judged("vllm serve a/b", engine="no-such-engine")


text = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from(
            ["vllm", "serve", "a/b", "--max-model-len", "8192", "\\\n", "'", '"', "`\n", "^\n", "$(", "<<EOF", ">", "=", "-tp",
             "docker", "run", "--", "-", "&&", "|", "#", "\x00", "FROM x", "services:", "---", "{", "%PATH%",
             "llama-server", "-fa"]
        ),
        max_size=14,
    ).map(" ".join),
)  # fmt: skip


@settings(max_examples=300)
@given(text)
def test_any_text_gets_an_answer(pasted: str) -> None:
    try:
        answer = judged(pasted)
    except InputError:
        return
    json.dumps([dict(f.reason.parameters) for f in answer.findings], default=list)


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=10), min_size=1, max_size=6))
def test_words_survive_each_shell(arguments: list[str]) -> None:
    from fitserve.emit.shells import bash, powershell7

    argv = ("show", *arguments)
    assert read_bash(bash(argv, {})).statements[0].argv == argv
    seen = read_powershell(powershell7(argv, {})).statements[0].argv
    assert [w for w in seen if w] == [w for w in argv if w]


def test_cmd_lines_are_joined() -> None:
    [statement] = read_cmd("rem start\r\nllama-server ^\r\n  -m x.gguf\r\n").statements
    assert statement.argv == ("llama-server", "-m", "x.gguf")
    call = invocation(statement)
    assert call is not None and call.engine is not None and call.engine.id == "llama.cpp"
