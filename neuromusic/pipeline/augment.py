"""TODO: docstring."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.core.files import sha256, write_text
from neuromusic.core.outputs import kept, locked
from neuromusic.core.progress import Say, track
from neuromusic.core.records import hash_inputs, record, write_record
from neuromusic.design.lists import LIST_FILES, read_lists
from neuromusic.stimuli import audio
from neuromusic.stimuli.variants import VARIANTS, variant_file_name


def write_variants(lists: Path, seed: int, workers: int, say: Say) -> Path:
    """Write the nine variants of every training clip as wav beside it, and variants.tsv."""
    from neuromusic.core.parallel import Machine, run_calls
    from neuromusic.design.lists import unique_clips
    from neuromusic.features.build import clip_calls

    table = read_lists(lists)
    clips = unique_clips(table[table["path"].notna() & (table["split"] == "train")])
    clips = clips[clips["split"] == "train"]
    if clips.empty:
        raise InputError(f"{lists}: has no training clips to augment")
    rows: list[dict[str, Any]] = []
    calls = clip_calls(clips, lists, seed)
    target = lists / "variants.tsv"
    text = f"{target} is not there before all variants are; the same command writes them anew"
    with locked(target), kept(lists, lists, text):
        target.unlink(missing_ok=True)
        results = run_calls(_write_clip_variants, calls, Machine(workers))
        bar = track(results, "augment", len(clips))
        for row, made in zip(clips.itertuples(), bar, strict=True):
            for variant, parameters in enumerate(made, start=1):
                rows.append(
                    {
                        "path": variant_file_name(row.path, variant),
                        "clip": row.clip,
                        "variant": variant,
                        "name": VARIANTS[variant],
                        "parameters": json.dumps(parameters),
                        "seed": seed,
                    }
                )
        sources = hash_inputs([lists / LIST_FILES["train"]])
        listed = pd.DataFrame(rows).to_csv(sep="\t", index=False)
        outputs = {row["path"]: sha256(lists / row["path"]) for row in rows}
        outputs[target.name] = hashlib.sha256(listed.encode()).hexdigest()
        write_record(
            lists,
            record("augment", {"seed": seed}, sources) | {"outputs": outputs},
            "variants.provenance.json",
        )
        write_text(target, listed)  # the last thing: where it is, all is
    say(f"wrote {len(rows)} variants of {len(clips)} clips into {lists}, listed in variants.tsv")
    return lists


def _write_clip_variants(path: Path, clip: str, n_variants: int, seed: int) -> list[dict[str, Any]]:
    from neuromusic.features.worker import variant_waves

    drawn = []
    for variant, (wave, parameters) in enumerate(variant_waves(path, clip, n_variants, seed)):
        if variant == 0:
            continue
        target = path.with_name(variant_file_name(path.name, variant))
        part = target.with_name(f".{target.stem}.partial.wav")
        part.unlink(missing_ok=True)  # it may be a link to elsewhere
        audio.write(part, wave.numpy())
        part.replace(target)
        drawn.append(parameters)
    return drawn
