"""The web app in Debian's Chromium: what people do, in both languages, on a phone and by keyboard."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("playwright.sync_api", reason="the browser of the tests is an extra: fitserve[browser]")
from browsing import chromium, web_server
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from fitserve.ask.questions import community_questions

pytestmark = [pytest.mark.slow, pytest.mark.skipif(chromium() is None, reason="no Chromium on this machine")]
SCOUT = "/plan?model=meta-llama/Llama-4-Scout-17B-16E-Instruct&gpu=a100-sxm-80gb&context=8192&concurrency=1"
QWEN = "/plan?model=qwen3-32b&gpu=rtx-4090:2&context=16384&concurrency=2"
WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with web_server(tmp_path_factory.mktemp("web")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        started.close()


class Visitor:
    """A page with what went wrong in it and every host that it asked."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.context, self.address = context, address
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        context.set_default_timeout(WAIT_MS)
        self.page: Page = context.new_page()
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in {"error", "warning"} else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def go(self, path: str) -> Page:
        self.page.goto(self.address + path)
        return self.page

    def check(self) -> None:
        """No error on the console, no request to any other host."""
        assert not self.errors, self.errors
        assert self.hosts == {urlsplit(self.address).netloc}


@pytest.fixture
def visit(browser: Browser, address: str) -> Iterator[Any]:
    made: list[Visitor] = []

    def visitor(language: str = "ko-KR", width: int = 1440, theme: str = "light", **more: Any) -> Visitor:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, locale=language, color_scheme=theme, **more
        )
        made.append(Visitor(context, address))
        return made[-1]

    yield visitor
    for one in made:
        one.check()
        one.context.close()


def settled(page: Page) -> None:
    """Until no answer is under way."""
    page.wait_for_timeout(700)
    page.locator("#main[aria-busy=true]").wait_for(state="detached")


def test_plan_from_nothing_to_a_command(visit: Any) -> None:
    page = visit("en-US").go("/")
    model = page.locator("#model")
    model.fill("qwen3 32b")
    page.locator("#model-list [data-value='Qwen/Qwen3-32B']").click()
    expect(page.locator("#verdict h1")).to_contain_text("Qwen3-32B")
    gpu = page.locator("#gpu-1")
    gpu.fill("4090")
    page.locator("#gpu-list-1 [data-value='rtx-4090']").click()
    page.locator(".gpu [data-step='1']").click()
    expect(page.locator("#verdict h1")).to_contain_text("2 × RTX 4090")
    expect(page.locator("#verdict .v").first).to_contain_text(re.compile("Runs|Tight"))
    assert "gpu=rtx-4090:2" in page.url and "model=Qwen/Qwen3-32B" in page.url
    page.get_by_role("tab", name="Docker").click()
    expect(page.locator("#panel-docker code").first).to_contain_text("docker run")
    expect(page.locator("#panel-bash")).to_be_hidden()


def test_a_slider_moves_bar_verdict_speed_and_command_together(visit: Any) -> None:
    page = visit("ko-KR").go(QWEN)
    bar = page.locator("#verdict .bar")
    before = {
        "bar": bar.inner_html(),
        "say": page.locator("#say").inner_text(),
        "command": page.locator("#panel-bash pre").first.inner_text(),
    }
    page.evaluate(
        """() => { const dial = document.querySelector('[data-dial=context]');
        dial.value = [...dial.dataset.steps.split(',')].indexOf('32768'); dial.dispatchEvent(new Event('input', {bubbles: true}));
        dial.dispatchEvent(new Event('change', {bubbles: true})); }"""
    )
    expect(page.locator("#say")).to_contain_text("32k")
    settled(page)
    assert page.locator("#context").input_value() == "32768" and "context=32768" in page.url
    after = page.locator("#panel-bash pre").first.inner_text()
    assert bar.inner_html() != before["bar"] and after != before["command"]
    assert "32768" in before["command"] and "65536" in after, "two slots of the context"


def test_a_fix_leads_to_a_yes_and_back_again(visit: Any) -> None:
    page = visit("en-US").go("/plan?model=qwen3-32b&gpu=rtx-3090&engine=vllm&format=awq&context=32768")
    expect(page.locator("#verdict .v").first).to_contain_text("Does not fit")
    wanted = page.locator("#verdict .fix").first
    text = wanted.inner_text()
    wanted.click()
    expect(page.locator("#verdict .v").first).to_contain_text(re.compile("Runs|Tight"))
    assert text
    page.go_back()
    expect(page.locator("#verdict .v").first).to_contain_text("Does not fit")
    page.go_forward()
    expect(page.locator("#verdict .v").first).to_contain_text(re.compile("Runs|Tight"))


def test_a_shared_address_is_the_same_answer(visit: Any) -> None:
    first = visit("ko-KR").go(QWEN)
    first.locator("#plans a[data-swap]").nth(1).click()
    settled(first)
    said, pick = first.locator("#say").inner_text(), first.locator("#verdict").get_attribute("data-pick")
    other = visit("ko-KR").go(first.url.removeprefix(first.url.split("/plan")[0]))
    assert other.locator("#say").inner_text() == said and other.locator("#verdict").get_attribute("data-pick") == pick


def test_copying(visit: Any) -> None:
    visitor = visit("ko-KR", permissions=["clipboard-read", "clipboard-write"])
    page = visitor.go(QWEN)
    page.locator("#panel-bash .copy").first.click()
    expect(page.locator("#panel-bash .copy").first).to_have_text("복사했습니다")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#panel-bash pre").first.text_content()
    page.locator("[data-copy-link]").click()
    assert page.evaluate("navigator.clipboard.readText()") == page.url


def test_language_and_theme(visit: Any) -> None:
    page = visit("ko-KR").go(QWEN)
    expect(page.locator("html")).to_have_attribute("lang", "ko")
    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert "model=qwen3-32b" in page.url
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Light or dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != light
    page.get_by_role("link", name="Evidence").first.click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_dark_follows_the_system(visit: Any) -> None:
    page = visit("ko-KR", theme="dark").go("/runs")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    page.locator("[data-theme-switch]").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")


EVERYWHERE = (
    "/", "/plan?model=qwen3-32b&gpu=rtx-3090&format=bf16", "/plan?model=qwen3-4b&gpu=none&ram=32",
    "/fit?gpu=rtx-3060&family=Qwen3",
    "/compare?gpu=rtx-4090&variants=qwen3-32b+format%3Dawq&variants=gpt-oss-20b",
    "/hardware?model=qwen3-8b&gpu=rtx-4090&concurrency=2",
    "/guide?gpu=rtx-3060", "/check?example=1", "/diagnose?example=1", "/cost?gpu=h100-sxm-80gb:2&hours=10", "/catalogue",
    "/catalogue?tab=gpus", "/catalogue?tab=engines", "/catalogue/model?id=Qwen/Qwen3-8B", "/discussions",
    "/discussions/scout-a100-80gb",
    "/evidence", "/runs",
)  # fmt: skip


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_no_page_is_wider_than_its_screen(visit: Any, width: int) -> None:
    visitor = visit("ko-KR" if width == 360 else "en-US", width=width, has_touch=width == 360)
    for path in EVERYWHERE:
        page = visitor.go(path)
        page.locator("[data-load][aria-busy=true]").first.wait_for(state="detached")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_no_serious_issue(browser: Browser, address: str, theme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is an extra: fitserve[browser]")
    script = (Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    found: list[tuple[str, str, str]] = []
    # the test puts axe into the page, which the page's own policy rightly forbids
    context = browser.new_context(
        locale="ko-KR", color_scheme=theme, viewport={"width": 1280, "height": 900}, bypass_csp=True
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    for path in EVERYWHERE:
        page.goto(address + path)
        page.locator("[data-load][aria-busy=true]").first.wait_for(state="detached")
        page.evaluate(script)
        result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for rule in result["violations"]:
            if rule["impact"] in {"serious", "critical"}:
                found.append((path, rule["id"], rule["nodes"][0]["html"][:160]))
    context.close()
    assert not found, found


def _matches(page: Page, item: Any) -> None:
    """The answer in the dialog belongs to the question: the same id, model and GPUs."""
    article = page.locator(f"#talk article[data-told='{item.id}']")
    expect(article).to_be_visible()
    assert article.locator("#told-title").inner_text() == item.title["ko"]
    assert article.get_attribute("data-kind") == item.kind, item.id
    models = (article.get_attribute("data-models") or "").split()
    assert (item.model in models) if item.model else True, (item.id, models)
    gpus = (article.get_attribute("data-gpus") or "").split()
    assert set(item.gpus) <= set(gpus), (item.id, gpus)
    assert len(article.locator(".told").inner_text()) > 60, item.id
    if item.model and article.locator(".barcap").count():
        assert item.model.rpartition("/")[2] in article.locator(".barcap").inner_text() or item.kind in {
            "buy",
            "compare",
            "fit",
        }


def test_the_modal_of_every_question(visit: Any) -> None:
    page = visit("ko-KR").go("/discussions")
    for item in community_questions():
        page.locator(f"a[data-talk][data-id='{item.id}']").click()
        _matches(page, item)
        assert page.url.endswith(f"/discussions/{item.id}")
        page.keyboard.press("Escape")
        expect(page.locator("#talk")).to_be_hidden()
        page.wait_for_url("**/discussions")


def test_the_answer_for_my_hardware_and_its_link(visit: Any) -> None:
    visitor = visit("ko-KR")
    page = visitor.go("/discussions/scout-a100-80gb")
    expect(page.locator("#talk")).to_be_visible()
    page.locator("#mine-gpu").fill("rtx-3090")
    page.locator("#mine-n").fill("2")
    page.locator("[data-mine] button[type=submit]").click()
    expect(page.locator("#talk article")).to_have_attribute("data-gpus", "rtx-3090:2")
    expect(page.locator("#talk article")).to_have_attribute("data-models", re.compile("Scout"))
    shared = page.url.removeprefix(visitor.address)
    again = visitor.go(shared)
    expect(again.locator("#talk article")).to_have_attribute("data-gpus", "rtx-3090:2")
    again.locator("[data-close]").click()
    expect(again.locator("#talk")).to_be_hidden()


def test_a_new_question_gets_an_answer_and_a_permalink(visit: Any) -> None:
    page = visit("ko-KR").go("/discussions")
    page.locator("#question").fill("RTX 4090 한 장에서 qwen3-8b를 32k 컨텍스트로 쓸 수 있나요? <b>굵게</b>")
    page.get_by_role("button", name="질문", exact=True).click()
    expect(page.locator("#talk article")).to_have_attribute("data-gpus", "rtx-4090:1")
    expect(page.locator("#talk article")).to_have_attribute("data-models", "Qwen/Qwen3-8B")
    assert re.search(r"/discussions/q\d+$", page.url) and page.locator("#told-title b").count() == 0
    link = page.url
    page.goto(link)
    expect(page.locator("#talk .v").first).to_contain_text("됩니다")
    page.locator("[data-close]").click()
    expect(page.locator("#own")).to_contain_text("qwen3-8b")


def test_by_keyboard_alone(visit: Any) -> None:
    page = visit("en-US").go(QWEN)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.locator("#model").focus()
    page.keyboard.type("gpt oss 20b")
    page.locator("#model-list li").first.wait_for()
    expect(page.locator("#model")).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict h1")).to_contain_text("gpt-oss-20b")
    assert page.evaluate("document.activeElement.id") == "model", "the focus stays"
    page.locator("[data-dial=concurrency]").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    settled(page)
    assert "concurrency=4" in page.url and page.evaluate("document.activeElement.dataset.dial") == "concurrency"
    page.get_by_role("tab", name="bash").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="PowerShell")).to_be_focused()
    page.locator("a[data-swap]").first.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_the_list_of_models_is_sorted_and_narrowed(visit: Any) -> None:
    page = visit("ko-KR").go("/fit?gpu=rtx-4090&family=Qwen3")
    rows = page.locator("[data-sortable] tbody tr")
    page.locator("[data-sort=speed]").click()
    speeds = [float(value) for value in rows.evaluate_all("rows => rows.map(row => row.dataset.speed)")]
    assert speeds == sorted(speeds, reverse=True) and len(speeds) > 3
    expect(page.locator("th[aria-sort=descending]")).to_have_count(1)
    page.locator("#f-text").fill("8b")
    assert 0 < page.locator("[data-sortable] tbody tr:visible").count() < len(speeds)


def test_a_dropped_log_is_diagnosed(visit: Any) -> None:
    page = visit("ko-KR").go("/diagnose")
    log = "padding line\n" * 400_000 + (
        "ERROR 11-20 10:02:11 [core.py:708] ValueError: To serve at least one request with the models's max seq len (131072), "
        "(24.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.61 GiB). Based on the available "
        "memory, the estimated maximum model length is 3312. Try increasing `gpu_memory_utilization` or decreasing "
        "`max_model_len` when initializing the engine.\n"
    )
    page.evaluate(
        """text => { const data = new DataTransfer(); data.items.add(new File([text], 'vllm.log', {type: 'text/plain'}));
        document.querySelector('[data-log]').dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true})); }""",
        log,
    )
    expect(page.locator("#diagnosed")).to_contain_text("memory.kv_too_small")


def test_wrong_input_keeps_the_old_answer(visit: Any) -> None:
    page = visit("ko-KR").go(QWEN)
    said = page.locator("#say").inner_text()
    page.locator("#gpu-1").fill("no-such-card")
    page.locator("#gpu-1").press("Tab")
    expect(page.locator("#problems")).to_contain_text("no-such-card")
    assert page.locator("#say").inner_text() == said
    page.locator("#gpu-1").fill("rtx-5090")
    page.locator("#gpu-1").press("Tab")
    expect(page.locator("#say")).to_contain_text("RTX 5090")
    expect(page.locator("#problems")).to_be_empty()


def test_the_first_page_is_light_and_soon_usable(browser: Browser, address: str) -> None:
    """At most 150 kB over the wire; usable within a second once the server has computed the answer."""
    context = browser.new_context(locale="ko-KR")
    page = context.new_page()
    client = context.new_cdp_session(page)
    client.send("Network.enable")
    sizes: list[float] = []
    client.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.goto(address + "/", wait_until="networkidle")
    assert 5_000 < sum(sizes) <= 150_000, sum(sizes)
    best = 1e9
    for _ in range(5):  # the machine is shared: the best of five says what the page needs
        page.goto(address + "/", wait_until="load")
        timing = json.loads(page.evaluate("JSON.stringify(performance.getEntriesByType('navigation')[0])"))
        best = min(best, timing["domInteractive"], timing["domContentLoadedEventEnd"])
    assert best <= 1000, best
    context.close()


def test_it_prints(visit: Any, tmp_path: Path) -> None:
    page = visit("ko-KR").go("/guide?gpu=rtx-3060")
    page.emulate_media(media="print")
    assert page.locator(".rig").is_hidden() and page.locator(".nav").is_hidden()
    started = time.monotonic()
    page.pdf(path=str(tmp_path / "guide.pdf"), format="A4")
    assert (tmp_path / "guide.pdf").stat().st_size > 20_000 and time.monotonic() - started < 60
