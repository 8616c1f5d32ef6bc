"""Containers, Kubernetes, systemd, and the files of --out: the same arguments come out of every form, and nothing else."""

import csv
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Ran
from fitserve.cli.output import save_all
from fitserve.emit.containers import compose, docker_argv, dockerfile
from fitserve.emit.forms import KNOWN, Launch, form_of, launch_files
from fitserve.emit.kubernetes import kubernetes
from fitserve.emit.systemd import env_file, systemd_unit
from fitserve.emit.yaml_text import yaml_text
from fitserve.engines.contract import LaunchCommand, LaunchFile
from fitserve.foundation.errors import InputError, WorldError
from fitserve.foundation.units import GIB
from test_emit import BROKEN, NASTY, any_words, words

Cli = Callable[..., Ran]


def _command(**changes: Any) -> LaunchCommand:
    usual: dict[str, Any] = {
        "argv": ("vllm", "serve", "a/b", "--host", "127.0.0.1"), "image": "vllm/vllm-openai:v0.33.0",
        "cache_folder": "/root/.cache/huggingface", "needs_token": True,
    }  # fmt: skip
    return LaunchCommand(**(usual | changes))


MODELFILE = LaunchFile(path="Modelfile", text="FROM ./m.gguf\nPARAMETER num_ctx 8192\n")


def test_docker_pins_the_image_and_passes_the_token_by_environment() -> None:
    argv = docker_argv(_command())
    assert argv is not None
    text = " ".join(argv)
    assert "--gpus all" in text and "-e HF_TOKEN " in text and "127.0.0.1:8000:8000" in text
    assert argv[argv.index("vllm/vllm-openai:v0.33.0") + 1 :] == ("serve", "a/b", "--host", "0.0.0.0")


@pytest.mark.parametrize(
    ("model_file", "mount"),
    [
        ("/data/m.gguf", ["-v", "/data:/models:ro"]),
        ("m.gguf", ["-v", "./:/models:ro"]),
        ("sub/m.gguf", ["-v", "./sub:/models:ro"]),
        ("./sub/m.gguf", ["-v", "./sub:/models:ro"]),
        ("C:\\models\\m.gguf", ["-v", "C:/models:/models:ro"]),
        ("/da:ta/m.gguf", ["--mount", "type=bind,source=/da:ta,target=/models,readonly"]),
        ('/d:a,t"a/m.gguf', ["--mount", 'type=bind,"source=/d:a,t""a",target=/models,readonly']),
    ],
)
def test_a_model_file_is_mounted(model_file: str, mount: list[str]) -> None:
    argv = docker_argv(_command(argv=("llama-server", "--model", model_file), model_file=model_file))
    assert argv is not None and argv[-1] == "/models/m.gguf"
    flag, value = mount
    assert (flag, value) in itertools.pairwise(argv)
    if flag == "--mount":
        assert len(next(csv.reader([value]))) == 4


def test_windows_mounts_in_its_own_spelling() -> None:
    argv = docker_argv(_command(argv=("x", "--model", "sub/m.gguf"), model_file="sub/m.gguf"), is_windows=True)
    assert argv is not None and ".\\sub:/models:ro" in argv


@given(st.lists(any_words, max_size=4))
def test_compose_is_yaml_with_the_same_arguments(arguments: list[str]) -> None:
    text = compose(_command(argv=("vllm", "serve", *arguments, "end")))
    assert text is not None
    service = yaml.safe_load(text)["services"]["llm"]
    assert [word.replace("$$", "$") for word in service["command"]] == [
        "serve",
        *arguments,
        "end",
    ] or "--host" in arguments
    assert all("$" not in word.replace("$$", "") for word in service["command"])
    assert service["entrypoint"] == ["vllm"] and service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | any_words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_words, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(any_words, json_values, min_size=1, max_size=4))
def test_yaml_reads_back(value: dict[str, Any]) -> None:
    assert yaml.safe_load(yaml_text(value)) == value


@given(st.lists(any_words, max_size=4))
def test_kubernetes_is_yaml_with_the_same_arguments(arguments: list[str]) -> None:
    command = _command(argv=("vllm", "serve", *arguments, "end"), env={"A": "$(B) $C"}, files=(MODELFILE,))
    text = kubernetes(command, 2, 3 * GIB + 1, "/health")
    assert text is not None
    claim, config, deployment, service = yaml.safe_load_all(text)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    undone = [word.replace("$$", "$") for word in container["args"]]
    assert undone == ["serve", *arguments, "end"] or "--host" in arguments or "Modelfile" in arguments
    assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}
    assert {"name": "A", "value": "$$(B) $$C"} in container["env"]
    assert container["env"][0]["valueFrom"]["secretKeyRef"]["key"] == "HF_TOKEN"
    assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": 8000}
    assert claim["spec"]["resources"]["requests"]["storage"] == "7Gi"
    assert config["data"] == {"Modelfile": MODELFILE.text}
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    shared = next(v for v in deployment["spec"]["template"]["spec"]["volumes"] if v["name"] == "shm")
    assert shared["emptyDir"] == {"medium": "Memory"}


def test_kubernetes_without_a_device_plugin_or_image() -> None:
    assert kubernetes(_command(image=None), 1, GIB) is None
    assert kubernetes(_command(device_vendor="intel"), 1, GIB) is None
    text = kubernetes(_command(device_vendor="none"), 0, GIB)
    assert text is not None and "limits" not in text and "tcpSocket" in text


def test_comments_stay_comments() -> None:
    """Steps after the start stand in comments: a line break in one must not begin a line of its own."""
    command = _command(then=(("ollama", "create", BROKEN),), model_file=BROKEN, needs_token=False)
    for text in (compose(command), kubernetes(command, 1, GIB), dockerfile(command)):
        assert text is not None
        comments = [line for line in text.splitlines() if line.startswith("#")]
        assert any("ollama create" in line for line in comments)
        assert not any(line.startswith("rm -rf") for line in text.splitlines())


@given(st.lists(any_words, max_size=4))
def test_dockerfile_in_exec_form(arguments: list[str]) -> None:
    text = dockerfile(_command(argv=("vllm", "serve", *arguments, "end"), env={"A": 'x "$y" \\'}, files=(MODELFILE,)))
    assert text is not None
    # instructions end at a line feed only
    lines = dict(line.split(" ", 1) for line in text.rstrip("\n").split("\n"))
    assert lines["FROM"] == "vllm/vllm-openai:v0.33.0" and json.loads(lines["ENTRYPOINT"]) == ["vllm"]
    moved = [f"/models/{word}" if word == "Modelfile" else word for word in ("serve", *arguments, "end")]
    assert json.loads(lines["CMD"]) == moved or "--host" in arguments
    assert json.loads(lines["COPY"]) == ["Modelfile", "/models/Modelfile"]
    assert lines["ENV"] == 'A="x \\"\\$y\\" \\\\"'


def test_a_line_break_in_a_value_is_refused_where_it_would_begin_a_line() -> None:
    with pytest.raises(InputError):
        dockerfile(_command(env={"A": BROKEN}))
    with pytest.raises(InputError):
        systemd_unit(_command(), "/a\nExecStart=/bin/rm", "/x.env")
    for value in (BROKEN, "a b", '"', "$x", "#"):
        with pytest.raises(InputError):
            env_file(_command(env={"A": value}))
    assert env_file(_command(env={"A": "0,1"})).splitlines()[1:] == ["A=0,1", "HF_TOKEN="]


_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|[\\\"])")


def _systemd_words(line: str, is_command: bool = True) -> list[str]:
    """Words of a line by systemd.service(5): C escapes in double quotes, `%%` and `$$` undone."""
    found, position = [], 0
    while position < len(line):
        if line[position] == " ":
            position += 1
            continue
        match = re.compile(r'"((?:[^"\\]|\\.)*)"|[^\s"\\%$;]+').match(line, position)
        assert match is not None, line[position:]
        word = match[0] if match[1] is None else _ESCAPE.sub(_unescaped, match[1])
        assert "%" not in word.replace("%%", ""), "a specifier"
        word = word.replace("%%", "%")
        if is_command:
            assert "$" not in word.replace("$$", ""), "a variable"
            word = word.replace("$$", "$")
        found.append(word)
        position = match.end()
        assert position == len(line) or line[position] == " "
    return found


def _unescaped(match: re.Match[str]) -> str:
    return chr(int(match[1][1:], 16)) if match[1].startswith("x") else match[1]


@given(st.lists(any_words, max_size=4), any_words)
def test_systemd_round_trip(arguments: list[str], value: str) -> None:
    text = systemd_unit(_command(argv=("vllm", *arguments), env={"A": value}), "/opt/my folder%", "/opt/x.env")
    joined = text.replace(" \\\n ", "").split("\n")
    lines = {line.partition("=")[0]: line.partition("=")[2] for line in joined if not line.startswith("#")}
    assert _systemd_words(lines["ExecStart"]) == ["vllm", *arguments]
    assert _systemd_words(lines["Environment"], is_command=False) == [f"A={value}"]
    assert lines["WorkingDirectory"] == "/opt/my folder%%" and lines["EnvironmentFile"] == "-/opt/x.env"
    assert len(joined) == len(systemd_unit(_command(argv=("vllm",), env={"A": "b"}), "/o", "/x").split("\n"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_itself_reads_the_unit(tmp_path: Path) -> None:
    argv = ("/bin/echo", *(word for word in NASTY if word), BROKEN, ";")
    command = _command(argv=argv, env={"A": 'x "y" %z $w'}, then=(("/bin/echo", "a b"),))
    path = tmp_path / "llm.service"
    path.write_text(
        systemd_unit(command, str(tmp_path), "/x.env").replace("ExecStartPost=curl", "ExecStartPost=/bin/true")
    )
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60)
    about_it = [line for line in done.stderr.splitlines() if "llm.service" in line or str(path) in line]
    assert done.returncode == 0 and about_it == [], done.stderr


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("run.sh", "bash"), ("x/compose.yaml", "compose"), ("k8s.yaml", "kubernetes"), ("deployment.yml", "kubernetes"),
        ("my-k8s.yaml", "kubernetes"), ("Dockerfile", "dockerfile"), ("Modelfile", "file"), ("config.yml", "file"),
        ("llm.service", "systemd"), (".env", "env"), ("llm.env", "env"), ("run.CMD", "cmd"), ("x.exe", None),
        ("k8s.txt", None), ("sh", None),
    ],
)  # fmt: skip
def test_the_form_follows_the_name(name: str, form: str | None) -> None:
    assert form_of(name) == form


def test_known_names_are_known() -> None:
    assert all(form_of(name if not name.startswith(".") else f"x{name}") for name in KNOWN)


def _launch(**changes: Any) -> Launch:
    return Launch(command=_command(**changes), is_native=True, device_count=1, weights_bytes=GIB)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "a\\b", "-x", ".x", "", "a\nb", "C:x", ".."])
def test_file_names_are_plain(name: str) -> None:
    with pytest.raises(InputError):
        launch_files("run.sh", _launch(files=(LaunchFile(path=name, text=""),)))


def test_a_script_brings_its_files() -> None:
    files = launch_files("/x/run.sh", _launch(files=(MODELFILE,)))
    assert [file.path for file in files] == ["run.sh", "Modelfile"] and "BASH_SOURCE" in files[0].text
    assert launch_files("Modelfile", _launch(files=(MODELFILE,))) == (MODELFILE,)
    for name in ("config.yml", "Modelfile"):
        with pytest.raises(InputError):
            launch_files(name, _launch())
    with pytest.raises(InputError):
        launch_files("run.sh", _launch(files=(LaunchFile(path="run.sh", text=""),)))
    with pytest.raises(InputError):
        launch_files("run.bat", _launch(argv=("x", BROKEN)))


def test_all_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = (LaunchFile(path="run.sh", text="new"), MODELFILE)
    save_all(tmp_path, files)
    save_all(tmp_path, files)  # the same again is no conflict
    assert (tmp_path / "run.sh").stat().st_mode & 0o100 and (tmp_path / "Modelfile").read_text() == MODELFILE.text
    (tmp_path / "run.sh").write_text("mine")
    (tmp_path / "Modelfile").write_text("mine")
    with pytest.raises(InputError):
        save_all(tmp_path, files)
    assert (tmp_path / "run.sh").read_text() == "mine" and (tmp_path / "Modelfile").read_text() == "mine"
    (tmp_path / "Modelfile").unlink()
    (tmp_path / "run.sh").unlink()
    (tmp_path / "run.sh").mkdir()
    with pytest.raises(WorldError):
        save_all(tmp_path, files)
    assert [path.name for path in tmp_path.iterdir()] == ["run.sh"], "nothing half written"


PLAN = ("plan", "qwen3-8b", "--gpu", "rtx-4090", "--engine", "vllm")


@settings(max_examples=10)
@given(words)
def test_nothing_an_option_holds_gets_out_of_its_argument(value: str) -> None:
    argv = ("vllm", "serve", "a/b", "--chat-template", value)
    for name in ("run.sh", "run.ps1", "run.bat", "compose.yaml", "k8s.yaml", "Dockerfile", "x.service"):
        files = launch_files(name, _launch(argv=argv))
        plain = launch_files(name, _launch(argv=(*argv[:-1], "x")))
        # a value like an option gets a line of its own by a continuation, which ends no command
        counts = [re.sub(r" [\\`]\n", " ", made[0].text).count("\n") for made in (files, plain)]
        assert counts[0] == counts[1] or name == "run.ps1"


def test_out_forms_on_the_command_line(cli: Cli, tmp_path: Path) -> None:
    for name in ("run.sh", "run.ps1", "run.bat", "compose.yaml", "k8s.yaml", "Dockerfile", "llm.service", "llm.env"):
        assert cli(*PLAN, "--out", str(tmp_path / name)).code == 0, name
        assert (tmp_path / name).read_bytes()
    for name in ("Modelfile", "config.yml", "x.exe"):
        ran = cli(*PLAN, "--out", str(tmp_path / name))
        assert ran.code == 2 and not (tmp_path / name).exists() and name in ran.err
    assert cli(*PLAN, "--out", str(tmp_path / "plan.md")).code == 0
    text = (tmp_path / "plan.md").read_text()
    for word in ("hf download Qwen/Qwen3-8B", "lm_eval", "vllm bench serve", "curl", "```bash"):
        assert word in text
