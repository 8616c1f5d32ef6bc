"""Reads argument lists (JSON) from stdin, gives them to the real option parser of vLLM, prints what it understood."""

import json
import sys

from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser


def main() -> None:
    """One object per list: option name to value, or null where the parser refused."""
    parser = make_arg_parser(FlexibleArgumentParser())
    understood = []
    for arguments in json.load(sys.stdin):
        try:
            values = vars(parser.parse_args(arguments))
        except SystemExit:
            understood.append(None)
            continue
        understood.append({k: v for k, v in values.items() if v is None or isinstance(v, bool | int | float | str)})
    print("PARSED", json.dumps(understood), flush=True)


if __name__ == "__main__":
    main()
