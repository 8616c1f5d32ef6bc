#!/usr/bin/env bash
# Installs TRL, PEFT and llm-compressor with a PyTorch for CPU into the virtual environment DIR. For tests: 1.5 GB.
# usage: install_training.sh DIR
set -euo pipefail
dir=${1:?a directory is needed}
[ -f "$dir/.training-ready" ] && exit 0
python3 -m venv --clear "$dir"
"$dir/bin/pip" install -q 'torch==2.13.0' 'trl==1.16.0' 'peft==0.21.2' 'accelerate==1.15.0' 'datasets==5.2.0' 'llmcompressor==0.14.0.1'
touch "$dir/.training-ready"
