#!/bin/sh
# The README's second command, after install.sh.
set -eu
cd "$(dirname "$0")/.."
pip install ".[test]" && pytest
