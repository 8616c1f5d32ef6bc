#!/usr/bin/env bash
# Installs the real tools that the slow tests hand commands and files to, into the virtual environment DIR.
# usage: install_test_tools.sh DIR
set -euo pipefail
dir=${1:?a directory is needed}
[ -f "$dir/.tools-ready" ] && exit 0
python3 -m venv --clear "$dir"
"$dir/bin/pip" install -q 'huggingface_hub==2.4.0' 'kubernetes-validate==1.37.0' 'jsonschema>=4' 'pyyaml>=6' 'ziglang==0.17.0'
# Only the parser of lm_eval is wanted, and only the Compose schema of docker-compose: not what they depend on.
"$dir/bin/pip" install -q --no-deps 'lm_eval==0.4.13' 'docker-compose==1.29.2'
touch "$dir/.tools-ready"
