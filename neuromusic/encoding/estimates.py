"""How long an encoding of images takes, and how much it writes: the estimates of a dry run."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from neuromusic.core.cores import available_cores
from neuromusic.core.errors import counted
from neuromusic.core.plan import Work
from neuromusic.design.presentations import Design
from neuromusic.encoding.inputs import SubjectInputs
from neuromusic.encoding.options import EncodingOptions
from neuromusic.fmri.scan_series import blocks_of

if TYPE_CHECKING:  # images are checked without torch, which takes seconds to import
    from neuromusic.models.applied import AppliedNetwork

# On one core.
SECONDS_PER_CLIP = 0.03  # besides the network
SECONDS_PER_SOUND = 0.4  # the acoustic features of a clip
SECONDS_PER_FIT = 8.0  # of one stage to a block of voxels, with 100 components and 12 runs
SECONDS_PER_VOXEL = 2e-3  # per stage
BASELINE_GROUPS = 4.3  # as many components as that many groups with the most components
BYTES_PER_CELL = 8  # of a table, as text
BYTES_PER_VOXEL = 5  # of a map


def encoding_work(
    trained: "AppliedNetwork",
    design: Design,
    opened: Mapping[str, SubjectInputs],
    options: EncodingOptions,
) -> Work:
    """Return the work of an encoding of all subjects of a design."""
    from neuromusic.encoding.designs import JOINT_COMPONENTS
    from neuromusic.training.estimates import hearing_s

    network, cores = trained.network, available_cores()
    clips = design.table().drop_duplicates("clip")
    n_clips = len(clips)
    clips_s = hearing_s(trained, n_clips, float(clips["duration_s"].max()))
    clips_s += SECONDS_PER_CLIP * n_clips / cores
    n_networks = 1 + len(trained.controls) * options.control_seeds
    n_stages = n_networks * len(network.stages) + int(options.banded)
    n_beyond = 2 * len(network.stages) - 1
    n_voxels = [len(each.voxels) for each in opened.values()]
    n_rows = max(len(each.scans.rows) for each in opened.values())
    n_fits = (n_stages + 1 + n_beyond) * len(opened)
    n_blocks = sum(len(blocks_of(n)) for n in n_voxels)
    few = min(options.components, JOINT_COMPONENTS)
    squares = n_stages * options.components**2 + (BASELINE_GROUPS**2 + n_beyond) * few**2
    fits_s = SECONDS_PER_FIT * squares / 100**2 * n_blocks
    fits_s += SECONDS_PER_VOXEL * (n_stages + 1 + n_beyond) * sum(n_voxels)
    seconds = n_networks * clips_s + (fits_s + SECONDS_PER_SOUND * n_clips) / cores
    n_columns = 6 * (n_stages + 1) + 3 * n_beyond
    space = max(each.scans.space.n_voxels for each in opened.values())
    written = sum(n_voxels) * n_columns * (BYTES_PER_CELL + BYTES_PER_VOXEL)
    written += n_columns * len(opened) * space // 100  # what is not a number compresses well
    return Work(
        f"activations of {n_clips} clips, with trained, random and permuted weights "
        f"({n_networks} networks), and their acoustic features; {n_fits} ridge regressions of "
        f"{counted(len(opened), 'subject')} with {sum(n_voxels):,} voxels",
        seconds,
        written + 4 * n_rows * max(n_voxels),
    )
