"""Modelfiles and engine configurations: the keys and values of a file against the list of the engine that reads it."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fitserve.check.options import Given, ParsedOptions, wrong_value
from fitserve.check.programs import Invocation
from fitserve.check.releases import ReleaseOptions, release_options
from fitserve.check.types import Finding, Script, Statement
from fitserve.engines.contract import Engine
from fitserve.engines.registry import engines
from fitserve.foundation.reasons import not_supported, warning

_COMMAND, _PARAMETERS, _KEY, _ENVIRONMENT = "modelfile_command", ("modelfile_parameter", "option"), "key", "env"
_NEAR = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """A configuration file as a command of its engine."""

    engine: Engine
    call: Invocation
    parsed: ParsedOptions
    findings: tuple[Finding, ...]


def config_file(script: Script, stated: Engine | None) -> ConfigFile | None:
    """The engine that a file is for, with its keys as options; None when no engine knows them."""
    if script.syntax == "modelfile":
        return _modelfile(script)
    made = stated or _by_keys(script)
    release = None if made is None else release_options(made.id, made.versions[-1])
    if made is None or release is None:
        return None
    call = _call(made, script, {})
    given, findings = [], []
    for index, statement in enumerate(script.statements):
        name, value = statement.argv[0], statement.argv[1] if len(statement.argv) > 1 else ""
        row = release.rows.get(name)
        if row is None:
            findings.append(_unknown(made, release, statement, name, (_KEY,)))
            continue
        item = _given(name, row, _values(value), index)
        given.append(item)
        findings += _wrong(made, release, statement, item)
    return ConfigFile(
        engine=made, call=call, parsed=ParsedOptions(options=tuple(given), positionals=()), findings=tuple(findings)
    )


def _by_keys(script: Script) -> Engine | None:
    """The engine whose list has most of the keys."""
    names = {statement.argv[0] for statement in script.statements}
    best: tuple[int, Engine | None] = (0, None)
    for made in engines():
        release = release_options(made.id, made.versions[-1])
        if release is None:
            continue
        known = {name for name, row in release.rows.items() if row.get("kind") == _KEY}
        score = len(names & known)
        best = (score, made) if score > best[0] else best
    return best[1]


def _call(made: Engine, script: Script, env: Mapping[str, str]) -> Invocation:
    words = tuple(word for statement in script.statements for word in statement.words)
    return Invocation(statement=Statement(words=words), program=script.syntax, start=0, engine=made, env=dict(env))


def _given(name: str, row: Mapping[str, Any], values: tuple[str, ...], index: int) -> Given:
    return Given(written=name, name=name, row=row, values=values, start=index, stop=index + 1)


def _values(text: str) -> tuple[str, ...]:
    """Values of a YAML key, written back as text."""
    value = json.loads(text)
    if value is None or value == "":
        return ()
    listed = value if isinstance(value, list) else [value]
    return tuple(item if isinstance(item, str) else json.dumps(item) for item in listed)


def _modelfile(script: Script) -> ConfigFile | None:
    made = next((item for item in engines() if _rows(item, (_COMMAND,))), None)
    release = None if made is None else release_options(made.id, made.versions[-1])
    if made is None or release is None:
        return None
    commands, parameters = _rows(made, (_COMMAND,)), _rows(made, _PARAMETERS)
    given, findings, positionals = [], [], []
    env: dict[str, str] = {}
    for index, statement in enumerate(script.statements):
        keyword, *rest = statement.argv
        if keyword not in commands:
            findings.append(_unknown(made, release, statement, keyword, (_COMMAND,)))
        elif keyword == "PARAMETER" and rest:
            row = parameters.get(rest[0])
            if row is None:
                findings.append(_unknown(made, release, statement, rest[0], _PARAMETERS))
                continue
            item = _given(rest[0], row, tuple(rest[1:]), index)
            given.append(item)
            findings += _wrong(made, release, statement, item)
            if rest[0] == "num_ctx" and rest[1:]:
                env["context"] = rest[1]
        elif keyword == "FROM" and rest:
            positionals.append((index, rest[0]))
    parsed = ParsedOptions(options=tuple(given), positionals=tuple(positionals))
    return ConfigFile(engine=made, call=_call(made, script, env), parsed=parsed, findings=tuple(findings))


def _rows(made: Engine, kinds: tuple[str, ...]) -> Mapping[str, Mapping[str, Any]]:
    release = release_options(made.id, made.versions[-1])
    rows = release.rows if release is not None else {}
    return {name: row for name, row in rows.items() if row.get("kind") in kinds}


def _unknown(made: Engine, release: ReleaseOptions, statement: Statement, name: str, kinds: tuple[str, ...]) -> Finding:
    known = [other for other, row in release.rows.items() if row.get("kind") in kinds]
    close = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
    common: dict[str, Any] = {"engine": made.id, "version": release.version, "option": name, "what": name}
    common["line"] = statement.line
    near = close[0] if close else None
    if not release.is_complete and near is None:
        return Finding(reason=warning("option_not_in_list", **common, near=near))
    return Finding(reason=not_supported("option_never_known", **common, near=near))


def _wrong(made: Engine, release: ReleaseOptions, statement: Statement, item: Given) -> Iterator[Finding]:
    wrong = wrong_value(item, release)
    if wrong is None:
        return
    code, right = wrong
    what = item.text if code == "option_choice_wrong" else item.written
    yield Finding(
        reason=not_supported(
            code, engine=made.id, version=release.version, option=item.written, what=what, line=statement.line,
            value=" ".join(item.values), choices=right,
        )
    )  # fmt: skip


def environment_findings(made: Engine, call: Invocation, release: ReleaseOptions) -> Iterator[Finding]:
    """Variables with the engine's prefix that it does not read: a misspelled one changes nothing, silently."""
    known = [name for name, row in release.rows.items() if row.get("kind") == _ENVIRONMENT]
    prefixes = {name.split("_")[0] + "_" for name in known if name.startswith(made.id.upper().replace(".", ""))}
    for name in call.env:
        if name in known or not any(name.startswith(prefix) for prefix in prefixes):
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=_NEAR)
        reason = warning(
            "variable_unknown", engine=made.id, version=release.version, option=name, what=name, line=call.statement.line,
            near=close[0] if close else None,
        )  # fmt: skip
        yield Finding(reason=reason)
