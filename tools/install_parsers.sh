#!/usr/bin/env bash
# Installs the real Transformers and mlx-lm (CPU builds) into the virtual environment DIR. For tests: minutes, 1.5 GB.
# usage: install_parsers.sh DIR
set -euo pipefail
dir=${1:?a directory is needed}
[ -f "$dir/.ready" ] && exit 0
python3 -m venv --clear "$dir"
"$dir/bin/pip" install -q 'torch==2.13.0' 'transformers[serving]==5.23.0' 'accelerate==1.15.0'
"$dir/bin/pip" install -q 'mlx-lm==0.32.2' 'mlx[cpu]>=0.32.2'
touch "$dir/.ready"
