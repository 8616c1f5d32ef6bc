"""The OpenAPI description of the REST interface."""

from typing import Any

from fitserve import __version__
from fitserve.api.schemas import contract
from fitserve.api.schemas.examples import EXAMPLES
from fitserve.api.schemas.request_schemas import request_schema
from fitserve.api.verbs import VERBS
from fitserve.render.texts import LANGUAGES, Texts, texts

Schema = dict[str, Any]
_ANSWERS: dict[str, Schema] = {
    "plan": contract.ANSWER, "estimate": contract.ESTIMATE, "fit": contract.ANSWER, "compare": contract.COMPARISON,
    "hardware": contract.HARDWARE, "check": contract.CHECK, "guide": contract.GUIDE, "cost": contract.COSTS,
    "clients": contract.CLIENTS, "diagnose": contract.DIAGNOSIS, "ask": contract.ASKED,
    "finetune": contract.FINETUNE, "quantize": contract.QUANTIZE,
}  # fmt: skip
_CATALOGUES: dict[str, tuple[Schema, str]] = {
    "models": (contract.MODELS, "models"), "gpus": (contract.GPUS, "gpus"), "engines": (contract.ENGINES, "engines"),
    "questions": (contract.QUESTIONS, "list"), "validate": (contract.VALIDATE, "validate"),
}  # fmt: skip
_SEARCHED = ("models", "gpus")
_ERRORS = {
    "400": "The body is not a JSON object.", "413": "The body is larger than this path takes.",
    "422": "The request cannot be answered: everything that is wrong with it, in words.",
    "503": "Too much waits already, or something outside failed; try again after Retry-After seconds.",
}  # fmt: skip
_LANGUAGE = {
    "name": "lang", "in": "query", "required": False, "schema": {"enum": list(LANGUAGES)},
    "description": "Language of the texts. Default: the Accept-Language header, else English.",
}  # fmt: skip
_ABOUT = (
    "Which LLM runs on which hardware, in which quantization, on which engine, with which command, and how fast; with"
    " evidence. Requests have the names of the flags of the command line and answers are the objects of its --json."
    " An answer of no (does not fit, not supported) is an answer: status 200 and a verdict."
)


def openapi(*, has_runs: bool) -> Schema:
    """The document. `has_runs`: whether the ledger of this user is served."""
    words = texts("en")
    paths: dict[str, Any] = {
        "/api/v1": {"get": _get("index", contract.INDEX, "What this server is, and its verbs.", ())}
    }
    for name, (schema, key) in _CATALOGUES.items():
        paths[f"/api/v1/{name}"] = {
            "get": _get(name, schema, words.text("help", key), _parameters(name), is_tagged=True)
        }
    for name in VERBS:
        paths[f"/api/v1/{name}"] = {"post": _post(name, words)}
    if has_runs:
        number = {"name": "number", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1}}
        paths["/api/v1/runs"] = {
            "get": _get("runs", contract.RUNS, "The newest runs of this user's ledger.", (_LANGUAGE,))
        }
        one = _get("run", contract.RUN, "One run in full.", (number, _LANGUAGE))
        one["responses"]["404"] = _error("There is no run of this number.")
        paths["/api/v1/runs/{number}"] = {"get": one}
    return {
        "openapi": "3.1.0",
        "info": {"title": "fitserve", "version": __version__, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": {"Error": contract.ERROR}},
    }


def _parameters(name: str) -> tuple[Schema, ...]:
    search = {
        "name": "search", "in": "query", "required": False, "schema": {"type": "string", "maxLength": 200},
        "description": "Only rows that hold every one of these words; else the row that they name.",
    }  # fmt: skip
    return (search, _LANGUAGE) if name in _SEARCHED else (_LANGUAGE,)


def _get(name: str, schema: Schema, about: str, parameters: tuple[Schema, ...], *, is_tagged: bool = False) -> Schema:
    responses = {"200": _answer(schema), "422": _error(_ERRORS["422"]), "503": _error(_ERRORS["503"])}
    if is_tagged:
        responses["200"]["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "For If-None-Match."}}
        responses["304"] = {"description": "The same as before."}
    return {"operationId": name, "summary": about, "parameters": list(parameters), "responses": responses}


def _post(name: str, words: Texts) -> Schema:
    body = {
        "schema": request_schema(VERBS[name].model, words),
        "examples": {key: {"summary": summary, "value": value} for key, (summary, value) in EXAMPLES[name].items()},
    }
    responses = {"200": _answer(_ANSWERS[name])} | {status: _error(about) for status, about in _ERRORS.items()}
    return {
        "operationId": name,
        "summary": words.text("help", name),
        "parameters": [_LANGUAGE],
        "requestBody": {"required": True, "content": {"application/json": body}},
        "responses": responses,
    }


def _answer(schema: Schema) -> Schema:
    return {"description": "The answer.", "content": {"application/json": {"schema": schema}}}


def _error(about: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {"description": about, "content": content}
