"""How the server is run, or for which client its set-up is printed."""

from pydantic import Field

from fitserve.plan.fields import Port, Text
from fitserve.plan.request import Request


class McpRequest(Request):
    """Standard input and output unless `http`; `print_config` names a client."""

    http: bool = Field(default=False, description="mcp_http")
    port: Port = Field(default=8601, description="mcp_port")
    allow_hub: bool = Field(default=False, description="mcp_hub")
    print_config: Text | None = Field(default=None, description="mcp_print_config")
