"""Speculative decoding: the law of Leviathan et al., what engines are told, and what is refused."""

import json
from dataclasses import replace
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitserve.cli.verbs import world
from fitserve.foundation.errors import FactMissing, InputError
from fitserve.plan.answer import estimate
from fitserve.plan.request import EstimateRequest
from fitserve.predict.speculation import Speculation, expected_tokens, speculation_of
from fitserve.predict.speed import speed_of
from fitserve.predict.types import Load, Speed
from fitserve.search.evaluate import Evaluated

MODEL = "Qwen/Qwen3-8B"


def base(engine: str = "vllm", weight_format: str = "fp8") -> Evaluated:
    asked = EstimateRequest.read(model=MODEL, gpu=("h100:1",), engine=(engine,), format=weight_format, context=8192)
    return estimate(asked, world(), simulates=False).plans[0]


BASES = {"vllm": base(), "sglang": base("sglang"), "llama.cpp": base("llama.cpp", "Q4_K_M")}


def told(engine: str, options: dict[str, str], acceptance: float | None = None) -> Speculation | None:
    return speculation_of(replace(BASES[engine].deployment, options=MappingProxyType(options)), acceptance)


def fast(method: str, drafts: int, acceptance: float | None, users: int = 1) -> Speed:
    item = BASES["vllm"]
    config = json.dumps({"method": method, "num_speculative_tokens": drafts})
    assert item.budget is not None
    load = Load(prompt_tokens=1024, output_tokens=256, concurrent_requests=users, draft_acceptance=acceptance)
    return speed_of(replace(item.deployment, options={"speculative-config": config}), item.budget, load)


def plain(users: int = 1) -> Speed:
    item = BASES["vllm"]
    assert item.budget is not None
    return speed_of(
        item.deployment, item.budget, Load(prompt_tokens=1024, output_tokens=256, concurrent_requests=users)
    )


@given(st.floats(0, 0.999), st.integers(1, 16))
def test_expected_tokens_are_the_closed_form(chance: float, drafts: int) -> None:
    closed = (1 - chance ** (drafts + 1)) / (1 - chance)
    assert expected_tokens(chance, drafts) == pytest.approx(closed, rel=1e-6)
    assert 1 <= expected_tokens(chance, drafts) <= drafts + 1


def test_leviathans_examples() -> None:
    assert expected_tokens(0.8, 5) == pytest.approx(3.69, abs=0.01)  # (1 - 0.8^6) / 0.2
    assert expected_tokens(1.0, 4) == 5 and expected_tokens(0.0, 4) == 1


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["ngram", "mtp", "eagle3"]), st.integers(1, 8), st.sampled_from([1, 16, 128]))
def test_drafts_that_are_never_accepted_gain_nothing(method: str, drafts: int, users: int) -> None:
    without, drafted = plain(users), fast(method, drafts, 0.0, users)
    assert drafted.inter_token_s.likely >= without.inter_token_s.likely * (1 - 1e-9)
    assert drafted.output_tok_per_s.likely <= without.output_tok_per_s.likely * (1 + 1e-9)
    assert drafted.ttft_s == without.ttft_s


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 6))
def test_more_accepted_drafts_are_never_slower_and_never_beyond_all(one: float, other: float, drafts: int) -> None:
    low, high = sorted((one, other))
    slow, quick = fast("ngram", drafts, low), fast("ngram", drafts, high)
    assert quick.inter_token_s.likely <= slow.inter_token_s.likely
    assert quick.output_tok_per_s.likely >= slow.output_tok_per_s.likely
    assert quick.inter_token_s.likely * (drafts + 1) >= plain().inter_token_s.likely * (1 - 1e-9)


def test_drafts_pay_less_where_many_run_at_once() -> None:
    gains = [plain(users).inter_token_s.likely / fast("mtp", 3, 0.7, users).inter_token_s.likely for users in (1, 128)]
    assert gains[0] > gains[1]


def test_an_assumption_is_said_with_its_source_and_a_wide_interval() -> None:
    assumed, stated = fast("ngram", 4, None), fast("ngram", 4, 0.25)
    by_code = {reason.code: reason for reason in (*assumed.reasons, *stated.reasons)}
    assert by_code["speculation_assumed"].source is not None and "speculation_stated" in by_code
    assert (
        assumed.inter_token_s.high / assumed.inter_token_s.low
        > 1.5 * stated.inter_token_s.high / stated.inter_token_s.low
    )


@pytest.mark.parametrize(
    ("engine", "options", "expected"),
    [
        ("vllm", {"speculative-config": '{"method":"ngram","num_speculative_tokens":4}'}, ("nothing", 4, 4)),
        ("vllm", {"speculative-config": '{"model":"Qwen/Qwen3-0.6B","num_speculative_tokens":5}'}, ("model", 5, 5)),
        ("vllm", {"speculative-config": '{"method":"deepseek_mtp","num_speculative_tokens":1}'}, ("layer", 1, 1)),
        ("sglang", {"speculative-algorithm": "EAGLE3", "speculative-num-draft-tokens": "4"}, ("layer", 3, 3)),
        (
            "sglang",
            {"speculative-algorithm": "EAGLE", "speculative-num-steps": "3", "speculative-num-draft-tokens": "16"},
            ("layer", 3, 15),
        ),
        ("llama.cpp", {"model-draft": "draft.gguf", "draft-max": "8"}, ("model", 8, 8)),
    ],
)
def test_what_engines_are_told(engine: str, options: dict[str, str], expected: tuple[str, int, int]) -> None:
    found = told(engine, options)
    assert found is not None and (found.draft, found.draft_tokens, found.verified_tokens) == expected


def test_eagle3_is_not_eagle() -> None:
    rows = [
        told("sglang", {"speculative-algorithm": name, "speculative-num-steps": "3"}) for name in ("EAGLE", "EAGLE3")
    ]
    assert rows[0] is not None and rows[1] is not None
    assert rows[0].acceptance.likely < rows[1].acceptance.likely


@pytest.mark.parametrize(
    "options", [{}, {"speculative-config": "null"}, {"max-model-len": "4096"}, {"speculative-config": "{"}]
)
def test_options_without_drafts_change_nothing(options: dict[str, str]) -> None:
    assert told("vllm", options) is None


@pytest.mark.parametrize(
    "config",
    [
        '{"method":"ngram"}',
        '{"method":"telepathy","num_speculative_tokens":3}',
        '{"method":"ngram","num_speculative_tokens":0}',
    ],
)
def test_too_little_is_refused_with_its_reason(config: str) -> None:
    with pytest.raises(FactMissing):
        told("vllm", {"speculative-config": config})


def test_a_draft_model_that_is_not_known_leaves_the_speed_unknown() -> None:
    asked = EstimateRequest.read(
        model=MODEL, gpu=("h100:1",), engine=("llama.cpp",), format="Q4_K_M", set=("model-draft=x.gguf", "draft-max=4")
    )
    item = estimate(asked, world()).plans[0]
    assert item.speed is None and item.served is None
    assert next(r for r in item.reasons if r.code == "speed_unknown").parameters["fact"] == "the draft model x.gguf"


@pytest.mark.parametrize("text", ["1.2", "-0.1", "often", "nan"])
def test_an_acceptance_is_a_share(text: str) -> None:
    with pytest.raises(InputError) as caught:
        EstimateRequest.read(model=MODEL, acceptance=text)
    assert [problem.code for problem in caught.value.problems] == ["chance_wrong"]
