"""Plans with speed, targets, users, cost and the front; which GPUs carry a load."""

import json
from decimal import Decimal

import pytest

from fitserve.cli.main import main
from fitserve.cli.verbs import world
from fitserve.foundation.errors import InputError
from fitserve.plan.answer import Answer, cost_of, fit, plan
from fitserve.plan.hardware import HardwareChoiceRequest, which_hardware
from fitserve.plan.request import FitRequest, PlanRequest
from fitserve.predict.speed import speed_of
from fitserve.predict.types import Load
from fitserve.search.evaluate import Evaluated
from fitserve.search.front import merits
from fitserve.search.speeds import load_of
from fitserve.workload.types import Workload

MODEL = "Qwen/Qwen3-32B"


def planned(**given: object) -> Answer:
    """Plans on two RTX 4090."""
    return plan(PlanRequest.read(**{"model": MODEL, "gpu": ("rtx-4090:2",)} | given), world())


def first(answer: Answer) -> Evaluated:
    """The best plan."""
    assert answer.plans
    return answer.plans[0]


def test_every_plan_of_known_engines_has_a_speed_whose_parts_agree() -> None:
    for item in planned(concurrency=8).plans:
        speed = item.speed
        assert speed is not None, item.deployment.engine
        for value in (speed.ttft_s, speed.inter_token_s, speed.output_tok_per_s):
            assert 0 < value.low <= value.likely <= value.high
        per_user = speed.per_user_tok_per_s
        assert per_user.likely == pytest.approx(1 / speed.inter_token_s.likely)
        assert speed.output_tok_per_s.likely <= 8 * per_user.likely * 1.02  # nobody writes faster than his gaps allow


def test_a_note_says_for_which_requests_the_speed_is() -> None:
    notes = {
        reason.code: reason.parameters for reason in planned(prompt_tokens=3000, output_tokens=200, concurrency=5).notes
    }
    assert notes["speed_of_load"] == {"prompt_tokens": 3000, "output_tokens": 200, "requests": 5}
    rates = {reason.code: reason.parameters for reason in planned(rate=0.5).notes}
    assert rates["speed_of_arrivals"]["rate"] == 0.5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"context_tokens": 8192}, (1024, 512)),
        ({"context_tokens": 512}, (256, 256)),
        ({"context_tokens": 8192, "prompt_tokens": 8000}, (8000, 192)),
        ({"context_tokens": 8192, "output_tokens": 8000}, (192, 8000)),
        ({"context_tokens": 65536, "use": "agent"}, (16384, 512)),
    ],
)
def test_requests_stay_within_the_context(given: dict[str, object], expected: tuple[int, int]) -> None:
    load = load_of(Workload(**given))  # type: ignore[arg-type]
    assert (load.prompt_tokens, load.output_tokens) == expected


def test_a_missed_target_is_named_and_ranks_behind() -> None:
    free = planned(concurrency=8)
    wanted = first(free).speed
    assert wanted is not None
    asked = wanted.per_user_tok_per_s.likely * 1.2
    answer = planned(concurrency=8, min_tok_per_s=asked)
    order = [item.misses_target for item in answer.plans]
    assert True in order and False in order
    assert order == sorted(order)
    for item in answer.plans:
        assert item.has("target_min_tok_per_s_missed") == item.misses_target


def test_users_within_targets_are_the_border() -> None:
    answer = planned(concurrency=2, min_tok_per_s=20, ttft=3)
    item = first(answer)
    assert item.users_within_targets is not None and item.users_within_targets >= 1
    assert item.budget is not None

    def is_met(users: int) -> bool:
        assert item.budget is not None
        load = Load(prompt_tokens=1024, output_tokens=512, concurrent_requests=users)
        speed = speed_of(item.deployment, item.budget, load)
        return speed.per_user_tok_per_s.likely >= 20 and speed.ttft_s.likely <= 3

    assert is_met(item.users_within_targets)
    assert not is_met(item.users_within_targets + 1)
    assert first(planned()).users_within_targets is None  # nothing was asked for


@pytest.mark.parametrize("gpu", ["rtx-4090:2", "h100:1"])
@pytest.mark.parametrize("engine", ["vllm", "llama.cpp"])
def test_who_waits_for_room_is_not_carried(gpu: str, engine: str) -> None:
    """A slow target alone is met by those who are served, however long the queue behind them is."""
    item = first(planned(gpu=(gpu,), engine=(engine,), concurrency=2, min_tok_per_s=1))
    users, budget = item.users_within_targets, item.budget
    assert users is not None and budget is not None and users >= 2
    load = Load(prompt_tokens=1024, output_tokens=512, concurrent_requests=users)
    assert not speed_of(item.deployment, budget, load).is_queued
    assert users <= budget.max_num_seqs


def test_the_front_has_no_plan_that_another_beats() -> None:
    plans = planned(concurrency=4).plans
    known = {index: merits(item) for index, item in enumerate(plans)}
    assert any(item.is_on_front for item in plans)
    for index, item in enumerate(plans):
        mine = known[index]
        beaten = mine is not None and any(
            other is not None and other != mine and all(a >= b for a, b in zip(other, mine, strict=True))
            for other in known.values()
        )
        assert item.is_on_front == (mine is not None and not beaten)


def test_cost_of_a_plan_is_price_over_throughput() -> None:
    answer = planned(currency="KRW", exchange_rate=("KRW=1487.13",))
    item = first(answer)
    cost = cost_of(item, answer.rate)
    assert cost is not None and item.speed is not None and cost.usd_per_million_output_tokens is not None
    expected = float(cost.usd_per_hour) * 1e6 / 3600 / item.speed.output_tok_per_s.likely
    assert cost.usd_per_million_output_tokens.likely == pytest.approx(expected)
    assert cost.rate.per_usd == Decimal("1487.13")


def test_a_currency_without_rate_is_asked_for() -> None:
    with pytest.raises(InputError) as caught:
        planned(currency="KRW")
    assert [problem.code for problem in caught.value.problems] == ["exchange_rate_missing"]


def test_rate_and_concurrency_exclude_each_other() -> None:
    with pytest.raises(InputError) as caught:
        planned(rate=1, concurrency=2)
    assert [problem.code for problem in caught.value.problems] == ["flags_exclusive"]


@pytest.mark.parametrize("text", ["fast", "-1", "0", "5 minutes", "nan", "ms"])
def test_a_target_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        PlanRequest.read(model=MODEL, ttft=text)
    assert [problem.code for problem in caught.value.problems] == ["seconds_wrong"]


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("2s", 2.0), ("0.2", 0.2), ("1.5 s", 1.5)])
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert PlanRequest.read(model=MODEL, ttft=text).ttft == seconds


def test_fit_ranks_by_purpose_and_shows_speed() -> None:
    answer = fit(FitRequest.read(gpu=("rtx-4090:1",), family="Qwen3", use="coding"), world())
    assert all(item.speed is not None for item in answer.plans)


def test_json_of_plan_has_speed_cost_and_the_figures_behind_quality(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", MODEL, "--gpu", "h100:1", "--json", "--use", "coding", "--concurrency", "16"]) == 0
    best = json.loads(capsys.readouterr().out)["plans"][0]
    for name in ("ttft_s", "inter_token_s", "output_tok_per_s", "per_user_tok_per_s"):
        assert best["speed"][name]["low"] <= best["speed"][name]["likely"] <= best["speed"][name]["high"]
    assert best["speed"]["basis"]
    assert best["cost"]["usd_per_hour"] > 0 and best["cost"]["price_date"]
    model = best["quality"]["model"]
    assert model["purpose"] == "coding" and len(model["parts"]) == model["figures"] > 0
    assert all(part["source"] for part in model["parts"])
    assert best["quality"]["score_kept_pct"]["likely"] <= 100


def test_hardware_names_the_fewest_gpus_that_carry_the_load() -> None:
    request = HardwareChoiceRequest.read(
        model=MODEL, gpu=("rtx-4090", "h100-sxm-80gb", "rtx-3060"), concurrency=16, min_tok_per_s=15, most_gpus=4
    )
    answer = which_hardware(request, world())
    by_gpu = {choice.gpu: choice for choice in answer.choices}
    assert "h100-sxm-80gb" in by_gpu and "rtx-4090" in by_gpu
    assert by_gpu["rtx-4090"].count > by_gpu["h100-sxm-80gb"].count
    for choice in answer.choices:
        assert choice.item.fits and not choice.item.misses_target
        assert choice.item.deployment.device_count == choice.count
        assert choice.users is not None and choice.users >= 16
    rents = [choice.usd_per_hour for choice in answer.choices if choice.usd_per_hour is not None]
    assert rents == sorted(rents)
    assert {*by_gpu, *answer.without} == {"rtx-4090", "h100-sxm-80gb", "rtx-3060-12gb"}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_hardware_on_the_terminal(language: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--gpu", "rtx-4090", "--gpu", "h100:1", "--concurrency", "4", "--lang", language]
    assert main(["hardware", MODEL, *flags]) == 0
    shown = capsys.readouterr().out
    assert "rtx-4090" in shown and "h100" in shown


def test_a_limit_of_fit_hides_rows_and_changes_no_count(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["fit", "--gpu", "rtx-4090", "--family", "qwen3", "--lang", "en"]
    assert main(flags) == 0
    whole = [line for line in capsys.readouterr().out.splitlines() if line.endswith("models fit.")]
    assert main([*flags, "--limit", "1"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if line.endswith("models fit.")] == whole != []


def test_the_load_curve_doubles_users_and_holds_the_asked_speed(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["estimate", MODEL, "--gpu", "h100", "--engine", "vllm", "--format", "fp8-block", "--concurrency", "4"]
    assert main([*flags, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    curve = answer["load_curve"]
    users = [row["concurrent_requests"] for row in curve]
    assert users == [2**power for power in range(len(users))] and len(users) >= 3
    speed = answer["plan"]["speed"]
    assert speed.pop("percentiles")["e2e_s"]["p99"]["likely"] > 0
    assert curve[users.index(4)]["speed"] == speed
    assert main([*flags, "--lang", "en"]) == 0
    assert "As users become more" in capsys.readouterr().out
