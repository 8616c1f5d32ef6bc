"""Guides: what they compute agrees with plans, what they print is whole, and wrong claims are contradicted by figures."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conftest import Ran
from fitserve.check.answer import check
from fitserve.check.request import CheckRequest
from fitserve.cli.verbs import world
from fitserve.emit.commands import shell_texts
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Verdict
from fitserve.guides.build import guide
from fitserve.guides.request import GuideRequest
from fitserve.guides.types import Guide
from fitserve.plan.answer import plan
from fitserve.plan.request import PlanRequest
from fitserve.render.charts import Line, Range, interval_chart, line_chart, nice_ticks
from fitserve.render.guide.document import guide_document
from fitserve.render.page.document import Code, Document, Figure, Heading, Table
from fitserve.render.page.html import html, inline
from fitserve.render.page.markdown import markdown
from fitserve.render.texts import texts
from fitserve.search.evaluate import evaluate

Cli = Callable[..., Ran]

MACHINES: dict[str, dict[str, object]] = {
    "v100": {"gpu": ("v100-32gb:2",)},
    "windows": {"gpu": ("rtx-3090:2",), "os": "windows"},
    "small": {"gpu": ("rtx-4060",)},
    "mac": {"gpu": ("mac-studio-64gb",)},
    "cpu": {"gpu": ("none",), "ram": "32GiB"},
    "mixed": {"gpu": ("rtx-3090", "rtx-3060")},
}


@lru_cache(maxsize=len(MACHINES))
def made(name: str) -> Guide:
    return guide(GuideRequest.read(**MACHINES[name]), world())


@lru_cache(maxsize=2 * len(MACHINES))
def document(name: str, language: str) -> Document:
    return guide_document(made(name), texts(language))


def _truths(name: str, language: str = "en") -> dict[str, str]:
    """What is said to what is so."""
    table = texts(language)
    return {
        table.text("claim", claim.says, dict(claim.parameters)): table.text("truth", claim.code, dict(claim.parameters))
        for claim in made(name).claims
    }


@pytest.mark.parametrize("name", ["v100", "small", "cpu", "mixed"])
def test_rows_agree_with_plan(name: str) -> None:
    """A sample of the rows: the same model, format and engine, asked of `plan`."""
    found = made(name)
    rows = [row for row in found.tables[-1].rows if row.item.deployment.weight_format.gguf_mix]
    assert {row.item.verdict for row in rows} >= {Verdict.FITS, Verdict.DOES_NOT_FIT}
    for row in rows[::9]:
        deployment = row.item.deployment
        asked = PlanRequest.read(
            **MACHINES[name], model=deployment.model.id, format=deployment.weight_format.name,
            engine=(f"{deployment.engine}=={deployment.engine_version}",), context=str(deployment.context_tokens),
        )  # fmt: skip
        answer = plan(asked, world())
        fits = [item for item in answer.plans if not item.deployment.offload_layers]
        assert bool(fits) is row.item.fits, (deployment.model.id, deployment.weight_format.name)
        # plan may prefer fewer devices, with less room
        longest = [item.budget.kv.max_context_tokens for item in fits if item.budget is not None]
        assert not fits or (row.context_tokens or 0) >= max(longest)


@pytest.mark.parametrize("name", list(MACHINES))
def test_every_row_has_its_figures(name: str) -> None:
    for table in made(name).tables:
        assert table.rows
        for row in table.rows:
            assert (row.context_tokens is not None) is row.item.fits
            assert row.file_bytes is not None and row.file_bytes > 0
            assert row.item.fits or row.lack_bytes


def test_all_devices_hold_at_least_what_one_holds() -> None:
    def named(index: int, only_fitting: bool) -> set[tuple[str, str, str]]:
        deployments = [r.item.deployment for r in made("windows").tables[index].rows if r.item.fits or not only_fitting]
        return {(d.model.id, d.weight_format.name, d.engine) for d in deployments}

    assert named(0, True) & named(-1, False) <= named(-1, True)


@pytest.mark.parametrize("name", list(MACHINES))
def test_setups_cover_the_purposes(name: str) -> None:
    found = made(name)
    assert [setup.purpose for setup in found.setups] == ["balanced", "quality", "speed", "largest", "coding", "korean"]
    for setup in found.setups:
        assert setup.item.fits and setup.item.budget is not None
        assert setup.item.deployment.context_tokens == (32768 if setup.purpose == "coding" else 8192)
        rate = setup.item.speed
        if rate is not None and setup.least_tok_per_s:
            assert rate.per_user_tok_per_s.likely >= setup.least_tok_per_s
    by_purpose = {setup.purpose: setup for setup in found.setups}
    params = {purpose: setup.item.deployment.model.params() for purpose, setup in by_purpose.items()}
    assert params["largest"] == max(params.values())


@pytest.mark.parametrize("name", list(MACHINES))
def test_commands_pass_check(name: str) -> None:
    found = made(name)
    for commands in found.commands:
        deployment = commands.setup.item.deployment
        system = found.machine.host.os
        text = shell_texts(commands.command, commands.is_native)["powershell" if system == "windows" else "bash"]
        given = {key: value for key, value in MACHINES[name].items() if key != "os"}
        asked = CheckRequest.read(
            command=text, engine_version=deployment.engine_version, os=system, model=deployment.model.id, **given
        )
        answer = check(asked, world())
        assert answer.is_ok, (text, [finding.reason.code for finding in answer.findings])


def test_memory_grows_with_tokens_and_users() -> None:
    grid = made("v100").grid
    assert grid is not None
    first = grid.cell(4096, 1)
    assert first.kv_bytes == 4096 * 327_680  # Llama 3.1 70B: 80 layers x 8 heads x 128 x 2 x 2 bytes
    for tokens in grid.contexts:
        for users in grid.users:
            cell = grid.cell(tokens, users)
            assert cell.kv_bytes == first.kv_bytes * users * tokens // 4096
            assert not cell.fits or cell.total_bytes <= grid.limit_bytes


def test_the_split_is_that_of_the_engine() -> None:
    """Giving the engine the stated split comes to the stated layers."""
    for name in ("v100", "mixed"):
        split = made(name).split
        assert split is not None
        count = len(split.item.deployment.model.layers)
        assert sum(part.last_layer - part.first_layer + 1 for part in split.parts) == count == len(split.device_map)
        told = evaluate(replace(split.item.deployment, options={"tensor-split": split.tensor_split}))
        assert told.budget is not None and split.item.budget is not None
        assert told.budget.details["layers"] == split.item.budget.details["layers"]
    parts = made("mixed").split
    assert parts is not None and parts.parts[0].weights_bytes > parts.parts[1].weights_bytes  # 24 GB beside 12 GB


def test_settings_are_in_the_lists_of_their_releases() -> None:
    from fitserve.engines.registry import engine

    for name in MACHINES:
        for setting in made(name).settings:
            if setting.engine is not None and setting.name.startswith("--") and setting.version is not None:
                assert setting.name in engine(setting.engine).known_options(setting.version), setting
            assert setting.source.ref


OLD_SIZES = [  # (model, format, what a guide that circulates says in GB, GB by the tensor table)
    ("Qwen2.5-32B-Instruct", "Q8_0", 30, 34.8), ("Yi-34B-Chat", "Q6_K", 24, 28.2), ("falcon-40b-instruct", "Q5_K_M", 20, 30.3),
    ("Llama-2-70b-chat-hf", "Q4_K_M", 40, 41.4), ("Llama-3.1-70B-Instruct", "Q8_0", 70, 75.0),
    ("Llama-3.1-70B-Instruct", "Q6_K", 55, 57.9), ("Llama-3.1-70B-Instruct", "Q5_K_M", 45, 49.9),
    ("Llama-3.1-70B-Instruct", "Q4_K_M", 40, 42.5), ("Qwen2.5-72B-Instruct", "Q5_K_M", 45, 54.4),
    ("Qwen2.5-72B-Instruct", "Q4_K_M", 42, 47.4), ("Mixtral-8x7B-Instruct-v0.1", "Q6_K", 35, 38.4),
    ("Mixtral-8x22B-Instruct-v0.1", "Q3_K_M", 58, 67.8), ("DeepSeek-V2-Chat", "Q2_K", 60, 86.1),
    ("DeepSeek-Coder-V2-Instruct", "Q5_K_M", 45, 167.3),
]  # fmt: skip


@pytest.mark.parametrize(("model", "name", "said", "is_so"), OLD_SIZES)
def test_wrong_sizes_are_contradicted(model: str, name: str, said: float, is_so: float) -> None:
    truth = _truths("v100")[f"{model} {name} takes about {said} GB"]
    assert truth.startswith(f"The file has {is_so} GB")


@pytest.mark.parametrize(
    ("model", "name", "said", "ceiling"),
    [
        # 900 GB/s over the bytes of the file
        ("Llama-3.1-70B-Instruct", "Q4_K_M", "20–30, 25", "21.2"), ("Llama-3.1-70B-Instruct", "Q5_K_M", "18–25, 22", "18.0"),
        ("Llama-3.1-70B-Instruct", "Q6_K", "15–22, 18", "15.5"), ("Yi-34B-Chat", "Q4_K_M", "40–60", "43.6"),
        ("Yi-34B-Chat", "Q5_K_M", "35–50", "37.0"), ("Yi-34B-Chat", "Q6_K", "30–45", "31.9"),
        ("Qwen2.5-72B-Instruct", "Q4_K_M", "24", "19.0"),
    ],
)  # fmt: skip
def test_impossible_speeds_are_contradicted(model: str, name: str, said: str, ceiling: str) -> None:
    truth = _truths("v100")[f"{model} {name} runs at {said} tokens a second"]
    assert truth.startswith("Impossible") and f"= {ceiling} tokens a second" in truth


def test_the_rest_of_the_old_guide_is_contradicted() -> None:
    truths = _truths("v100")
    limits = {said: is_so for said, is_so in truths.items() if "works up to" in said}
    assert len(limits) == 10 and all(is_so.startswith("No:") for is_so in limits.values())
    assert {
        "Llama-3.1-70B-Instruct Q8_0 runs on 2 GPU(s)",
        "Mixtral-8x22B-Instruct-v0.1 Q3_K_M runs on 2 GPU(s)",
        "Qwen2.5-32B-Instruct Q8_0 runs on 1 GPU(s)",
        "Llama-2-70b-chat-hf Q4_K_M runs on 1 GPU(s)",
    } <= set(truths)
    assert "1.25 GiB (3 %)" in truths["A context of 4,096 tokens adds 5 % of memory"]
    assert "20.0 GiB (51 %)" in truths["8 requests at once add 40 % of memory"]
    assert "125 TFLOPS" in truths["12.53 TFLOPS shows that the card works at its full speed"]
    assert "150 GB/s" in truths["7.5 GB/s between the GPUs is good"]
    assert "68.0 GB" in truths["About 60 GB can be used"]
    assert "81" in truths["`-ngl 80` puts all of Llama-3.1-70B-Instruct on the GPU"]
    assert "0.19.1" in truths["Install the newest vLLM"]
    assert "--auto-devices" in truths["text-generation-webui spreads a model with `--gpu-memory` and `--auto-devices`"]


def test_claims_depend_on_the_hardware() -> None:
    everywhere = {name: set(_truths(name)) for name in MACHINES}
    assert "Use NVLink between these cards" not in everywhere["windows"]  # the 3090 takes a bridge
    assert any("unified memory" in said for said in everywhere["mac"])
    assert "More cores make it faster" in everywhere["cpu"] - everywhere["v100"]
    assert "FP8 checkpoints are twice as fast" in everywhere["windows"] - everywhere["small"]  # 4060: capability 8.9
    assert not any("works up to" in said for said in everywhere["windows"])


class _Tags(HTMLParser):
    """Open tags are closed in order; addresses and styles of elements are collected."""

    VOID = frozenset({"meta", "br", "img", "link", "input", "hr"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        named = dict(attrs)
        assert "style" not in named
        self.references += [str(named[name]) for name in ("href", "src") if name in named]
        self.ids += [str(named["id"])] if "id" in named else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("name", list(MACHINES))
def test_the_page_is_whole_and_alone(name: str, language: str) -> None:
    page = html(document(name, language))
    tags = _Tags()
    tags.feed(page)
    assert not tags.open and not {"script", "link", "img", "iframe"} & tags.seen
    assert all(reference.startswith("#") for reference in tags.references)
    assert {reference[1:] for reference in tags.references} <= set(tags.ids) and len(set(tags.ids)) == len(tags.ids)
    assert "url(" not in page and "@import" not in page
    assert page.startswith(f'<!DOCTYPE html>\n<html lang="{language}">')
    assert not re.search(r"\{[a-z_]+[}:]", re.sub(r"<(style|pre).*?</\1>", "", page, flags=re.DOTALL))


def test_the_same_guide_is_the_same_bytes() -> None:
    again = guide(GuideRequest.read(**MACHINES["small"]), world())
    assert html(guide_document(again, texts("ko"))) == html(document("small", "ko"))
    assert markdown(guide_document(again, texts("en"))) == markdown(document("small", "en"))


@pytest.mark.parametrize("name", ["v100", "mac", "mixed"])
def test_charts_are_well_formed_and_described(name: str) -> None:
    figures = [b for s in document(name, "en").sections for b in s.blocks if isinstance(b, Figure)]
    assert len(figures) == 3
    for figure in figures:
        root = ElementTree.fromstring(figure.svg)  # noqa: S314 - our own text
        named = {element.get("id"): element.text for element in root if element.tag in {"title", "desc"}}
        assert root.get("role") == "img" and set(str(root.get("aria-labelledby")).split()) == set(named)
        assert all(named.values())
        shares = [
            float(v[:-1])
            for e in root.iter()
            for k, v in e.attrib.items()
            if k in {"x", "x1", "x2", "cx"} and v.endswith("%")
        ]
        assert shares and all(-1e-6 <= share <= 101 for share in shares)


def test_bars_sum_to_the_table_beside_them() -> None:
    item = made("v100").setups[0].item
    assert item.budget is not None
    for device in item.budget.devices:
        assert device.used_bytes == sum(part.likely_bytes for part in device.items)


@pytest.mark.parametrize("most", [0.3, 1, 7, 31.7, 63.3, 99, 1000])
def test_ticks_are_round_and_reach_the_top(most: float) -> None:
    ticks = nice_ticks(most)
    assert ticks[0] == 0 and ticks[-1] >= most > ticks[-2] and 3 <= len(ticks) <= 7


def test_chart_texts_are_escaped() -> None:
    evil = "<b>&\"'"
    bars = interval_chart(
        [Range(name=evil, low=1, likely=2, high=3, text=evil)], chart_id="a", title=evil, description=evil, unit=evil
    )
    lines = line_chart(
        [Line(name=evil, points=((0, 1), (1, 9)))], chart_id="b", title=evil, description=evil, x_title=evil, y_title=evil,
        x_names=(evil, evil), limit=3, limit_text=evil, top=4,
    )  # fmt: skip
    for svg in (bars, lines):
        assert ElementTree.fromstring(svg) is not None and "<b>" not in svg  # noqa: S314 - our own text
    assert inline("<i> `a<b` **c**") == "&lt;i&gt; <code>a&lt;b</code> <b>c</b>"


def test_both_dark_sets_of_tokens_are_equal() -> None:
    css = files("fitserve.render.page").joinpath("tokens.css").read_text(encoding="utf-8")
    by_media = re.search(r':root:not\(\[data-theme="light"\]\) \{(.*?)\}', css, re.DOTALL)
    by_theme = re.search(r':root\[data-theme="dark"\] \{(.*?)\}', css, re.DOTALL)
    assert by_media and by_theme and by_media[1].split() == by_theme[1].split()


NAMES = {
    "llama", "cpp", "tok", "compute", "capability", "vLLM", "vllm", "attn", "flash", "prefill", "Transformers",
    "Docker", "Compose", "Kubernetes", "systemd", "Linux", "Windows", "macOS", "PowerShell", "bash", "Hugging",
    "Face", "Python", "NVLink", "PCIe", "FlashAttention", "Ollama", "nvidia", "smi", "text", "generation", "webui",
    "fitserve", "NVIDIA", "probe", "kWh", "GiB", "MiB", "TFLOPS",
}  # fmt: skip


@pytest.mark.parametrize("table", ["guide", "claim", "truth"])
def test_korean_texts_hold_no_english(table: str) -> None:
    messages = load_toml("fitserve.guides", "messages/ko.toml")[table]
    for code, text in messages.items():
        plain = re.sub(r"`[^`]*`", " ", text)
        plain = re.sub(r"\{[\w-]+(?::[^{} ]+)?\}", " ", plain).replace("{}", " ")
        plain = re.sub(r"\{[a-z_]+:", " ", plain)
        words = set(re.findall(r"[A-Za-z]{3,}", plain))
        left = {word for word in words if word not in NAMES and not word.isupper()}
        assert not left, (code, left)


def test_korean_pages_speak_korean() -> None:
    for section in document("v100", "ko").sections:
        assert re.search("[가-힣]", section.title)
        for block in section.blocks:
            if isinstance(block, (Code, Figure, Heading)):
                continue
            heads = block.headings if isinstance(block, Table) else ()
            assert all(
                re.search("[가-힣]", head) or head.removeprefix(">") in {"tok/s", "GPU 0, GiB", "GPU 1, GiB"}
                for head in heads
            )


def test_check_takes_the_ram_of_a_machine_without_a_gpu(cli: Cli) -> None:
    command = "llama-server --model gpt-oss-20b-MXFP4_MOE.gguf --ctx-size 8192"
    assert cli("check", command, "--gpu", "none", "--ram", "32").code == 0


def test_command_line(cli: Cli, tmp_path: Path) -> None:
    for name in ("g.md", "g.html", "g.json"):
        ran = cli("guide", "--gpu", "rtx-4060", "--out", str(tmp_path / name), "--lang", "ko")
        assert ran.code == 0 and name in ran.out
    assert (tmp_path / "g.md").read_text(encoding="utf-8") == markdown(document("small", "ko"))
    form = json.loads((tmp_path / "g.json").read_text(encoding="utf-8"))
    assert form["schema_version"] == 1 and form["devices"][0]["gpu"] == "rtx-4060"
    row = form["fits"][0]["rows"][0]
    assert {"model", "weight_format", "engine", "file_bytes", "verdict", "max_context_tokens", "speed"} <= set(row)
    assert cli("guide", "--gpu", "rtx-4060", "--out", str(tmp_path / "g.pdf")).code == 2
    assert cli("guide", "--gpu", "no-such-card").code == 2


def test_electricity_is_priced_only_when_told() -> None:
    told = guide(
        GuideRequest.read(gpu=("rtx-4060",), usd_per_kwh="0.2", currency="KRW", exchange_rate=("KRW=1400",)), world()
    )
    text = markdown(guide_document(told, texts("ko")))
    # 115 W x 730.5 h = 84.0 kWh; x 0.2 x 1400
    assert "84 kWh" in text and "23,52" in text
    assert "--usd-per-kwh" in markdown(document("small", "ko"))
