"""Write the variants of training clips as sound files, for other programs or to listen to."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from neuromusic.core.cores import available_cores
from neuromusic.core.errors import InputError
from neuromusic.core.files import as_path, sha256, write_text
from neuromusic.core.outputs import add_resume_note, is_up_to_date, locked, remove_recorded
from neuromusic.core.parallel import Machine, run_calls
from neuromusic.core.plan import Work, begin
from neuromusic.core.progress import track
from neuromusic.core.records import arguments, hash_inputs, record, write_record
from neuromusic.design.lists import LIST_FILES, read_lists, unique_clips
from neuromusic.features import PRELOAD
from neuromusic.stimuli import audio
from neuromusic.stimuli.channels import Channel, channel_setting, check_channel
from neuromusic.stimuli.variants import VARIANTS, variant_file_name

log = logging.getLogger(__name__)

TABLE = "variants.tsv"
SECONDS_PER_VARIANT = 0.1  # of a clip of 15 s, on one core
RECORD = "variants.provenance.json"


def augment(
    lists: str | Path,
    *,
    seed: int = 0,
    channel: Channel = "mix",
    machine: Machine | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the nine variants of every training clip as wav files next to the clip.

    They are listed in ``variants.tsv``, with the parameters of each. `prepare` does not need them:
    it computes the same variants from the same seed, without files.

    Parameters
    ----------
    lists : str or Path
        Directory of stimulus lists; the files are added to it.
    seed : int
        Seed of the variants. Each is drawn from (seed, clip, variant), so the result does not
        depend on the number of workers.
    channel : {"mix", "left", "right"}
        Which channel of the sounds is used: their mean, or the first or second one.
    machine : Machine, optional
        Processes or Dask cluster, always on the CPU; one process per available core by default.
    overwrite : bool
        Replace variants that were made with another seed or from other lists.

    Returns
    -------
    Path
        The directory of the lists.

    Raises
    ------
    InputError
        If ``lists`` contains no stimulus lists or no training clips, a sound cannot be used, or
        there are other variants and ``overwrite`` is False.

    Examples
    --------
    >>> import neuromusic as nm
    >>> lists = nm.augment("file_lists", machine=nm.Machine(workers=1))
    >>> len(list(lists.glob("*/*_v3-stretch.wav")))
    20
    """
    lists = as_path(lists)
    machine = machine or Machine(available_cores())
    check_channel(channel)
    clips = _training_clips(lists)
    settings, places = arguments(lists=lists, seed=seed)
    settings |= channel_setting(channel)
    inputs = hash_inputs([lists / LIST_FILES["train"]])
    content = record("augment", settings, inputs, places=places) | {"function": "augment"}
    if is_up_to_date(lists, content, RECORD, overwrite):
        log.info("%s is up to date: the lists and the settings are unchanged", lists / TABLE)
        return lists
    files = [lists / path for path in clips["path"]]
    begin(lists / TABLE, _work(files, machine), files)
    root = lists.absolute() if machine.dask else lists  # workers may have another directory
    calls = ((root / row.path, row.clip, seed, channel) for row in clips.itertuples())
    target = lists / TABLE
    note = f"{target} is missing until all variants are written; the same command writes all again"
    with locked(target), add_resume_note(lists, lists, note):
        target.unlink(missing_ok=True)
        remove_recorded(lists, RECORD)
        results = run_calls(_write_clip_variants, calls, machine, PRELOAD)
        drawn = list(track(results, "augment", len(clips)))
        table = _variant_table(clips, drawn, seed)
        text = table.to_csv(sep="\t", index=False, lineterminator="\n")
        outputs = {path: sha256(lists / path) for path in table["path"]}
        outputs[TABLE] = hashlib.sha256(text.encode()).hexdigest()
        write_text(target, text)  # if the table exists, all variants do
        write_record(lists, content | {"outputs": outputs}, RECORD)
    log.info(
        "wrote %d variants of %d clips into %s, listed in %s", len(table), len(clips), lists, TABLE
    )
    return lists


def _work(files: list[Path], machine: Machine) -> Work:
    n = len(files) * (len(VARIANTS) - 1)
    durations_s = sum(audio.duration_s(path) for path in files)
    return Work(
        f"{n} variants of {len(files)} clips",
        n * SECONDS_PER_VARIANT / machine.workers,
        round(durations_s * 2 * audio.RATE_HZ * (len(VARIANTS) - 1)),
    )


def _training_clips(lists: Path) -> pd.DataFrame:
    """Return one row per training clip; raise InputError if there is none."""
    table = read_lists(lists)
    clips = unique_clips(table[table["path"].notna() & (table["split"] == "train")])
    clips = clips[clips["split"] == "train"]  # without the dropped ones
    if clips.empty:
        raise InputError(f"{lists}: has no training clips to augment")
    return clips


def _write_clip_variants(
    path: Path, clip: str, seed: int, channel: Channel
) -> list[dict[str, Any]]:  # fmt: skip
    """Write the variants of one clip next to it; return the parameters of each."""
    from neuromusic.features.worker import variant_waves

    drawn = []
    variants = variant_waves(audio.read(path, channel=channel), clip, len(VARIANTS), seed)
    for variant, (wave, parameters) in enumerate(variants):
        if variant == 0:
            continue
        target = path.with_name(variant_file_name(path.name, variant))
        part = target.with_name(f".{target.stem}.partial.wav")
        part.unlink(missing_ok=True)  # it may be a link to a file elsewhere
        audio.write(part, wave.numpy())
        part.replace(target)
        drawn.append(parameters)
    return drawn


def _variant_table(
    clips: pd.DataFrame, drawn: list[list[dict[str, Any]]], seed: int
) -> pd.DataFrame:
    """Return the content of variants.tsv, one row per clip and variant."""
    rows = [
        {
            "path": variant_file_name(row.path, variant),
            "clip": row.clip,
            "variant": variant,
            "name": VARIANTS[variant],
            "parameters": json.dumps(parameters),
            "seed": seed,
        }
        for row, clip_parameters in zip(clips.itertuples(), drawn, strict=True)
        for variant, parameters in enumerate(clip_parameters, start=1)
    ]
    return pd.DataFrame(rows)
