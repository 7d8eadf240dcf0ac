"""Benchmark of encoding a whole brain from images: 18 runs, 4 stages of 100 components, 6 delays.

    python experiments/benchmarks/whole_brain.py [--voxels 60000 200000] [--out FILE]

Writes 18 images of 410 volumes and, in a process of its own for each number of voxels, reads,
cleans, fits and scores them as `encode` does after it has computed the stages' components: random
ones here, of which 1 in 4 drives each voxel. The targets are 240 s and 3 GB for 60 000 voxels on
two cores, and 1.1 times that memory for 200 000. Writes JSON with the hardware.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from common import measure, report
from encoding import CLIP_VOLUMES, STAGES, TR_S, design, runs

from neuromusic.design.presentations import Design
from neuromusic.encoding.blocks import BlockScores, joined
from neuromusic.encoding.designs import Designs
from neuromusic.encoding.fit_rows import used_rows
from neuromusic.encoding.fits import Fits
from neuromusic.encoding.options import EncodingOptions
from neuromusic.encoding.rois import Areas
from neuromusic.encoding.subjects import SubjectBlocks, score_file
from neuromusic.encoding.voxelwise import encoding_of
from neuromusic.fmri.bold import open_run
from neuromusic.fmri.scan_series import clean_scans
from neuromusic.fmri.scans import Scans, volume_rows

SLICES = 50


def write_images(directory: Path, n_voxels: int) -> None:
    """Write one image per run, of noise with a slow drift, as integers with a scale."""
    rng = np.random.default_rng(0)
    for run in runs(rng).runs:
        n_volumes = runs(rng).runs[run].known_volumes
        values = rng.standard_normal((n_voxels, n_volumes), dtype=np.float32)
        values += np.linspace(0, 3, n_volumes, dtype=np.float32)
        shape = (n_voxels // SLICES, SLICES, 1, n_volumes)
        image = nibabel.Nifti1Image((1000 * values).astype(np.int16).reshape(shape), np.eye(4))
        image.header.set_zooms((1, 1, 1, TR_S))
        nibabel.save(image, directory / f"{run.task}-{run.run}.nii")


def encode_images(directory: Path, components: int) -> None:
    """Encode the images of a directory, as `encode` does with a subject."""
    rng = np.random.default_rng(0)
    of_runs: Design = runs(rng)
    images = {run: (directory / f"{run.task}-{run.run}.nii",) for run in of_runs.runs}
    space = open_run(next(iter(images.values()))).space
    rows = volume_rows(of_runs.runs, of_runs, {})
    division = of_runs.experiment.encoding
    scans = Scans("A", space, images, of_runs.runs, {}, rows, [], division)
    designs = {stage: design(rows, components, rng) for stage in STAGES}
    options = EncodingOptions()
    n_voxels = int(np.prod(space.shape))
    clean = clean_scans(scans, np.arange(n_voxels), directory / "work", options.high_pass_hz, "A")
    areas = Areas(["all"], np.ones(n_voxels, np.int64))
    used = used_rows(rows, designs.values(), options.high_pass_hz, TR_S)
    blocks = SubjectBlocks(Fits.of(used, Designs(designs), banded=False), clean, areas)
    for block in range(len(clean.blocks)):
        blocks.score(block)
    files = [score_file(clean.directory, block) for block in range(len(clean.blocks))]
    result = encoding_of(joined(map(BlockScores.load, files)), blocks.fits.outline, areas, "A")
    assert len(result.voxels) == n_voxels
    print(f"{n_voxels} voxels, volumes of a clip: {CLIP_VOLUMES}")


def main() -> None:
    """Measure, print one table and write it as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--voxels", type=int, nargs="+", default=[60_000, 200_000])
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--directory", type=Path, help="for the images; a temporary one by default")
    parser.add_argument("--encode", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("whole_brain.json"))
    arguments = parser.parse_args()
    if arguments.encode:
        encode_images(arguments.encode, arguments.components)
        return
    result = {}
    for n_voxels in arguments.voxels:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            write_images(Path(directory), n_voxels)
            command = [sys.executable, __file__, "--encode", directory]
            used = measure([*command, "--components", arguments.components])
        name = f"{n_voxels}_voxels"
        result |= {f"{name}_seconds": used.seconds, f"{name}_cpu_seconds": used.cpu_seconds}
        result |= {f"{name}_gigabytes": used.peak_mb / 1e3}
    report(result, {"60000_voxels_seconds": 240, "60000_voxels_gigabytes": 3}, arguments.out)


if __name__ == "__main__":
    main()
