"""What a simulated subject is presented with: sessions from a prepared set or real events."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import InputError
from neuromusic.design.bids import RunId
from neuromusic.design.orders import EXPERIMENT, check_clip_name
from neuromusic.design.presentations import Design, RunDesign
from neuromusic.design.timing import whole_run_volumes
from neuromusic.features.prepared import open_prepared

EVENT_COLUMNS = {
    "genre": "Genre of the clip, in quotes",
    "track": "Number of the track in its genre, from 0",
    "start": "Start of the clip in its track, in seconds",
    "end": "End of the clip in its track, in seconds",
}


@dataclass(frozen=True)
class Session:
    """One run of one subject, whose TR and number of volumes are known; its events as bytes."""

    design: RunDesign
    events: bytes

    @property
    def id(self) -> RunId:
        """The run."""
        return self.design.id

    @property
    def is_test(self) -> bool:
        """Whether the run measures the ceiling and is not for training."""
        return self.design.split == "test"

    @property
    def trials(self) -> pd.DataFrame:
        """See `RunDesign`."""
        return self.design.trials

    @property
    def tr_s(self) -> float:
        """Repetition time in s."""
        return self.design.known_tr_s

    @property
    def n_volumes(self) -> int:
        """Number of volumes of the run, including the lead-in."""
        return self.design.known_volumes


def folder_of(run: RunId) -> str:
    """Return the folder of a run's subject, and of its session if it has one."""
    return f"sub-{run.subject}/ses-{run.session}" if run.session else f"sub-{run.subject}"


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
    time = EXPERIMENT.time
    assert time.tr_s is not None
    sessions = []
    for (split, number), rows in presentations.groupby(["split", "run"], sort=False):
        rows = rows.sort_values("trial").reset_index(drop=True)
        trials = rows[["trial", "repeat", "onset_s", "clip"]].astype({"trial": int, "repeat": int})
        trials = trials.assign(
            duration_s=time.duration_s, group=rows["track"], is_dummy=trials["trial"] <= 0,
            **{"class": rows["genre"]},
        )  # fmt: skip
        run = RunId("", "", EXPERIMENT.task_of(split), int(number))
        n_volumes = whole_run_volumes(trials, time.tr_s)
        design = RunDesign(run, split, None, time.tr_s, n_volumes, trials)
        sessions.append(Session(design, events_bytes(trials)))
    return [
        replace(each, design=replace(each.design, id=each.id._replace(subject=f"{number:02d}")))
        for number in range(1, n_subjects + 1)
        for each in sessions
    ]


def sessions_from_events(design: Design, n_subjects: int | None, bids: Path) -> list[Session]:
    """Return the runs of the first subjects of a design, or of all subjects.

    Raises InputError if there are fewer subjects in ``bids``, from which it was loaded.
    """
    subjects = design.subjects
    if n_subjects is not None and n_subjects > len(subjects):
        raise InputError(f"subjects={n_subjects}: {bids} has only {len(subjects)}; choose fewer")
    sessions = []
    for run, each in design.runs.items():
        if run.subject in subjects[:n_subjects]:
            assert each.events is not None
            sessions.append(Session(each, each.events.path.read_bytes()))
    return sessions


def repeats_of(sessions: Sequence[Session]) -> int:
    """Return how often a clip is played to one subject in the runs that measure the ceiling."""
    measured = [each for each in sessions if each.is_test] or sessions
    counts = []
    for subject in dict.fromkeys(each.id.subject for each in measured):
        played = [s.trials for s in measured if s.id.subject == subject]
        clips = pd.concat([trials.loc[~trials["is_dummy"], "clip"] for trials in played])
        counts.append(int(clips.value_counts().max()) if len(clips) else 1)
    return min(counts, default=1)


def events_bytes(trials: pd.DataFrame) -> bytes:
    """Return an events.tsv exactly as in ds003720: CRLF line ends, genres in quotes.

    Each clip is assumed to be the beginning of its track.
    """
    lines = ["\t".join(("onset", "duration", *EVENT_COLUMNS))]
    for row in trials.itertuples():
        genre, number, length = check_clip_name(row.clip, f"trial {row.trial}").groups()
        times = (f"{row.onset_s:g}", f"{EXPERIMENT.time.duration_s:g}")
        lines.append("\t".join(map(str, (*times, f"'{genre}'", int(number), 0, int(length)))))
    return "\r\n".join(lines).encode()
