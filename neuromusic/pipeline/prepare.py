"""Turn stimulus lists and their sound, or precomputed log-mel, into a prepared set."""

import contextlib
import logging
from pathlib import Path

from neuromusic.core.cores import available_cores
from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import as_path, checksum
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.parallel import Machine
from neuromusic.core.plan import Work
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design.lists import listed_files
from neuromusic.features.frontends.base import STAGES, FrontEnd
from neuromusic.features.prepared import PreparedSet, open_prepared
from neuromusic.stimuli.channels import Channel, channel_setting, check_channel

log = logging.getLogger(__name__)

COMMAND = "prepare"
# Seconds per row of 15 s on one core, the variant included, and what a GPU does.
SECONDS_PER_ROW = {"logmel": 0.05, "cochleagram": 0.1, "modulation": 0.1, "scattering": 0.5,
                   STAGES: 0.5}  # fmt: skip
GPU_ROWS_PER_S = 100
START_S = 5.0


def prepare(
    lists: str | Path,
    *,
    out: str | Path,
    front_end: str | FrontEnd = "logmel",
    waves: bool = False,
    seed: int = 0,
    channel: Channel = "mix",
    machine: Machine | None = None,
    overwrite: bool = False,
) -> PreparedSet:
    """Compute the features of every clip in stimulus lists, training clips in ten variants.

    An interrupted preparation continues after its last complete clip. For features that were
    computed elsewhere use `prepare_features` (log-mel) or `prepare_folder` (anything in time).

    Parameters
    ----------
    lists : str or Path
        Directory of stimulus lists, made by `make_lists` or `make_file_lists`.
    out : str or Path
        Output directory.
    front_end : {"logmel", "cochleagram", "modulation", "scattering"} or front end
        Front end. Its features have one value per band (or channel and band) and frame: in dB, and
        every 23 ms (logmel, cochleagram) or 93 ms (modulation, scattering). `stages_front_end`
        gives one that computes the stages of a network.
    waves : bool
        Keep the samples as well (int16, 22 050 Hz), for networks that take waves.
    seed : int
        Seed of the variants. Each is drawn from (seed, clip, variant), so the result does not
        depend on the number of workers.
    channel : {"mix", "left", "right"}
        Which channel of the sounds is used: their mean, or the first or second one.
    machine : Machine, optional
        Processes, device or Dask cluster; one process per available core by default.
    overwrite : bool
        Replace a set in ``out`` that was made with other settings or from other sounds.

    Returns
    -------
    PreparedSet
        Features (rows, channels x bands, frames) float16; a row is one variant of one clip.

    Raises
    ------
    InputError
        If ``lists`` contains no stimulus lists, a sound cannot be used, or ``out`` contains
        something else.

    Examples
    --------
    >>> import neuromusic as nm
    >>> prepared = nm.prepare("file_lists", out="prepared_files", machine=nm.Machine(workers=1))
    >>> prepared
    PreparedSet('prepared_files': 210 rows of 30 clips, logmel 128 x 646, 10 classes)
    """
    from neuromusic.features.build import (
        Recipe,
        prepare_audio,
        restoring_torch_threads,
        set_shape,
    )
    from neuromusic.features.frontends.base import describe
    from neuromusic.features.frontends.base import front_end as front_end_named

    lists, out = as_path(lists), as_path(out)
    machine = machine or Machine(available_cores())
    check_target(out, COMMAND)
    check_channel(channel)
    spec = front_end_named(front_end) if isinstance(front_end, str) else front_end
    files = listed_files(lists)
    # Before the hashes, so that a file that changes while the work goes on is noticed.
    checksums = {path: checksum(path) for path in files}
    settings, places = arguments(lists=lists, front_end=spec.name, waves=waves, seed=seed)
    settings["front_end_settings"] = describe(spec)
    settings |= channel_setting(channel)
    if machine.device != "cpu":  # other bytes, within rounding
        settings["machine"] = {"device": machine.device}
    inputs = hash_inputs(files)
    shape, n_samples = set_shape(lists, spec)
    step = Step(
        COMMAND, out, settings, inputs, places, machine.device, function="prepare",
        overwrite=overwrite, work=_work(spec.name, shape, n_samples if waves else 0, machine),
    )  # fmt: skip
    if step.is_done():
        return open_prepared(out)
    threads = restoring_torch_threads() if machine.is_this_process else contextlib.nullcontext()
    recipe = Recipe(spec, waves, seed, channel)
    with step.directory(keep=True) as directory, threads:
        silent, hashes = prepare_audio(lists, directory, recipe, checksums, machine)
        step.hashes.update(hashes)
    if silent:
        log.warning("silent, so not used for training: %s", listed(silent))
    return log_and_open(out)


def _work(front_end: str, shape: tuple[int, ...], n_samples: int, machine: Machine) -> Work:
    n_rows, n_bands, n_frames = shape
    rows_per_s = GPU_ROWS_PER_S if machine.device == "cuda" else 1 / SECONDS_PER_ROW[front_end]
    return Work(
        f"{front_end} of {n_rows} rows, each {n_bands} x {n_frames}",
        START_S + n_rows / rows_per_s / machine.workers,
        2 * n_rows * (n_bands * n_frames + n_samples),
    )


def prepare_features(
    train: str | Path,
    *,
    out: str | Path,
    test: str | Path | None = None,
    front_end: str = "logmel",
    overwrite: bool = False,
) -> PreparedSet:
    """Make a prepared set from log-mel features that were computed elsewhere.

    Parameters
    ----------
    train : str or Path
        ``.npz`` with features (clips, bands, frames) in dB, clip, genre and frame_s, and run and
        trial if the clips are part of scanner runs.
    out : str or Path
        Output directory.
    test : str or Path, optional
        The same for the test clips.
    front_end : {"logmel", "modulation"}
        Use the features as they are, or their spectro-temporal modulation.
    overwrite : bool
        Replace a set in ``out`` that was made with other settings or from other files.

    Returns
    -------
    PreparedSet
        One row per clip, without variants.

    Raises
    ------
    InputError
        If a file is missing or is not such a file, or ``out`` contains something else.

    Examples
    --------
    >>> import neuromusic as nm
    >>> prepared = nm.prepare_features("train.npz", test="test.npz", out="prepared_npz")
    >>> prepared
    PreparedSet('prepared_npz': 50 rows of 50 clips, logmel 64 x 97, 10 classes)
    """
    from neuromusic.features import precomputed

    train, out = as_path(train), as_path(out)
    test = as_path(test) if test is not None else None
    check_target(out, COMMAND)
    files = [path for path in (train, test) if path is not None]
    for path in files:
        if not path.is_file():
            raise InputError(f"{path}: no such file; expected an .npz with log-mel features")
    settings, places = arguments(train=train, test=test, front_end=front_end)
    parts = precomputed.read_parts(train, test)
    n_rows, n_bands, n_frames = precomputed.set_shape(parts, front_end)
    step = Step(
        COMMAND, out, settings, hash_inputs(files), places, function="prepare_features",
        overwrite=overwrite,
        work=Work(f"{front_end} of {n_rows} clips", n_rows / 200, 2 * n_rows * n_bands * n_frames),
    )  # fmt: skip
    if step.is_done():
        return open_prepared(out)
    with step.directory() as directory:
        precomputed.prepare_features(parts, directory, front_end)
    return log_and_open(out)


def log_and_open(out: Path) -> PreparedSet:
    """Open the new set and log what it contains."""
    prepared = open_prepared(out)
    clips = prepared.rows.drop_duplicates("clip")["split"].value_counts().to_dict()
    counts = ", ".join(f"{n} {split} clips" for split, n in clips.items())
    shape = prepared.features.shape[1:]
    log.info("wrote %s: %d rows of %s from %s", out, len(prepared.rows), shape, counts)
    return prepared
