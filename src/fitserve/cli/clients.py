"""`fitserve clients`: settings of the programs that use a served model."""

from typing import Any

from fitserve.cli.output import check_out, write
from fitserve.emit.clients.answer import clients
from fitserve.plan.request import ClientsRequest
from fitserve.render.clients import clients_form, clients_markdown, clients_view
from fitserve.render.texts import Texts


def run_clients(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve clients [NAME…]`: all of them when none is named."""
    check_out(values.get("out"))
    fields = {key: value for key, value in values.items() if key not in {"json", "out", "lang", "client"}}
    listed = clients(values.get("client") or (), ClientsRequest.read(**fields))
    write(
        lambda: clients_form(listed, texts),
        clients_view(listed, texts),
        bool(values.get("json")),
        values.get("out"),
        lambda: clients_markdown(listed, texts),
    )
    return 0
