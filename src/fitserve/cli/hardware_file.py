"""The file of `--hardware`: a report that `probe --out` wrote."""

import json
from pathlib import Path

from fitserve.foundation.errors import InputError, ReadFailed
from fitserve.hardware.report_file import ReportedMachine, machine_of_report

_MOST_BYTES = 4 << 20


def read_hardware_file(name: str) -> ReportedMachine:
    """The machine of a report. Raises InputError for a file that is none, ReadFailed for one that cannot be read."""
    path = Path(name)
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError.of("hardware_file_other", given=name)
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ReadFailed(f"read {name}", error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise InputError.of("hardware_file_other", given=name) from error
    return machine_of_report(data, name)
