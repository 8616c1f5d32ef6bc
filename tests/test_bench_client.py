"""The client of the load test: event streams in any shape, and every way in which a server fails."""

import asyncio
import itertools
import json
import socket
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_servers import HEAD, UNFRAMED, Answer, Asked, event, framed, good, server, stream, usage, whole
from fitserve.bench.request import BenchRequest, public_form
from fitserve.bench.run import run_bench
from fitserve.bench.sse import EventParser
from fitserve.bench.types import BenchResult, Progress
from fitserve.foundation.errors import BenchFailed, InputError
from fitserve.render.texts import LANGUAGES, texts


def bench(base: str, **fields: Any) -> BenchResult:
    usual = {
        "concurrency": "2",
        "num_prompts": 6,
        "prompt_tokens": 4,
        "output_tokens": 5,
        "calibrate": False,
        "warmup": 0,
    }
    return run_bench(BenchRequest.read(url=base, **(usual | fields)))


def answered(answer: Answer, **fields: Any) -> BenchResult:
    with server(answer) as served:
        return bench(served.base, **fields)


LINES = st.sampled_from(["data: {}", "data:x", "data", ": ping", "event: a", "id: 1", "data: é", "retry: 5"])
EVENTS = st.lists(st.lists(LINES, min_size=1, max_size=4), max_size=6)


@given(events=EVENTS, ending=st.sampled_from(["\n", "\r\n", "\r"]), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_an_event_stream_reads_the_same_in_any_pieces(events: list[list[str]], ending: str, cuts: list[int]) -> None:
    text = "".join(ending.join(lines) + ending * 2 for lines in events).encode()
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    parser = EventParser()
    pieces = (text[a:b] for a, b in itertools.pairwise(places))
    found = [data for piece in pieces for data in parser.feed(piece)] + parser.end()
    wanted = []
    for lines in events:
        data = [line[5:].removeprefix(" ") for line in lines if line.startswith("data:") or line == "data"]
        wanted += ["\n".join(data).encode()] if data else []
    assert found == wanted


def test_a_good_server_is_measured() -> None:
    with server(good) as served:
        result = bench(served.base, api_key="secret", warmup=2)
        bodies = [asked.body for asked in served.asked if asked.path == "/v1/completions"]
        assert {asked.headers.get("authorization") for asked in served.asked} == {"Bearer secret"}
    seen = result.runs[0].figures
    assert (seen.completed, seen.failed, seen.total_output_tokens, dict(seen.errors)) == (6, 0, 30, {})
    assert len(bodies) == 1 + 2 + 6  # the first request, the warm-up, the load
    assert all(body["stream_options"] == {"include_usage": True} and body["ignore_eos"] is True for body in bodies)
    assert len({body["prompt"] for body in bodies[3:]}) == 6
    assert "secret" not in json.dumps(public_form(result.request)) and result.model == "m"


async def _bytewise(asked: Asked, writer: asyncio.StreamWriter) -> None:
    answer = (
        HEAD + b"".join(framed(stream(asked)[at : at + 7]) for at in range(0, len(stream(asked)), 7)) + b"0\r\n\r\n"
    )
    for at in range(0, len(answer), 11):
        writer.write(answer[at : at + 11])
        await asyncio.sleep(0)


async def _ornate(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A byte order mark, comments, CRLF, data over two lines, an event name."""
    token = b'event: x\r\ndata: {"choices":\r\ndata: [{"text": "a"}]}\r\n\r\n'
    body = b"\xef\xbb\xbf: ping\r\n\r\n" + token * 5 + usage(4, 5).replace(b"\n", b"\r\n") + b"data:[DONE]\r\n\r\n"
    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + framed(body) + b"0\r\nX-Trailer: 1\r\n\r\n")


async def _until_close(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(UNFRAMED + stream(asked))
    writer.close()


async def _with_length(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(whole("200 OK", stream(asked)))


async def _without_done(asked: Asked, writer: asyncio.StreamWriter) -> None:
    body = stream(asked).removesuffix(b"data: [DONE]\n\n").removesuffix(b"\n\n")  # nor the last blank line
    writer.write(HEAD + framed(body) + b"0\r\n\r\n")


@pytest.mark.parametrize("answer", [_bytewise, _ornate, _until_close, _with_length, _without_done])
def test_every_shape_of_a_good_answer_counts(answer: Answer) -> None:
    result = answered(answer)
    seen = result.runs[0].figures
    assert (seen.completed, seen.total_output_tokens, seen.total_input_tokens) == (6, 30, 24), seen.errors
    assert all(len(record.chunk_s) == 5 and record.has_usage for record in result.runs[0].records)
    codes = {reason.code for reason in result.runs[0].notes}
    assert ("bench_no_done" in codes) is (answer is _without_done)


async def _without_usage(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + framed(b"".join(event(index) for index in range(3)) + b"data: [DONE]\n\n") + b"0\r\n\r\n")


def test_without_usage_chunks_are_counted_and_it_is_said() -> None:
    result = answered(_without_usage)
    assert result.runs[0].figures.total_output_tokens == 18
    assert {reason.code for reason in result.notes} == {"bench_no_usage", "bench_lengths_rough"}
    assert {reason.code for reason in result.runs[0].notes} == {"bench_answers_short"}


async def _empty_first(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + framed(event(0, text="")))
    await asyncio.sleep(0.05)
    rest = b"".join(event(index) for index in range(1, 5)) + usage(4, 5) + b"data: [DONE]\n\n"
    writer.write(framed(rest) + b"0\r\n\r\n")


def test_a_first_chunk_without_text_counts_as_vllm_does_and_is_said() -> None:
    run = answered(_empty_first).runs[0]
    assert run.figures.ttft_ms is not None and run.figures.ttft_ms.p50 < 45
    assert {reason.code for reason in run.notes} == {"bench_first_chunk_empty"}


def _after_first(broken: Answer) -> Answer:
    """The first request of all is answered, the rest is not."""

    async def answer(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await (good if asked.number == 0 else broken)(asked, writer)

    return answer


async def _never(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def _malformed(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + framed(event(0) + b'data: {"choices": [{"te\n\n' + event(1)) + b"0\r\n\r\n")


async def _no_object(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + framed(b"data: 7\n\n") + b"0\r\n\r\n")


async def _odd_choices(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + framed(b'data: {"choices": {"a": 1}}\n\n') + b"0\r\n\r\n")


async def _dropped(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + framed(event(0) + event(1)))
    await writer.drain()
    writer.transport.abort()


async def _half_chunk(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + framed(event(0)) + b"ff\r\ndata: ")
    writer.close()


async def _cut_short(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(UNFRAMED + event(0) + event(1))
    writer.close()


async def _nothing(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"0\r\n\r\n")


async def _storm(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(whole("429 Too Many Requests", {"error": "slow down"}))


async def _internal(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(whole("500 Internal Server Error", b"<html>oops</html>"))


async def _error_event(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + framed(event(0) + b'data: {"error": {"message": "engine died"}}\n\n') + b"0\r\n\r\n")


async def _no_http(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 smtp ready\r\n\r\n")


async def _wrong_chunk_size(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"zz\r\nabc\r\n")


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (_never, "timeout"), (_malformed, "malformed"), (_no_object, "malformed"), (_odd_choices, "malformed"),
        (_dropped, "dropped"), (_half_chunk, "dropped"), (_cut_short, "cut_short"), (_nothing, "no_tokens"),
        (_storm, "http_429"), (_internal, "http_500"), (_error_event, "stream_error"), (_no_http, "malformed"),
        (_wrong_chunk_size, "malformed"),
    ],
)  # fmt: skip
def test_a_failure_is_counted_with_its_kind(broken: Answer, kind: str) -> None:
    result = answered(_after_first(broken), timeout="0.3s")
    run = result.runs[0]
    assert set(run.figures.errors) == {kind} and run.figures.completed == 0 and run.figures.ttft_ms is None
    # where nobody answers, two streams wait once each, or one of them twice
    assert run.figures.failed in ({2, 3} if kind == "timeout" else {6})
    assert ("bench_gave_up" in {reason.code for reason in run.notes}) is (kind == "timeout")
    assert all(record.failure is not None and record.failure.detail for record in run.records)


async def _half(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await (good if asked.number % 2 else _internal)(asked, writer)


async def _closes_when_idle(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Says nothing of it, as servers do that limit the requests of a connection."""
    await good(asked, writer)
    await writer.drain()
    writer.close()


def test_a_kept_connection_that_is_closed_is_no_failure_of_the_server() -> None:
    run = answered(_closes_when_idle, num_prompts=60, concurrency="6").runs[0]
    assert run.figures.completed == 60, run.figures.errors


def test_in_a_storm_the_good_answers_still_count() -> None:
    run = answered(_half, num_prompts=20, concurrency="4").runs[0]
    assert run.figures.completed + run.figures.failed == 20 and run.figures.completed == 10
    assert dict(run.figures.errors) == {"http_500": 10} and run.figures.total_output_tokens == 50


async def _chat_only(asked: Asked, writer: asyncio.StreamWriter) -> None:
    if asked.path == "/v1/completions":
        writer.write(whole("404 Not Found", {}))
    else:
        body = b"".join(b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n' for _ in range(5))
        writer.write(HEAD + framed(body + usage(4, 5) + b"data: [DONE]\n\n") + b"0\r\n\r\n")


def test_a_server_without_completions_is_asked_for_chat() -> None:
    with server(_chat_only) as served:
        result = bench(served.base)
        assert result.endpoint == "chat" and result.runs[0].figures.completed == 6
        assert served.asked[-1].body["messages"][0]["role"] == "user"


async def _refuses(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(whole("404 Not Found", {"error": "The model `x` does not exist"}))


def _code(error: BenchFailed) -> str:
    assert error.problem is not None
    for language in LANGUAGES:
        assert texts(language).world_error(error)
    return error.problem.code


def test_what_is_no_server_to_measure_is_one_clear_error() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(BenchFailed) as failed:
        bench(nobody)
    assert _code(failed.value) == "bench_unreachable"
    with server(_refuses) as served, pytest.raises(BenchFailed) as failed:
        bench(served.base, model="x")
    assert _code(failed.value) == "bench_refused" and "does not exist" in failed.value.detail
    with server(good, models=()) as served, pytest.raises(BenchFailed) as failed:
        bench(served.base)
    assert _code(failed.value) == "bench_model_unnamed"
    with server(good, models=("a", "b")) as served:
        with pytest.raises(BenchFailed) as failed:
            bench(served.base)
        assert _code(failed.value) == "bench_model_many"
        assert bench(served.base, model="b").model == "b"
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(BenchFailed) as failed:
        bench(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout="0.2s")
    assert _code(failed.value) == "bench_no_answer"
    with server(_never) as served, pytest.raises(BenchFailed) as failed:
        bench(served.base, timeout="0.2s")
    assert _code(failed.value) == "bench_no_answer"


def test_the_served_name_is_found_for_a_model_that_is_named_otherwise() -> None:
    with server(good, models=("default",)) as served:
        assert bench(served.base, model="Qwen/Qwen3-8B").model == "default"
        assert bench(served.base, model="Qwen/Qwen3-8B", served_model="other").model == "other"


async def _slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
    if asked.number:
        await asyncio.sleep(0.1)
    await good(asked, writer)


def test_a_stopped_load_keeps_what_was_done() -> None:
    cancel, told = threading.Event(), []

    def on_progress(seen: Progress) -> None:
        told.append(seen)
        if seen.phase == "load" and seen.done >= 2:
            cancel.set()

    with server(_slow) as served:
        request = BenchRequest.read(
            url=served.base, concurrency="2", num_prompts=2000, output_tokens=2, prompt_tokens=2, calibrate=False
        )
        result = run_bench(request, on_progress=on_progress, cancel=cancel)
    assert result.is_partial and 2 <= result.runs[0].figures.completed < 2000 and not result.runs[0].figures.errors
    assert {seen.phase for seen in told} >= {"prompts", "load"}


def test_prompts_have_the_length_that_the_server_counts() -> None:
    with server(good, tokenizes=True) as served:
        result = bench(served.base, prompt_tokens=37, length_spread="50%", num_prompts=12, seed=3)
        sent = [asked.body["prompt"] for asked in served.asked if asked.path == "/v1/completions"][1:]
    lengths = [1 + len(prompt.split()) for prompt in sent]  # this server adds one token to every prompt
    assert len(set(lengths)) > 3 and all(18 <= length <= 56 for length in lengths)
    assert not result.notes and len(set(sent)) == 12


def test_a_rate_sends_without_waiting_for_answers() -> None:
    with server(_slow) as served:
        run = bench(served.base, concurrency=(), rate="50", num_prompts=20, output_tokens=2).runs[0]
        capped = bench(served.base, concurrency="2", rate="200", num_prompts=10, output_tokens=2).runs[0]
    starts = [record.start_s for record in run.records]
    assert run.figures.peak_concurrent_requests is not None and run.figures.peak_concurrent_requests > 3
    assert starts == sorted(starts) and 0.3 < starts[-1] < 0.6
    assert capped.figures.queue_ms is not None and capped.figures.queue_ms.p90 > 90


def test_a_file_of_prompts(tmp_path: Any) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "one two", "output_tokens": 3}\n\n{"prompt": "three four five"}\n', encoding="utf-8")
    with server(good) as served:
        result = bench(served.base, data=str(path), num_prompts=None, output_tokens=None)
        sent = [asked.body for asked in served.asked if asked.path == "/v1/completions"][1:]
        assert [body["max_tokens"] for body in sent] == [3, 128] and "ignore_eos" not in sent[0]
        assert [record.prompt_tokens for record in result.runs[0].records] == [2, 3]
        assert len(bench(served.base, data=str(path), num_prompts=5).runs[0].records) == 5
        for broken in ("{", "7\n", '{"prompt": ""}', "[1]", ""):
            path.write_text(broken)
            with pytest.raises(InputError):
                bench(served.base, data=str(path))
    with server(good) as served, pytest.raises(InputError):
        bench(served.base, data=str(tmp_path / "none.jsonl"))


def test_conversations_and_a_sweep_over_chat() -> None:
    with server(_chat_only) as served:
        result = bench(served.base, dataset="conversations", concurrency="1,2", num_prompts=4)
    assert [run.level.concurrency for run in result.runs] == [1, 2] and result.endpoint == "chat"
    assert all(run.figures.completed == 4 for run in result.runs)
