#!/bin/sh
# The README's first command, as the images run it, in the folder of the sources.
#
# DEVICE=cpu (the default): torch comes from TORCH_INDEX, the address of PyTorch's index of CPU
# wheels, unless it is installed. DEVICE=gpu: torch and its CUDA libraries come with the rest.
set -eu
cd "$(dirname "$0")/.."

requirement() { # of a package in setup.cfg, such as torch>=2.11,<2.15
    sed -n "s/^ *\($1[<>=].*\)/\1/p" setup.cfg | head -n 1
}

case "${DEVICE:-cpu}" in
cpu)
    if [ -n "${TORCH_INDEX:-}" ]; then
        pip install --index-url "$TORCH_INDEX" \
            "$(requirement torch)" "$(requirement torchvision)"
    elif ! python -c "import torch" 2>/dev/null; then
        echo "install.sh: set TORCH_INDEX to the address of PyTorch's index of CPU wheels," \
            "or DEVICE=gpu" >&2
        exit 2
    fi
    ;;
gpu) ;;
*)
    echo "install.sh: DEVICE is '$DEVICE'; expected cpu or gpu" >&2
    exit 2
    ;;
esac

# The demo also compiles the passes over spectra, so the image need not do it again.
pip install . && neuromusic demo
rm -rf neuromusic-demo build neuromusic.egg-info
