"""Cut the clips of an experiment out of their tracks."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.progress import track
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design import events
from neuromusic.stimuli import audio, clips

log = logging.getLogger(__name__)

COMMAND = "stimuli cut"


def cut_clips(*, tracks: str | Path, bids: str | Path, out: str | Path) -> Path:
    """Cut all clips that the events of a BIDS dataset name out of their tracks.

    Clips get quarter-sine fades of 2 s and are scaled to the mean RMS of the set. They are written
    as 16-bit wav to one folder per genre.

    Parameters
    ----------
    tracks : str or Path
        Folder of the tracks (wav, au, flac, mp3 or ogg), at any depth.
    bids : str or Path
        BIDS dataset whose events give the track, start and end of each clip.
    out : str or Path
        Output directory.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    InputError
        If tracks are missing or too short, two events cut the same clip at different places, or
        ``out`` contains something else.

    Examples
    --------
    >>> import shutil
    >>> from pathlib import Path
    >>> import neuromusic as nm
    >>> Path("tracks").mkdir()
    >>> for clip in Path("clips").iterdir():
    ...     _ = shutil.copy(clip, Path("tracks", clip.name.replace("_15s", "")))
    >>> func = Path("one_run/sub-A/func")
    >>> func.mkdir(parents=True)
    >>> _ = shutil.copy("bids/sub-A/func/sub-A_task-Training_run-01_events.tsv", func)
    >>> cut = nm.cut_clips(tracks="tracks", bids="one_run", out="cut_clips")
    >>> len(list(cut.rglob("*.wav")))  # ten trials and the dummy
    11
    """
    tracks, bids, out = Path(tracks), Path(bids), Path(out)
    check_target(out, COMMAND)
    cuts = events.cut_list(bids)
    files = clips.find_tracks(tracks)
    missing = sorted(set(cuts["track"]) - set(files))
    if missing:
        raise InputError(
            f"{tracks}: {len(missing)} of {cuts['track'].nunique()} tracks are missing: "
            f"{', '.join(missing)}; add them"
        )
    settings, places = arguments(tracks=tracks, bids=bids)
    sources = {files[name] for name in cuts["track"]}
    inputs = hash_inputs([*sources, *(file.path for file in events.find_events(bids))])
    step = Step(COMMAND, out, settings, inputs, places, function="cut_clips")
    if step.is_done():
        return out
    with step.directory() as directory:
        waves = {
            row.clip: clips.cut_clip(files[row.track], row.start_s, row.end_s)
            for row in track(cuts.itertuples(), "cut", len(cuts))
        }
        rms = float(np.mean([np.sqrt(np.mean(wave**2)) for wave in waves.values()]))
        limited = _write_clips(waves, rms, directory)
    log.info("cut %d clips to the set's mean RMS of %.4f into %s", len(cuts), rms, out)
    if limited:
        log.warning(
            "%d clips are quieter than that, because their peaks would clip: %s",
            len(limited),
            ", ".join(limited),
        )
    return out


def _write_clips(
    waves: dict[str, NDArray[np.float64]], rms: float, directory: Path
) -> list[str]:  # fmt: skip
    """Scale the clips to ``rms`` and write them; return those whose peaks do not allow it."""
    limited = []
    for clip, wave in waves.items():
        scaled, is_limited = clips.set_rms(wave, rms)
        if is_limited:
            limited.append(clip)
        folder = directory / clip.split(".")[0]
        folder.mkdir(exist_ok=True)
        audio.write(folder / clip, scaled)
    return limited
