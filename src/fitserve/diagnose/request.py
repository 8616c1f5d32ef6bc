"""What `diagnose` is told beside the log. Everything is optional: what is not said is read from the log."""

from pydantic import Field

from fitserve.plan.fields import Bytes, Text, Texts
from fitserve.plan.request import Request, System


class DiagnoseRequest(Request):
    """Hints about the deployment that the log is of. `log` is a file, or `-` for standard input."""

    log: Text = "-"
    gpu: Texts = ()
    ram: Bytes | None = None
    os: System | None = None
    engine: Text | None = None
    engine_version: Text | None = None
    model: Text | None = None
    run: Text | None = Field(default=None, description="run_of_ledger")
