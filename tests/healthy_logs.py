"""Logs without a failure of an engine, made from templates: engines that start and serve, and programs that are none."""

import json
import random
from collections.abc import Callable, Iterator

_MODELS = ("Qwen/Qwen3-8B", "meta-llama/Llama-3.3-70B-Instruct", "google/gemma-3-27b-it", "openai/gpt-oss-20b")
_GPUS = ("NVIDIA GeForce RTX 3090", "NVIDIA H100 80GB HBM3", "Tesla V100-SXM2-32GB", "NVIDIA L4")


def _vllm(rng: random.Random) -> str:
    model, tp = rng.choice(_MODELS), rng.choice((1, 2, 4))
    pid = rng.randrange(100, 9000)
    lines = [
        f"INFO 11-20 14:33:20 [api_server.py:1882] vLLM API server version 0.{rng.randrange(8, 33)}.0",
        f"INFO 11-20 14:33:20 [utils.py:328] non-default args: {{'model': '{model}', 'tensor_parallel_size': {tp}}}",
        "INFO 11-20 14:33:20 [importing.py:44] Triton is installed but 0 active driver(s) found (expected 1). Disabling Triton.",
        "WARNING 11-20 14:33:21 [interface.py:391] Using 'pin_memory=False' as WSL is detected.",
        f"(Worker pid={pid}) INFO [gpu_worker.py:1045] Free memory on device (78.6/79.19 GiB) on startup. Desired GPU memory "
        "utilization is 0.92",
        "WARNING 11-20 14:33:22 [parallel.py:750] Address already in use. Retrying with a new port.",
        "WARNING 11-20 14:33:22 [custom_all_reduce.py:137] Custom allreduce is disabled because it's not supported on more than "
        "two PCIe-only GPUs.",
        "WARNING marlin_utils_fp4.py: Your GPU does not have native support for FP4 computation but FP4 quantization is used.",
        f"Loading safetensors checkpoint shards: {rng.randrange(100)}% Completed | 3/4 [00:10<00:03,  3.40s/it]",
        f"(Worker pid={pid}) INFO [gpu_model_runner.py:2020] Model loading took {rng.uniform(5, 60):.2f} GiB and 12.1 seconds",
        f"(Worker pid={pid}) INFO [gpu_worker.py:298] Available KV cache memory: {rng.uniform(2, 60):.2f} GiB",
        f"(EngineCore pid=5) INFO [core.py:218] GPU KV cache size: {rng.randrange(10_000, 900_000):,} tokens",
        f"Capturing CUDA graphs (mixed prefill-decode, PIECEWISE): 100%|██████████| {rng.randrange(20, 70)}/67",
        f"(Worker pid={pid}) INFO [gpu_model_runner.py:4011] Graph capturing finished in 21 secs, took 0.62 GiB",
        "INFO:     Application startup complete.",
        *(
            f"INFO 11-20 14:4{i}:00 [loggers.py:118] Engine 000: Avg prompt throughput: {rng.uniform(0, 9e3):.1f} tokens/s, "
            f"Running: {rng.randrange(9)} reqs, Waiting: 0 reqs, GPU KV cache usage: {rng.uniform(0, 99):.1f}%"
            for i in range(rng.randrange(1, 9))
        ),
        'INFO:     127.0.0.1:50012 - "POST /v1/chat/completions HTTP/1.1" 200 OK',
        'INFO:     127.0.0.1:50013 - "GET /favicon.ico HTTP/1.1" 404 Not Found',
        'INFO:     127.0.0.1:50014 - "GET /v1/models HTTP/1.1" 401 Unauthorized',
    ]
    ending = rng.choice(([], ["INFO:     Shutting down", "INFO:     Finished server process [1]"]))
    return "\n".join([*lines, *ending])


def _llama_cpp(rng: random.Random) -> str:
    size = rng.uniform(1000, 22000)
    lines = [
        f"build: {rng.randrange(4000, 9999)} (9515c613) with cc (Ubuntu 13.3.0) for x86_64-linux-gnu",
        f"  Device 0: {rng.choice(_GPUS)}, compute capability 8.6, VMM: yes",
        "llama_model_loader: loaded meta data with 29 key-value pairs and 398 tensors from model.gguf (version GGUF V3 (latest))",
        "load: control-looking token: 128247 '</s>' was not control-type; this is probably a bug in the model. its type will be "
        "overridden",
        "llama_params_fit: successfully fit params to free device memory",
        "load_tensors: loading model tensors, this can take a while... (mmap = true)",
        f"load_tensors:        CUDA0 model buffer size = {size:.2f} MiB",
        "llama_context: n_ctx_per_seq (8192) < n_ctx_train (131072) -- the full capacity of the model will not be utilized",
        f"llama_kv_cache:      CUDA0 KV buffer size = {rng.uniform(100, 5000):.2f} MiB",
        f"sched_reserve:      CUDA0 compute buffer size = {rng.uniform(100, 900):.2f} MiB",
        rng.choice(
            (
                "W sched_reserve: compute buffer allocation failed, retrying without pipeline parallelism",
                "set_adapters: none",
            )
        ),
        "main: server is listening on http://127.0.0.1:8080",
        "srv  update_slots: all slots are idle",
        f"slot print_timing: id  0 | task 0 | prompt eval time = {rng.uniform(10, 900):.2f} ms / 12 tokens",
        "srv  log_server_r: request: POST /v1/chat/completions 127.0.0.1 200",
    ]
    return "\n".join(lines)


def _ollama(rng: random.Random) -> str:
    lines = [
        'time=2026-11-06T06:23:20.101Z level=INFO source=routes.go:1189 msg="Listening on 127.0.0.1:11434 (version 0.32.1)"',
        'time=2026-11-06T06:23:20.102Z level=INFO source=gpu.go:217 msg="looking for compatible GPUs"',
        f'time=2026-11-06T06:23:20.402Z level=INFO msg="inference compute" library=cuda description="{rng.choice(_GPUS)}" '
        'total="24.0 GiB" available="22.8 GiB"',
        'time=2026-11-06T06:23:22.759Z level=INFO source=server.go:386 msg="starting llama server"',
        f"load_tensors:        CUDA0 model buffer size = {rng.uniform(1000, 22000):.2f} MiB",
        'time=2026-11-06T06:23:25.000Z level=INFO source=server.go:629 msg="llama runner started in 2.26 seconds"',
        '[GIN] 2026/11/06 - 06:23:26 | 200 |  1.859719514s |       127.0.0.1 | POST     "/api/chat"',
        '[GIN] 2026/11/06 - 06:23:27 | 404 |      59.514µs |       127.0.0.1 | POST     "/api/show"',
    ]
    return "\n".join(lines)


def _sglang(rng: random.Random) -> str:
    return "\n".join(
        [
            f"[2026-09-13 09:09:00] server_args=ServerArgs(model_path='{rng.choice(_MODELS)}', mem_fraction_static=0.88)",
            "[2026-09-13 09:09:05 TP0] Load weight begin. avail mem=78.58 GB",
            "[2026-09-13 09:09:15 TP0] Load weight end. elapsed=9.31 s, avail mem=61.25 GB, mem usage=15.06 GB.",
            "[2026-09-13 09:09:16 TP0] Capture cuda graph begin. This can take up to several minutes. avail mem=9.40 GB",
            f"[2026-09-13 09:09:30 TP0] max_total_num_tokens={rng.randrange(10_000, 900_000)}, context_len=32768",
            "[2026-09-13 09:09:31] The server is fired up and ready to roll!",
            f"[2026-09-13 09:09:40 TP0] Decode batch. #running-req: 4, #token: {rng.randrange(9999)}, token usage: 0.01",
        ]
    )


def _others(rng: random.Random) -> str:
    return (
        rng.choice(
            (
                '2026-11-20 10:00:00,000 - INFO - Starting httpd at 127.0.0.1 on port 8080...\n127.0.0.1 "POST /v1" 200',
                "INFO:     ExllamaV3 version: 1.6.5\nINFO:     Model successfully loaded.",
                "2026-08-01T10:00:00Z  INFO text_generation_launcher: Shard ready in 12.1s rank=0\n"
                "2026-08-01T10:00:01Z  INFO text_generation_router::server: router/src/server.rs:1560: Connected",
                "[TRT-LLM] [I] KV cache quota is 30.1 GiB\nINFO:     Application startup complete.",
                '07:24:12-283821 INFO     Loading "tinyllama.gguf"\n07:24:15-283821 INFO     Loaded "tinyllama.gguf"',
                "[2026-10-20 11:26:28][INFO][LM Studio] Model loaded successfully\n[2026-10-20 11:26:30][INFO] Generated",
            )
        )
        + f"\n# {rng.random()}"
    )


def _nginx(rng: random.Random) -> str:
    code = rng.choice((200, 301, 404, 500, 502))
    return "\n".join(
        [
            f'10.0.0.{rng.randrange(255)} - - [20/Nov/2026:10:00:00 +0900] "GET /index.html HTTP/1.1" {code} 612',
            "2026/11/20 10:00:00 [emerg] 1#1: bind() to 0.0.0.0:80 failed (98: Address already in use)",
            "2026/11/20 10:00:01 [error] 31#31: *1 connect() failed (111: Connection refused) while connecting to upstream",
            '2026/11/20 10:00:02 [crit] 31#31: *3 open() "/var/log/x" failed (13: Permission denied)',
        ]
    )


def _node(rng: random.Random) -> str:
    return "\n".join(
        [
            f"webpack 5.{rng.randrange(99)}.0 compiled with 1 error in {rng.randrange(99)} ms",
            "Error: listen EADDRINUSE: address already in use :::3000",
            "npm ERR! code EACCES",
            "npm ERR! syscall mkdir",
            "npm ERR! Error: EACCES: permission denied, mkdir '/usr/lib/node_modules'",
            "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
        ]
    )


def _packages(rng: random.Random) -> str:
    return (
        rng.choice(
            (
                "Collecting requests\n  Downloading requests-2.32.3-py3-none-any.whl (64 kB)\n     ━━━━━━━━━ 64/64 kB 1.2 MB/s\n"
                "ERROR: Could not find a version that satisfies the requirement nosuch (from versions: none)",
                "Reading package lists... Done\nE: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 1234\n"
                "E: Unable to acquire the dpkg frontend lock, is another process using it?",
                "Cloning into 'repo'...\nremote: Enumerating objects: 42, done.\ngit@github.com: Permission denied (publickey).\n"
                "fatal: Could not read from remote repository.",
                "docker: Error response from daemon: manifest for nginx:9.9 not found: manifest unknown: manifest unknown.",
                'rsync: write failed on "/backup/a": No space left on device (28)\nrsync error: error in file IO (code 11)',
            )
        )
        + f"\n{rng.random()}"
    )


def _system(rng: random.Random) -> str:
    return (
        rng.choice(
            (
                "[    0.000000] Linux version 6.8.0-45-generic\n[    1.234567] nvidia: loading out-of-tree module.\n"
                "[ 8123.110000] Out of memory: Killed process 4242 (mysqld) total-vm:98304000kB, anon-rss:61203456kB",
                "NAME        READY   STATUS      RESTARTS\nweb-7d9f    0/1     OOMKilled   3\ndb-0        1/1     Running     0\n"
                "Warning  BackOff  kubelet  Back-off restarting failed container, exit code 137",
                "Nov 20 10:00:00 host systemd[1]: Started Session 12 of user kim.\nNov 20 10:00:01 host sshd[99]: error: maximum "
                "authentication attempts exceeded\nNov 20 10:00:02 host cron[7]: (root) CMD (run-parts /etc/cron.hourly)",
                "Segmentation fault (core dumped)\nmake: *** [Makefile:12: test] Error 139",
                "java.lang.OutOfMemoryError: Java heap space\n\tat java.base/java.util.Arrays.copyOf(Arrays.java:3512)",
                "Traceback (most recent call last):\n  File \"app.py\", line 3\n    print(row['name'])\nKeyError: 'name'",
                "PermissionError: [Errno 13] Permission denied: '/etc/shadow'\nOSError: [Errno 24] Too many open files",
            )
        )
        + f"\n{rng.random()}"
    )


def _training(rng: random.Random) -> str:
    return "\n".join(
        f"epoch {i} step {100 * i}: loss={rng.uniform(0.5, 4):.4f} lr=2.0e-05 grad_norm={rng.uniform(0, 3):.3f} "
        f"mem={rng.uniform(10, 79):.1f}GiB {rng.uniform(1, 9):.2f}it/s"
        for i in range(1, 12)
    )


def _korean(rng: random.Random) -> str:
    return (
        f"오늘의 회의록 {rng.randrange(1000)}\n모델을 불러오다가 `torch.OutOfMemoryError`가 나면 컨텍스트를 줄이면 됩니다.\n"
        "GPU 메모리 부족 오류가 발생했을 때는 먼저 nvidia-smi를 확인합니다. 디스크 공간도 살펴봅니다.\n"
        "권한이 없어서 실패한 경우에는 관리자에게 문의하세요.\n"
    )


def _source(rng: random.Random) -> str:
    return (
        "def check(self):\n    if free < wanted:\n        raise ValueError(\n"
        '            f"Free memory on device ({free}/{total} GiB) on startup is less than desired GPU memory utilization "\n'
        '        )\n    raise ValueError("No available memory for the cache blocks. "\n'
        '        "Try increasing `gpu_memory_utilization` when initializing the engine.")\n'
        '    LLAMA_LOG_ERROR("%s: failed to allocate compute buffers\\n", __func__);\n'
        '    throw std::runtime_error(format("unable to allocate %s buffer", name));\n'
        "    # RuntimeError: CUDA error: out of memory\n    except torch.cuda.OutOfMemoryError:\n"
        f"        return {rng.randrange(99)}\n"
    )


def _json(rng: random.Random) -> str:
    rows = [{"id": i, "name": f"user{i}", "error": None, "message": "ok", "score": rng.random()} for i in range(20)]
    return json.dumps(
        {"rows": rows, "status": "failed" if rng.random() < 0.5 else "done"}, indent=rng.choice((None, 1))
    )


_KINDS: tuple[Callable[[random.Random], str], ...] = (
    _vllm, _llama_cpp, _ollama, _sglang, _others, _nginx, _node, _packages, _system, _training, _korean, _source, _json,
)  # fmt: skip


def healthy_logs(count: int = 260) -> Iterator[tuple[str, str]]:
    """(kind, text) of logs in which nothing of an engine failed."""
    for number in range(count):
        kind = _KINDS[number % len(_KINDS)]
        yield kind.__name__.lstrip("_"), kind(random.Random(number)) + "\n"  # noqa: S311
