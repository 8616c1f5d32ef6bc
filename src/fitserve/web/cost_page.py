"""The cost page: rented by the hour and by the million tokens, owned, against an API."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fitserve.plan.cost import cost
from fitserve.plan.cost_request import CostRequest
from fitserve.predict.prices import packaged_prices
from fitserve.render.cost import cost_page_parts
from fitserve.web.errors import told
from fitserve.web.frame import page, texts_of
from fitserve.web.names import gpu_title

router = APIRouter(include_in_schema=False)
_MANY = ("gpu", "hours", "exchange_rate")
_LONGEST, _MOST = 100, 24
_FIELDS = tuple(name for name in CostRequest.model_fields if name != "prices")
"""Price files are for the command line: no request reads a file of the server."""


@router.get("/cost")
def cost_page(request: Request) -> Response:
    """The form and, once something is asked, the amounts."""
    words, query = texts_of(request), request.query_params
    given = {name: [v.strip()[:_LONGEST] for v in query.getlist(name)[:_MOST] if v.strip()] for name in _FIELDS}
    fields: dict[str, Any] = {
        name: tuple(part for text in found for part in text.split() if part) if name in _MANY else found[0]
        for name, found in given.items()
        if found
    }
    values: dict[str, Any] = {
        "given": {name: " ".join(found) for name, found in given.items()}, "problems": [], "answer": None,
        "priced": [(gpu, gpu_title(gpu)) for gpu in sorted(packaged_prices().gpus)],
    }  # fmt: skip
    if fields:
        with told(words) as problems:
            answer = cost(CostRequest.read(**fields), datetime.now(UTC).date().isoformat(), None)
            values["answer"] = cost_page_parts(answer, words)
        values["problems"] = problems
    return page(request, "cost.html", values, here="cost", status=422 if values["problems"] else 200)
