"""The sounds: cut clips from tracks, find them, stage them under run names, write lists."""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic import audio, timing
from neuromusic.errors import InputError
from neuromusic.events import find_events, read_events
from neuromusic.orders import Order, presentations
from neuromusic.provenance import read_record
from neuromusic.reading import reading
from neuromusic.untrusted import check_file_name, check_links, check_size, whole_rows
from neuromusic.variants import VARIANTS, variant_file_name

FADE_S = 2.0
SET_RMS = 0.1321  # the mean over the laboratory's set
LIST_COLUMNS = (
    "split", "run", "trial", "repeat", "onset_s", "volume", "genre", "track", "clip", "path",
)  # fmt: skip
DROPPED = "dropped"  # in train.tsv of lists with --drop-leaks: why a clip is not trained on
MOST_LIST_BYTES = 200_000_000
LIST_FILES = {"train": "train.tsv", "valid": "valid.tsv", "test": "test.tsv"}

Link = Literal["hard", "sym", "copy"]


# --- Cutting ------------------------------------------------------------------------------------


def fade(wave: NDArray[np.floating], fade_s: float = FADE_S) -> NDArray[np.float64]:
    """Apply quarter-sine fades to both ends of a wave (n_samples,) at audio.RATE_HZ."""
    n = round(fade_s * audio.RATE_HZ)
    ramp = np.sin(0.5 * np.pi * np.arange(n) / n)
    out = np.array(wave, dtype=np.float64)
    out[:n] *= ramp
    out[-n:] *= ramp[::-1]
    return out


def set_rms(wave: NDArray[np.floating], rms: float) -> tuple[NDArray[np.float64], bool]:
    """Scale a wave to an RMS; where its peak would clip, only as far as the peak allows.

    Returns (wave, whether the RMS had to stay lower).
    """
    wave = np.asarray(wave, dtype=np.float64)
    gain = rms / np.sqrt(np.mean(wave**2))
    limit = 0.999 / np.abs(wave).max()
    return wave * min(gain, limit), bool(gain > limit)


def cut_list(bids: Path) -> pd.DataFrame:
    """Return what the events say to cut: a row a clip; genre, track, start_s, end_s, clip.

    Raises InputError where two events files cut the same clip at different places.
    """
    rows = pd.concat([read_events(file.path) for file in find_events(bids)])
    cuts = rows[["genre", "track", "start_s", "end_s", "clip"]].drop_duplicates()
    twice = cuts[cuts["clip"].duplicated()]["clip"]
    if len(twice):
        raise InputError(f"{bids}: the events cut {twice.iloc[0]} at more than one place")
    return cuts.sort_values("clip").reset_index(drop=True)


def find_tracks(directory: Path) -> dict[str, Path]:
    """Return track name (reggae.00013) -> sound file for every track below a directory."""
    return _index(directory, lambda path: path.stem)


def find_clips(directory: Path) -> dict[str, Path]:
    """Return clip name (reggae.00013_15s.wav) -> sound file for every clip below a directory."""
    return _index(directory, lambda path: f"{path.stem}.wav")


def _index(directory: Path, key: Callable[[Path], str]) -> dict[str, Path]:
    if not Path(directory).is_dir():
        raise InputError(f"{directory}: no such directory; expected a folder of sound files")
    found: dict[str, Path] = {}
    for path in audio.sound_files(directory):
        other = found.setdefault(key(path), path)
        if other != path:
            raise InputError(f"{path}: {other} has the same name; keep one of them")
    return found


def cut_clip(track: Path, start_s: float, end_s: float) -> NDArray[np.float64]:
    """Return one clip of a track with its fades, before the RMS is set.

    Raises InputError, naming the track, where it ends before ``end_s``, and for a clip with no
    room for its fades.
    """
    if end_s - start_s < 2 * FADE_S:
        raise InputError(
            f"{track}: the events cut {end_s - start_s:g} s of it; the fades alone take "
            f"{2 * FADE_S:g} s"
        )
    wave = audio.read(track)
    length_s = len(wave) / audio.RATE_HZ
    if length_s < end_s - audio.LENGTH_TOLERANCE_S:
        raise InputError(f"{track}: lasts {length_s:.2f} s; the events cut it up to {end_s:g} s")
    first = round(start_s * audio.RATE_HZ)
    clip = wave[first : first + round((end_s - start_s) * audio.RATE_HZ)]
    audio.check_sound(clip, track)
    return fade(clip)


# --- Lists --------------------------------------------------------------------------------------


def staged_name(split: str, run: int, trial: int, clip: str) -> str:
    """Return the staged file name, such as Test_run-06-40_reggae.00013_15s.wav."""
    return f"{split.capitalize()}_run-{run:02d}-{trial:02d}_{clip}"


def list_order(order: Order) -> pd.DataFrame:
    """Return the stimulus list of an order; ``path`` is relative to the list's directory.

    A dummy has the path of the presentation that it repeats.
    """
    table = presentations(order)
    staged = {}
    for row in table[table["trial"] > 0].itertuples():
        name = staged_name(row.split, row.run, row.trial, row.clip)
        staged[row.run, row.trial] = f"{row.genre}/{name}"
    last = order.n_trials
    paths = []
    for row in table.itertuples():
        run = row.run
        if row.trial == 0 and order.split == "train":
            run = row.run - 1 or order.n_runs
        paths.append(staged[run, row.trial or last])
    return table.assign(path=paths)[list(LIST_COLUMNS)]


def missing_clips(tables: Iterable[pd.DataFrame], clips: dict[str, Path]) -> list[str]:
    """Return the names of the clips that the lists want and that are not there, sorted."""
    wanted = {clip for table in tables for clip in table["clip"]}
    return sorted(wanted - set(clips))


def check_clips(paths: Iterable[Path], least_s: float = timing.CLIP_S, remedy: str = "") -> None:
    """Raise InputError, naming the file, for a clip that is unreadable or too short."""
    for path in paths:
        length_s = audio.duration_s(path)
        if length_s < least_s - audio.LENGTH_TOLERANCE_S:
            raise InputError(
                f"{path}: lasts {length_s:.2f} s; expected at least {least_s:g} s{remedy}"
            )
        if length_s > audio.MOST_S:
            raise InputError(
                f"{path}: lasts {length_s / 60:.0f} minutes; a clip has at most "
                f"{audio.MOST_S / 60:g}; cut it into clips"
            )


def proportions(split: str) -> tuple[float, float, float]:
    """Return the three numbers of ``70:15:15``; raise InputError for anything else."""
    try:
        parts = [float(part) for part in split.split(":")]
    except ValueError:
        parts = []
    if len(parts) != 3 or min(parts) < 0 or not np.isfinite(parts).all() or sum(parts) <= 0:
        raise InputError(f"--split {split}: expected train:valid:test, such as 70:15:15")
    return parts[0], parts[1], parts[2]


def split_tracks(files: pd.DataFrame, split: tuple[float, float, float], seed: int) -> pd.DataFrame:
    """Split files (genre, track, ...) into train, valid and test by track, stratified by genre.

    All files of one track go to one side. Each genre is shared out in the proportions ``split``,
    any of which may be 0; what rounding leaves goes to the largest remainders. Returns the table
    with a column ``split``.
    """
    parts = np.array(split, dtype=float)
    side: dict[tuple[str, str], str] = {}
    for genre, rows in files.groupby("genre"):
        rng = np.random.default_rng([seed, *genre.encode()])
        tracks = rng.permutation(sorted(set(rows["track"])))
        ends = np.cumsum(_share(len(tracks), parts / parts.sum()))
        for index, track in enumerate(tracks):
            part = int(np.searchsorted(ends, index, side="right"))
            side[genre, str(track)] = ("train", "valid", "test")[part]
    pairs = zip(files["genre"], files["track"], strict=True)
    return files.assign(split=[side[pair] for pair in pairs])


def list_files(files: pd.DataFrame) -> pd.DataFrame:
    """Return the stimulus list of files that no scanner run played, with ``source`` for the file.

    ``files`` has split, genre, track, clip, source and, for folds, run; what places a clip in an
    experiment (trial, repeat, onset_s, volume) is missing. Raises InputError for a genre or a clip
    that is no plain name: both become parts of a path.
    """
    for column in ("genre", "clip"):
        for source, name in zip(files["source"], files[column], strict=True):
            check_file_name(name, f"{source}: its {column}")
    table = files.assign(path=files["genre"] + "/" + files["clip"])
    table = table.reindex(columns=[*LIST_COLUMNS, "source"])
    return table.sort_values(["genre", "clip"]).reset_index(drop=True)


def _share(n: int, parts: NDArray[np.float64]) -> NDArray[np.int64]:
    """Share out n things in proportion; the largest remainders get what is left over."""
    exact = n * parts
    whole = np.floor(exact + 1e-9).astype(np.int64)
    for index in np.argsort(-(exact - whole), kind="stable")[: n - whole.sum()]:
        whole[index] += 1
    return whole


def stage(source: Path, target: Path, link: Link) -> Link:
    """Put a clip under its staged name; return how (a hard link across disks becomes a copy)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if link == "sym":
        target.symlink_to(source.resolve())
        return "sym"
    if link == "hard":
        try:
            os.link(source.resolve(), target)
            return "hard"
        except OSError:
            pass
    shutil.copyfile(source, target)
    return "copy"


def plain_list(table: pd.DataFrame, with_variants: bool) -> list[str]:
    """Return one path a presentation without the dummies, the missing and the dropped clips.

    With variants, each path is followed by those of its nine variants.
    """
    played = table[(table["trial"].fillna(1) > 0) & table["path"].notna()]
    if DROPPED in played:
        played = played[played[DROPPED].isna()]
    n = len(VARIANTS) if with_variants else 1
    return [variant_file_name(path, variant) for path in played["path"] for variant in range(n)]


def write_lists(directory: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Write train.tsv, valid.tsv and test.tsv, and the plain train_list.txt and test_list.txt.

    The plain lists hold paths relative to the directory, as the predecessors' tools read them;
    training clips have a line for each of the ten variants, which 'neuromusic augment' writes.
    """
    for split, table in tables.items():
        columns = [*LIST_COLUMNS, *([DROPPED] if DROPPED in table else [])]
        table[columns].to_csv(directory / LIST_FILES[split], sep="\t", index=False, na_rep="n/a")
        lines = plain_list(table, with_variants=split == "train")
        (directory / f"{split}_list.txt").write_text("".join(f"{x}\n" for x in lines), "utf-8")


def _read_list(path: Path) -> pd.DataFrame:
    check_size(path, MOST_LIST_BYTES, "a stimulus list")
    as_text = dict.fromkeys(("path", "clip", "track", "genre"), str)  # 000002 is a track's name
    try:
        with whole_rows(), reading(path):
            table = pd.read_csv(
                path, sep="\t", na_values="n/a", keep_default_na=False, dtype=as_text,
                index_col=False,
            )  # fmt: skip
    except ValueError as error:
        raise InputError(f"{path}: is no readable list ({error})") from None
    lacking = [column for column in LIST_COLUMNS if column not in table]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}")
    return table


def read_lists(directory: Path) -> pd.DataFrame:
    """Read the lists of a directory as one table; raise InputError where there are none.

    run, trial, repeat and volume are nullable integers. ``path`` is checked to stay inside: links
    that lead out are followed only in lists that were made with ``--link sym``.
    ``dropped`` says why a training clip is not trained on, and is missing (NaN) for all others.
    """
    directory = Path(directory)
    tables = []
    for name in LIST_FILES.values():
        path = directory / name
        if not path.is_file():
            continue
        table = _read_list(path)
        for row, entry in enumerate(table["path"].dropna(), start=1):
            if Path(entry).is_absolute() or ".." in Path(entry).parts:
                raise InputError(f"{path}, row {row}: {entry!r} leaves the directory of the list")
        for column in ("genre", "clip"):
            for row, entry in enumerate(table[column], start=1):
                check_file_name(entry, f"{path}, row {row}, {column}")
        tables.append(table)
    if not tables:
        raise InputError(
            f"{directory}: has no train.tsv or test.tsv; make them with 'neuromusic lists'"
        )
    whole = pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
    whole = whole.reindex(columns=[*LIST_COLUMNS, DROPPED])
    settings = (read_record(directory) or {}).get("settings")
    if not isinstance(settings, dict) or settings.get("link") != "sym":
        check_links(directory)
    try:
        return whole.astype(dict.fromkeys(("run", "trial", "repeat", "volume"), "Int64"))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{directory}: a run, trial, repeat or volume is no number ({error})"
        ) from None
