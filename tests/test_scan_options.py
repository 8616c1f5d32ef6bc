"""The tool that reads option lists from sources: argparse calls, annotated fields, click decorators."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parent.parent


def _tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"tools/{name}.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    spec.loader.exec_module(made)
    return made


SAMPLE = """
KINDS = ["a", "b"]
class Server:
    share: float = 0.9
    names: A[Optional[List[str]], Arg(help="x", aliases=["--all"], choices=KINDS + ["c"])] = None
    quiet: A[bool, "says less"] = False
    hidden: A[int, Arg(no_cli=True)] = 3
    def add_cli_args(parser):
        parser.add_argument("--share", "-s", type=float, default=Server.share)
        parser.add_argument("--kind", type=str, choices=KINDS, default="a")
        parser.add_argument("--cache", action=argparse.BooleanOptionalAction, default=True)
        parser.add_argument("--old", action=DeprecatedStoreTrueAction, new_flag="--cache")
@click.option("--size", "--sz", type=int, default=4 * 2)
@click.option("--level", type=click.Choice(KINDS), default="b")
@click.option("--on/--no-on", is_flag=True, default=False)
def serve(): ...
"""


def test_options_are_read_from_sources_in_three_ways() -> None:
    tool = _tool("scan_options")
    sources = tool.Sources()
    path = Path("sample.py")
    sources.trees[path] = ast.parse(SAMPLE)
    sources.constants["KINDS"] = ast.parse('["a", "b"]', mode="eval").body
    sources.classes["Server"] = {"share": ast.Constant(0.9)}
    parsed = {row["name"]: row for row in tool.argparse_rows(sources, "add_cli_args", "Server")}
    assert parsed["--share"] == {
        "name": "--share", "aliases": ["-s"], "kind": "value", "arity": "1", "value_type": "number", "default": 0.9,
    }  # fmt: skip
    assert parsed["--kind"]["choices"] == ["a", "b"] and parsed["--cache"]["negations"] == ["--no-cache"]
    assert parsed["--old"]["deprecated"] and parsed["--old"]["instead"] == "--cache"
    fields = {row["name"]: row for row in tool.field_rows(sources)}
    assert set(fields) == {"--names", "--quiet"} and fields["--quiet"]["arity"] == "0"
    assert fields["--names"]["choices"] == ["a", "b", "c"] and fields["--names"]["arity"] == "1 or more"
    clicked = {row["name"]: row for row in tool.click_rows(sources, "serve")}
    assert clicked["--size"]["default"] == 8 and clicked["--level"]["choices"] == ["a", "b"]
    assert clicked["--on"]["negations"] == ["--no-on"] and clicked["--on"]["arity"] == "0"
    lived = {row["name"]: row for row in tool.lifetimes({"1": ["--a", "--b"], "2": ["--a"], "3": ["--a", "--b"]})}
    assert lived["--b"]["intervals"] == [["1", "1"], ["3", "3"]] and lived["--a"]["gone_in"] is None
