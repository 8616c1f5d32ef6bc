"""Shared makers: machines, deployments, and a command line that runs in this process."""

import contextlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from fitserve.cli.main import main
from fitserve.engines.contract import Deployment
from fitserve.engines.registry import engine
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Host, Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.formats import parse_format
from fitserve.models.types import LanguageModel

# a noisy machine must not fail a law
hypothesis_settings.register_profile(
    "usual", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
hypothesis_settings.load_profile("usual")


def machine(*gpus: str, ram_bytes: int | None = None, os: str = "linux") -> Machine:
    """A machine with these GPUs."""
    return Machine(devices=tuple(identify(name).device for name in gpus), host=Host(os=os, ram_bytes=ram_bytes))


def deployment(
    model: str | LanguageModel, weight_format: str, engine_name: str, on: Machine, **changes: Any
) -> Deployment:
    """A deployment on the newest release of an engine, one device unless `changes` says otherwise."""
    chosen = engine(engine_name)
    usual: dict[str, Any] = {"context_tokens": 8192, "engine_version": chosen.versions[-1]}
    return Deployment(
        model=model if isinstance(model, LanguageModel) else catalog_model(model),
        machine=on,
        engine=chosen.id,
        weight_format=parse_format(weight_format),
        **(usual | changes),
    )


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command line did."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A ledger of its own for each test; downloads and made models are shared."""
    monkeypatch.setenv("FITSERVE_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Runs a command line in this process, in English, offline."""
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    monkeypatch.delenv("LC_ALL", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "120")

    def run(*argv: str) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(list(argv))
        return Ran(code, out.getvalue(), err.getvalue())

    return run
