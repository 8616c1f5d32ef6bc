"""`fitserve cost`: hours, tokens, own hardware, an API."""

import json
import tomllib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from fitserve.cli.output import check_out, write
from fitserve.foundation.errors import InputError
from fitserve.plan.cost import cost
from fitserve.plan.cost_request import CostRequest
from fitserve.render.cost import cost_form, cost_view
from fitserve.render.texts import Texts

_MOST_BYTES = 1 << 22


def run_cost(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve cost`."""
    check_out(values.get("out"))
    request = CostRequest.read(**{key: value for key, value in values.items() if key not in {"json", "out", "lang"}})
    own_prices = None if request.prices is None else read_price_file(request.prices)
    answer = cost(request, datetime.now(UTC).date().isoformat(), own_prices)
    write(lambda: cost_form(answer, texts), cost_view(answer, texts), bool(values.get("json")), values.get("out"))
    return 0


def read_price_file(name: str) -> Any:
    """A price file, TOML or JSON. Numbers stay as they were written."""
    path = Path(name)
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise InputError.of("file_too_large", where=name, size_bytes=size, limit_bytes=_MOST_BYTES)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError.of("file_missing", where=name, detail=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise InputError.of("prices_broken", where=name, detail="UTF-8") from error
    try:
        if path.suffix.lower() == ".json":
            return json.loads(text, parse_float=Decimal)
        return tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise InputError.of("prices_broken", where=name, detail=(str(error).splitlines() or ["?"])[0][:120]) from error
