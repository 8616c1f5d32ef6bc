"""An error quoted in a question, read as the log that it is from: its cause and what to do."""

from collections.abc import Callable, Mapping
from typing import Any

from fitserve.cli.verbs import world
from fitserve.diagnose.answer import diagnose
from fitserve.diagnose.request import DiagnoseRequest
from fitserve.foundation.reasons import Reason, note
from fitserve.render.diagnosed import cause_text, remedy_text
from fitserve.render.texts import Texts

_MOST_REMEDIES = 3


def explained(texts: Texts) -> Callable[[str, Mapping[str, Any]], tuple[Reason, ...]]:
    """What `ask` takes for quoted errors: the first cause, then what to do; empty when the text quotes none."""

    def from_log(text: str, known: Mapping[str, Any]) -> tuple[Reason, ...]:
        given = {key: value for key, value in known.items() if value}
        found = diagnose([text.encode()], DiagnoseRequest.read(**given), world())
        if not found.causes:
            return ()
        cause = found.causes[0]
        remedies = [remedy_text(remedy, texts) for remedy in cause.remedies[:_MOST_REMEDIES]]
        return (
            note("quoted_cause", text=cause_text(cause, texts)),
            *(note("quoted_fix", text=one) for one in remedies),
        )

    return from_log
