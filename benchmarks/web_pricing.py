"""Users who move sliders at the same time: how long until the page has its new answer. Prints percentiles; fails never.

python benchmarks/web_pricing.py [USERS] [SECONDS BETWEEN TWO MOVES]
"""

import asyncio
import random
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

SETTINGS = (
    ("Qwen/Qwen3-32B", "rtx-4090:2"), ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "a100-sxm-80gb"),
    ("Qwen/Qwen3-8B", "rtx-3060"), ("openai/gpt-oss-120b", "h100-sxm-80gb"), ("google/gemma-3-27b-it", "rtx-3090:2"),
)  # fmt: skip
DURATION_S = 20.0
FULL_EVERY = 8
"""Moves after which the slider rests and the whole question is asked."""


async def user(number: int, base: str, pause_s: float, quick_s: list[float], full_s: list[float]) -> None:
    """One visitor: opens a plan, moves sliders, rests now and then."""
    model, gpu = SETTINGS[number % len(SETTINGS)]
    draw = random.Random(number)  # noqa: S311 - a load, not a secret
    async with httpx2.AsyncClient(base_url=base, timeout=60) as client:
        page = await client.get("/plan", params={"model": model, "gpu": gpu})
        found = re.search(r'data-pick="([^"]+)"', page.text)
        assert found is not None
        end = time.monotonic() + DURATION_S
        await asyncio.sleep(draw.random() * pause_s)
        count = 0
        while time.monotonic() < end:
            count += 1
            values = {
                "model": model,
                "gpu": gpu,
                "context": draw.randrange(2048, 24576, 256),
                "concurrency": draw.randint(1, 16),
            }
            is_full = count % FULL_EVERY == 0
            path, query = ("/part/plan", values) if is_full else ("/part/plan/quick", values | {"pick": found[1]})
            start = time.perf_counter()
            answer = await client.get(path, params=query)
            (full_s if is_full else quick_s).append(time.perf_counter() - start)
            assert answer.status_code == 200, answer.text[:200]
            await asyncio.sleep(pause_s)


def line(name: str, times: list[float]) -> str:
    """`quick: 300 answers, p50 20 ms, p95 60 ms`."""
    ordered = sorted(times)
    p50, p95 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.95))
    return f"{name}: {len(ordered)} answers, p50 {p50:.0f} ms, p95 {p95:.0f} ms, longest {ordered[-1] * 1000:.0f} ms"


async def measure(base: str, users: int, pause_s: float) -> None:
    """All users at once."""
    quick_s: list[float] = []
    full_s: list[float] = []
    await asyncio.gather(*(user(number, base, pause_s, quick_s, full_s) for number in range(users)))
    print(f"{users} users, a move every {pause_s:g} s each")
    print(line("  while a slider moves", quick_s))
    print(line("  the whole question", full_s))


def main() -> None:
    """A server of its own."""
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    pause_s = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "fitserve", "web", "--port", str(port)]
        environment = {
            "FITSERVE_HOME": home,
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(Path(__file__).parents[1] / "src"),
        }
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
            try:
                base = f"http://127.0.0.1:{port}"
                for _ in range(100):
                    try:
                        httpx2.get(f"{base}/runs").raise_for_status()
                    except httpx2.HTTPError:
                        time.sleep(0.2)
                    else:
                        break
                asyncio.run(measure(base, users, pause_s))
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
