"""`python -m fitserve.hardware.probe.nvml_child`: prints what NVML says as one line of JSON."""

import json

import pynvml

from fitserve.hardware.probe.nvml import read_nvml

if __name__ == "__main__":
    print(json.dumps(read_nvml(pynvml)))
