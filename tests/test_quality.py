"""How good models are for a purpose, and what formats cost: published figures come back, and the laws hold."""

import importlib.util
import json
import math
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fitserve
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.reasons import Severity
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.formats import parse_format
from fitserve.predict.benchmarks import figures, groups, model_purposes, purposes, settings
from fitserve.predict.format_law import disagreements, law, loss_class
from fitserve.predict.format_quality import compare_formats, format_quality
from fitserve.predict.kv_quality import kv_quality
from fitserve.predict.loss_rows import kv_measurements, measurements
from fitserve.predict.model_quality import (
    known_purposes,
    model_quality,
    place,
    purpose_row,
    ranked_models,
    ranking,
    require_quality,
)
from fitserve.predict.quality_reasons import quality_reasons
from fitserve.render.texts import LANGUAGES, texts
from fitserve.search.evaluate import quality_classes

DATA = Path(fitserve.__file__).parent / "predict/data"
TOOLS = Path(fitserve.__file__).parents[2] / "tools"
LLAMA_3_70B = "meta-llama/Meta-Llama-3-70B-Instruct"
LLAMA_3_8B = "meta-llama/Meta-Llama-3-8B"


def _tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, TOOLS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# --- the data ---------------------------------------------------------------------------------------------------------


def test_data_stays_small_and_every_figure_has_its_source() -> None:
    others = {"prices.json", "speed.json", "speed_cases.json", "efficiency.json", "streams.json", "streams_cases.json"}
    sizes = {path.name: path.stat().st_size for path in DATA.glob("*.json") if path.name not in others}
    assert max(sizes.values()) <= 150_000 and sum(sizes.values()) <= 400_000
    assert all(figure.source.startswith("http") and figure.reporter for figure in figures())
    assert all(row.source for row in measurements()) and all(row.source for row in kv_measurements())
    assert {figure.model for figure in figures()} <= set(rows()) and set(model_purposes()) <= set(rows())


def test_settings_are_sourced_and_counted_benchmarks_exist() -> None:
    table = tomllib.loads((DATA / "purposes.toml").read_text(encoding="utf-8"))
    assert table["source"]["ref"] and all(row["source"]["ref"] for row in table["noise"])
    assert all(purpose["reason"] and purpose["benchmarks"] for purpose in table["purposes"])
    printed = {figure.benchmark for figure in figures()}
    missing = {name for weights in purposes().values() for name in weights} - printed
    assert len(missing) <= 3, f"counted, but nothing to compare: {missing}"
    assert {figure.reporter_kind for figure in figures()} == set(settings()["reporters"])


# --- models -----------------------------------------------------------------------------------------------------------


def test_a_published_figure_stands_among_the_parts_with_its_place_in_its_own_table() -> None:
    """LMArena, text with style control, 2025-12-17: Yi-1.5-34B-Chat 1215.5."""
    quality = require_quality("01-ai/Yi-1.5-34B-Chat", "chat")
    part = next(part for part in quality.parts if part.benchmark == "LMArena text")
    assert part.value == 1215.5 and part.unit == "Elo" and part.reporter_kind == "independent"
    others = [f for f in figures() if f.benchmark == "LMArena text" and f.model != quality.model and f.runs == "direct"]
    assert part.compared_with == len(others)
    assert part.percentile == pytest.approx(100 * sum(f.value < 1215.5 for f in others) / len(others))


@pytest.mark.parametrize(
    ("purpose", "better", "worse"),
    [
        ("chat", "meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-2-7b-chat-hf"),
        ("coding", "Qwen/Qwen3-32B", "google/gemma-3-4b-it"),
        ("reasoning", "openai/gpt-oss-20b", "meta-llama/Llama-3.1-8B-Instruct"),
        ("agent", "openai/gpt-oss-120b", "google/gemma-3-1b-it"),
        ("long_context", "Qwen/Qwen3-235B-A22B-Thinking-2507", "mistralai/Mistral-Nemo-Instruct-2407"),
        ("korean", "Qwen/Qwen3-235B-A22B", "meta-llama/Llama-3.2-3B-Instruct"),
    ],
)
def test_models_that_everybody_orders_alike_are_ordered_so(purpose: str, better: str, worse: str) -> None:
    high, low = place(better, purpose), place(worse, purpose)
    assert high is not None and low is not None and high.likely > low.likely


def test_unknown_stays_unknown() -> None:
    assert model_quality("tencent/Hy3", "chat") is None and place("tencent/Hy3", "chat") is None
    assert model_quality("Qwen/Qwen3-32B", "chat", "no such way") is None
    with pytest.raises(FactMissing):
        require_quality("nobody/nothing", "coding")
    with pytest.raises(KeyError):
        ranking("poetry")
    assert purpose_row("nobody/nothing") is None


@pytest.mark.parametrize("purpose", known_purposes())
def test_places_of_a_purpose(purpose: str) -> None:
    ranked = ranked_models(purpose)
    assert len(ranked) == len(ranking(purpose).entries) > 80
    assert [strength for *_, strength in ranked] == sorted((s for *_, s in ranked), reverse=True)
    assert not any(model_purposes()[model]["base"] for model, _, _ in ranked)
    for model, runs, _ in ranked:
        quality = model_quality(model, purpose, runs)
        assert quality is not None and quality.parts, "never a place without its figures"
        assert 0 <= quality.percentile.low <= quality.percentile.likely <= quality.percentile.high <= 100
        assert quality.count == len(quality.parts) >= quality.makers_own
        assert all(part.percentile is None or 0 <= part.percentile <= 100 for part in quality.parts)
        assert all((part.percentile is None) == (part.compared_with == 0) for part in quality.parts)


def test_most_places_agree_with_benchmarks_that_were_held_out() -> None:
    assert all(ranking(purpose).held_out_right > 0.7 for purpose in known_purposes())
    assert all(ranking(purpose).maker_advantage > 0 for purpose in known_purposes()), "makers favour their own"


def test_few_figures_stay_near_the_middle_with_a_wide_interval() -> None:
    """One model better than all others, seen in one table or in ten: the more tables, the farther from the middle."""
    fit = _tool("fit_model_quality").fit

    def pairs(tables: int) -> list[Any]:
        crowd = [(f"m{index}", "direct") for index in range(6)]
        known = [(one, other, 0, 1.0, 0.5) for i, one in enumerate(crowd) for other in crowd[i + 1 :]]
        return known * 10 + [(("new", "direct"), other, 0, 0.2, 0.99) for other in crowd for _ in range(tables)]

    few, few_sd, _ = fit(pairs(1), 2.5)
    many, many_sd, _ = fit(pairs(10), 2.5)
    new = ("new", "direct")
    assert 0 < few[new] < many[new] and few_sd[new] > many_sd[new]


@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random: Any) -> None:
    fit = _tool("fit_model_quality").fit
    names = [(name, "direct") for name in "abcde"]
    pairs = [
        (one, other, (i + j) % 2, 0.5 + i, 0.1 + 0.2 * i)
        for i, one in enumerate(names)
        for j, other in enumerate(names[:i])
    ]
    shuffled = random.sample(pairs, len(pairs))
    first, second = fit(pairs, 2.5)[0], fit(shuffled, 2.5)[0]
    assert all(first[name] == pytest.approx(second[name], abs=1e-9) for name in names)


def test_only_figures_of_one_table_and_setting_are_compared() -> None:
    for (benchmark, setting, table), members in groups().items():
        assert {(f.benchmark, f.setting, f.table) for f in members} == {(benchmark, setting, table)}
        assert len({f.unit for f in members}) == 1


# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mix", "printed"), [("Q8_0", 0.001355), ("Q6_K", 0.005452), ("IQ4_XS", 0.036334), ("IQ1_S", 2.254554)]
)
def test_the_scoreboard_of_llama_cpp_comes_back(mix: str, printed: float) -> None:
    """KL divergence of Llama 3 8B, llama.cpp tools/perplexity/README.md."""
    quality = format_quality(parse_format(mix), catalog_model(LLAMA_3_8B))
    assert quality is not None and quality.way == "measured" and quality.measured
    assert quality.kl_divergence.likely == pytest.approx(printed, rel=0.01)
    assert quality.kl_divergence.contains(printed)


@pytest.mark.parametrize(
    ("model", "mix", "divergence"),
    [
        ("google/gemma-3-27b-it", "IQ2_XXS", 0.535764),
        ("google/gemma-3-27b-it", "UD-Q4_K_XL", 0.023701),
        ("meta-llama/Llama-2-70b-hf", "Q4_K_M", math.log(3.4725 / 3.4313)),
        ("meta-llama/Llama-2-7b-hf", "Q2_K", 0.108903),
    ],
)
def test_figures_of_a_model_hold_for_it(model: str, mix: str, divergence: float) -> None:
    quality = format_quality(parse_format(mix), catalog_model(model))
    assert quality is not None and quality.kl_divergence.likely == pytest.approx(divergence, rel=0.01)


@pytest.mark.parametrize(
    ("mix", "score"), [("IQ4_XS", 80.46), ("IQ3_XXS", 79.09), ("IQ2_M", 77.01), ("IQ2_XXS", 72.31), ("IQ1_S", 61.18)]
)
def test_scores_of_llama_3_70b_lie_where_the_divergence_puts_them(mix: str, score: float) -> None:
    """MMLU against the model's own Q5_K_M (80.82), llama-3-quant-comparison."""
    quality = format_quality(parse_format(mix), catalog_model(LLAMA_3_70B))
    assert quality is not None and quality.score_kept_pct.contains(100 * score / 80.82)
    assert quality.score_kept_pct.likely == pytest.approx(100 * score / 80.82, abs=4.0)


FAMILIES = [
    ["Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "Q8_0"],
    [
        "IQ1_S",
        "IQ1_M",
        "IQ2_XXS",
        "IQ2_XS",
        "IQ2_S",
        "IQ2_M",
        "IQ3_XXS",
        "IQ3_XS",
        "IQ3_S",
        "IQ3_M",
        "IQ4_XS",
        "IQ4_NL",
    ],
    ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"],
    [f"exl2:{bits / 4}" for bits in range(8, 33)],
    [f"exl3:{bits / 4}" for bits in range(6, 33)],
    ["mlx-2bit", "mlx-3bit", "mlx-4bit", "mlx-6bit", "mlx-8bit"],
]
MODELS = [
    LLAMA_3_8B, LLAMA_3_70B, "meta-llama/Llama-2-70b-hf", "meta-llama/Llama-2-7b-hf", "google/gemma-3-27b-it",
    "Qwen/Qwen3-0.6B", "Qwen/Qwen3-30B-A3B", "baidu/ERNIE-4.5-300B-A47B-PT",
]  # fmt: skip


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family[0])
def test_more_bits_never_lose_more_within_a_family(model: str, family: list[str]) -> None:
    found = [format_quality(parse_format(name), catalog_model(model)) for name in family]
    losses = [quality.kl_divergence.likely for quality in found if quality is not None]
    assert len(losses) == len(family)
    assert losses == sorted(losses, reverse=True)
    kept = [quality.score_kept_pct.likely for quality in found if quality is not None]
    assert kept == sorted(kept)


@given(st.floats(2.0, 8.0), st.floats(0.0, 4.0))
def test_widths_between_measured_ones_are_monotone_too(bits: float, more: float) -> None:
    narrow, wide = (format_quality(parse_format(f"exl2:{width:.2f}")) for width in (bits, min(8.0, bits + more)))
    assert narrow is not None and wide is not None
    assert narrow.kl_divergence.likely >= wide.kl_divergence.likely - 1e-12
    assert 0 <= narrow.kl_divergence.low <= narrow.kl_divergence.likely <= narrow.kl_divergence.high


def test_a_small_model_loses_more_than_a_large_one_of_its_family() -> None:
    losses = [
        format_quality(parse_format("awq"), catalog_model(f"Qwen/Qwen3-{size}")) for size in ("0.6B", "8B", "32B")
    ]
    likely = [quality.kl_divergence.likely for quality in losses if quality is not None]
    assert likely == sorted(likely, reverse=True) and len(likely) == 3


def test_what_nobody_measured_is_said_with_its_neighbours() -> None:
    quality = format_quality(parse_format("exl2:4.65"), catalog_model(LLAMA_3_70B))
    assert quality is not None and quality.way == "interpolated"
    assert quality.between == ("exl2:4.25bpw", "exl2:5.0bpw") and quality.basis[0].kind == "estimated"
    assert format_quality(parse_format("gguf:APEX-1")) is None, "a width that nobody printed stays unknown"


def test_released_weights_lose_nothing() -> None:
    for model, name in (("openai/gpt-oss-120b", "mxfp4"), (LLAMA_3_8B, "bf16"), (LLAMA_3_8B, "gguf:F16")):
        quality = format_quality(parse_format(name), catalog_model(model))
        assert quality is not None and quality.kl_divergence.high == 0 and quality.loss_class == "original"
    mostly = format_quality(parse_format("MXFP4_MOE"), catalog_model("openai/gpt-oss-120b"))
    assert mostly is not None and mostly.loss_class == "near_lossless"


def test_exl2_gguf_and_awq_of_llama_3_70b_are_compared_with_numbers_and_sources() -> None:
    names = ["exl2:4.65", "exl2:4.0", "Q4_K_M", "Q5_K_M", "IQ2_XXS", "awq"]
    found = compare_formats(catalog_model(LLAMA_3_70B), names)
    assert len(found) == len(names) and all(quality.basis for quality in found)
    order = [quality.weight_format for quality in found]
    assert order[0] == "gguf:Q5_K_M" and order[-1] == "gguf:IQ2_XXS"
    assert order.index("gguf:Q4_K_M") < order.index("exl2:4.0bpw")
    assert {quality.loss_class for quality in found[:4]} <= {"near_lossless", "small_loss"}
    assert found == compare_formats(catalog_model(LLAMA_3_70B), names[::-1])


def test_classes_by_loss_agree_with_classes_by_bits_or_say_so() -> None:
    """Every GGUF mix of the scoreboard keeps its class; what differs is listed, not changed."""
    limits = [row["most"] for row in law()["classes"] if row["most"] is not None]
    assert limits == sorted(limits) and [row["class"] for row in law()["classes"]] == [
        name for name, _ in quality_classes()
    ]
    differing = {name for name, _, _ in disagreements()}
    assert not any(name.startswith("gguf:") for name in differing)
    for family, members in law()["families"].items():
        for name, (_, value) in members.items():
            full = f"gguf:{name}" if family.startswith("gguf") else name
            bits = parse_format(full).effective_bits()
            by_bits = next(kind for kind, least in quality_classes() if bits >= least)
            if full not in differing and full not in law()["within_noise"]:
                assert loss_class(math.exp(value)) == by_bits, full


# --- KV cache, reasons, tools ------------------------------------------------------------------------------------------


def test_fewer_bits_of_the_cache_never_cost_less() -> None:
    found = [kv_quality(name) for name in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16")]
    likely = [quality.kl_divergence.likely for quality in found if quality is not None]
    assert len(likely) == 6 and likely == sorted(likely, reverse=True) and likely[-1] == 0
    assert kv_quality("auto") is None
    eight = kv_quality("q8_0")
    assert eight is not None and eight.kl_divergence.contains(0.000980 - 0.000189), "llama.cpp #7412"
    four = kv_quality("q4_0")
    assert four is not None and four.kl_divergence.contains(math.log(2.989 / 2.632), 1e-9), "llama.cpp #20995"


def _codes(model: str, name: str, kv_format: str | None, context_tokens: int, use: str) -> dict[str, Severity]:
    reasons = quality_reasons(
        catalog_model(model), parse_format(name), kv_format=kv_format, context_tokens=context_tokens, use=use
    )
    for language in LANGUAGES:
        assert all(texts(language).reason(reason) and "{" not in texts(language).reason(reason) for reason in reasons)
    return {reason.code: reason.severity for reason in reasons}


def test_warnings_where_users_get_hurt() -> None:
    assert _codes(LLAMA_3_70B, "IQ2_XXS", "f16", 8192, "chat") == {"quality_very_low_bits": Severity.WARNING}
    small = _codes("Qwen/Qwen3-0.6B", "Q4_K_M", None, 8192, "chat")
    assert small == {"quality_small_model_few_bits": Severity.WARNING}
    cache = _codes(LLAMA_3_70B, "Q6_K", "q4_0", 65536, "agent")
    assert cache == {"quality_kv_few_bits_long": Severity.WARNING}
    assert _codes(LLAMA_3_70B, "Q6_K", "q4_0", 4096, "chat") == {"quality_kv_few_bits": Severity.WARNING}
    assert _codes(LLAMA_3_70B, "Q6_K", "fp8", 65536, "chat") == {"quality_kv_eight_bits_long": Severity.NOTE}
    assert _codes(LLAMA_3_70B, "awq", None, 4096, "coding") == {"quality_few_bits_strict_use": Severity.NOTE}
    assert "quality_experts_not_measured" in _codes("Qwen/Qwen3-30B-A3B", "Q4_K_M", None, 4096, "chat")
    assert "quality_interpolated" in _codes(LLAMA_3_70B, "exl2:4.65", None, 4096, "chat")
    assert _codes(LLAMA_3_70B, "gguf:APEX-1", None, 4096, "chat") == {"quality_unknown": Severity.NOTE}


def test_nothing_is_said_where_nothing_is_lost() -> None:
    assert not _codes(LLAMA_3_70B, "bf16", "f16", 4096, "agent")
    assert not _codes("openai/gpt-oss-120b", "mxfp4", None, 131072, "agent")


def test_the_fit_of_formats_is_repeated_byte_by_byte() -> None:
    assert _tool("fit_format_quality").text() == (DATA / "format_law.json").read_text(encoding="utf-8")


def test_the_fit_of_models_is_repeated() -> None:
    tool = _tool("fit_model_quality")
    written = {row["purpose"]: row for row in json.loads((DATA / "model_ranks.json").read_text())["rows"]}
    row = written["korean"]
    chosen = {key: row[key] for key in ("prior_sd", "held_out_right", "held_out_log_loss")}
    assert tool.rank("korean", dict(purposes()["korean"]), chosen) == row
