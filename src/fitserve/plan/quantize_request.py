"""What `quantize` is asked."""

from typing import Literal

from pydantic import Field

from fitserve.plan.fields import Bytes, Count, Text, Texts
from fitserve.plan.request import Request, System


class QuantizeRequest(Request):
    """A model and the format to make; `run` does it on this machine, where the tool is."""

    model: Text
    format: Text = Field(default="w4a16", description="quantize_format")
    tool: Text | None = Field(default=None, description="quantize_tool")
    engine: Text | None = Field(default=None, description="quantize_engine")
    gpu: Texts = ()
    hardware: Text | None = Field(default=None, description="hardware_file")
    ram: Bytes | None = None
    disk: Bytes | None = Field(default=None, description="quantize_disk")
    os: System | None = None
    calibration: Text | None = Field(default=None, description="calibration_data")
    samples: Count | None = Field(default=None, description="calibration_samples")
    imatrix: Literal["auto", "no"] = "auto"
    output: Text | None = Field(default=None, description="quantize_output")
    program: Text | None = Field(default=None, description="quantize_program")
    run: bool = Field(default=False, description="quantize_run")
    dry_run: bool = False
