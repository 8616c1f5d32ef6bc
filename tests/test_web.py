"""Pages of the web app: every page in both languages, answers that follow the address, escaping, forms."""

import re
import sqlite3
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import html5lib
import pytest
from html5lib.html5parser import HTMLParser

import fitserve.web
from fitserve.api.world import closed_world
from fitserve.ask.questions import community_questions
from fitserve.emit.commands import shell_texts
from fitserve.foundation.errors import InputError, WorldError
from fitserve.ledger.questions import Questions
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Kind
from fitserve.plan.answer import estimate, launch_command, plan
from fitserve.plan.request import EstimateRequest, PlanRequest
from fitserve.render.texts import texts
from fitserve.web.diagnose_page import EXAMPLE
from fitserve.web.find_page import gpus_like, models_like
from fitserve.web.frame import assets
from fitserve.web.names import gpu_title
from web_client import client

SCOUT = "model=meta-llama/Llama-4-Scout-17B-16E-Instruct&gpu=a100-sxm-80gb&context=8192"
PAGES = {
    "start": "/",
    "plan": f"/plan?{SCOUT}",
    "two gpus": "/plan?model=qwen3-32b&gpu=rtx-3090:2&concurrency=4&use=coding",
    "mixed": "/plan?model=qwen3-8b&gpu=rtx-3090&gpu=rtx-4090",
    "cpu": "/plan?model=qwen3-4b&gpu=none&ram=32",
    "this": "/plan?model=qwen3-0.6b&gpu=this",
    "no": "/plan?model=qwen3-32b&gpu=rtx-3090&format=bf16",
    "not supported": "/plan?model=qwen3-8b&gpu=v100-sxm-32gb&engine=vllm&format=fp8",
    "unreadable": "/plan?model=no-such-model&gpu=rtx-3090",
    "fit": "/fit",
    "fit here": "/fit?gpu=rtx-3060&family=Qwen3",
    "compare": "/compare?gpu=rtx-4090&variants=qwen3-32b+format%3Dawq&variants=gpt-oss-20b",
    "hardware": "/hardware",
    "hardware of": "/hardware?model=qwen3-8b&gpu=rtx-4090&concurrency=2",
    "guide": "/guide",
    "guide of": "/guide?gpu=rtx-3060",
    "discussions": "/discussions?kind=quant",
    "question": "/discussions/scout-a100-80gb",
    "diagnose": "/diagnose?example=1",
    "check": "/check?example=1",
    "cost": "/cost?gpu=h100-sxm-80gb:2&hours=10&hardware_usd=70000&years=3&usd_per_kwh=0.15",
    "catalogue": "/catalogue?q=qwen3&page=2",
    "gpus": "/catalogue?tab=gpus",
    "engines": "/catalogue?tab=engines",
    "model": "/catalogue/model?id=Qwen/Qwen3-8B",
    "evidence": "/evidence",
    "runs": "/runs",
}


def parsed(text: str) -> object:
    """The tree of a page, which must be well-formed."""
    parser = HTMLParser(tree=html5lib.getTreeBuilder("etree"), strict=False, namespaceHTMLElements=False)
    tree = parser.parse(text)
    assert not parser.errors, [(where, what) for where, what, _ in parser.errors][:5]
    return tree


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("name", list(PAGES))
def test_every_page_is_whole_in_both_languages(name: str, language: str) -> None:
    answer = client(language).get(PAGES[name])
    assert answer.status_code == 200
    assert (
        answer.headers["content-type"] == "text/html; charset=utf-8" and answer.headers["content-language"] == language
    )
    tree = parsed(answer.text)
    assert tree.get("lang") == language  # type: ignore[attr-defined]
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids)), sorted(i for i in ids if ids.count(i) > 1)
    assert len(re.findall(r"<h1[ >]", answer.text)) <= 1 and 'id="main"' in answer.text
    assert not re.search(
        r"<script(?! type=\"module\" src=\"/static/)|<style|\sstyle=|\son\w+=|javascript:", answer.text
    )
    hosts = {urlsplit(u).netloc for u in re.findall(r'(?:src|action|data-[a-z]+)="(https?:[^"]+)"', answer.text)}
    assert not hosts, "the page asks another host for something"


def _words(text: str) -> str:
    body = re.sub(r"<(script|style|pre|code|svg)[ >].*?</\1>", " ", text, flags=re.DOTALL)
    return unescape(re.sub(r"<[^>]+>", " ", body))


@pytest.mark.parametrize("name", ["start", "fit here", "check", "cost", "catalogue", "evidence", "runs"])
def test_korean_pages_are_korean(name: str) -> None:
    korean, english = texts("ko"), texts("en")
    shown = _words(client("ko").get(PAGES[name]).text)
    for code in english.codes("web"):
        sentence = english.raw("web", code)
        if len(sentence) > 14 and "{" not in sentence and sentence != korean.raw("web", code):
            assert sentence not in shown, code
    assert re.search("[가-힣]{2}", shown)


def test_every_word_of_a_page_is_used() -> None:
    """A text that no page shows is dead; a code that is built from parts is found by its beginning."""
    folder = Path(fitserve.web.__file__ or "").parent
    sources = "".join(path.read_text(encoding="utf-8") for path in (*folder.rglob("*.py"), *folder.rglob("*.html")))
    built = ("say_", "verdict_", "why_", "short_", "basis_", "use_", "dial_", "unit_", "nav_", "purpose_", "tab_", "status_",
             "state_", "ask_", "mixer_", "cost_", "kind_", "page_")  # fmt: skip
    for code in texts("en").codes("web"):
        assert f"'{code}'" in sources or f'"{code}"' in sources or code.startswith(built), code


def test_the_answer_is_that_of_the_planner() -> None:
    answer = plan(
        PlanRequest.read(model="qwen3-32b", gpu=("rtx-4090:2",), context="16k", concurrency=2), closed_world()
    )
    best = answer.plans[0]
    page = client().get("/plan?model=qwen3-32b&gpu=rtx-4090:2&context=16k&concurrency=2").text
    assert best.budget is not None and best.speed is not None
    used = max(device.used_bytes for device in best.budget.devices) / 2**30
    assert f"<dd>{used:,.1f}<span" in page
    command = launch_command(best)
    assert command is not None and (shell_texts(command, True)["bash"] or "").strip() in unescape(page)
    assert all(f"{item.deployment.weight_format.name}</a>" in page for item in answer.plans[:3])


def test_every_fix_leads_to_what_it_promises() -> None:
    page = client().get("/plan?model=qwen3-32b&gpu=rtx-3090&engine=vllm&context=32768").text
    fixes = re.findall(r'<a class="btn fix[^"]*" href="(/plan\?[^"]+)"[^>]*><span>(.*?)</span>', page)
    assert len(fixes) > 3
    for href, text in dict(fixes).items():
        after = client().get(unescape(href))
        assert after.status_code == 200, text
        verdict = re.search(r'class="plate verdict v-(\w+)"', after.text)
        assert verdict is not None and verdict[1] in {"fits", "tight"}, (text, href)


def test_a_picked_plan_is_shown_and_stays_in_the_address() -> None:
    page = client().get(f"/plan?{SCOUT}").text
    rows = re.findall(r'<th scope="row"><a href="(/plan\?[^"]+)" data-swap>([^<]+)</a>', page)
    href, name = next((unescape(h), n) for h, n in rows if "vLLM" in n)
    assert "pick" in parse_qs(urlsplit(href).query)
    shown = client().get(href).text
    engine, weight_format = name.rsplit(" ", 1)
    assert f"· {weight_format} · {engine}" in shown


def test_the_quick_part_equals_the_whole_page() -> None:
    whole = client().get("/plan?model=qwen3-32b&gpu=rtx-4090:2&context=16384&concurrency=2").text
    pick = re.search(r'data-pick="([^"]+)"', whole)
    assert pick is not None
    query = urlencode(
        {"model": "qwen3-32b", "gpu": "rtx-4090:2", "context": 16384, "concurrency": 2, "pick": unescape(pick[1])}
    )
    part = client().get(f"/part/plan/quick?{query}")
    assert part.status_code == 200
    readings = re.compile(r'<dl class="readings">.*?</dl>', re.DOTALL)
    assert readings.search(part.text)[0] == readings.search(whole)[0]  # type: ignore[index]


def test_a_longer_context_costs_memory_or_room() -> None:
    pick = "llama.cpp~v0.5.0~gguf:Q4_K_M~auto~1.1.1.1~0"
    found = []
    for context in (4096, 16384):
        text = client().get(f"/part/plan/quick?model=qwen3-8b&gpu=rtx-4090&context={context}&pick={pick}").text
        found.append(float(re.search(r"KV (\d+\.\d)</dd>", text)[1]))  # type: ignore[index]
    assert found[0] < found[1]
    alone = estimate(
        EstimateRequest.read(model="qwen3-8b", gpu=("rtx-4090",), context=16384, engine="llama.cpp", format="Q4_K_M"),
        closed_world(),
    )
    assert alone.plans[0].budget is not None
    assert found[1] == round(alone.plans[0].budget.devices[0].item("kv_cache") / 2**30, 1)


@pytest.mark.parametrize("language", ["ko", "en"])
def test_wrong_input_is_a_sentence_in_place(language: str) -> None:
    answer = client(language).get("/plan?model=qwen3-8b&gpu=rtx-9999&context=-5")
    assert answer.status_code == 200 and 'role="alert"' in answer.text and "rtx-9999" in answer.text
    assert "Traceback" not in answer.text and "pydantic" not in answer.text
    assert client(language).get("/part/plan/quick?model=&gpu=rtx-3090").status_code == 422


HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    "path",
    ["/plan?model={x}&gpu=rtx-3090", "/plan?model=qwen3-8b&gpu={x}", "/plan?model=qwen3-8b&gpu=rtx-3090&pick={x}",
     "/plan?model=qwen3-8b&gpu=rtx-3090&format={x}&engine={x}&os={x}&kv_format={x}&currency={x}", "/catalogue?q={x}",
     "/compare?gpu=rtx-3090&variants={x}&variants=qwen3-8b", "/cost?gpu={x}&hours={x}", "/part/models?q={x}", "/{x}"],
)  # fmt: skip
def test_what_is_typed_never_becomes_markup(path: str) -> None:
    text = client().get(path.replace("{x}", urlencode({"": HOSTILE})[1:])).text
    assert (
        "<script>alert" not in text and "<img src=x" not in text and "onerror=alert(1)>" not in text.replace("&gt;", "")
    )


def test_names_while_one_types() -> None:
    assert models_like("라마 3.3 70b")[0][0] == "meta-llama/Llama-3.3-70B-Instruct"
    assert any("Qwen3-32B" in name for name, _ in models_like("큐웬3 32b"))
    assert gpus_like("4090")[0][0] == "rtx-4090" and gpus_like("NVIDIA A100-SXM4-80GB")[0][0] == "a100-sxm-80gb"
    assert models_like("zzzz-no-model") == [] and len(models_like("")) == 12
    assert gpu_title("rtx-4090") == "RTX 4090" and gpu_title("apple-m3-max") == "Apple M3 Max"


def test_a_form_without_scripts_works() -> None:
    page = client().get("/plan?model=qwen3-32b&gpu=rtx-3090&n=2&machine=gpus&ram=64&os=&format=&engine=&use=chat").text
    assert "RTX 3090 × 2" in page or "2 × RTX 3090" in page


def test_check_reads_a_pasted_command() -> None:
    form = {
        "command": "vllm serve Qwen/Qwen3-8B --disable-log-requests\n",
        "engine_version": "0.20.0",
        "gpu": "rtx-4090",
    }
    answer = client("ko").post("/check", data=form)
    assert answer.status_code == 200 and "--disable-log-requests" in answer.text
    assert "v-no" in answer.text and 'id="corrected"' in answer.text
    parsed(answer.text)
    assert client().post("/check", data={"command": "  "}).status_code == 422
    fine = client().post("/check", data={"command": "vllm serve Qwen/Qwen3-8B", "gpu": "rtx-4090"})
    assert "Nothing wrong" in fine.text


def test_evidence_shows_the_scoreboard_and_every_miss() -> None:
    text = client().get("/part/evidence?show=vllm_memory.weights_gib").text
    assert 'class="scatter"' in text and "vllm_memory" in text
    narrowed = client().get("/part/evidence?show=vllm_memory.weights_gib&q=zzz-none").text
    assert 'class="scatter"' not in narrowed


def test_language_and_theme_are_kept() -> None:
    browser = client("ko")
    assert 'lang="ko"' in browser.get("/runs").text
    moved = browser.post("/settings", data={"lang": "en", "back": "/plan?model=qwen3-8b"})
    assert moved.status_code == 303 and moved.headers["location"] == "/plan?model=qwen3-8b"
    assert 'lang="en"' in browser.get("/runs").text
    browser.post("/settings", data={"theme": "dark", "back": "/"})
    assert 'data-theme="dark"' in browser.get("/runs").text
    assert (
        client().get("/runs", headers={"accept-language": "fr,ko;q=0.4,en;q=0.3"}).headers["content-language"] == "ko"
    )


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\r\nb: c"]
)
def test_the_switch_leads_nowhere_else(back: str) -> None:
    assert client().post("/settings", data={"lang": "en", "back": back}).headers["location"] == "/"


def test_files_for_the_browser() -> None:
    page = client().get("/").text
    names = re.findall(r'"(/static/[0-9a-f]{12}/[\w.]+)"', page)
    assert {name.rpartition("/")[2] for name in names} >= {"app.css", "tokens.css", "app.js", "icon.svg"}
    for name in names:
        answer = client().get(name)
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
        again = client().get(name, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304 and not again.content
    weight = sum(len(asset.body) for asset in assets().values())
    assert weight < 120_000, "what every visitor loads, before it is packed"
    for name, asset in assets().items():
        for wanted in re.findall(rb'from "\./([\w.]+)"', asset.body):
            assert wanted.decode() in assets(), name


@pytest.mark.parametrize("language", ["ko", "en"])
def test_question_and_answer_belong_together(language: str) -> None:
    browser = client(language)
    for item in community_questions()[::4]:
        text = unescape(browser.get(f"/part/discussions/{item.id}").text)
        opened = re.search(r'data-told="([^"]+)" data-models="([^"]*)" data-gpus="([^"]*)" data-kind="([^"]*)"', text)
        assert opened is not None and opened[1] == item.id and opened[4] == item.kind
        assert not item.model or item.model in opened[2].split(), item.id
        assert set(item.gpus) <= set(opened[3].split()), item.id
        assert item.question[language] in text and item.title[language] in text


def test_the_same_question_with_my_hardware() -> None:
    text = client().get("/part/discussions/scout-a100-80gb?gpu=rtx-3090:2").text
    understood = _words(text).partition("Understood:")[2][:200]
    assert 'data-gpus="rtx-3090:2"' in text and "2 × RTX 3090" in understood and "A100" not in understood
    wrong = client().get("/part/discussions/scout-a100-80gb?gpu=rtx-9999").text
    assert 'role="alert"' in wrong and "rtx-9999" in wrong


def test_a_new_question_is_kept_once_and_has_a_permalink() -> None:
    browser = client("ko")
    asked = {"question": "RTX 4090 한 장에서 qwen3-8b가 돌아가나요? <i>"}
    places = {browser.post("/discussions", data=asked).headers["location"] for _ in range(2)}
    assert len(places) == 1
    (place,) = places
    page = browser.get(place)
    assert page.status_code == 200 and 'data-gpus="rtx-4090:1"' in page.text and "<i>" not in page.text
    parsed(page.text)
    listed = browser.get("/discussions").text
    assert place in listed and "qwen3-8b" in listed
    assert (
        browser.get("/discussions/q999").status_code == 404 and browser.get("/discussions/none-such").status_code == 404
    )
    assert browser.post("/discussions", data={"question": "   "}).status_code == 422
    assert browser.post("/discussions", data={"question": "x" * 9000}).status_code == 422


def test_kept_questions(tmp_path: Path) -> None:
    store = Questions(tmp_path)
    assert store.newest() == () and not store.path.exists(), "reading makes no file"
    first = store.keep("What fits?", "en", "rtx-3090:1")
    second = store.keep("무엇이 되나요?", "ko")
    again = store.keep("What fits?", "en", "rtx-3090:1")
    assert again.id == first.id and again.asked_s >= first.asked_s
    assert [item.id for item in store.newest()] == [first.id, second.id]
    assert store.get(second.id) == second and second.gpu == ""
    store.forget(first.id)
    with pytest.raises(InputError):
        store.get(first.id)
    with sqlite3.connect(store.path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(WorldError):
        store.newest()


def test_a_log_is_diagnosed_as_text_and_as_a_body() -> None:
    pasted = client("ko").post("/diagnose", data={"log": EXAMPLE}, files={"file": ("", b"")})
    assert pasted.status_code == 200 and "memory.kv_too_small" in pasted.text
    parsed(pasted.text)
    plain = {"content-type": "text/plain"}
    log = b"noise\n" * 200_000 + EXAMPLE.encode()
    dropped = client().post("/diagnose?gpu=rtx-3090", content=log, headers=plain)
    assert dropped.status_code == 200 and "memory.kv_too_small" in dropped.text and "<html" not in dropped.text
    uploaded = client().post("/diagnose", data={"log": ""}, files={"file": ("vllm.log", EXAMPLE.encode())})
    assert "memory.kv_too_small" in uploaded.text
    clean = client().post("/diagnose", data={"log": "INFO: Application startup complete."}, files={"file": ("", b"")})
    assert "No known cause" in clean.text
    huge = client().post(
        "/diagnose", content=(b"x" * (1 << 20) for _ in range(22)), headers={"content-type": "text/plain"}
    )
    assert huge.status_code == 413


@pytest.mark.parametrize(
    ("form", "kind"), [("html", "text/html"), ("md", "text/markdown"), ("json", "application/json")]
)
def test_a_guide_as_a_file(form: str, kind: str) -> None:
    answer = client("ko").get(f"/guide.{form}?gpu=rtx-3060")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
    assert "attachment" in answer.headers["content-disposition"] and "RTX 3060" in answer.text
    assert client().get(f"/guide.{form}?gpu=rtx-9999").status_code == 422
    assert client().get("/guide.exe?gpu=rtx-3060").status_code == 404


def test_a_kept_run_is_shown() -> None:
    command = {"argv": ["vllm", "serve", "a b"]}
    run = Ledger().add(Kind.PLAN, "Qwen3-8B · <b>awq</b>", {"verdict": "fits", "plans": 3}, command=command)
    page = client("ko").get(f"/runs/{run.id}")
    assert page.status_code == 200 and "vllm serve &#39;a b&#39;" in page.text and "<b>awq" not in page.text
    assert f"/runs/{run.id}" in client().get("/runs").text
    assert client().get("/runs/999").status_code == 404 and client().get("/runs/x").status_code in {404, 422}
