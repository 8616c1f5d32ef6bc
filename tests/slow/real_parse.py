"""Reads argument lists (JSON) from stdin, gives them to the real option parser of a program, prints what it understood."""

import argparse
import json
import sys
from typing import Any


class Parsed(Exception):
    """Carries what argparse understood past the server that would start."""


def mlx(arguments: list[str]) -> dict[str, Any] | None:
    """Values of `mlx_lm.server`; None when it refuses."""
    from mlx_lm import server

    real = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *given: Any) -> None:
        raise Parsed(vars(real(self, arguments)))

    argparse.ArgumentParser.parse_args = stop
    try:
        server.main()
    except Parsed as found:
        return found.args[0]
    except SystemExit:
        return None
    finally:
        argparse.ArgumentParser.parse_args = real
    return None


def transformers(arguments: list[str]) -> dict[str, Any] | None:
    """Values of `transformers serve`; None when it refuses."""
    from transformers.cli.transformers import app

    command = app.commands["serve"]
    try:
        context = command.make_context("serve", list(arguments))
    except Exception as error:  # typer ships its own copy of click's errors
        if "UsageError" not in {kind.__name__ for kind in type(error).__mro__}:
            raise
        return None
    return dict(context.params)


def main() -> None:
    """One object per list: option name to value, or null where the parser refused."""
    parse = {"mlx": mlx, "transformers": transformers}[sys.argv[1]]
    found = [parse(arguments) for arguments in json.load(sys.stdin)]
    plain = [
        values and {k: v if isinstance(v, bool | int | float) else str(v) for k, v in values.items()}
        for values in found
    ]
    print("PARSED", json.dumps(plain), flush=True)


if __name__ == "__main__":
    main()
