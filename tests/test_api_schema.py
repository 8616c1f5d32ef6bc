"""The REST interface against its own description, with generated requests: no 5xx, no answer beside its schema."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("schemathesis")

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fitserve.api.app import Settings, create_app

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]  # fmt: skip
app = create_app(Settings())
WHOLE = ["/api/v1/fit", "/api/v1/guide", "/api/v1/hardware"]
"""These go through a whole catalogue, which takes seconds each time: they get no table of edge cases."""


def _schema(*, has_edge_cases: bool) -> Any:
    made = schemathesis.openapi.from_dict(app.openapi())
    made.app, made.location = app, "http://127.0.0.1/api/v1/openapi.json"
    made.config.phases.coverage.enabled = has_edge_cases
    return made


@pytest.fixture(scope="module", autouse=True)
def kept(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    app.state.desk.close()


def _with(examples: int) -> settings:
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
    )  # fmt: skip


# the cases of /validate are computed once, which takes seconds and is tested elsewhere
@_schema(has_edge_cases=True).exclude(path=[*WHOLE, "/api/v1/validate"]).parametrize()
@_with(8)
def test_answers_keep_to_the_description(case: Any) -> None:
    case.call_and_validate(checks=CHECKS, base_url="http://127.0.0.1", timeout=120)


@_schema(has_edge_cases=False).include(path=WHOLE).parametrize()
@_with(3)
def test_answers_about_the_whole_catalogue_keep_to_the_description(case: Any) -> None:
    case.call_and_validate(checks=CHECKS, base_url="http://127.0.0.1", timeout=120)
