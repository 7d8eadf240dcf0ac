"""A BIDS dataset of simulated responses, with the truth that was planted; see `planted`."""

from dataclasses import asdict
from pathlib import Path

from neuromusic.core.errors import need_package
from neuromusic.core.outputs import check_target, new_directory
from neuromusic.core.progress import Say
from neuromusic.core.records import hash_inputs, is_current, record
from neuromusic.design.events import find_events
from neuromusic.fmri.simulation.dataset import write_simulation
from neuromusic.fmri.simulation.voxels import (
    Planted,
    choose_stages,
    real_sessions,
    simulated_sessions,
)
from neuromusic.training.trained import WEIGHTS, load_network

COMMAND = "fmri simulate"


def simulate(
    directory: Path, bids: Path | None, subjects: int | None, planted: Planted, seed: int,
    out: Path, say: Say,
) -> Path:  # fmt: skip
    """Make a simulated dataset for a finished run; do nothing if it is there and unchanged.

    With the timing of ``bids``, or of the order in the run's prepared set (then 1 subject without
    ``subjects``). Raises InputError as `write_simulation`.
    """
    need_package("nilearn", "fmri")
    run = load_network(directory)
    check_target(out, COMMAND)
    if bids is None:
        sessions = simulated_sessions(run, subjects or 1)
        files = [run.prepared / "presentations.tsv"]
    else:
        sessions = real_sessions(bids, subjects)
        files = [file.path for file in find_events(bids)]
    settings = {**asdict(planted), "subjects": subjects, "seed": seed}
    made = record(COMMAND, settings, hash_inputs([directory / WEIGHTS, *files]))
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        write_simulation(run, sessions, planted, seed, part)
    n_subjects = len({session.subject for session in sessions})
    stages = choose_stages(run, planted.stages)
    say(
        f"wrote {out}: {n_subjects} subjects, {len(sessions)} runs of {sessions[0].n_vol} volumes; "
        f"{planted.voxels} voxels for each of {', '.join(stages)}, {planted.noise_voxels} of noise"
    )
    return out
