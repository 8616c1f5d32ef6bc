"""Answers to questions: right for the hardware, computed, in the language of the question."""

import json
import re
import threading
from collections.abc import Iterator
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitserve.ask.answer import ask
from fitserve.ask.ground import ground_of, room_tokens
from fitserve.ask.parsed import merged
from fitserve.ask.questions import answer_of, community_questions
from fitserve.ask.text import language_of
from fitserve.ask.types import AskAnswer
from fitserve.ask.understand import understand
from fitserve.cli.main import main
from fitserve.cli.question_reader import reader_at
from fitserve.cli.verbs import world
from fitserve.engines.registry import engines
from fitserve.foundation.facts import load_toml
from fitserve.foundation.units import GIB
from fitserve.hardware.identify import gpu_rows
from fitserve.models.catalog.lookup import rows
from fitserve.plan.answer import plan
from fitserve.plan.request import PlanRequest
from fitserve.render.asked import answer_form, answer_markdown
from fitserve.render.quoted_log import explained
from fitserve.render.texts import texts

TODAY = "2026-11-20"


@lru_cache(maxsize=256)
def asked(question: str, language: str | None = None) -> AskAnswer:
    words = texts(language or language_of(question))
    return ask(question, world(), TODAY, language=language, from_log=explained(words, world()))


@lru_cache(maxsize=256)
def form(question: str, language: str | None = None) -> dict[str, Any]:
    answer = asked(question, language)
    return answer_form(answer, texts(answer.understood.language))


def first_sentence(question: str) -> str:
    return str(form(question)["answer"]).splitlines()[0]


def formats(answer: dict[str, Any]) -> set[str]:
    return {item["deployment"]["weight_format"] for item in answer["plans"] if item["verdict"] == "fits"}


# the questions of the documents


SCOUT = "meta-llama/Llama-4-Scout-17B-16E-Instruct 모델을 Nvidia A100 GPU VRAM 80GB에서 실행할려면?"


def test_scout_on_one_a100_takes_four_bits_and_says_why_not_the_rest() -> None:
    found = form(SCOUT)
    assert found["understood"]["gpus"] == [{"gpu": "a100-sxm-80gb", "count": 1}] and found["verdict"] == "fits"
    assert found["plans"][0]["deployment"]["weight_format"] in {"w4a16", "awq-4bit", "gptq-4bit"}
    text = found["answer"]
    assert "bf16은 가중치만 204.9 GiB" in text and "fp8은 가중치만 109.3 GiB" in text
    assert "FP8 연산기가 없습니다" in text  # not accelerated on Ampere
    assert "vLLM 0.8.3 이상" in text and "llmcompressor" in text
    assert any("vllm serve" in command for command in found["commands"])
    assert any("curl" in command for command in found["commands"])
    assert "컨텍스트, 동시 사용자 수(배치), 양자화 형식을 알려 주시면" in text


def test_llama_3_70b_by_hardware() -> None:
    found = form("Q. Llama-3 70B 모델을 로컬에 서빙할 때 최적의 양자화 기법은 무엇일까요?")
    parts = {part.split("\n")[0]: part for part in found["answer"].split("### ")}
    two = parts["VRAM 48GB(24GB 두 장)"]
    assert "exl3:4.65bpw" in two and "exl2:4.65bpw" in two and "gguf:Q4_K_M" in two
    mac = parts["맥 64GB"]
    assert "gguf:Q4_K_M" in mac and "gguf:Q5_K_M" in mac
    one = parts["VRAM 24GB(한 장)"]
    assert "쓸 만한 품질로는 돌릴 수 없습니다" in one and "RAM에 두어야" in one
    server = next(part for name, part in parts.items() if name.startswith("여럿이 쓰는 서버"))
    assert "awq-4bit" in server and "vLLM" in server


def test_two_cards_of_24_gb_leave_room_for_8_to_16_thousand_tokens_at_4_65_bits() -> None:
    found = asked("RTX 3090 두 장에서 라마3 70B는 어떤 양자화가 좋나요?")
    exl = [item for item in found.plans if item.deployment.weight_format.name.startswith("exl")]
    assert exl and all(item.deployment.weight_format.name.endswith("4.65bpw") for item in exl)
    assert all(8192 <= 8192 + room_tokens(item) <= 24_000 for item in exl)


def test_a_70b_model_on_24_gb_is_a_no_with_what_to_do_instead() -> None:
    found = form("Can I run Llama 3 70B on a single 24GB card?")
    assert found["verdict"] == "does_not_fit" and "Not at a sensible quality" in found["answer"]
    assert "GiB in RAM" in found["answer"]


def test_scout_on_two_3090s_under_windows() -> None:
    found = form("윈도우에서 RTX 3090 두 장으로 라마4 스카우트를 vLLM으로 돌릴 수 있나요?")
    assert found["understood"]["os"] == "windows" and found["verdict"] == "does_not_fit"
    assert "Windows에서 직접 돌아가지 않습니다" in found["answer"].splitlines()[0]


def test_scout_recipe_on_a_b200() -> None:
    for question, form_of in (
        ("B200 한 장에서 라마4 스카우트 FP8을 vLLM으로 실행하는 명령어 알려줘", "fp8"),
        ("vLLM command for Llama 4 Scout NVFP4 on one B200", "nvfp4"),
    ):
        found = form(question)
        assert found["verdict"] == "fits" and form_of in formats(found)
        assert any(command.startswith("vllm serve") for command in found["commands"])


def test_an_error_names_the_release_that_knows_the_architecture() -> None:
    found = form("vLLM v0.5.1 이미지에서 KeyError: 'llama4' 오류가 납니다")
    assert found["understood"]["failures"][0] == "model.transformers_too_old" and "0.8.3 이상" in found["answer"]


def test_money_of_the_document() -> None:
    found = form("시간당 8.155달러로 10시간, 50시간, 100시간이면 비용이 원화로 얼마인가요? 환율 1487.13")
    for amount in ("$81.55", "$407.75", "$815.50", "121,275", "606,377", "1,212,755"):
        assert amount in found["answer"], amount


# false premises


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("A100에서 FP8로 돌리면 가속되니까 라마 3.1 70B FP8이 가능하죠?", "FP8은 가속되지 않습니다"),
        ("Is FP8 accelerated for Llama 3.1 8B on an RTX 3090?", "FP8 is not accelerated"),
        ("V100은 bf16을 지원하니까 라마 3.1 8B bf16으로 돌리면 되죠?", "bfloat16을 지원하지 않습니다"),
        ("Can V100 use FlashAttention 2 with Llama 3.1 8B?", "FlashAttention 2 does not run"),
        ("맥스튜디오 64GB에서 EXL2로 라마3 70B 돌리려면?", "맥에서 돌아가지 않습니다"),
        (
            "vLLM을 윈도우에 네이티브로 깔아서 qwen3 14b 돌릴 수 있나요? 4090입니다",
            "Windows에서 직접 돌아가지 않습니다",
        ),
        ("3090 두 장이면 자동으로 48GB가 되니까 라마 3.3 70B 돌아가죠?", "저절로 하나로 합쳐지지 않습니다"),
        ("GGUF runs fastest in vLLM, so how do I run qwen3 14b Q4_K_M on a 4090 with vLLM?", "GGUF is not the fastest"),
        ("NVLink로 3090 두 장을 하나처럼 쓰면 라마 3.3 70B 되나요?", "NVLink"),
        ("스카우트는 활성 파라미터가 17B니까 24GB에 올라가죠?", "가중치를 모두 메모리에"),
        ("GPT-4를 4090에서 돌릴 수 있나요?", "공개되지 않아"),
        ("두 장이면 속도가 두 배인가요? 3090 2장 라마 3.3 70B", "두 배가 되지는 않습니다"),
    ],
)
def test_a_false_premise_is_corrected_first(question: str, words: str) -> None:
    paragraphs = form(question)["answer"].split("\n\n")
    assert words in " ".join(paragraphs[:2])
    assert words in paragraphs[0] or "합쳐지지" in paragraphs[0]


@pytest.mark.parametrize(
    "question",
    [
        "Can I run Llama 3.1 70B FP8 on 2x H100?",
        "A100에서 라마 3.1 8B bf16 되나요?",
        "vLLM으로 4090에 qwen3 14b awq 되나요?",
    ],
)
def test_a_true_premise_is_left_alone(question: str) -> None:
    assert form(question)["answer"].startswith("**")


# every number is the planner's


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        ("Can I run Qwen3 32B Q4_K_M on a 4090 with 16k context?",
         {"model": "Qwen/Qwen3-32B", "gpu": ("rtx-4090",), "format": "Q4_K_M", "context": "16k"}),
        ("A6000 두 장에서 라마 3.3 70B 8k 컨텍스트 되나요?",
         {"model": "llama3.3:70b", "gpu": ("rtx-a6000:2",), "context": "8k"}),
    ],
)  # fmt: skip
def test_the_first_plan_is_the_planner_s(question: str, fields: dict[str, Any]) -> None:
    own = plan(PlanRequest.read(**fields), world()).plans[0]
    found = form(question)["plans"][0]
    assert found["deployment"]["weight_format"] == own.deployment.weight_format.name
    assert own.budget is not None and found["memory"]["weights_bytes"] == own.budget.weights_bytes


def test_many_users_get_the_engine_that_serves_them() -> None:
    found = asked("Which engine is best for Llama 3.3 70B on 2x A100 80GB with 50 users?")
    rates = [item.speed.output_tok_per_s.likely for item in found.plans if item.speed is not None]
    assert rates == sorted(rates, reverse=True) and found.plans[0].deployment.engine != "llama.cpp"


def test_a_stated_amount_of_memory_stands_for_a_card_and_says_so() -> None:
    asked_for = understand("48GB VRAM으로 라마 3.3 70B 되나요?")
    ground = ground_of(asked_for, world())
    assert asked_for.gpus == () and asked_for.memory_bytes == 48 * GIB
    assert [(item.gpu, item.count) for item in ground.gpus] == [("rtx-3090", 2)]
    assert any(reason.code == "ask_card_assumed" for reason in ground.assumed)


def test_a_context_beyond_the_model_is_put_right() -> None:
    found = form("Can I run Llama 3 70B Q4_K_M on 2x A6000 with 128k context?")
    assert found["verdict"] == "fits" and any("8,192" in text for text in found["assumed"])


# community questions


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("question", community_questions(), ids=lambda item: item.id)
def test_an_answer_is_about_its_question(question: Any, language: str) -> None:
    found = form(question.question[language], language)
    understood = found["understood"]
    assert (found["kind"], found["language"]) == (question.kind, language)
    assert (understood["model"] or "") == question.model
    assert tuple(f"{item['gpu']}:{item['count']}" for item in understood["gpus"]) == question.gpus
    if question.model and question.kind != "cost":
        assert question.model in found["answer"]
    for item in found["plans"]:
        deployment = item["deployment"]
        if question.model:
            assert deployment["model"] == question.model
        if question.gpus and question.kind not in {"buy"} and deployment["gpus"]:
            assert {gpu["gpu"] for gpu in deployment["gpus"]} <= {gpu.split(":")[0] for gpu in question.gpus}
    assert len(found["answer"]) > 200


def test_the_same_facts_in_both_languages() -> None:
    for question in community_questions():
        korean, english = (asked(question.question[language], language) for language in ("ko", "en"))
        assert korean.verdict == english.verdict, question.id
        assert [item.deployment.weight_format.name for item in korean.plans] == [
            item.deployment.weight_format.name for item in english.plans
        ], question.id


def test_answer_of_a_question_is_that_of_its_text() -> None:
    question = community_questions()[0]
    found = answer_of(question, "ko", world(), TODAY)
    assert answer_markdown(found, texts("ko")) == form(question.question["ko"], "ko")["answer"]


def test_there_are_enough_community_questions() -> None:
    found = community_questions()
    assert len(found) >= 40 and len({item.id for item in found}) == len(found)
    assert all(
        re.search("[가-힣]", item.question["ko"]) and not re.search("[가-힣]", item.question["en"]) for item in found
    )


# nothing English is left in Korean

_UNITS = {
    "gib", "mib", "kib", "gb", "ms", "w", "kwh", "usd", "krw", "b", "x", "s", "m", "tp", "pp", "kv", "gpu", "gpus", "vram", "ram",
    "cpu", "api", "fp16", "fp8", "fp4", "bf16", "auto", "no", "tok",
}  # fmt: skip
_NAMES = {
    "trl", "axolotl",
    "cuda", "nvlink", "flashattention", "docker", "desktop", "wsl", "windows", "linux", "nccl", "metal", "hugging", "face",
    "compute", "capability", "moe", "dense", "bash", "powershell", "modelfile", "nvidia", "apple", "amd", "intel", "blackwell",
    "mac", "claude", "gpt", "gemini", "id", "hf", "log", "runpod", "secure", "lambda", "rtx", "gguf", "awq", "gptq", "exl2",
    "exl3",
    "w4a16", "mlx", "autoawq", "llm", "compressor", "qlora", "lora", "dora", "full", "rank", "chat", "coding", "agent", "rag",
    "batch", "tabbyapi", "github", "com", "main", "py", "config", "yml", "start", "sh", "bat", "models", "key", "clients",
    "transformers", "token", "bfloat16", "marlin", "flash", "attention", "int8", "w8a8", "open", "webui", "server",
    "community", "nebius", "mxfp4",
    "arena", "hard",
}  # fmt: skip


@lru_cache(maxsize=1)
def _known_words() -> frozenset[str]:
    names = [
        *rows(),
        *gpu_rows(),
        *(item.id for item in engines()),
        *(item.facts["identity"]["title"] for item in engines()),
    ]
    return frozenset(word for name in names for word in re.findall(r"[a-z0-9]+", name.lower())) | _UNITS | _NAMES


def _english_in(markdown: str) -> set[str]:
    text = re.sub(r"```.*?```|`[^`]*`|https?://\S+|--[a-z\-]+(=\S+)?", " ", markdown, flags=re.DOTALL)
    text = re.sub(r"sudo sysctl \S+|llama-quantize|(?:gptq|awq|bnb|mlx)-\dbit|fp8-block|sm\d\d|post\d", " ", text)
    text = re.sub(
        r"(?:gguf|exl[23]|mlx)[:\-][\w.]+|[\w.\-]+/[\w.\-]+(?:/[\w.\-]+)*|[\w\-]+\.(?:csv|py|toml|json)", " ", text
    )
    return {word for word in re.findall(r"[a-z]{2,}[a-z0-9]*", text.lower()) if word not in _known_words()}


@pytest.mark.parametrize("question", community_questions(), ids=lambda item: item.id)
def test_nothing_english_is_left_in_korean_but_names_flags_and_units(question: Any) -> None:
    markdown = form(question.question["ko"], "ko")["answer"]
    assert _english_in(markdown) == set()
    assert not re.search(r"\{[a-z_]+[:}]", markdown)


# the endpoint that reads hard questions


@pytest.fixture
def endpoint() -> Iterator[tuple[str, dict[str, Any]]]:
    state: dict[str, Any] = {"content": "{}", "asked": []}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state["asked"].append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps({"choices": [{"message": {"content": state["content"]}}]}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", state
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_endpoint_names_what_the_grammar_did_not_find(endpoint: tuple[str, dict[str, Any]]) -> None:
    url, state = endpoint
    state["content"] = (
        'Sure: {"kind": "fit", "model": "llama3.3:70b", "gpu": "a100 80gb", "gpu_count": 2, "format": "awq", "weights_gib": 3}'
    )
    answer = ask("the big blue thing", world(), TODAY, parse=reader_at(url, "reader"))
    assert answer.kind == "fit" and answer.understood.models == ("meta-llama/Llama-3.3-70B-Instruct",)
    assert answer.understood.gpus[0].count == 2 and answer.understood.formats == ("awq-4bit",)
    assert state["asked"][0]["model"] == "reader"


@pytest.mark.parametrize(
    "content", ["", "no json", "[1, 2]", '{"kind": "fly", "model": "no such model at all"}', '{"model": 7}']
)
def test_what_an_endpoint_says_is_checked(endpoint: tuple[str, dict[str, Any]], content: str) -> None:
    url, state = endpoint
    state["content"] = content
    assert ask("the big blue thing", world(), TODAY, parse=reader_at(url, None)).kind == "unclear"


def test_what_was_understood_is_not_overruled() -> None:
    found = merged(understand("Can I run Qwen3 32B on a 4090?"), {"kind": "cost", "model": "phi4", "gpu": "h100"})
    assert found.kind == "fit" and found.models == ("Qwen/Qwen3-32B",) and found.gpus[0].gpu == "rtx-4090"


def test_an_endpoint_that_is_not_there_does_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    answer = ask("the big blue thing", world(), TODAY, parse=reader_at("http://127.0.0.1:9", None))
    assert answer.kind == "unclear" and "127.0.0.1:9" in capsys.readouterr().err


# the command line and what is hostile


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["Can I run Llama 3.1 8B on a 3090?"], 0), (["라마 3.3 70B를 4090 한 장에서 돌릴 수 있나요?"], 1),
        (["이거 돌아가나요?"], 2),
        ([], 2), (["  "], 2), (["--list"], 0), (["--id", "fp8-on-a100"], 0), (["--id", "nothing"], 2),
    ],
)  # fmt: skip
def test_exit_codes(words: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", *words]) == code
    shown = capsys.readouterr()
    assert shown.out or shown.err


def test_the_json_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    main(["ask", "3090 두 장에서 라마3 70B 돌아가?", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {
        "schema_version", "question", "language", "kind", "understood", "assumed", "verdict", "answer", "plans", "commands",
        "follow_up",
    }  # fmt: skip
    assert {
        "model", "models", "gpus", "memory_bytes", "ram_bytes", "engine", "engine_version", "weight_format", "kv_format",
        "context_tokens", "concurrency", "os", "method", "use", "unknown",
    } <= set(found["understood"])  # fmt: skip
    assert found["language"] == "ko" and found["verdict"] == "fits" and found["plans"][0]["verdict"] == "fits"


def test_the_language_can_be_chosen() -> None:
    assert re.search("[가-힣]", form("Can I run Llama 3.1 8B on a 3090?", "ko")["answer"])
    assert not re.search("[가-힣]", form("3090에서 라마 3.1 8B 되나요?", "en")["answer"].replace("라마", ""))


@pytest.mark.parametrize(
    "question",
    ["(" * 4000, "x" * 7900, "3090 " * 1500, "라마 " * 2000, "\u202e\u200b3090에서 라마3 8b 돼?",
     "99999999999 x 4090 llama 3 8b?", "-1 3090", "%s {model} {0}", "'; DROP TABLE--", "🦙🦙🦙 on 🍎"],
)  # fmt: skip
def test_hostile_questions_do_no_harm(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", question]) in {0, 1, 2}
    assert "Traceback" not in capsys.readouterr().err


@settings(max_examples=60, deadline=2000)
@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    assert understand(text).kind


def test_tables_of_ask_name_their_source() -> None:
    assert load_toml("fitserve.ask", "training.toml")["source"]["ref"]
    for name in ("cards", "sizes", "apple_memory", "suited"):
        assert load_toml("fitserve.ask", "words.toml")[name]["source"]["checked"]
    assert all(row["source"]["ref"] for row in load_toml("fitserve.ask", "making.toml").values())
