"""Shell text: every argument stays one inert word, through the real shells where they are here."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import mslex
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitserve.emit.commands import shell_texts
from fitserve.emit.scripts import Sequenced, bash_script, batch_script, cmd_text, powershell_script, powershell_text
from fitserve.emit.shells import bash, bash_line, batch, cmd, native_line, powershell, powershell7
from fitserve.engines.contract import LaunchCommand, LaunchFile

NASTY = [
    '"; rm -rf ~ #', "$(id)", "`id`", "%PATH%", "%%PATH%%", "^%PATH^%", "a b", "it's", 'say "hi"', '"hi there"',
    "한글 모델", "a\\b\\", "a b\\", 'a\\"b', "!x", "^&|<>", "-", "--", "*", "~", "{a,b}", "", '{"a b": [1, "c"]}',
    "‘x’ ‚y‛", "x=y;z,w", "(x)", "@x", "$env:PATH",
]  # fmt: skip
words = st.one_of(st.sampled_from(NASTY), st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=12))
any_words = st.one_of(words, st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8))
BROKEN = "a\nrm -rf ~"


def _seen_by_bash(text: str) -> list[str]:
    """Arguments that bash hands to a program."""
    script = f"show() {{ printf '%s\\0' \"$@\"; }}; {text}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().split("\0")[:-1]


@settings(max_examples=60)
@given(st.lists(any_words, min_size=1, max_size=5))
def test_bash_hands_over_what_was_meant(arguments: list[str]) -> None:
    assert _seen_by_bash(bash(["show", *arguments], {})) == arguments
    assert _seen_by_bash(bash_line(["show", *arguments])) == arguments


@settings(max_examples=20)
@given(any_words)
def test_bash_environment(value: str) -> None:
    script = f"show() {{ printf '%s\\0' \"$VALUE\"; }}; {bash(['show'], {'VALUE': value})}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=20)
    assert done.stdout.decode() == value + "\0"


def test_control_characters_are_spelled_out_for_bash() -> None:
    text = bash(["show", BROKEN, "\x1b[31m"], {})
    assert "\n" not in text and "\x1b" not in text
    assert _seen_by_bash(text) == [BROKEN, "\x1b[31m"]


@given(st.lists(words, min_size=1, max_size=5))
def test_cmd_round_trip(arguments: list[str]) -> None:
    text = cmd(["show", *arguments], {})
    assert text is not None and mslex.split(text) == ["show", *arguments]


@given(st.lists(words, min_size=1, max_size=5))
def test_a_batch_file_doubles_every_percent_sign(arguments: list[str]) -> None:
    text = batch(["show", *arguments], {})
    assert text is not None and "%" not in text.replace("%%", "")
    # what the batch reader leaves is what mslex reads as a command line
    assert mslex.split(text.replace("%%", "^%")) == ["show", *arguments]


@given(st.lists(words, max_size=5))
def test_a_line_for_a_windows_program(arguments: list[str]) -> None:
    assert mslex.split(native_line(arguments), like_cmd=False) == arguments


@pytest.mark.parametrize("word", [BROKEN, "a\rb", "a\x1ab"])
def test_cmd_says_that_it_cannot_carry_a_line_break(word: str) -> None:
    assert cmd(["show", word], {}) is None and batch(["show", word], {}) is None
    assert cmd(["show"], {"A": word}) is None
    texts = shell_texts(_command(argv=("vllm", "serve", word)), is_native=True)
    assert texts["cmd"] is None and texts["bash"] and texts["powershell"]


_QUOTES = "'‘’‚‛"
_LITERAL = re.compile(rf"[{_QUOTES}]((?:[^{_QUOTES}]|([{_QUOTES}])[{_QUOTES}])*)[{_QUOTES}]")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=+\-\\&]+")


def _parse_powershell(text: str) -> list[str]:
    """Words by the rules of about_Quoting_Rules and about_Parsing, for what our quoting makes."""
    joined, found, position = text.replace("`\n", " "), [], 0
    while position < len(joined):
        if joined[position] == " ":
            position += 1
            continue
        match = _LITERAL.match(joined, position)
        if match is not None:
            found.append(re.sub(rf"([{_QUOTES}])[{_QUOTES}]", r"\1", match[1]))
        else:
            match = _PLAIN.match(joined, position)
            assert match is not None, f"unquoted special character in {joined!r}"
            assert not re.match(r"--?[A-Za-z][\w-]*[.:]", match[0]), "PowerShell cuts such a word in two"
            found.append(match[0])
        position = match.end()
    return found


def _line_of_powershell_5(arguments: list[str]) -> str:
    """The command line that PowerShell before 7.3 makes (NativeCommandParameterBinder.cs): quotes are not escaped."""
    parts = []
    for argument in arguments:
        needs = any(letter.isspace() and argument[:at].count('"') % 2 == 0 for at, letter in enumerate(argument))
        if argument:
            parts.append(f'"{argument}"' if needs else argument)
    return " ".join(parts)


@given(st.lists(any_words, max_size=5))
def test_powershell_7_3_round_trip(arguments: list[str]) -> None:
    assert _parse_powershell(powershell7(["show", *arguments], {})) == ["show", *arguments]


@given(st.lists(words, max_size=5))
def test_powershell_5_round_trip_down_to_the_program(arguments: list[str]) -> None:
    seen = _parse_powershell(powershell(["show", *arguments], {}))
    if seen[0] == "Start-Process":
        assert seen[:3] == ["Start-Process", "-FilePath", "show"] and seen[-2:] == ["-NoNewWindow", "-Wait"]
        line = seen[4] if "-ArgumentList" in seen else ""
    else:
        line = _line_of_powershell_5(seen[1:])
    assert mslex.split(line, like_cmd=False) == arguments


def test_simple_arguments_stay_readable_in_every_powershell() -> None:
    argv = ["vllm", "serve", "a/b", "--kv", '{"a": 1, "b": [2]}', "--max-model-len", "8192"]
    assert "Start-Process" not in powershell(argv, {})
    assert powershell7(argv, {}).splitlines()[1] == """  --kv '{"a": 1, "b": [2]}' `"""


def _command(**changes: Any) -> LaunchCommand:
    usual: dict[str, Any] = {
        "argv": ("vllm", "serve", "a/b", "--host", "127.0.0.1"), "image": "vllm/vllm-openai:v0.33.0",
        "cache_folder": "/root/.cache/huggingface", "needs_token": True,
    }  # fmt: skip
    return LaunchCommand(**(usual | changes))


def test_no_image_no_container() -> None:
    texts = shell_texts(_command(image=None), is_native=False)
    assert texts["docker"] is None and texts["compose"] is None and texts["powershell"]


def test_windows_runs_the_container_where_the_engine_is_not_native() -> None:
    texts = shell_texts(_command(), is_native=False)
    for shell in ("powershell", "powershell7", "cmd"):
        assert (texts[shell] or "").replace("`\n  ", "").startswith("docker run --rm")
    assert (texts["bash"] or "").startswith("vllm serve")


OLLAMA = Sequenced(
    argv=("ollama", "serve"),
    env={"OLLAMA_CONTEXT_LENGTH": "8192"},
    then=(("ollama", "create", "a b", "-f", "Modelfile"), ("ollama", "run", "a b")),
    port=11434,
)


def test_steps_follow_the_server_in_bash(tmp_path: Path) -> None:
    """Real bash with stand-ins: the server is there before the steps, and ends with the script."""
    for name, body in {
        "ollama": 'echo "$1 $2 $OLLAMA_CONTEXT_LENGTH" >>log; [ "$1" != serve ] || exec sleep 30',
        "curl": "until [ -s log ]; do sleep 0.05; done; echo curl >>log",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    script = tmp_path / "run.sh"
    script.write_text(bash_script(OLLAMA, has_files=True).replace("\nwait\n", "\njobs -r | wc -l >>log\n"))
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=20, env=path, cwd="/")
    assert done.returncode == 0, done.stderr
    log = (tmp_path / "log").read_text().splitlines()
    assert [line.strip() for line in log] == ["serve  8192", "curl", "create a b", "run a b", "1"]


def test_steps_follow_the_server_on_windows() -> None:
    text = cmd_text(OLLAMA, is_batch=True)
    assert text is not None
    note, more, env, server, wait, *steps = text.split("\n")
    assert note.startswith("rem ") and more.startswith("rem ") and env == 'set "OLLAMA_CONTEXT_LENGTH=8192"'
    assert server == 'start "server" ollama serve' and wait.startswith("curl.exe ") and "11434" in wait
    assert steps == ['ollama create ^"a b^" -f Modelfile', 'ollama run ^"a b^"']
    lines = powershell_text(OLLAMA, is_new=False).replace(" `\n ", "").splitlines()
    assert lines[0].startswith("# ") and lines[3] == "Start-Process -FilePath 'ollama' -ArgumentList 'serve'"
    assert lines[-2:] == ["ollama create 'a b' -f Modelfile", "ollama run 'a b'"]


def test_a_container_takes_its_steps_inside() -> None:
    command = _command(
        argv=("ollama", "serve"), then=(("ollama", "create", "m", "-f", "Modelfile"),), port=11434,
        files=(LaunchFile(path="Modelfile", text="FROM x\n"),), needs_token=False,
    )  # fmt: skip
    lines = (shell_texts(command, is_native=True)["docker"] or "").replace(" \\\n ", "").splitlines()
    assert "--detach --name llm" in lines[2] and not lines[2].endswith("&")
    assert "-v ./Modelfile:/models/Modelfile:ro" in lines[2]
    assert lines[-1] == "docker exec llm ollama create m -f /models/Modelfile"
    windows = shell_texts(command, is_native=False)["cmd"] or ""
    assert ".\\Modelfile:/models/Modelfile:ro" in windows


def test_scripts_run_or_parse(tmp_path: Path) -> None:
    run = Sequenced(argv=("printf", "%s", "한글 $HOME"), env={"A": "b c"}, then=(), port=1)
    path = tmp_path / "run.sh"
    path.write_text(bash_script(run, has_files=False))
    done = subprocess.run(
        ["bash", str(path)], capture_output=True, text=True, timeout=20, env={"PATH": os.environ["PATH"]}
    )
    assert done.stdout == "한글 $HOME"
    text = batch_script(run, has_files=True)
    assert text is not None and text.startswith("@echo off\r\nchcp 65001 >nul\r\n") and "%%s" in text
    assert "if ($PSVersionTable" not in powershell_script(run, has_files=False)
    json_run = Sequenced(argv=("vllm", '{"a": 1}'), env={}, then=(), port=1)
    branches = powershell_script(json_run, has_files=False)
    assert "7.3" in branches and "'{\"a\": 1}'" in branches and "'{\\\"a\\\": 1}'" in branches
