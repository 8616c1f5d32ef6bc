"""Read the options of a server from its sources by syntax tree; nothing of it is imported or run.

Three ways in which servers declare options are read: argparse `add_argument` calls, record fields annotated with
`A[type, Arg(...)]`, and click decorators. Defaults and choices are followed to the constants that they name.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]
_TYPES = {"int": "integer", "float": "number", "str": "string", "bool": "boolean", "loads": "json"}
_NOTHING = object()


@dataclass
class Sources:
    """Syntax trees of some files, with every constant, class attribute and function that they define by name."""

    trees: dict[Path, ast.Module] = field(default_factory=dict)
    constants: dict[str, ast.expr] = field(default_factory=dict)
    classes: dict[str, dict[str, ast.expr]] = field(default_factory=dict)
    functions: dict[str, ast.FunctionDef] = field(default_factory=dict)

    @classmethod
    def read(cls, paths: Iterable[Path]) -> "Sources":
        """Parse files; those that do not exist are left out, for releases differ."""
        found = cls()
        for path in paths:
            if path.is_file():
                found._add(path)
        return found

    def _add(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8-sig"))
        self.trees[path] = tree
        for node in tree.body:
            for name, value in _assigned(node):
                self.constants[name] = value
            if isinstance(node, ast.ClassDef):
                self.classes[node.name] = {n: v for part in node.body for n, v in _assigned(part)}
            elif isinstance(node, ast.FunctionDef):
                self.functions[node.name] = node

    def value(self, node: ast.AST | None, depth: int = 0) -> Any:
        """The value of an expression; `_NOTHING` when it is not a constant of these files."""
        if node is None or depth > 8:
            return _NOTHING
        try:
            return ast.literal_eval(node)  # type: ignore[arg-type]
        except (ValueError, TypeError, SyntaxError):
            pass
        match node:
            case ast.Name(id=name):
                return self.value(self.constants.get(name), depth + 1)
            case ast.Attribute(value=ast.Name(id=owner), attr=attr):
                return self.value(self.classes.get(owner, {}).get(attr), depth + 1)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                parts = [self.value(left, depth + 1), self.value(right, depth + 1)]
                return _NOTHING if _NOTHING in parts else [*parts[0], *parts[1]]
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return self._elements(elements, depth)
            case ast.Dict(keys=keys) if all(isinstance(key, ast.Constant) for key in keys):
                return {key.value: None for key in keys if isinstance(key, ast.Constant)}
            case ast.Call(func=ast.Name(id="list" | "sorted" | "set" | "tuple" | "frozenset"), args=[inner, *_]):
                found = self.value(inner, depth + 1)
                return _NOTHING if found is _NOTHING else list(found)
            case ast.Call(func=ast.Attribute(value=owner, attr="keys"), args=[]):
                return self.value(owner, depth + 1)
            case ast.Call(func=ast.Name(id=name), args=[]) if name in self.functions:
                last = self.functions[name].body[-1]
                return self.value(last.value if isinstance(last, ast.Return) else None, depth + 1)
            case ast.BinOp(left=left, op=ast.Mult() | ast.LShift() as sign, right=right):
                numbers = [self.value(left, depth + 1), self.value(right, depth + 1)]
                if all(isinstance(number, int) for number in numbers):
                    return numbers[0] * numbers[1] if isinstance(sign, ast.Mult) else numbers[0] << numbers[1]
        return _NOTHING

    def _elements(self, elements: list[ast.expr], depth: int) -> Any:
        found: list[Any] = []
        for element in elements:
            starred = isinstance(element, ast.Starred)
            value = self.value(element.value if isinstance(element, ast.Starred) else element, depth + 1)
            if value is _NOTHING:
                return _NOTHING
            found += list(value) if starred else [value]
        return found


def _assigned(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, node.value
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
        yield node.target.id, node.value


def argparse_rows(sources: Sources, function: str, owner: str) -> Iterator[Row]:
    """Rows of every `add_argument` call in functions of this name; `owner.field` names a default."""
    for tree in sources.trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == function:
                local = Sources(constants=_local_constants(sources, node), classes=sources.classes)
                local.functions = sources.functions
                for call in ast.walk(node):
                    if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "add_argument":
                        row = _row([_text(arg) for arg in call.args], _keywords(call), local, owner)
                        if row is not None:
                            yield row


def _local_constants(sources: Sources, node: ast.FunctionDef) -> dict[str, ast.expr]:
    found = dict(sources.constants)
    for part in ast.walk(node):
        for name, value in _assigned(part):
            found[name] = value
    return found


def field_rows(sources: Sources, classes: Iterable[str] | None = None) -> Iterator[Row]:
    """Rows of the fields annotated with `A[type, help]` or `A[type, Arg(...)]`, of these classes or of all."""
    wanted = None if classes is None else set(classes)
    for tree in sources.trees.values():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and (wanted is None or node.name in wanted):
                for part in node.body:
                    if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                        row = _field_row(sources, part.target.id, part)
                        if row is not None:
                            yield row


def _field_row(sources: Sources, name: str, part: ast.AnnAssign) -> Row | None:
    hint = part.annotation
    if not (isinstance(hint, ast.Subscript) and getattr(hint.value, "id", "") in {"A", "Annotated"}):
        return None
    assert isinstance(hint.slice, ast.Tuple)
    kind, *metas = hint.slice.elts
    calls = [meta for meta in metas if isinstance(meta, ast.Call) and getattr(meta.func, "id", "") == "Arg"]
    plain = [meta for meta in metas if isinstance(sources.value(meta), str) or isinstance(meta, ast.JoinedStr)]
    if not calls and not plain:
        return None
    words = _keywords(calls[0]) if calls else {}
    if sources.value(words.get("no_cli")) is True:
        return None
    spelled = sources.value(words.get("cli_name"))
    names = [spelled if isinstance(spelled, str) else "--" + name.replace("_", "-")]
    aliases = sources.value(words.get("aliases"))
    names += aliases if isinstance(aliases, list) else []
    more = words.pop("action_kwargs", None)
    if isinstance(more, ast.Dict):
        words |= {
            str(key.value): value
            for key, value in zip(more.keys, more.values, strict=True)
            if isinstance(key, ast.Constant)
        }
    if part.value is not None:
        words["default"] = part.value
    return _row(names, {**words, "annotation": kind}, sources, "")


def click_rows(
    sources: Sources, function: str, decorators: Iterable[str] = ("option", "stability_option")
) -> Iterator[Row]:
    """Rows of the click decorators of a command function."""
    wanted = set(decorators)
    for tree in sources.trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == function:
                for call in node.decorator_list:
                    if isinstance(call, ast.Call) and _last_name(call.func) in wanted:
                        names = [_text(arg) for arg in call.args]
                        row = _row([n for n in names if n and n.startswith("-")], _keywords(call), sources, "")
                        if row is not None:
                            yield row


def _last_name(node: ast.expr) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


def _text(node: ast.AST) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _keywords(call: ast.Call) -> dict[str, ast.expr]:
    return {word.arg: word.value for word in call.keywords if word.arg}


def _row(names: list[str | None], words: Mapping[str, ast.expr], sources: Sources, owner: str) -> Row | None:
    options = [name for name in names if name and name.startswith("-")]
    if not options:
        return None
    spelled = [part for option in options for part in option.split("/")]
    row: Row = {"name": spelled[0]}
    negations = [name for name in spelled[1:] if name.startswith("--no-")]
    action = _last_name(words["action"]) if "action" in words else ""
    action = str(sources.value(words["action"])) if isinstance(words.get("action"), ast.Constant) else action
    if action == "BooleanOptionalAction":
        negations = [f"--no-{name[2:]}" for name in spelled if name.startswith("--")]
    aliases = [name for name in spelled[1:] if name not in negations]
    row |= {"aliases": aliases} if aliases else {}
    row |= {"negations": negations} if negations else {}
    row |= _kind(words, action, sources)
    choices = _choices(words, sources)
    row |= {"choices": choices} if choices else {}
    default = _default(words.get("default"), sources, owner)
    if default is not _NOTHING and default is not None and default != [] and not (row["arity"] == "0" and not default):
        row["default"] = default
    if "Deprecated" in action:
        row["deprecated"] = True
        instead = sources.value(words.get("new_flag"))
        row |= {"instead": instead} if isinstance(instead, str) else {}
    return row


def _kind(words: Mapping[str, ast.expr], action: str, sources: Sources) -> Row:
    if action == "BooleanOptionalAction":
        return {"kind": "switch", "arity": "0", "value_type": "boolean"}
    annotation = _unwrapped(words.get("annotation"))
    nargs = sources.value(words.get("nargs"))
    is_flag = action in {"store_true", "store_false", "store_const", "count"} or "StoreTrue" in action
    is_flag |= sources.value(words.get("is_flag")) is True or (annotation == "bool" and not action)
    if "Deprecated" in action and "nargs" not in words:
        is_flag = True
    if is_flag:
        return {"kind": "flag", "arity": "0", "value_type": "boolean"}
    is_list = annotation.startswith(("List", "list")) and "type_parser" not in words
    arity = {"+": "1 or more", "*": "0 or more", "?": "0 or 1"}.get(str(nargs), "1 or more" if is_list else "1")
    return {"kind": "value", "arity": arity, "value_type": _value_type(words, annotation)}


def _unwrapped(node: ast.expr | None) -> str:
    """`int` of `Optional[int]` and of `int | None`."""
    if node is None:
        return ""
    text = ast.unparse(node)
    if text.startswith("Optional["):
        return text[len("Optional[") : -1]
    return text.removesuffix(" | None").removeprefix("None | ")


def _value_type(words: Mapping[str, ast.expr], annotation: str) -> str:
    maker = words.get("type_parser", words.get("type"))
    if maker is not None:
        name = _last_name(maker.func) if isinstance(maker, ast.Call) else _last_name(maker)
        return "json" if "json" in name else _TYPES.get(name, "string")
    inner = annotation.removeprefix("List[").removeprefix("list[").removesuffix("]")
    return _TYPES.get(inner, "string")


def _choices(words: Mapping[str, ast.expr], sources: Sources) -> list[str]:
    given = words.get("choices")
    maker = words.get("type")
    if given is None and isinstance(maker, ast.Call) and "Choice" in _last_name(maker.func) and maker.args:
        given = maker.args[0]
    found = sources.value(given)
    annotation = words.get("annotation")
    if found is _NOTHING and annotation is not None:
        literals = [
            n.slice for n in ast.walk(annotation) if isinstance(n, ast.Subscript) and _last_name(n.value) == "Literal"
        ]
        found = sources.value(literals[0]) if literals else _NOTHING
        found = [found] if isinstance(found, str) else found
    return sorted(str(value) for value in found) if isinstance(found, list | tuple | set | dict) else []


def _default(node: ast.expr | None, sources: Sources, owner: str) -> Any:
    if isinstance(node, ast.Call) and _last_name(node.func) == "_declared_default":
        return _NOTHING
    if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == owner:
        return sources.value(sources.classes.get(owner, {}).get(node.attr))
    found = sources.value(node)
    return found if found is _NOTHING or isinstance(found, str | int | float | bool | list) else _NOTHING


def merged(rows: Iterable[Row]) -> list[Row]:
    """Rows by name, the first of each name, sorted."""
    table: dict[str, Row] = {}
    for row in rows:
        table.setdefault(row["name"], row)
    return [table[name] for name in sorted(table)]


def lifetimes(by_version: Mapping[str, Iterable[str]]) -> list[Row]:
    """Every option name over releases in order: first and last release, the one in which it was gone, unbroken runs."""
    versions = list(by_version)
    known = {version: set(names) for version, names in by_version.items()}
    rows: list[Row] = []
    for name in sorted(set().union(*known.values())):
        held = [name in known[version] for version in versions]
        runs, start = [], None
        for index, here in enumerate([*held, False]):
            if here and start is None:
                start = index
            elif not here and start is not None:
                runs.append([versions[start], versions[index - 1]])
                start = None
        first, last = held.index(True), len(held) - 1 - held[::-1].index(True)
        rows.append(
            {
                "name": name,
                "first_seen": versions[first],
                "not_in": versions[first - 1] if first else None,
                "last_seen": versions[last],
                "gone_in": versions[last + 1] if last + 1 < len(versions) else None,
                "intervals": runs,
            }
        )
    return rows
