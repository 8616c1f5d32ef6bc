#!/usr/bin/env bash
# Installs the library of llama.cpp v0.5.0 (npm package @node-llama-cpp/linux-x64) into the folder DIR. For tests: 30 MB.
# usage: install_llama_library.sh DIR
set -euo pipefail
dir=${1:?a directory is needed}
[ -f "$dir/.library-ready" ] && exit 0
mkdir -p "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" '@node-llama-cpp/linux-x64@3.22.1'
touch "$dir/.library-ready"
