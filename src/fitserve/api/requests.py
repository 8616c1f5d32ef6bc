"""Requests of programs that differ from the flags of the command line: what is a file there is its content here."""

from fitserve.plan.fields import Texts
from fitserve.plan.request import ClientsRequest


class ClientsQuery(ClientsRequest):
    """Which clients (all when none is named), and the server that they are to use."""

    client: Texts = ()
