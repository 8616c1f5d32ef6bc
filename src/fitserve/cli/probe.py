"""`fitserve probe`: what this machine is and how fast it is."""

import sys
from typing import Any

from fitserve.cli.output import check_out, write
from fitserve.engines.registry import engines
from fitserve.hardware.judge_rates import judge_rates
from fitserve.hardware.probe.take_report import seconds_at_most, take_report
from fitserve.plan.request import ProbeRequest
from fitserve.render.machine_report import report_form, report_markdown, report_view
from fitserve.render.texts import Texts


def run_probe(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve probe [--quick] [--rates all|host|gpu|none] [--out FILE]`."""
    check_out(values.get("out"))
    request = ProbeRequest.read(**{key: value for key, value in values.items() if key not in {"json", "out", "lang"}})
    host = not request.quick and request.rates in {"all", "host"}
    gpu = not request.quick and request.rates in {"all", "gpu"}
    if sys.stderr.isatty():
        print(texts.label("probe_begins", seconds=seconds_at_most(host, gpu)), file=sys.stderr)
    installed = {engine.id: row for engine in engines() if (row := engine.facts.get("installed")) is not None}
    report = take_report(installed, host, gpu)
    judged = judge_rates(report)
    write(
        lambda: report_form(report, judged, texts),
        report_view(report, judged, texts),
        bool(values.get("json")),
        values.get("out"),
        lambda: report_markdown(report, judged, texts),
    )
    return 0
