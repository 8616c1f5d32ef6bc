"""What it costs: money, tokens, own hardware, an API, prices with their dates."""

import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Ran, machine
from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_toml
from fitserve.foundation.intervals import Interval
from fitserve.hardware.identify import gpu_rows
from fitserve.plan.cost import cost
from fitserve.plan.cost_request import CostRequest
from fitserve.predict.cost import (
    HOURS_PER_MONTH,
    Ownership,
    against_api,
    cost_of_hours,
    hourly_price,
    plan_cost,
    rent_against_own,
    usd_per_million_tokens,
)
from fitserve.predict.prices import (
    DOLLAR,
    Offer,
    PriceList,
    Rate,
    day_number,
    list_prices,
    packaged_prices,
    read_prices,
)
from fitserve.render.money import money_text, price_text
from fitserve.render.plan_cost import plan_cost_form

Cli = Callable[..., Ran]
TODAY = "2026-11-20"
WON = Rate(currency="KRW", per_usd=Decimal("1487.13"))
amounts = st.decimals("0.001", "100000", places=4)
rates_tok_per_s = st.floats(0.01, 1e6)


def offer(gpu: str = "h200-sxm-141gb", usd: str = "4.5", provider: str = "A", **more: Any) -> Offer:
    return Offer(gpu=gpu, provider=provider, usd_per_gpu_hour=Decimal(usd), **more)


# Document 001: 8.155 USD an hour, 1 USD = 1487.13 KRW. Its won are the hour rounded to 12,126 (it is 12,127.55) times
# the hours: 121,260, 606,300 and 1,212,600. From the unrounded dollars they are 15, 77 and 155 won more.
@pytest.mark.parametrize(
    ("hours", "usd", "won", "shown", "printed_there"),
    [
        (10, "81.55", "121275.4515", "121,275원", 121_260),
        (50, "407.75", "606377.2575", "606,377원", 606_300),
        (100, "815.5", "1212754.515", "1,212,755원", 1_212_600),
    ],
)
def test_hours_of_document_001(hours: int, usd: str, won: str, shown: str, printed_there: int) -> None:
    row = cost_of_hours(Decimal("8.155"), Decimal(hours), WON)
    assert (row.usd, row.amount) == (Decimal(usd), Decimal(won))
    assert money_text(row.amount, "KRW", "ko") == shown
    assert printed_there == 12_126 * hours < row.amount < printed_there * 1.0002


def test_the_command_of_document_001(cli: Cli) -> None:
    hours = [word for h in ("10", "50", "100") for word in ("--hours", h)]
    ran = cli(
        "cost", "--usd-per-hour", "8.155", *hours, "--currency", "krw", "--exchange-rate", "KRW=1487.13", "--json"
    )
    assert ran.code == 0
    answer = ran.json()
    assert answer["schema_version"] == 1 and answer["currency"] == "KRW"
    assert [(row["hours"], row["usd"], row["currency"]) for row in answer["rows"]] == [
        (10, 81.55, "KRW"), (50, 407.75, "KRW"), (100, 815.5, "KRW"),
    ]  # fmt: skip
    assert [round(row["amount"]) for row in answer["rows"]] == [121_275, 606_377, 1_212_755]
    assert answer["exchange_rate"]["per_usd"] == 1487.13


@pytest.mark.parametrize(("language", "words"), [("en", ("KRW 121,275", "hours")), ("ko", ("121,275원", "시간"))])
def test_the_table_in_both_languages(cli: Cli, language: str, words: tuple[str, ...]) -> None:
    ran = cli("cost", "--usd-per-hour", "8.155", "--hours", "10", "--exchange-rate", "KRW=1487.13", "--lang", language)
    assert ran.code == 0 and "$81.55" in ran.out
    assert all(word in ran.out for word in words)


@pytest.mark.parametrize(
    ("amount", "currency", "language", "text"),
    [
        ("81.555", "USD", "en", "$81.56"),
        ("1212754.5", "KRW", "en", "KRW 1,212,755"),
        ("12127.4", "JPY", "ko", "JPY 12,127"),
        ("75.026", "EUR", "en", "EUR 75.03"),
        ("0.04721", "USD", "en", "$0.0472"),
        ("0.5", "USD", "en", "$0.50"),
        ("0", "USD", "en", "$0.00"),
    ],
)
def test_money_is_rounded_where_it_is_shown(amount: str, currency: str, language: str, text: str) -> None:
    assert money_text(Decimal(amount), currency, language) == text


def test_a_unit_price_keeps_its_places() -> None:
    assert price_text(Decimal("8.155"), "USD") == "$8.155"
    assert price_text(Decimal("9"), "USD") == "$9.00"


@given(amounts, amounts, amounts)
def test_cost_is_linear_in_hours(usd: Decimal, hours: Decimal, more: Decimal) -> None:
    one, two, both = (cost_of_hours(usd, h, WON) for h in (hours, more, hours + more))
    assert one.usd + two.usd == both.usd
    assert one.amount + two.amount == pytest.approx(both.amount)


@given(amounts, amounts, rates_tok_per_s)
def test_a_cheaper_hour_is_never_a_dearer_token(usd: Decimal, other: Decimal, rate_tok_per_s: float) -> None:
    low, high = sorted((usd, other))
    tok_per_s = Interval.exact(rate_tok_per_s)
    assert usd_per_million_tokens(low, tok_per_s).likely <= usd_per_million_tokens(high, tok_per_s).likely


@given(amounts, st.decimals("0.01", "1", places=2), st.decimals("0.01", "1", places=2), rates_tok_per_s)
def test_more_utilization_is_never_dearer(usd: Decimal, one: Decimal, two: Decimal, rate_tok_per_s: float) -> None:
    idle, busy = sorted((one, two))
    tok_per_s = Interval.around(rate_tok_per_s, 0.1, 0.2)
    at_idle, at_busy = (usd_per_million_tokens(usd, tok_per_s, share) for share in (idle, busy))
    assert at_busy.likely <= at_idle.likely
    assert at_busy.low <= at_busy.likely <= at_busy.high


def test_a_million_tokens() -> None:
    # 7.2 USD an hour are 0.002 USD a second; 1000 tokens a second are 1000 s a million
    price = usd_per_million_tokens(Decimal("7.2"), Interval(800, 1000, 1250))
    assert (price.low, price.likely, price.high) == pytest.approx((1.6, 2.0, 2.5))
    assert usd_per_million_tokens(Decimal("7.2"), Interval.exact(1000), Decimal("0.5")).likely == pytest.approx(4.0)
    assert usd_per_million_tokens(Decimal(1), Interval(0, 1, 2)).high == float("inf")


OWN = Ownership(
    hardware_usd=Decimal(3600), years=Decimal(3), watts=Decimal(700), usd_per_kwh=Decimal("0.2"), load=Decimal("0.5"),
    pue=Decimal("1.2"),
)  # fmt: skip


def test_own_hardware_by_hand() -> None:
    assert OWN.hardware_usd_per_month == 100
    assert OWN.energy_usd_per_hour == Decimal("0.084")  # 0.7 kW x 0.5 x 1.2 x 0.2 USD
    assert OWN.usd_per_hour(Decimal(200)) == Decimal("0.584")
    against = rent_against_own(Decimal("1.084"), OWN)
    assert against.break_even_hours_per_month == 100 and against.payback_hours == 3600


def test_owning_may_never_pay() -> None:
    assert rent_against_own(Decimal("0.08"), OWN).payback_hours is None
    rarely = rent_against_own(Decimal("0.1"), OWN)
    assert rarely.break_even_hours_per_month is None and rarely.payback_hours is not None
    assert rarely.payback_hours > OWN.years * 12 * HOURS_PER_MONTH


@given(st.decimals("0.09", "50", places=2))
def test_at_break_even_renting_costs_as_much_as_owning(rent_usd_per_hour: Decimal) -> None:
    hours = rent_against_own(rent_usd_per_hour, OWN).break_even_hours_per_month
    if hours is not None:
        assert float(OWN.usd_per_hour(hours)) == pytest.approx(float(rent_usd_per_hour))


def test_against_an_api() -> None:
    found = against_api(Decimal("7.2"), Interval.exact(1000), Decimal(3), Decimal("0.2"), Decimal(5))
    assert found.usd_per_million_output_tokens == 4
    assert found.break_even_output_tok_per_hour == 1_800_000
    assert found.break_even_utilization is not None
    assert found.break_even_utilization.likely == pytest.approx(0.5)


def test_every_price_is_sourced_and_dated() -> None:
    offers = packaged_prices().offers
    assert len(offers) >= 30
    for row in offers:
        assert row.gpu in gpu_rows() and row.source and row.transcribed_by and row.price_date
        assert row.licence == "CC-BY-4.0", "only redistributable rows travel"
        assert day_number("2026-08-01") < day_number(row.price_date) <= day_number(TODAY)
    source = load_toml("fitserve.predict.data", "currencies.toml")["whole"]["source"]
    assert source["ref"] and source["checked"]


@given(st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 12, 31)))
def test_days_are_counted_as_the_calendar_does(day: datetime.date) -> None:
    assert day_number(day.isoformat()) == day.toordinal()


def test_quotes_of_a_deployment() -> None:
    prices = PriceList(
        offers=(
            offer(usd="4", provider="A"),
            offer(usd="3", provider="B", gpus_in_offer=8),
            offer(usd="5", provider="C"),
            offer(usd="1", provider="D", tier="spot"),
        )
    )
    found = hourly_price([("h200-sxm-141gb", 2)], prices)
    assert found is not None
    assert [(quote.provider, quote.usd_per_hour) for quote in found.quotes] == [("A", 8), ("C", 10), ("B", 24)]
    assert (found.cheapest.provider, found.median.provider, found.highest.provider) == ("A", "C", "B")
    spot = hourly_price([("h200-sxm-141gb", 2)], prices, tier="spot")
    assert spot is not None and spot.median.usd_per_hour == 2
    assert hourly_price([("rtx-3090", 1)], prices) is None and hourly_price([], prices) is None


def test_mixed_gpus_are_quoted_together() -> None:
    prices = PriceList(
        offers=(
            offer("l40s", "1", "A"),
            offer("a10", "1", "B", price_date="2026-01-02"),
            offer("a10", "2", "A"),
            offer("l4", "0.5", "C"),
        )
    )
    same = hourly_price([("l40s", 1), ("a10", 2)], prices)
    assert same is not None and [(q.provider, q.usd_per_hour) for q in same.quotes] == [("A", 5)]
    split = hourly_price([("l40s", 1), ("l4", 1)], prices)
    assert split is not None and split.cheapest.provider == "A + C" and split.cheapest.price_date is None


def test_the_snapshot_prices_gpus(cli: Cli) -> None:
    ran = cli("cost", "--gpu", "h200:2", "--hours", "1", "--json")
    assert ran.code == 0
    answer = ran.json()
    price = answer["price"]
    assert answer["gpus"] == [{"gpu": "h200-sxm-141gb", "count": 2}] and answer["price_kind"] == "offers"
    assert price["cheapest"]["usd_per_hour"] <= answer["usd_per_hour"] <= price["highest"]["usd_per_hour"]
    for quote in price["quotes"]:
        for row in quote["offers"]:
            assert row["price_date"] and row["source"] and row["age_days"] >= 0
    assert "prices_dated" in {item["code"] for item in answer["notes"]}
    table = cli("cost", "--gpu", "h200:2").out
    assert "2026-09-25" in table and "days old" in table


def test_old_prices_are_a_warning() -> None:
    request = CostRequest.read(gpu="h200")
    fresh, old = (cost(request, day).notes[-1] for day in ("2026-10-01", "2027-10-01"))
    assert (str(fresh.severity), str(old.severity)) == ("note", "warning")
    assert old.parameters["age"] == 371


TOML = """
[[rows]]
gpu = "H200"
provider = "NodeShift"
usd_per_gpu_hour = 4.0775
price_date = "2025-04-09"
source = "invoice"

[exchange_rates]
KRW = { per_usd = 1487.13, date = "2025-04-09", source = "document 001" }
"""


def test_a_users_file_wins(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(TOML)
    ran = cli("cost", "--gpu", "h200:2", "--hours", "10", "--prices", str(path), "--currency", "KRW", "--json")
    answer = ran.json()
    assert answer["usd_per_hour"] == 8.155 and answer["rows"][0]["amount"] == pytest.approx(121275.4515)
    assert answer["price"]["median"]["provider"] == "NodeShift" and answer["price"]["offers"] == 1
    assert answer["exchange_rate"]["date"] == "2025-04-09"
    other = cli("cost", "--gpu", "l40s", "--prices", str(path), "--json").json()
    assert other["price"]["offers"] > 1 and "prices_of_package" in {item["code"] for item in other["notes"]}
    flag = cli("cost", "--gpu", "h200:2", "--prices", str(path), "--exchange-rate", "KRW=1000", "--json").json()
    assert flag["exchange_rate"]["per_usd"] == 1000


def test_the_file_of_the_package_is_a_price_list_too(tmp_path: Path, cli: Cli) -> None:
    rows = [{"gpu": "rtx-3090", "usd_per_gpu_hour": 0.18}, {"gpu": None, "usd_per_gpu_hour": 1}]
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"rows": rows}))
    answer = cli("cost", "--gpu", "rtx-3090:2", "--prices", str(path), "--json").json()
    assert answer["usd_per_hour"] == 0.36 and "prices_undated" in {item["code"] for item in answer["notes"]}


BROKEN = {
    "text": "rows = 3",
    "empty": "",
    "syntax": "[[rows]",
    "row": "rows = [3]",
    "unknown gpu": '[[rows]]\ngpu = "rtx-9999"\nusd_per_gpu_hour = 1',
    "no price": '[[rows]]\ngpu = "h200"',
    "negative": '[[rows]]\ngpu = "h200"\nusd_per_gpu_hour = -1',
    "nan": '[[rows]]\ngpu = "h200"\nusd_per_gpu_hour = nan',
    "date": '[[rows]]\ngpu = "h200"\nusd_per_gpu_hour = 1\nprice_date = "yesterday"',
    "count": '[[rows]]\ngpu = "h200"\nusd_per_gpu_hour = 1\ngpus_in_offer = 0',
    "rate": "[exchange_rates]\nKRW = 0",
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_broken_price_file_is_said(cli: Cli, tmp_path: Path, name: str, language: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(BROKEN[name])
    ran = cli("cost", "--gpu", "h200", "--prices", str(path), "--lang", language)
    assert ran.code == 2 and ran.out == "" and len(ran.err.strip().splitlines()) <= 2


BAD = {
    "nothing": ((), "--usd-per-hour"),
    "negative": (("--usd-per-hour", "-3"), "-3"),
    "zero": (("--usd-per-hour", "0"), "--usd-per-hour"),
    "not a number": (("--usd-per-hour", "nan"), "nan"),
    "huge": (("--usd-per-hour", "1e999"), "1e999"),
    "zero hours": (("--usd-per-hour", "8", "--hours", "0"), "--hours"),
    "one of the hours": (("--usd-per-hour", "8", "--hours", "1", "--hours", "x"), "x"),
    "no rate": (("--usd-per-hour", "8", "--currency", "KRW"), "--exchange-rate"),
    "other rate": (("--usd-per-hour", "8", "--currency", "JPY", "--exchange-rate", "KRW=1487"), "JPY"),
    "rate": (("--usd-per-hour", "8", "--exchange-rate", "KRW=abc"), "KRW=abc"),
    "zero rate": (("--usd-per-hour", "8", "--exchange-rate", "KRW=0"), "KRW=0"),
    "currency": (("--usd-per-hour", "8", "--currency", "dollars"), "DOLLARS"),
    "unknown gpu": (("--gpu", "rtx-9999"), "rtx-9999"),
    "gpu without price": (("--gpu", "p40"), "p40"),
    "no such tier": (("--gpu", "h200", "--tier", "spot"), "--tier spot"),
    "no such provider": (("--gpu", "h200", "--provider", "nobody"), "nobody"),
    "utilization": (("--usd-per-hour", "8", "--utilization", "1.5"), "1.5"),
    "throughput": (("--usd-per-hour", "8", "--output-tok-per-s", "3:2:1"), "3:2:1"),
    "half of an own machine": (("--hardware-usd", "3000"), "--years"),
    "more hours than a month": (
        ("--hardware-usd", "1", "--years", "1", "--watts", "1", "--usd-per-kwh", "0", "--hours-per-month", "800"),
        "800",
    ),
    "input price without tokens": (
        ("--usd-per-hour", "8", "--api-usd-per-million", "2", "--api-usd-per-million-input", "1"),
        "--prompt-tokens",
    ),
    "file": (("--gpu", "h200", "--prices", "/no/such.toml"), "/no/such.toml"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("language", ["en", "ko"])
def test_bad_input_is_said(cli: Cli, name: str, language: str) -> None:
    argv, shown = BAD[name]
    ran = cli("cost", *argv, "--lang", language)
    assert ran.code == 2 and shown in ran.err and ran.out == "" and "Traceback" not in ran.err


def test_all_problems_at_once() -> None:
    request = CostRequest.read(gpu="rtx-9999", currency="KRW", hardware_usd="1")
    with pytest.raises(InputError) as found:
        cost(request, TODAY)
    assert {"unknown_gpu", "exchange_rate_missing", "flag_missing"} <= {p.code for p in found.value.problems}


OWN_FLAGS = ("--hardware-usd", "3600", "--years", "3", "--usd-per-kwh", "0.2")


@pytest.mark.parametrize("language", ["en", "ko"])
def test_rent_own_and_api_on_one_page(cli: Cli, language: str) -> None:
    words = ("--gpu", "l40s", *OWN_FLAGS, "--output-tok-per-s", "1000", "--api-usd-per-million", "2")
    ran = cli("cost", *words, "--lang", language)
    assert ran.code == 0 and "350 W" in ran.out
    answer = cli("cost", *words, "--lang", language, "--json").json()
    own = answer["own"]
    assert own["watts"] == 350 and own["energy_usd_per_hour"] == pytest.approx(0.07)
    assert own["break_even_hours_per_month"] == pytest.approx(100 / (answer["usd_per_hour"] - 0.07))
    assert answer["usd_per_million_output_tokens"]["likely"] == pytest.approx(answer["usd_per_hour"] / 3.6)
    assert answer["api"]["break_even_utilization"]["likely"] == pytest.approx(answer["usd_per_hour"] / 3.6 / 2)


def test_own_hardware_alone_is_priced_by_its_hours(cli: Cli) -> None:
    answer = cli("cost", "--gpu", "p40", *OWN_FLAGS, "--hours-per-month", "100", "--json").json()
    assert answer["price_kind"] == "own" and answer["usd_per_hour"] == pytest.approx(1.05)
    assert answer["own"]["break_even_hours_per_month"] is None
    assert "gpu_price_missing" in {item["code"] for item in answer["notes"]}


def test_list_prices_are_sourced_and_said(cli: Cli) -> None:
    for gpu, row in list_prices().items():
        assert gpu in gpu_rows() and row.usd > 0 and 2015 < row.year <= 2026 and "@" in row.ref
    for group in load_toml("fitserve.predict.data", "hardware_prices.toml")["groups"]:
        assert group["source"]["kind"] in {"documentation", "estimate"} and group["source"]["checked"]
    answer = cli("cost", "--gpu", "rtx-3090:2", "--years", "3", "--usd-per-kwh", "0.12", "--json").json()
    assert answer["own"]["hardware_usd"] == 3000 and answer["own"]["watts"] == 700
    assert {"hardware_price_listed", "power_at_tdp"} <= {item["code"] for item in answer["notes"]}
    guessed = cli("cost", "--gpu", "h100-sxm:8", "--years", "3", "--usd-per-kwh", "0.12", "--lang", "ko")
    assert guessed.code == 0 and "추정" in guessed.out


def test_the_cost_of_a_plan() -> None:
    found = plan_cost(machine("h200", "h200"), Interval(900, 1000, 1100), "KRW", WON)
    assert found is not None and found.hourly.median.price_date
    form = plan_cost_form(found, TODAY)
    assert form is not None
    assert form["per_hour"] == pytest.approx(form["usd_per_hour"] * 1487.13) and form["currency"] == "KRW"
    assert form["usd_per_million_output_tokens"]["likely"] == pytest.approx(form["usd_per_hour"] / 3.6)
    assert form["age_days"] == day_number(TODAY) - day_number(form["price_date"])
    one = plan_cost(machine("h200", "h200"), None, device_count=1)
    assert one is not None and one.usd_per_hour * 2 == found.usd_per_hour
    assert one.usd_per_million_output_tokens is None and one.rate == DOLLAR


def test_a_plan_without_price_has_no_cost() -> None:
    assert plan_cost(machine("p40"), None) is None and plan_cost(machine(), None) is None
    assert plan_cost_form(None) is None


def test_a_rate_is_never_guessed() -> None:
    found = plan_cost(machine("h200"), None, "KRW")
    assert found is not None and found.rate == DOLLAR


def test_the_content_is_checked_before_it_is_used() -> None:
    for content in (None, [], "rows", {"rows": "x"}, {}):
        with pytest.raises(InputError):
            read_prices(content, "here")


def test_the_price_list_is_read_when_it_is_needed() -> None:
    code = "import sys, fitserve.cli.main; print('fitserve.predict.prices' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
