"""How the web app is run."""

from pydantic import Field

from fitserve.plan.fields import Port, Text
from fitserve.plan.request import Request


class WebRequest(Request):
    """Address, secret, and whether the hub may be asked for models."""

    host: Text = "127.0.0.1"
    port: Port = Field(default=8600, description="web_port")
    token: Text | None = Field(default=None, description="web_token")
    open: bool = Field(default=False, description="web_open")
    allow_hub: bool = Field(default=False, description="web_hub")
