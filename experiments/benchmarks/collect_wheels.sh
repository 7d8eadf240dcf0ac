#!/usr/bin/env bash
# Download the packages that a GPU node lacks, for gpu.sh: Python 3.12, Linux, x86-64.
#
#   experiments/benchmarks/collect_wheels.sh [DIR]      (default: wheels)
#
# The node has torch, torchaudio, torchvision, Lightning, numba, pandas, SciPy, scikit-learn,
# matplotlib, click and rich, so dependencies are not downloaded. Fails above 50 MB.
set -euo pipefail

out=${1:-wheels}
most_mb=50
python=${PYTHON:-python3}
platforms=(--platform manylinux1_x86_64 --platform manylinux2014_x86_64)
for minor in 17 24 27 28 31 34 35; do
    platforms+=(--platform "manylinux_2_${minor}_x86_64")
done
download=(
    "$python" -m pip download --quiet --dest "$out" --only-binary :all:
    --python-version 3.12 --implementation cp "${platforms[@]}"
)

mkdir -p "$out"
# neuromusic's own with the limits of setup.cfg, then what soundfile needs, and librosa (for the
# baselines) with what it needs
"${download[@]}" --no-deps \
    'soundfile<1' 'soxr<2' 'nibabel<6' 'h5py<4' 'tomli-w<2' 'safetensors<1' 'filelock>=3.30,<4' \
    'python-calamine<1' 'himalaya>=0.4.6,<1' \
    cffi pycparser \
    'librosa==0.11.*' audioread lazy-loader msgpack decorator pooch platformdirs
# pydantic needs exactly one version of pydantic-core, which pip chooses
"${download[@]}" 'pydantic>=2.7,<3'

size_mb=$(du -sm "$out" | cut -f1)
echo "$(find "$out" -name '*.whl' | wc -l) wheels, $size_mb MB in $out"
if ((size_mb > most_mb)); then
    echo "collect_wheels.sh: more than $most_mb MB" >&2
    exit 1
fi
