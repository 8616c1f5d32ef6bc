"""This machine for the command line: its drivers, and the rates of a processor that the table does not name."""

import json
from dataclasses import replace
from typing import Any

from fitserve.foundation.errors import WorldError
from fitserve.hardware.probe.machine import this_machine as look
from fitserve.hardware.processors import Processor, measured_processor, processor
from fitserve.hardware.types import Machine
from fitserve.ledger.places import cache_folder

_FILE = "processor.json"
_SECONDS = 1.0


def this_machine() -> Machine:
    """Devices and host; with the measured rates of its processor where they are needed and were taken before."""
    machine = look()
    if processor(machine.host.cpu_name) is not None:
        return machine
    return replace(machine, host=replace(machine.host, processor=_kept(machine.host.cpu_name)))


def measure_processor() -> None:
    """Takes and keeps the rate of this machine's memory, a second, where the processor is not in the table."""
    machine = look()
    if processor(machine.host.cpu_name) is None and _kept(machine.host.cpu_name) is None:
        from fitserve.hardware.probe.cpu import cpu_report
        from fitserve.hardware.probe.ram import ram_report
        from fitserve.hardware.probe.rates_ram import ram_rates

        cpu, ram = cpu_report(), ram_report()
        cores = max(1.0, min(float(cpu.cores or 1), cpu.usable_cpus or 1.0))
        rates = ram_rates(int(cores), cpu.l3_bytes, ram.available_bytes or 0, _SECONDS)
        read = next((rate.per_s for rate in rates if rate.what == "ram_read"), None)
        if read is not None:
            _keep({"cpu_name": machine.host.cpu_name, "read_bytes_per_s": read, "cores": cores, "isa": list(cpu.isa)})


def _kept(cpu_name: str | None) -> Processor | None:
    """Of the same processor; None when it was not measured, or the file is of another machine."""
    try:
        told = json.loads((cache_folder() / _FILE).read_text(encoding="utf-8"))
        if told["cpu_name"] != cpu_name:
            return None
        return measured_processor(float(told["read_bytes_per_s"]), float(told["cores"]), tuple(told["isa"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(told: dict[str, Any]) -> None:
    """A file that appears whole. Raises WorldError."""
    path = cache_folder() / _FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}")
        beside.write_text(json.dumps(told), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise WorldError(f"write {path}", error.strerror or str(error)) from error
