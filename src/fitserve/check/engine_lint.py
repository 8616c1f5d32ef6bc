"""What is wrong with the options of an engine's command at a release, and the edits that mend it."""

import difflib
import json
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from fitserve.check.options import Given, ParsedOptions, json_of, wrong_value
from fitserve.check.programs import Invocation
from fitserve.check.releases import ReleaseOptions, holds, is_newer
from fitserve.check.types import Edit, Finding
from fitserve.engines.contract import Engine
from fitserve.foundation.reasons import not_supported, note, warning
from fitserve.foundation.versions import parse_version

_DROP = ("omit", "leave", "empty", "none", "remove")


def option_findings(
    made: Engine, call: Invocation, parsed: ParsedOptions, release: ReleaseOptions
) -> Iterator[Finding]:
    """Findings about every option, in the order of the command."""
    for given in parsed.options:
        if given.row is None:
            yield _unknown(made, call, given, parsed, release)
        elif given.lacks_value:
            yield _without_value(made, call, given, release)
        else:
            yield from _values(made, call, given, parsed, release)


def extra_words(made: Engine, call: Invocation, parsed: ParsedOptions) -> Iterator[Finding]:
    """Words that belong to no option and that the program does not take: a value after a switch, mostly."""
    most = made.facts["command_line"].get("most_positionals")
    if most is None:
        return
    for index, word in parsed.positionals[most:]:
        at = call.start + index
        before = next((given.written for given in parsed.options if given.stop == index), None)
        reason = not_supported(
            "word_unexpected",
            engine=made.id,
            option=before or word,
            what=word,
            line=call.line_of(at),
            before=before,
            word=word,
        )
        yield Finding(reason=reason, edits=(Edit(at, at + 1, ()),))


def _at(call: Invocation, given: Given) -> tuple[int, int]:
    """Word range of an option in the statement."""
    return call.start + given.start, call.start + given.stop


def _common(made: Engine, call: Invocation, given: Given, release: ReleaseOptions) -> dict[str, Any]:
    return {
        "engine": made.id,
        "version": release.version,
        "option": given.written if given.key is None else given.name,
        "line": call.line_of(call.start + given.start),
    }


def _unknown(made: Engine, call: Invocation, given: Given, parsed: ParsedOptions, release: ReleaseOptions) -> Finding:
    """An option that the release does not have: removed, not yet there, of a fork, or never there."""
    start, stop = _at(call, given)
    common = _common(made, call, given, release) | {"what": given.name}
    fork = _fork_of(made, given.name)
    if fork is not None:
        drop = Edit(start, start + 1 if _is_fork_switch(given) else stop, ())
        return Finding(reason=not_supported("option_of_fork", **common, fork=fork), edits=(drop,))
    gone = made.facts["command_line"].get("gone", {}).get(given.name)
    if gone is not None:
        instead = str(gone.get("instead") or "")
        reason = not_supported("option_removed", **common, last=str(gone.get("since") or "-"), instead=instead or None)
        return Finding(reason=reason, edits=_replacement(made, given, parsed, release, instead, start, stop))
    if given.name in release.elsewhere:
        reason = not_supported("option_of_other_program", **common, program=call.program)
        return Finding(reason=reason, edits=(Edit(start, stop, ()),))
    history = release.history(given.name)
    if history is None:
        near = release.near(given.name)
        edit = Edit(start, start + 1, (near,)) if near is not None else Edit(start, stop, ())
        if not release.is_complete:
            return Finding(reason=warning("option_not_in_list", **common, near=near))
        return Finding(reason=not_supported("option_never_known", **common, near=near), edits=(edit,))
    if history.before_all:
        reason = not_supported("option_too_new", **common, first=history.first)
        return Finding(reason=reason, edits=(Edit(start, stop, ()),), first_version=history.first)
    instead = history.replacement or ""
    reason = not_supported("option_removed", **common, last=history.last or "-", instead=instead or None)
    return Finding(reason=reason, edits=_replacement(made, given, parsed, release, instead, start, stop))


def _fork_of(made: Engine, name: str) -> str | None:
    forks: Mapping[str, Mapping[str, Any]] = made.facts["command_line"].get("forks", {})
    return next((fork for fork, row in forks.items() if name in row["options"]), None)


def _is_fork_switch(given: Given) -> bool:
    return given.value is not None and not given.value.lstrip("-").replace(".", "").isdigit()


def _replacement(
    made: Engine,
    given: Given,
    parsed: ParsedOptions,
    release: ReleaseOptions,
    instead: str,
    start: int,
    stop: int,
) -> tuple[Edit, ...]:
    """The words that say the same at this release; nothing when they stand there already or none are known."""
    rewrites: Mapping[str, str] = made.facts["command_line"].get("rewrites", {})
    if given.name in rewrites and given.values and release.find(rewrites[given.name].partition(".")[0])[0] is not None:
        return (Edit(start, stop, (rewrites[given.name], *given.values)),)
    words = shlex.split(instead.split(";")[0].split("/")[0].strip()) if instead else []
    if not words or not words[0].startswith("-") or words[0].lower() in _DROP or "(" in instead:
        return (Edit(start, stop, ()),)
    row, _ = release.find(words[0])
    if row is None or parsed.last((str(row["name"]),)) is not None:
        return (Edit(start, stop, ()),)
    if len(words) == 1 and str(row.get("arity", "1")) != "0" and not given.values:
        return (Edit(start, stop, ()),)
    kept = given.values if len(words) == 1 and str(row.get("arity", "1")) != "0" else ()
    return (Edit(start, stop, (*words, *kept)),)


def _without_value(made: Engine, call: Invocation, given: Given, release: ReleaseOptions) -> Finding:
    start, stop = _at(call, given)
    choices = tuple(str(choice) for choice in (given.row or {}).get("choices") or ())
    common = _common(made, call, given, release) | {"what": given.name, "choices": choices}
    edit = Edit(start + 1, stop, (choices[0],)) if choices else Edit(start, stop, ())
    return Finding(reason=not_supported("option_value_missing", **common), edits=(edit,))


def _values(
    made: Engine, call: Invocation, given: Given, parsed: ParsedOptions, release: ReleaseOptions
) -> Iterator[Finding]:
    start, stop = _at(call, given)
    common = _common(made, call, given, release)
    wrong = None if _registry(made, given) is not None else wrong_value(given, release)
    if wrong is not None:
        code, right = wrong
        what = given.text if code == "option_choice_wrong" else given.written
        reason = not_supported(code, **common, what=what, value=" ".join(given.values), choices=right)
        yield Finding(reason=reason, edits=_nearest_choice(given, right, start, stop, code))
        return
    yield from _listed_value(made, call, given, parsed, release)
    yield from _json_keys(made, call, given, release)
    if (given.row or {}).get("deprecated"):
        yield Finding(reason=note("option_deprecated", **common, what=given.written))


def _has_plugin(made: Engine, given: Given, parsed: ParsedOptions) -> bool:
    """Whether a plugin of the user's own registers names for this option."""
    lists: Mapping[str, Mapping[str, str]] = made.facts["command_line"].get("value_lists", {})
    unless = lists.get(str((given.row or {}).get("name")), {}).get("unless")
    return bool(unless) and any(other.name == unless for other in parsed.options)


def _nearest_choice(given: Given, right: tuple[str, ...], start: int, stop: int, code: str) -> tuple[Edit, ...]:
    if code != "option_choice_wrong" or given.value is None:
        return (Edit(start, stop, ()),)
    close = difflib.get_close_matches(given.value, right, n=1, cutoff=0.6)
    return (Edit(start, stop, (given.written, close[0]) if close else ()),)


def _listed_value(
    made: Engine, call: Invocation, given: Given, parsed: ParsedOptions, release: ReleaseOptions
) -> Iterator[Finding]:
    """Names that the engine looks up in a registry of the release."""
    row = given.row or {}
    names = _registry(made, given)
    enforced = made.facts["command_line"].get("enforced", ())
    if _has_plugin(made, given, parsed):
        return
    if names is not None:
        known = tuple(name for name, runs in names.items() if holds(runs, release.version))
    else:
        known = tuple(str(value) for value in row.get("known_values") or ()) if row.get("name") in enforced else ()
    bad = [value for value in given.values if value not in known and not value.startswith("$")]
    if not known or not bad:
        return
    later = [run[0] for run in (names or {}).get(bad[0], ()) if is_newer(run[0], release.version)]
    first = later[0] if later else None
    start, stop = _at(call, given)
    common = _common(made, call, given, release)
    close = difflib.get_close_matches(bad[0], known, n=1, cutoff=0.75)
    edits = (Edit(start, stop, (given.written, close[0]) if close and first is None else ()),)
    reason = not_supported(
        "value_not_in_registry", **common, what=f"{given.written} {bad[0]}", value=bad[0], near=close[0] if close else None,
        first=first,
    )  # fmt: skip
    yield Finding(reason=reason, edits=edits, first_version=first)


def _registry(made: Engine, given: Given) -> Mapping[str, Any] | None:
    """The registry that an option looks its value up in."""
    lists: Mapping[str, Mapping[str, str]] = made.facts["command_line"].get("value_lists", {})
    listed = lists.get(str((given.row or {}).get("name")))
    return None if listed is None or made.registries is None else made.registries().get(listed["list"])


def _json_keys(made: Engine, call: Invocation, given: Given, release: ReleaseOptions) -> Iterator[Finding]:
    """Keys of a JSON option that the release does not take, at any depth."""
    tables: Mapping[str, Mapping[str, Any]] = made.json_keys() if made.json_keys is not None else {}
    table = tables.get(str((given.row or {}).get("name")))
    if table is None or not given.values:
        return
    content = json_of(given.values[0]) if given.key is None else _nested(given.key, given.values[0])
    if not isinstance(content, Mapping):
        return
    start, stop = _at(call, given)
    common = _common(made, call, given, release)
    for key, life in _keys(content, table):
        if life is None or _alive(life, release.version):
            continue
        too_new = bool(life["first"]) and parse_version(release.version) < parse_version(life["first"])
        code = "json_key_too_new" if too_new else "json_key_removed"
        reason = not_supported(
            code, **common, what=f"{given.name} key {key}", key=key, first=life["first"], last=life["last"],
            instead=life.get("replacement"),
        )  # fmt: skip
        mended = renamed(content, key, None if too_new else life.get("replacement"))
        edit = Edit(start, stop, (given.written, compact(mended)) if mended and given.key is None else ())
        yield Finding(reason=reason, edits=(edit,), first_version=life["first"] if too_new else None)


def _nested(key: str, value: str) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: _nested(rest, value) if rest else value}


def _keys(content: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any] | None]]:
    """(key, its lifetime) for all keys; a key that no table row names has none."""
    for key, value in content.items():
        life = table["keys"].get(key)
        yield key, life
        inside = table.get("inside", {}).get(key)
        if isinstance(value, Mapping) and inside is not None:
            yield from _keys(value, inside)


def _alive(life: Mapping[str, Any], version: str) -> bool:
    at = parse_version(version)
    first, last = life["first"], life["last"]
    return (first is None or at >= parse_version(first)) and (last is None or at <= parse_version(last))


def renamed(content: Mapping[str, Any], key: str, new: str | None) -> dict[str, Any]:
    """The object with a key renamed at any depth, or left out when there is no new name."""
    made: dict[str, Any] = {}
    for name, value in content.items():
        inner = renamed(value, key, new) if isinstance(value, Mapping) else value
        if name != key:
            made[name] = inner
        elif new is not None:
            made[new] = inner
    return made


def compact(content: Mapping[str, Any]) -> str:
    """JSON as people write it on a command line."""
    return json.dumps(content, ensure_ascii=False)
