#!/usr/bin/env bash
# Makes .venv with the interpreter given, and puts the locked installer into it.
set -euo pipefail
python=${1:-python3}
"$python" - <<'PY' || { echo "需要 Python 3.11 或更高版本 / Python 3.11 or later is needed: $python" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
PY
if [ ! -x .venv/bin/python ]; then
    if ! "$python" -m venv .venv 2>/dev/null; then
        rm -rf .venv
        "$(dirname "$0")/system-packages.sh" venv
        "$python" -m venv .venv
    fi
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/locks/uv.txt
