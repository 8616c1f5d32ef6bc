"""Corrections of a machine: bounded by what was measured, narrower with more of it, silent without."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitserve.foundation.intervals import Interval
from fitserve.predict.correction import Measured, corrected, correction
from fitserve.predict.types import Speed

_ASKED = Interval(0.01, 0.02, 0.04)


def row(ratio: float, deployment: str = "a", engine: str = "llama.cpp", run: int = 1) -> Measured:
    return Measured(
        engine=engine, deployment=deployment, metric="inter_token_s", predicted=_ASKED, measured=_ASKED.likely * ratio, run=run
    )  # fmt: skip


def test_without_measurements_of_the_engine_nothing_changes() -> None:
    speed = Speed(ttft_s=_ASKED, inter_token_s=_ASKED, output_tok_per_s=Interval(1, 2, 3))
    assert corrected(speed, [row(2.0, engine="vllm")], "llama.cpp", "a") is speed


@given(st.floats(0.3, 3.0), st.integers(1, 8))
def test_a_correction_lies_between_the_prediction_and_the_measurement(ratio: float, count: int) -> None:
    one = correction([row(ratio)] * count, "llama.cpp", "a", "inter_token_s", _ASKED)
    assert one is not None
    assert min(0.0, math.log(ratio)) - 1e-9 <= one.shift <= max(0.0, math.log(ratio)) + 1e-9


@given(st.floats(0.3, 3.0))
def test_the_same_deployment_learns_more_than_another_one(ratio: float) -> None:
    same = correction([row(ratio)], "llama.cpp", "a", "inter_token_s", _ASKED)
    other = correction([row(ratio)], "llama.cpp", "b", "inter_token_s", _ASKED)
    assert same is not None
    assert other is not None
    assert abs(same.shift) >= abs(other.shift)
    assert same.spread < other.spread < math.log(_ASKED.high / _ASKED.low)


def test_several_measurements_are_nearly_reached_and_narrow_the_interval() -> None:
    speed = Speed(ttft_s=_ASKED, inter_token_s=_ASKED, output_tok_per_s=Interval(1, 2, 3))
    told = corrected(speed, [row(1.5, run=n) for n in range(4)], "llama.cpp", "a")
    assert told.inter_token_s.likely == pytest.approx(_ASKED.likely * 1.5, rel=0.02)
    assert told.inter_token_s.high / told.inter_token_s.low < _ASKED.high / _ASKED.low
    assert told.ttft_s == _ASKED
    assert told.reasons[-1].code == "speed_corrected"
    assert told.basis[-1].kind == "measured"


@given(st.floats(1e-6, 1e6))
def test_no_correction_is_larger_than_four(ratio: float) -> None:
    one = correction([row(ratio)] * 5, "llama.cpp", "a", "inter_token_s", _ASKED)
    assert one is not None
    assert 0.249 < one.factor.likely < 4.001


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_senseless_measurements_are_not_used(bad: float) -> None:
    assert correction([row(bad)], "llama.cpp", "a", "inter_token_s", _ASKED) is None
