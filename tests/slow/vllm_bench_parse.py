"""Reads an argument list (JSON) from stdin, gives it to the real parser of `vllm bench serve`, prints what it understood."""

import json
import sys

from vllm.benchmarks.serve import add_cli_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = FlexibleArgumentParser()
add_cli_args(parser)
values = vars(parser.parse_args(json.load(sys.stdin)))
print("PARSED", json.dumps({k: v for k, v in values.items() if v is None or isinstance(v, bool | int | float | str)}))
