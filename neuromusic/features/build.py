"""Build a prepared set from stimulus lists and their sound files."""

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine, run_calls
from neuromusic.core.progress import track
from neuromusic.design.lists import DROPPED, OF_EVENTS, read_lists, unique_clips
from neuromusic.features import PRELOAD, prepared
from neuromusic.features.frontends.base import FrontEnd
from neuromusic.features.meta import SetMeta
from neuromusic.features.worker import BATCH, ClipTask, WorkerSettings, prepare_batch, prepare_clip
from neuromusic.features.writer import Journal, Row, Shape
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import Channel
from neuromusic.stimuli.variants import VARIANTS


@dataclass(frozen=True)
class Recipe:
    """How sounds become features: front end, whether samples are kept, seed, channel."""

    front_end: FrontEnd
    keep_waves: bool
    seed: int
    channel: Channel


def prepare_audio(
    lists: Path, directory: Path, recipe: Recipe, checksums: Mapping[Path, int], machine: Machine
) -> tuple[list[str], dict[str, str]]:
    """Write the features of every clip in stimulus lists, training clips in ten variants.

    If samples are kept, they are written too. Each sound file is read once, and no sound
    file is written.
    Clips that an interrupted call completed in ``directory`` are kept; see `writer.Journal`. Clips
    marked as missing in the lists (path n/a) are left out. The ``checksums`` of the sound files
    must have been taken before their hashes.

    Returns the names of silent variants, which are stored but never used for training, and the
    hashes of the arrays. Raises InputError if a sound file cannot be used.
    """
    spec, keep_waves = recipe.front_end, recipe.keep_waves
    table = read_lists(lists)
    clips = listed_clips(lists, table)
    shape, n_samples = set_shape(lists, spec)
    n_rows = shape[0]
    with Journal(directory, shape, (n_rows, n_samples) if keep_waves else None) as journal:
        settings = WorkerSettings(
            spec, keep_waves, recipe.seed, machine.device, n_samples, journal.files, recipe.channel
        )
        # Dask workers may have another working directory.
        root = lists.absolute() if machine.dask else lists
        tasks = _tasks(clips, root, [checksums[lists / path] for path in clips["path"]])
        done = len(journal.clips)
        results = _prepare(tasks, settings, done, machine)
        bar = track(results, "prepare", len(clips), done)
        for path, (row_checksums, rows) in zip(clips["path"].iloc[done:], bar, strict=True):
            if rows[0]["silent"]:
                raise InputError(
                    f"{lists / path}: is too quiet ({spec.name} is at its floor of {spec.floor:g} "
                    "throughout); make it louder or remove it"
                )
            journal.add(row_checksums, rows)
    set_rows = [
        {**clip, **row}
        for clip, rows in zip(clips.to_dict("records"), journal.clips, strict=True)
        for row in rows
    ]
    prepared.write_tables(
        directory,
        pd.DataFrame(set_rows).reset_index(names="row"),
        SetMeta.of_front_end("audio", spec, sorted(set(clips["genre"])), recipe.channel),
        listed_presentations(table),
    )
    silent = [f"{row['clip']} ({row['name']})" for row in set_rows if row["silent"]]
    return silent, journal.hashes


def set_shape(lists: Path, spec: FrontEnd) -> tuple[Shape, int]:
    """Return the shape of the features of all listed clips, and the samples of the longest clip."""
    clips = listed_clips(lists, read_lists(lists))
    longest_s = max(audio.duration_s(lists / path) for path in clips["path"])
    n_samples = int(np.ceil(longest_s * audio.RATE_HZ))
    n_rows = int(clips["split"].map(_n_variants).sum())
    return (n_rows, spec.n_channels * spec.n_bands, spec.n_frames(n_samples)), n_samples


def listed_clips(lists: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return one row per clip; raise InputError if none of them exists."""
    clips = unique_clips(table[table["path"].notna()])
    if clips.empty:
        raise InputError(f"{lists}: none of the listed clips exists; make the lists again")
    return clips


def _n_variants(split: str) -> int:
    """Return the number of variants of a clip; only training clips are augmented."""
    return len(VARIANTS) if split == "train" else 1


def _tasks(clips: pd.DataFrame, root: Path, checksums: list[int]) -> list[ClipTask]:
    """Return one task per clip; their rows are consecutive, in the order of the clips."""
    tasks = []
    first_row = 0
    for row, crc in zip(clips.itertuples(), checksums, strict=True):
        n_variants = _n_variants(str(row.split))
        tasks.append(ClipTask(root / str(row.path), str(row.clip), n_variants, first_row, crc))
        first_row += n_variants
    return tasks


def _prepare(
    tasks: list[ClipTask], settings: WorkerSettings, done: int, machine: Machine
) -> Iterator[tuple[list[int], list[Row]]]:
    """Yield the result of each task after the first ``done``: of `prepare_clip`, in batches."""
    if machine.device == "cpu":
        calls = ((task, settings) for task in tasks[done:])
        yield from run_calls(prepare_clip, calls, machine, PRELOAD)
        return
    # The batches of a preparation that is continued are the same, so its bytes are too.
    first = done - done % BATCH
    starts = range(first, len(tasks), BATCH)
    batches = ((tasks[start : start + BATCH], settings) for start in starts)
    results = itertools.chain.from_iterable(run_calls(prepare_batch, batches, machine, PRELOAD))
    yield from itertools.islice(results, done - first, None)


def listed_presentations(lists: pd.DataFrame) -> pd.DataFrame | None:
    """Return the presentations in scanner runs; None if the clips are not part of a scanner run.

    Folds of a corpus have a run, but no trials. Lists from order files have none of OF_EVENTS.
    """
    if not lists["trial"].notna().any():
        return None
    empty = [name for name in OF_EVENTS if lists[name].isna().all()]
    return lists.drop(columns=["path", DROPPED, *empty])


@contextlib.contextmanager
def restoring_torch_threads() -> Iterator[None]:
    """Restore torch's number of threads on exit; `worker.variant_waves` sets it to one."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
