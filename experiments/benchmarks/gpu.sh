#!/usr/bin/env bash
# Run gpu.py on a GPU node without internet access, from the source tree.
#
#   experiments/benchmarks/gpu.sh [--wheels DIR] [options of gpu.py, such as --out gpu.json]
#
# DIR is the folder that collect_wheels.sh made. Its packages are installed into a temporary
# directory and go before those of the node. PYTHON names another interpreter than python3.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
wheels=
if [[ ${1:-} == --wheels ]]; then
    wheels=${2:?--wheels needs a directory}
    shift 2
fi

export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
if [[ -n $wheels ]]; then
    site="$temporary/site"
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
        --target "$site" "$wheels"/*.whl
    export PYTHONPATH="$root:$site${PYTHONPATH#"$root"}"
fi

# Without a cache of compiled modules, each command compiles torch's again, for about 3 s.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$temporary/bytecode"

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv ||
    echo "gpu.sh: nvidia-smi failed; the driver and the memory of the card will be missing" >&2
"$python" -c '
import sys, torch
if not torch.cuda.is_available():
    sys.exit(f"gpu.sh: torch {torch.__version__} finds no GPU; see nvidia-smi above")
'
"$python" "$here/gpu.py" "$@"
