"""What `serve` is asked: what `plan` is asked, where to listen, and how long to wait."""

from pydantic import Field

from fitserve.plan.fields import Count, Port, Seconds, Text
from fitserve.plan.request import PlanRequest

DEFAULT_PORT = 8000
DEFAULT_TIMEOUT_S = 1800.0


class ServeRequest(PlanRequest):
    """`model`: a model, a file with plans (JSON of `plan` or `estimate`), a whole command, or `demo`."""

    model: Text = Field(description="serve_target")
    host: Text = "127.0.0.1"
    port: Port | None = None
    api_key: Text | None = None
    program: Text | None = None
    pick: Count | None = None
    timeout: Seconds | None = None
    detach: bool = False
    dry_run: bool = False
