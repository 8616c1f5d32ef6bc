"""Shell text: every argument stays one inert word, through the real shells where they are here."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import mslex
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fitserve.emit.commands import script, shell_texts
from fitserve.emit.containers import compose, docker_argv
from fitserve.emit.shells import bash, cmd, powershell
from fitserve.engines.contract import LaunchCommand

NASTY = [
    '"; rm -rf ~ #',
    "$(id)",
    "`id`",
    "%PATH%",
    "a b",
    "it's",
    'say "hi"',
    "한글 모델",
    "a\\b\\",
    "!x",
    "^&|<>",
    "-",
    "*",
    "~",
    "{a,b}",
    "",
]
words = st.one_of(st.sampled_from(NASTY), st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12))


def _seen_by_bash(text: str) -> list[str]:
    """Arguments that bash hands to a program."""
    done = subprocess.run(
        ["bash", "-c", f"show() {{ printf '%s\\0' \"$@\"; }}; {text}"], capture_output=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=60)
@given(st.lists(words, min_size=1, max_size=5))
def test_bash_hands_over_what_was_meant(arguments: list[str]) -> None:
    assert _seen_by_bash(bash(["show", *arguments], {})) == arguments


@given(st.lists(words, min_size=1, max_size=5))
def test_cmd_round_trip(arguments: list[str]) -> None:
    assert mslex.split(cmd(["show", *arguments], {})) == ["show", *arguments]


def _parse_powershell(text: str) -> list[str]:
    """Words by the rules of about_Quoting_Rules and about_Parsing, for what our quoting makes."""
    joined = text.replace("`\n", " ")
    found, position = [], 0
    while position < len(joined):
        if joined[position] == " ":
            position += 1
        elif joined[position] == "'":
            match = re.compile(r"'((?:[^']|'')*)'").match(joined, position)
            assert match is not None
            found.append(match[1].replace("''", "'").replace("‘‘", "‘").replace("’’", "’"))
            position = match.end()
        else:
            match = re.compile(r"[A-Za-z0-9_./:=+\-&]+").match(joined, position)
            assert match is not None, f"unquoted special character in {joined!r}"
            found.append(match[0])
            position = match.end()
    return found


@given(st.lists(words, max_size=5))
def test_powershell_round_trip(arguments: list[str]) -> None:
    seen = _parse_powershell(powershell(["show", *arguments], {}))
    # inner double quotes carry a backslash for Windows PowerShell, which strips it on the way to the program
    assert [word.replace('\\"', '"') for word in seen] == ["show", *arguments]


def _command(**changes: Any) -> LaunchCommand:
    usual: dict[str, Any] = {
        "argv": ("vllm", "serve", "a/b", "--host", "127.0.0.1"), "image": "vllm/vllm-openai:v0.33.0",
        "cache_folder": "/root/.cache/huggingface", "needs_token": True,
    }  # fmt: skip
    return LaunchCommand(**(usual | changes))


def test_docker_pins_the_image_and_passes_the_token_by_environment() -> None:
    argv = docker_argv(_command())
    assert argv is not None
    text = " ".join(argv)
    assert "--gpus all" in text and "-e HF_TOKEN " in text and "127.0.0.1:8000:8000" in text
    assert argv[argv.index("vllm/vllm-openai:v0.33.0") + 1 :] == ("serve", "a/b", "--host", "0.0.0.0")


def test_a_model_file_is_mounted() -> None:
    command = _command(
        argv=("llama-server", "--model", "/data/m.gguf"), model_file="/data/m.gguf", entrypoint="/app/llama-server"
    )
    argv = docker_argv(command)
    assert argv is not None and "/data:/models:ro" in argv and argv[-1] == "/models/m.gguf"


@given(st.lists(words, max_size=4))
def test_compose_is_yaml_with_the_same_arguments(arguments: list[str]) -> None:
    text = compose(_command(argv=("vllm", "serve", *arguments)))
    assert text is not None
    service = yaml.safe_load(text)["services"]["llm"]
    assert [word.replace("$$", "$") for word in service["command"]] == ["serve", *arguments]
    assert service["entrypoint"] == ["vllm"] and service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_no_image_no_container() -> None:
    texts = shell_texts(_command(image=None), is_native=False)
    assert texts["docker"] is None and texts["compose"] is None and texts["powershell"]


def test_scripts_run_or_parse(tmp_path: Path) -> None:
    path = tmp_path / "run.sh"
    path.write_text(script(".sh", bash(["printf", "%s", "한글 $HOME"], {"A": "b c"})))
    done = subprocess.run(
        ["bash", str(path)], capture_output=True, text=True, timeout=20, env={"PATH": os.environ["PATH"]}
    )
    assert done.stdout == "한글 $HOME"
    batch = script(".bat", cmd(["echo", "100%PATH%"], {}))
    assert "\r\n" in batch and "%%PATH%%" in batch
