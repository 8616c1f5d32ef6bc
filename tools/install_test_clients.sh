#!/usr/bin/env bash
# Installs the real clients whose settings are emitted (Node programs) into the folder DIR. For tests: 700 MB.
# usage: install_test_clients.sh DIR
set -euo pipefail
dir=${1:?a directory is needed}
[ -f "$dir/.clients-ready" ] && exit 0
mkdir -p "$dir"
npm install --silent --no-audit --no-fund --prefix "$dir" '@continuedev/config-yaml@1.42.0' 'opencode-ai@1.18.33' 'cline@3.0.65'
touch "$dir/.clients-ready"
