"""Requests that show what can be asked; the tests send every one of them."""

from collections.abc import Mapping
from typing import Any

_MACHINE: dict[str, Any] = {"gpu": ["rtx-4090"]}
EXAMPLES: Mapping[str, Mapping[str, tuple[str, dict[str, Any]]]] = {
    "plan": {
        "gaming-card": ("A model on one card", {"model": "Qwen/Qwen3-8B", "gpu": ["rtx-4090"]}),
        "two-servers-cards": (
            "32k tokens for eight users on two cards, one engine",
            {
                "model": "Qwen/Qwen3-32B",
                "gpu": ["a100-sxm-80gb:2"],
                "engine": ["vllm"],
                "context": "32k",
                "concurrency": 8,
            },
        ),
        "windows": (
            "A quantized file on a Windows machine",
            {"model": "qwen2.5:7b", "gpu": "rtx-3060-12gb", "format": "Q4_K_M", "os": "windows"},
        ),
    },
    "estimate": {
        "fixed": (
            "One deployment, fully fixed",
            {"model": "Qwen/Qwen3-8B", "gpu": ["rtx-4090"], "engine": ["vllm"], "format": "fp8", "context": 16384},
        )
    },
    "fit": {"card": ("What runs on a card", {**_MACHINE, "use": "coding", "family": "qwen", "limit": 20})},
    "compare": {
        "formats": (
            "Three formats side by side",
            {
                "model": "Qwen/Qwen3-32B",
                "gpu": ["rtx-4090"],
                "variants": ["format=awq", "format=Q4_K_M", "format=Q3_K_M"],
            },
        )
    },
    "hardware": {
        "users": (
            "Which GPUs serve fifty users",
            {"model": "Qwen/Qwen3-32B", "concurrency": 50, "context": "8k", "ttft": "2s", "gpu": ["h100-sxm", "l40s"]},
        )
    },
    "check": {
        "wrong-option": (
            "A command with an option that does not exist",
            {"command": "vllm serve Qwen/Qwen3-8B --max-modle-len 8192", "gpu": ["rtx-4090"]},
        )
    },
    "diagnose": {
        "out-of-memory": (
            "The last lines of a server that died",
            {
                "log": "INFO [core.py:58] Initializing a V1 LLM engine (v0.10.0) with config: model='Qwen/Qwen3-8B'\n"
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of"
                " 23.52 GiB of which 1.10 GiB is free.\n",
                "gpu": ["rtx-4090"],
                "engine": "vllm",
            },
        )
    },
    "ask": {
        "korean": ("A question in Korean", {"question": "RTX 4090 한 장에서 Qwen3-32B를 AWQ로 돌릴 수 있나요?"}),
        "english": (
            "A question in English",
            {"question": "How much memory does Qwen3-8B need at 32k tokens on one A100 80GB?"},
        ),
    },
    "guide": {"card": ("Everything about a card", {**_MACHINE, "use": "chat"})},
    "cost": {
        "hours": (
            "Hours in won",
            {"usd_per_hour": "8.155", "hours": [10, 50], "currency": "KRW", "exchange_rate": "KRW=1487.13"},
        ),
        "gpu": ("A priced GPU", {"gpu": ["h100-sxm"], "hours": [24]}),
    },
    "finetune": {
        "qlora": ("QLoRA on one card", {"model": "Qwen/Qwen3-8B", "method": "qlora", "gpu": ["rtx-4090"]}),
    },
    "quantize": {
        "w4a16": (
            "Four bits for vLLM",
            {"model": "Qwen/Qwen3-8B", "format": "w4a16", "gpu": ["rtx-4090"], "ram": "64GiB"},
        ),
    },
    "clients": {
        "cline": (
            "One coding assistant",
            {"client": ["cline"], "url": "http://127.0.0.1:8000", "model": "Qwen/Qwen3-8B", "context": "32k"},
        ),
        "all": ("All clients that are known", {}),
    },
}
