"""TODO: docstring."""

from pathlib import Path

import numpy as np

from neuromusic.core.errors import InputError
from neuromusic.core.outputs import new_directory
from neuromusic.core.progress import Say, track
from neuromusic.core.records import hash_inputs, is_current, record
from neuromusic.design import events
from neuromusic.stimuli import audio, clips


def cut_clips(tracks: Path, bids: Path, out: Path, say: Say) -> Path:
    """Cut every clip that the events name out of its track; see `stimuli.cut_clip`."""
    cuts = events.cut_list(bids)
    found = clips.find_tracks(tracks)
    absent = sorted(set(cuts["track"]) - set(found))
    if absent:
        raise InputError(
            f"{tracks}: lacks {len(absent)} of {cuts['track'].nunique()} tracks: "
            f"{', '.join(absent)}"
        )
    wanted = {found[name] for name in cuts["track"]}
    made = record("stimuli cut", {"fade_s": clips.FADE_S}, hash_inputs(wanted))
    if is_current(out, made):
        say(f"{out} is there already and unchanged")
        return out
    with new_directory(out, made) as part:
        waves = {}
        for row in track(cuts.itertuples(), "cut", len(cuts)):
            waves[row.clip] = clips.cut_clip(found[row.track], row.start_s, row.end_s)
        rms = float(np.mean([np.sqrt(np.mean(wave**2)) for wave in waves.values()]))
        limited = []
        for clip, wave in waves.items():
            scaled, is_limited = clips.set_rms(wave, rms)
            if is_limited:
                limited.append(clip)
            folder = part / clip.split(".")[0]
            folder.mkdir(exist_ok=True)
            audio.write(folder / clip, scaled)
    say(f"cut {len(cuts)} clips to the set's mean RMS of {rms:.4f} into {out}")
    if limited:
        say(f"{len(limited)} clips stay softer, or they would clip: {', '.join(limited)}")
    return out
