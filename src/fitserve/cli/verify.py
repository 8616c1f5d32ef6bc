"""`fitserve verify`: the engine's own code says what it would allocate, without weights."""

from typing import Any

from fitserve.cli.output import check_out, write
from fitserve.cli.verbs import world
from fitserve.launch.oracle.answer import VerifyRequest, verify
from fitserve.render.texts import Texts
from fitserve.render.verified import verify_form, verify_view


def run_verify(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve verify MODEL`."""
    check_out(values.get("out"))
    fields = {key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    found = verify(VerifyRequest.read(**fields), world())
    write(lambda: verify_form(found, texts), verify_view(found, texts), bool(values.get("json")), values.get("out"))
    return 0 if found.agrees else 1
