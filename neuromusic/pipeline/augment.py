"""Write the variants of training clips as sound files, for other programs or to listen to."""

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import sha256, write_text
from neuromusic.core.outputs import add_resume_note, locked
from neuromusic.core.parallel import Machine, available_cores, run_calls
from neuromusic.core.progress import track
from neuromusic.core.records import arguments, hash_inputs, record, write_record
from neuromusic.design.lists import LIST_FILES, read_lists, unique_clips
from neuromusic.features import PRELOAD
from neuromusic.stimuli import audio
from neuromusic.stimuli.variants import VARIANTS, variant_file_name

log = logging.getLogger(__name__)

TABLE = "variants.tsv"
RECORD = "variants.provenance.json"


def augment(lists: str | Path, *, seed: int = 0, machine: Machine | None = None) -> Path:
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
    machine : Machine, optional
        Processes or Dask cluster, always on the CPU; one process per available core by default.

    Returns
    -------
    Path
        The directory of the lists.

    Raises
    ------
    InputError
        If ``lists`` contains no stimulus lists or no training clips, or a sound cannot be used.

    Examples
    --------
    >>> import neuromusic as nm
    >>> lists = nm.augment("file_lists", machine=nm.Machine(workers=1))
    >>> len(list(lists.glob("*/*_v3-stretch.wav")))
    20
    """
    lists = Path(lists)
    machine = machine or Machine(available_cores())
    clips = _training_clips(lists)
    root = lists.absolute() if machine.dask else lists  # workers may have another directory
    calls = ((root / row.path, row.clip, seed) for row in clips.itertuples())
    target = lists / TABLE
    note = f"{target} is missing until all variants are written; the same command writes all again"
    with locked(target), add_resume_note(lists, lists, note):
        target.unlink(missing_ok=True)
        results = run_calls(_write_clip_variants, calls, machine, PRELOAD)
        drawn = list(track(results, "augment", len(clips)))
        table = _variant_table(clips, drawn, seed)
        text = table.to_csv(sep="\t", index=False)
        outputs = {path: sha256(lists / path) for path in table["path"]}
        outputs[TABLE] = hashlib.sha256(text.encode()).hexdigest()
        settings, places = arguments(lists=lists, seed=seed)
        inputs = hash_inputs([lists / LIST_FILES["train"]])
        content = record("augment", settings, inputs, places=places)
        write_record(lists, content | {"function": "augment", "outputs": outputs}, RECORD)
        write_text(target, text)  # last: if the table exists, all variants do
    log.info(
        "wrote %d variants of %d clips into %s, listed in %s", len(table), len(clips), lists, TABLE
    )
    return lists


def _training_clips(lists: Path) -> pd.DataFrame:
    """Return one row per training clip; raise InputError if there is none."""
    table = read_lists(lists)
    clips = unique_clips(table[table["path"].notna() & (table["split"] == "train")])
    clips = clips[clips["split"] == "train"]  # without the dropped ones
    if clips.empty:
        raise InputError(f"{lists}: has no training clips to augment")
    return clips


def _write_clip_variants(path: Path, clip: str, seed: int) -> list[dict[str, Any]]:
    """Write the variants of one clip next to it; return the parameters of each."""
    from neuromusic.features.worker import variant_waves

    drawn = []
    for variant, (wave, parameters) in enumerate(variant_waves(path, clip, len(VARIANTS), seed)):
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
