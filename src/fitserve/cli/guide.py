"""`fitserve guide`: Markdown on the terminal; a file as its name says."""

import json
from pathlib import Path
from typing import Any

from fitserve.cli.output import save
from fitserve.cli.verbs import world
from fitserve.foundation.errors import InputError
from fitserve.guides.build import guide
from fitserve.guides.request import GuideRequest
from fitserve.render.guide.document import guide_document
from fitserve.render.guide_json import guide_form
from fitserve.render.page.html import html
from fitserve.render.page.markdown import markdown
from fitserve.render.texts import Texts

_FORMS = (".md", ".html", ".htm", ".json", ".txt")


def run_guide(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve guide`."""
    out = values.get("out")
    ending = None if out is None else Path(out).suffix.lower()
    if ending is not None and ending not in _FORMS:
        raise InputError.of("out_kind_unknown", given=str(out), known=_FORMS)
    request = GuideRequest.read(**{key: value for key, value in values.items() if key not in {"json", "out", "lang"}})
    found = guide(request, world())
    document = guide_document(found, texts)

    def as_json() -> str:
        return json.dumps(guide_form(request, found, texts), ensure_ascii=False, indent=2) + "\n"

    if out is not None:
        text = as_json() if ending == ".json" else html(document) if ending in {".html", ".htm"} else markdown(document)
        save(Path(out), text)
    if values.get("json"):
        print(as_json(), end="")
    elif out is None:
        print(markdown(document), end="")
    else:
        print(texts.text("guide", "written", {"path": str(out)}))
    return 0 if found.is_yes else 1
