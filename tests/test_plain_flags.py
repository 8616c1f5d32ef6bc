"""Plain command lines, read without the parser: the same values as the parser's, and nothing that is not plain."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitserve.cli.flags import command_of
from fitserve.cli.plain_flags import plain_values
from fitserve.plan.hardware import HardwareChoiceRequest
from fitserve.plan.request import ClientsRequest, EstimateRequest, FitRequest
from fitserve.render.texts import texts

VERBS = {"model": EstimateRequest, None: FitRequest, "client": ClientsRequest, "hard": HardwareChoiceRequest}
WORDS = st.sampled_from(["qwen3-8b", "h100:2", "8k", "1", "a b", "한국어", "x=y", "fp8", "0.7"])
FLAGS = st.sampled_from(
    [
        "--gpu",
        "--context",
        "--engine",
        "--set",
        "--rate",
        "--lang",
        "--out",
        "--kv-format",
        "--max-num-seqs",
        "--family",
        "--url",
    ]
)
PARTS = st.one_of(
    WORDS.map(lambda word: [word]), st.tuples(FLAGS, WORDS).map(list), st.just(["--json"]),
    st.tuples(FLAGS, WORDS).map(lambda pair: [f"{pair[0]}={pair[1]}"]), FLAGS.map(lambda flag: [flag]),
    st.sampled_from([["--help"], ["-1"], ["--"], ["--nonsense", "1"], ["--gpu", "--json"], [""]]),
)  # fmt: skip


def parsed(argv: list[str], request: Any, positional: str | None) -> dict[str, Any]:
    """What the whole parser makes of a line."""
    import cyclopts

    found: dict[str, Any] = {}
    app = cyclopts.App(name="x", result_action="return_value")
    app.default(command_of(request, lambda values: found.update(values) or 0, texts("en"), positional))
    app(argv, exit_on_error=False, print_error=False)
    return found


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["model", None, "client", "hard"]), st.lists(PARTS, max_size=5))
def test_a_plain_line_has_the_values_of_the_parser(verb: str | None, parts: list[list[str]]) -> None:
    argv, positional = [word for part in parts for word in part], "model" if verb == "hard" else verb
    values = plain_values(argv, VERBS[verb], positional)
    if values is not None:
        assert {key: value for key, value in values.items() if value not in (None, False)} == {
            key: value for key, value in parsed(argv, VERBS[verb], positional).items() if value not in (None, False)
        }


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        [],
        ["a", "b"],
        ["a", "--gpu"],
        ["a", "--rate", "-1"],
        ["a", "--tp", "1", "--tp", "2"],
        ["a", "--no-json"],
        ["a", "-h"],
    ],
)
def test_a_line_that_needs_a_word_is_left_to_the_parser(argv: list[str]) -> None:
    assert plain_values(argv, EstimateRequest, "model") is None


class Switched(EstimateRequest):
    """A request with a switch."""

    detach: bool = False


def test_a_switch_takes_no_value() -> None:
    assert plain_values(["m", "--detach", "--tp", "2"], Switched, "model") == {"model": "m", "detach": True, "tp": "2"}
    assert plain_values(["m", "--detach=true"], Switched, "model") is None
    assert plain_values(["m", "--detach", "--detach"], Switched, "model") is None


def test_the_usual_line_is_plain() -> None:
    argv = ["qwen3-8b", "--gpu", "h100:2", "--gpu=l40s", "--context", "8k", "--json", "--max-num-seqs", "64"]
    assert plain_values(argv, EstimateRequest, "model") == {
        "model": "qwen3-8b", "gpu": ["h100:2", "l40s"], "context": "8k", "json": True, "max_num_seqs": "64",
    }  # fmt: skip
