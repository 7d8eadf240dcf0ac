"""Cut the clips of an experiment out of their tracks."""

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neuromusic.core.errors import InputError, listed
from neuromusic.core.files import as_path
from neuromusic.core.folders import check_present
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.plan import Work
from neuromusic.core.progress import track
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design import events
from neuromusic.stimuli import audio, clips
from neuromusic.stimuli.channels import Channel, channel_setting, check_channel

log = logging.getLogger(__name__)

COMMAND = "stimuli cut"
CLIPS_PER_S = 50
BYTES_PER_S = 2 * audio.RATE_HZ  # of 16-bit sound


def cut_clips(
    *, tracks: str | Path, bids: str | Path, out: str | Path, channel: Channel = "mix",
    overwrite: bool = False,
) -> Path:  # fmt: skip
    """Cut all clips that the events of a BIDS dataset name out of their tracks.

    Clips get quarter-sine fades of 2 s and are scaled to the mean RMS of the set. They are written
    as 16-bit wav to one folder per genre.

    Parameters
    ----------
    tracks : str or Path
        Folder of the tracks, at any depth.
    bids : str or Path
        BIDS dataset whose events give the track, start and end of each clip.
    out : str or Path
        Output directory.
    channel : {"mix", "left", "right"}
        Which channel of the sounds is used: their mean, or the first or second one.
    overwrite : bool
        Replace clips in ``out`` that were cut with other settings or from other files.

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
    tracks, bids, out = as_path(tracks), as_path(bids), as_path(out)
    check_target(out, COMMAND)
    check_channel(channel)
    cuts, events_files = events.cut_list(bids)
    files = clips.find_tracks(tracks)
    missing = sorted(set(cuts["track"]) - set(files))
    if missing:
        raise InputError(
            f"{tracks}: {len(missing)} of {cuts['track'].nunique()} tracks are missing: "
            f"{listed(missing)}; add them"
        )
    settings, places = arguments(tracks=tracks, bids=bids)
    settings |= channel_setting(channel)
    sources = {files[name] for name in cuts["track"]}
    check_present(sorted(sources))
    inputs = hash_inputs([*sources, *events_files])
    played_s = float((cuts["end_s"] - cuts["start_s"]).sum())
    step = Step(
        COMMAND, out, settings, inputs, places, function="cut_clips", overwrite=overwrite,
        work=Work(f"{len(cuts)} clips", len(cuts) / CLIPS_PER_S, round(played_s * BYTES_PER_S)),
    )  # fmt: skip
    if step.is_done():
        return out
    with step.directory() as directory:
        waves = {
            row.clip: clips.cut_clip(files[row.track], row.start_s, row.end_s, channel)
            for row in track(cuts.itertuples(), "cut", len(cuts))
        }
        rms = float(np.mean([np.sqrt(np.mean(wave**2)) for wave in waves.values()]))
        limited = _write_clips(waves, rms, directory)
    log.info("cut %d clips to the set's mean RMS of %.4f into %s", len(cuts), rms, out)
    if limited:
        log.warning(
            "%d clips are quieter than that, because their peaks would clip: %s",
            len(limited),
            listed(limited),
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
