"""200 users of the REST interface at once for a minute: plans, estimates, checks and look-ups, each user one after another.

    python benchmarks/api_load.py [--users 200] [--seconds 60] [--think 0] [--distinct] [--json]

Starts `fitserve web` of this checkout on a free port. A user picks among 74 requests at random, so that most answers are kept
ones; with `--distinct` no plan or estimate is asked twice. `--think` is the longest pause in seconds between two requests
of a user (0: none). Prints rate, p50, p90, p99 and the answers that were not 200. Exit code 1 when there was any.
"""

import argparse
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any

import anyio
import httpx2

_MODELS = ("Qwen/Qwen3-8B", "Qwen/Qwen3-32B", "meta-llama/Llama-3.1-8B-Instruct", "google/gemma-3-27b-it")
_GPUS = ("rtx-4090", "rtx-3090:2", "a100-sxm-80gb", "l40s", "rtx-3060-12gb")
_CONTEXTS = ("8k", "32k")


def requests() -> list[tuple[str, str, dict[str, Any] | None]]:
    """(method, path, body) of everything that is asked."""
    found: list[tuple[str, str, dict[str, Any] | None]] = []
    for model in _MODELS:
        for gpu in _GPUS:
            found += [("POST", "plan", {"model": model, "gpu": gpu, "context": context}) for context in _CONTEXTS]
            found.append(("POST", "estimate", {"model": model, "gpu": gpu, "engine": "llama.cpp", "format": "Q4_K_M"}))
        found.append(("POST", "check", {"command": f"vllm serve {model} --max-modle-len 8192", "gpu": "rtx-4090"}))
        found.append(("POST", "ask", {"question": f"Does {model} run on one RTX 4090?"}))
    found += [("GET", path, None) for path in ("models", "gpus?search=rtx", "engines", "questions")]
    found += [("POST", "cost", {"gpu": gpu, "hours": [10]}) for gpu in ("l40s", "a100-sxm-80gb")]
    return found


async def user(
    client: httpx2.AsyncClient, until: float, given: argparse.Namespace, seen: list[tuple[float, int]]
) -> None:
    """One user: asks, waits for the answer, asks again."""
    choices = requests()
    while time.monotonic() < until:
        method, path, body = random.choice(choices)  # noqa: S311 - a load, not a secret
        if given.distinct and path in {"plan", "estimate"} and body is not None:
            body = body | {"prompt_tokens": 64 + len(seen)}
        began = time.monotonic()
        try:
            status = (await client.request(method, f"/api/v1/{path}", json=body)).status_code
        except httpx2.HTTPError:
            status = 0
        seen.append((time.monotonic() - began, status))
        if given.think:
            await anyio.sleep(random.uniform(0, given.think))  # noqa: S311


async def load(port: int, given: argparse.Namespace) -> list[tuple[float, int]]:
    """(seconds, status) of every request; status 0 where no answer came."""
    seen: list[tuple[float, int]] = []
    limits = httpx2.Limits(max_connections=given.users, max_keepalive_connections=given.users)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=70, limits=limits) as client:
        until = time.monotonic() + given.seconds
        async with anyio.create_task_group() as group:
            for _ in range(given.users):
                group.start_soon(user, client, until, given, seen)
    return seen


def main() -> int:
    """Starts the server, loads it, prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--think", type=float, default=0.0)
    parser.add_argument("--distinct", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with socket.socket() as free, tempfile.TemporaryDirectory() as home:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        environment = os.environ | {"FITSERVE_HOME": home}
        command = [sys.executable, "-m", "fitserve", "web", "--port", str(port)]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            began = time.monotonic()
            seen = anyio.run(load, port, given)
            took_s = time.monotonic() - began
        finally:
            server.terminate()
            server.wait(30)
    figures = _figures(seen, took_s) | {"users": given.users, "think_s": given.think, "distinct": given.distinct}
    figures["server_peak_mib"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    print(
        json.dumps(figures, indent=2) if given.json else "\n".join(f"{key}: {value}" for key, value in figures.items())
    )
    return 1 if figures["errors"] else 0


def _figures(seen: list[tuple[float, int]], took_s: float) -> dict[str, Any]:
    times = sorted(seconds for seconds, _ in seen)
    errors = [status for _, status in seen if status != 200]

    def at(share: float) -> float:
        return round(times[min(len(times) - 1, int(share * len(times)))], 3)

    return {
        "requests": len(seen), "per_s": round(len(seen) / took_s, 1), "p50_s": at(0.5), "p90_s": at(0.9), "p99_s": at(0.99),
        "slowest_s": round(times[-1], 3), "errors": len(errors), "statuses": sorted(set(errors)),
    }  # fmt: skip


def _wait_for(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    raise SystemExit(main())
