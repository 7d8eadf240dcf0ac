"""What a simulated subject is presented with: sessions from a prepared set or real events."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.design import grid
from neuromusic.design.events import find_events
from neuromusic.design.orders import Split, check_clip_name
from neuromusic.features.prepared import open_prepared
from neuromusic.fmri.activations import run_trials

TRIAL_COLUMNS = ["trial", "repeat", "volume", "genre", "clip"]
EVENT_COLUMNS = {
    "genre": "Genre of the clip, in quotes",
    "track": "Number of the track in its genre, from 0",
    "start": "Start of the clip in its track, in seconds",
    "end": "End of the clip in its track, in seconds",
}


@dataclass(frozen=True)
class Session:
    """One run of one subject: its presentations, and its events.tsv as bytes."""

    subject: str
    split: Split
    run: int
    trials: pd.DataFrame  # see activations.run_trials
    events: bytes

    @property
    def n_volumes(self) -> int:
        """Number of volumes of the run, including the dummy's."""
        return int(self.trials["volume"].iat[-1]) + grid.VOLUMES_PER_CLIP


def sessions_from_prepared(prepared: Path, n_subjects: int) -> list[Session]:
    """Return the runs in a prepared set, the same for every subject.

    Raises InputError if the set has no runs.
    """
    presentations = open_prepared(prepared).presentations
    if presentations is None or presentations["trial"].isna().any():
        raise InputError(
            f"{prepared}: contains no scanner runs; name a dataset with events (bids), or use a "
            "network that was trained on a set prepared from order files"
        )
    sessions = []
    for number in range(1, n_subjects + 1):
        for (split, run), rows in presentations.groupby(["split", "run"], sort=False):
            trials = rows.sort_values("trial").reset_index(drop=True)
            trials = trials[TRIAL_COLUMNS].astype({"trial": int, "repeat": int, "volume": int})
            subject = f"{number:02d}"
            sessions.append(Session(subject, split, int(run), trials, events_bytes(trials)))
    return sessions


def sessions_from_events(bids: Path, n_subjects: int | None) -> list[Session]:
    """Return the runs of the first subjects of a BIDS dataset, or of all subjects.

    Raises InputError if there are fewer subjects.
    """
    files = find_events(bids)
    subjects = sorted({file.subject for file in files})
    if n_subjects is not None and n_subjects > len(subjects):
        raise InputError(f"subjects={n_subjects}: {bids} has only {len(subjects)}; choose fewer")
    return [
        Session(file.subject, file.split, file.run, run_trials(file), file.path.read_bytes())
        for file in files
        if file.subject in subjects[:n_subjects]
    ]


def events_bytes(trials: pd.DataFrame) -> bytes:
    """Return an events.tsv exactly as in ds003720: CRLF line ends, genres in quotes.

    Each clip is assumed to be the beginning of its track.
    """
    lines = ["\t".join(("onset", "duration", *EVENT_COLUMNS))]
    for row in trials.itertuples():
        genre, number, length = check_clip_name(row.clip, f"trial {row.trial}").groups()
        onset_s = row.volume * grid.TR_S
        fields = (f"{onset_s:g}", f"{grid.CLIP_S:g}", f"'{genre}'", int(number), 0, int(length))
        lines.append("\t".join(map(str, fields)))
    return "\r\n".join(lines).encode()
