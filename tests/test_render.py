"""What people read: units, particles, tables in both languages, files."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from conftest import Ran
from fitserve.render.human import bytes_text, count_text, params_text, percent_text
from fitserve.render.particles import with_particle
from fitserve.render.texts import fill, texts

Cli = Callable[..., Ran]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (20_000, "20 KiB"), (512 * 2**20, "512 MiB"), (62.44 * 2**30, "62.4 GiB"), (-3 * 2**30, "-3.0 GiB")],
)
def test_bytes(value: float, text: str) -> None:
    assert bytes_text(value) == text


def test_other_numbers() -> None:
    assert (count_text(8192), count_text(4.91), count_text(4.0)) == ("8,192", "4.91", "4")
    assert (params_text(8.03e9), params_text(270e6)) == ("8.03B", "270M")
    assert (percent_text(None), percent_text(0.351), percent_text(95.4)) == ("–", "0.35 %", "95 %")


@pytest.mark.parametrize(
    ("word", "particle", "expected"),
    [
        ("vLLM", "은", "vLLM은"),
        ("llama.cpp", "은", "llama.cpp는"),
        ("62.4 GiB", "이", "62.4 GiB가"),
        ("0.33.0", "으로", "0.33.0으로"),
        ("0.19.1", "으로", "0.19.1로"),
        ("8,192", "을", "8,192를"),
        ("a100-sxm-80gb", "은", "a100-sxm-80gb는"),
        ("모델", "을", "모델을"),
        ("TP 2", "으로", "TP 2로"),
        ("서울", "으로", "서울로"),
        ("", "은", "는"),
    ],
)
def test_korean_particles(word: str, particle: str, expected: str) -> None:
    assert with_particle(word, particle) == expected


def test_optional_parts_of_a_text() -> None:
    template = "No {given}.{near: Did you mean {}?}"
    assert fill(template, {"given": "x", "near": ()}) == "No x."
    assert fill(template, {"given": "x", "near": ("a", "b")}) == "No x. Did you mean a, b?"
    with pytest.raises(KeyError):
        fill("{missing}", {})


ARGUMENTS = ("plan", "scout", "--gpu", "a100-sxm-80gb", "--context", "8192")


@pytest.mark.parametrize("columns", ["60", "120", "200"])
@pytest.mark.parametrize("language", ["en", "ko"])
def test_tables_fit_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: str, language: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    ran = cli(*ARGUMENTS, "--lang", language)
    assert ran.code == 0
    prose = [line for line in ran.out.splitlines() if not line.startswith("    --data ")]
    assert "w4a16" in ran.out and "{" not in "".join(prose)
    from rich.cells import cell_len

    command = re.compile(r"^  (vllm|llama|curl|  --)")
    for line in ran.out.splitlines():
        if not command.match(line):
            assert cell_len(line.rstrip()) <= int(columns), line


def test_the_command_can_be_copied(cli: Cli) -> None:
    out = cli(*ARGUMENTS).out
    continued = [line for line in out.splitlines() if line.rstrip().endswith("\\")]
    assert continued and all(line == line.rstrip() for line in continued)


def test_korean_by_locale_and_by_flag(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "돌아가는 구성" in cli(*ARGUMENTS, "--lang", "ko").out
    monkeypatch.setenv("LANG", "ko_KR.UTF-8")
    assert "돌아가는 구성" in cli(*ARGUMENTS).out
    assert "What runs" in cli(*ARGUMENTS, "--lang", "en").out
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert "What runs" in cli(*ARGUMENTS).out


def test_json_differs_by_language_in_texts_only(cli: Cli) -> None:
    def without_texts(value: object) -> object:
        if isinstance(value, dict):
            return {key: without_texts(inner) for key, inner in value.items() if key != "text"}
        return [without_texts(item) for item in value] if isinstance(value, list) else value

    english, korean = cli(*ARGUMENTS, "--json", "--lang", "en").json(), cli(*ARGUMENTS, "--json", "--lang", "ko").json()
    assert english != korean and without_texts(english) == without_texts(korean)


def test_the_same_question_gives_the_same_answer(cli: Cli) -> None:
    assert cli(*ARGUMENTS, "--json").out == cli(*ARGUMENTS, "--json").out


@pytest.mark.parametrize("ending", [".json", ".sh", ".ps1", ".bat", ".yaml", ".md", ".txt"])
def test_files_by_their_ending(cli: Cli, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"plan{ending}"
    assert cli(*ARGUMENTS, "--out", str(path)).code == 0
    content = path.read_bytes()
    assert content and len(list(tmp_path.iterdir())) == 1
    if ending == ".json":
        assert json.loads(content)["plans"]
    elif ending == ".ps1":
        assert content.startswith(b"\xef\xbb\xbf")
    elif ending in {".sh", ".bat", ".yaml"}:
        assert b"Llama-4-Scout" in content


@pytest.mark.parametrize(("language", "word"), [("en", "Ranked plans"), ("ko", "순위대로")])
def test_help_in_both_languages(cli: Cli, language: str, word: str) -> None:
    assert word in cli("plan", "--help", "--lang", language).out


@pytest.mark.parametrize("argv", [("models", "scout"), ("gpus", "3090"), ("engines",)])
def test_catalogues(cli: Cli, argv: tuple[str, ...]) -> None:
    assert cli(*argv).code == 0
    answer = cli(*argv, "--json").json()
    assert answer["schema_version"] == 1
    wrong = cli(argv[0], "zzzzzz")
    assert wrong.code == 2 and "zzzzzz" in wrong.err


def test_catalogues_know_what_a_name_means(cli: Cli) -> None:
    models = cli("models", "라마 3.3 70B", "--json").json()["models"]
    assert [row["id"] for row in models] == ["meta-llama/Llama-3.3-70B-Instruct"]
    assert [row["id"] for row in cli("gpus", "3090 Ti", "--json").json()["gpus"]] == ["rtx-3090-ti"]


VIEWS = [
    ARGUMENTS,
    ("estimate", "scout", "--gpu", "a100-sxm-80gb", "--format", "fp8"),
    ("fit", "--gpu", "rtx-3090", "--limit", "8"),
    ("models", "llama"),
    ("gpus", "a100"),
    ("engines",),
    ("validate",),
]


@pytest.mark.parametrize("width", [50, 80, 120])
@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("argv", VIEWS, ids=lambda argv: argv[0])
def test_answers_fit_the_terminal_and_commands_stay_whole(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...], language: str, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = cli(*argv, "--lang", language).out.splitlines()
    assert len(lines) > 3
    command = [line for line in lines if line.startswith(("  vllm serve", "    --"))]
    assert [line for line in lines if cell_len(line) > width and line not in command] == []
    if argv == ARGUMENTS:
        assert "  vllm serve RedHatAI/Llama-4-Scout-17B-16E-Instruct-quantized.w4a16 \\" in command


def test_every_text_can_be_filled_in_both_languages() -> None:
    for language in ("en", "ko"):
        words = texts(language)
        for table in ("label", "memory", "verdict", "quality", "validate", "help", "fix", "world"):
            for code in words.codes(table):
                assert words.raw(table, code).strip()


@pytest.mark.parametrize(("language", "verdict"), [("en", "unknown"), ("ko", "알 수 없음")])
@pytest.mark.parametrize("command", [("plan",), ("estimate", "--engine", "vllm")])
def test_an_unknown_architecture_is_named(
    cli: Cli, tmp_path: Path, command: tuple[str, ...], language: str, verdict: str
) -> None:
    config = {"architectures": ["FooBarForCausalLM"], "hidden_size": 128, "num_hidden_layers": 2, "vocab_size": 100}
    (tmp_path / "config.json").write_text(json.dumps(config))
    ran = cli(*command, str(tmp_path), "--gpu", "rtx-4090", "--lang", language)
    assert ran.code == 1
    assert ran.out.startswith(verdict)
    assert "FooBarForCausalLM" in ran.out
