"""Gives argument lists (JSON, standard input) to SGLang's own parser, built from its source with the rest stubbed."""

import argparse
import importlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import check_sglang_options as stubs


def main(root: str) -> int:
    """Prints one object a list: option name to value, or null where the parser refused."""
    sys.path.insert(0, root)
    for name in stubs.HEAVY:
        sys.modules[name] = stubs.StubModule(name)
    sys.meta_path.append(stubs.Finder())
    server = importlib.import_module("sglang.srt.server_args").ServerArgs
    parser = argparse.ArgumentParser()
    server.add_cli_args(parser)
    understood = []
    for arguments in json.load(sys.stdin):
        try:
            values = vars(parser.parse_args(arguments))
        except SystemExit:
            understood.append(None)
            continue
        understood.append({k: v for k, v in values.items() if v is None or isinstance(v, bool | int | float | str)})
    print("PARSED", json.dumps(understood))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
