"""The functions of the package: their examples, equality with the command line, and a light import."""

import doctest
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import fitserve
from conftest import Ran
from fitserve import python_api


def test_the_examples_are_right() -> None:
    done = doctest.testmod(python_api, optionflags=doctest.ELLIPSIS)
    assert done.attempted >= 15 and done.failed == 0


CASES: list[tuple[list[str], Any]] = [
    (["plan", "Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--context", "16k"],
     lambda: fitserve.plan("Qwen/Qwen3-8B", gpu="rtx-4090", context="16k")),
    (["estimate", "Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--engine", "vllm"],
     lambda: fitserve.estimate("Qwen/Qwen3-8B", gpu="rtx-4090", engine="vllm")),
    (["fit", "--gpu", "rtx-3060-12gb", "--family", "gemma"], lambda: fitserve.fit(gpu="rtx-3060-12gb", family="gemma")),
    (["compare", "format=awq", "format=Q4_K_M", "--model", "Qwen/Qwen3-8B", "--gpu", "rtx-4090"],
     lambda: fitserve.compare(["format=awq", "format=Q4_K_M"], model="Qwen/Qwen3-8B", gpu="rtx-4090")),
    (["hardware", "Qwen/Qwen3-8B", "--gpu", "l40s", "--concurrency", "4"],
     lambda: fitserve.hardware("Qwen/Qwen3-8B", gpu="l40s", concurrency=4)),
    (["check", "vllm serve Qwen/Qwen3-8B --max-modle-len 8192", "--gpu", "rtx-4090"],
     lambda: fitserve.check("vllm serve Qwen/Qwen3-8B --max-modle-len 8192", gpu="rtx-4090")),
    (["guide", "--gpu", "rtx-3060-12gb"], lambda: fitserve.guide(gpu="rtx-3060-12gb")),
    (["cost", "--usd-per-hour", "8.155", "--hours", "10", "--hours", "50"],
     lambda: fitserve.cost(usd_per_hour="8.155", hours=["10", "50"])),
]  # fmt: skip


@pytest.mark.parametrize(("argv", "call"), CASES, ids=lambda value: value[0] if isinstance(value, list) else "")
@pytest.mark.parametrize("language", ["en", "ko"])
def test_a_result_is_the_json_of_the_command_line(
    cli: Callable[..., Ran], argv: list[str], call: Any, language: str
) -> None:
    ran = cli(*argv, "--json", "--lang", language)
    result = call()
    assert json.loads(result.to_json(language)) == ran.json()
    assert result.is_yes == (ran.code == 0)


def test_wrong_input_says_everything_that_is_wrong() -> None:
    with pytest.raises(fitserve.InputError) as found:
        fitserve.plan("Qwen/Qwen3-8B", gpu="rtx-4090", context="many", colour="red")
    assert [problem.code for problem in found.value.problems] == ["tokens_wrong", "flag_unknown"]
    with pytest.raises(fitserve.InputError):
        fitserve.cost(usd_per_hour=1, hours=1).to_dict("fr")


def test_import_loads_nothing_and_packages_stay_packages() -> None:
    code = (
        "import sys, fitserve\n"
        "loaded = [name for name in sys.modules if name.startswith('fitserve.')]\n"
        "assert not loaded, loaded\n"
        "assert 'pydantic' not in sys.modules\n"
        "import fitserve.plan.request\n"
        "assert fitserve.plan.request.PlanRequest and callable(fitserve.plan) and callable(fitserve.check)\n"
        "assert callable(fitserve.hardware) and fitserve.hardware.__path__\n"
        "assert 'estimate' in dir(fitserve)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    with pytest.raises(AttributeError):
        _ = fitserve.nothing  # type: ignore[attr-defined]
