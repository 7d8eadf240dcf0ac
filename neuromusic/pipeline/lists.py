"""Make stimulus lists, from order files or from a corpus; link the clips under their run names."""

import logging
from pathlib import Path

import pandas as pd

from neuromusic.core.errors import MOST_NAMES, InputError
from neuromusic.core.files import as_path
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.plan import Work, existing
from neuromusic.core.progress import track
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.design import leaks, lists, splits
from neuromusic.design.orders import EXPERIMENT, read_order
from neuromusic.stimuli.clips import check_clips, find_clips
from neuromusic.stimuli.corpora import Corpus

log = logging.getLogger(__name__)

COMMAND = "lists"
LINKS_PER_S = 1000
COPIED_BYTES_PER_S = 100e6
LIST_BYTES = 1_000_000
Tables = dict[str, pd.DataFrame]  # split -> stimulus list


def make_lists(
    *,
    train_order: str | Path,
    test_order: str | Path,
    clips: str | Path,
    out: str | Path,
    allow_missing: bool = False,
    link: lists.Link = "hard",
    drop_leaks: leaks.DropLeaks | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the stimulus lists of an experiment from its order files.

    Every clip is linked under the name of its run and trial
    (``reggae/Test_run-06-40_reggae.00013_15s.wav``), and ``train.tsv`` and ``test.tsv`` list one
    presentation per row, including the dummy that opens each run (trial 0).

    Parameters
    ----------
    train_order, test_order : str or Path
        ``ExpTrnOrder.mat`` (variable TrnOrd) and ``ExpValOrder.mat`` (variable ValOrd).
    clips : str or Path
        Folder of the 15-s clips that the orders name, at any depth.
    out : str or Path
        Output directory.
    allow_missing : bool
        Continue if clips are missing; their rows then have the path n/a.
    link : {"hard", "sym", "copy"}
        How clips get into ``out``. Hard links fall back to copies across file systems.
    drop_leaks : DropLeaks, optional
        Mark training clips that share a track, a replica or an artist with the test clips; they
        keep their place in their run but are not trained on.
    overwrite : bool
        Replace lists in ``out`` that were made with other settings or from other files.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    InputError
        If an order file is not valid, clips are missing or shorter than 15 s, or ``out`` contains
        something else or other lists.

    Examples
    --------
    >>> import neuromusic as nm
    >>> lists = nm.make_lists(train_order="orders/ExpTrnOrder.mat",
    ...                       test_order="orders/ExpValOrder.mat", clips="clips",
    ...                       out="run_dataset", link="sym")
    >>> sorted(path.name for path in lists.glob("*.tsv"))
    ['test.tsv', 'train.tsv']
    """
    train_order, test_order, clips, out = map(as_path, (train_order, test_order, clips, out))
    check_target(out, COMMAND)
    tables = {
        "train": lists.list_order(read_order(train_order, "train")),
        "test": lists.list_order(read_order(test_order, "test")),
    }
    files, missing = _find_files(tables, clips, allow_missing)
    if drop_leaks:
        tables = leaks.mark_dropped(tables, drop_leaks)
    settings, places = arguments(
        train_order=train_order, test_order=test_order, clips=clips, allow_missing=allow_missing,
        link=link, drop_leaks=drop_leaks,
    )  # fmt: skip
    artists = [drop_leaks.artists] if drop_leaks and drop_leaks.artists else []
    inputs = hash_inputs([train_order, test_order, *artists, *files.values()])
    work = link_work(list(files.values()), out, link)
    step = Step(
        COMMAND, out, settings, inputs, places, function="make_lists", overwrite=overwrite,
        work=work,
    )  # fmt: skip
    if step.is_done():
        return out
    with step.directory() as directory:
        tables, methods = _link_presentations(tables, files, directory, link)
        lists.write_lists(directory, tables)
    counts = ", ".join(f"{(t['trial'] > 0).sum()} {split}" for split, t in tables.items())
    log.info("wrote %s: %s presentations of %d clips (%s)", out, counts, len(files), methods)
    if missing:
        log.warning(
            "%d of %d clips are missing; their rows have the path n/a",
            len(missing),
            len(files) + len(missing),
        )
    if drop_leaks:
        _log_dropped(tables, drop_leaks.level)
    return out


def link_work(files: list[Path], out: Path, link: lists.Link) -> Work:
    """Return the work of linking files; hard links across file systems become copies."""
    device = existing(out).stat().st_dev
    copied = [path for path in files if link == "copy" or path.stat().st_dev != device]
    n_bytes = 0 if link == "sym" else sum(path.stat().st_size for path in copied)
    seconds = len(files) / LINKS_PER_S + n_bytes / COPIED_BYTES_PER_S
    return Work(f"lists and links of {len(files)} clips", seconds, n_bytes + LIST_BYTES)


def _find_files(
    tables: Tables, clips: Path, allow_missing: bool
) -> tuple[dict[str, Path], list[str]]:
    """Return clip -> file for the clips of the lists, and the clips that are missing."""
    available = find_clips(clips)
    missing = lists.missing_clips(tables.values(), available)
    names = sorted({clip for table in tables.values() for clip in table["clip"]})
    for clip in missing[:MOST_NAMES]:
        log.info("missing: %s", clip)
    if len(missing) > MOST_NAMES:
        log.info("missing: %d more", len(missing) - MOST_NAMES)
    if missing and not allow_missing:
        raise InputError(
            f"{clips}: {len(missing)} of the {len(names)} clips are missing (named above); add "
            "them, or continue without them with allow_missing"
        )
    files = {clip: available[clip] for clip in names if clip in available}
    assert EXPERIMENT.time.duration_s is not None
    check_clips(files.values(), EXPERIMENT.time.duration_s)
    return files, missing


def _link_presentations(
    tables: Tables, files: dict[str, Path], directory: Path, link: lists.Link
) -> tuple[Tables, str]:
    """Link the clips under their run names; return the lists and how the clips were linked."""
    clip_of_path: dict[str, str] = {}
    linked = {}
    for split, table in tables.items():
        is_missing = ~table["clip"].isin(files)
        played = table[~is_missing & (table["trial"] > 0)]
        clip_of_path |= dict(zip(played["path"], played["clip"], strict=True))
        linked[split] = table.assign(path=table["path"].mask(is_missing))
    methods = {
        lists.link_or_copy(files[clip], directory / path, link)
        for path, clip in track(clip_of_path.items(), "link clips", len(clip_of_path))
    }
    return linked, ", ".join(methods)


def make_file_lists(
    corpus: Corpus,
    *,
    out: str | Path,
    split: str | None = "70:15:15",
    seed: int = 0,
    clip_s: float = 15.0,
    link: lists.Link = "hard",
    drop_leaks: leaks.DropLeaks | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the stimulus lists of a corpus of sound files, without scanner runs.

    Files with a known fault are named and left out. Only splits with files are written: the folds
    of a corpus with folds are the runs of ``train.tsv``.

    Parameters
    ----------
    corpus : Corpus
        The sound files.
    out : str or Path
        Output directory.
    split : str or None
        Shares of training, validation and test files in each class, such as "70:15:15"; all files
        of a track stay together. None for a corpus with folds or with its own split.
    seed : int
        Seed of the split.
    clip_s : float
        Shortest file that is accepted, in seconds.
    link : {"hard", "sym", "copy"}
        How files get into ``out``.
    drop_leaks : DropLeaks, optional
        Leave out training and validation files that share a track, a replica or an artist with
        the test files.
    overwrite : bool
        Replace lists in ``out`` that were made with other settings or from other files.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    InputError
        If there are no files, or files of one class only; a file is too short; a name cannot be
        used; ``split`` is None and the corpus has no split; or ``out`` contains something else or
        other lists.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.make_file_lists(nm.Corpus("folder", "genres"), split="1:0:1", out="file_lists").name
    'file_lists'
    """
    out = as_path(out)
    check_target(out, COMMAND)
    files = _without_faults(corpus)
    if split is not None:
        files = splits.split_tracks(files, splits.proportions(split), seed)
    if "split" not in files:
        raise InputError(
            f"{corpus.path}: a {corpus.kind} corpus without folds has no split of its own; "
            'give split="70:15:15", the shares of training, validation and test'
        )
    table = lists.list_files(files)
    tables = {name: table[table["split"] == name] for name in lists.LIST_FILES}
    if drop_leaks:
        tables = leaks.mark_dropped(tables, drop_leaks)
        tables = {name: _without_dropped_paths(each) for name, each in tables.items()}
    tables = {name: each for name, each in tables.items() if len(each)}
    listed = pd.concat([each[each["path"].notna()] for each in tables.values()])
    sources = [Path(source) for source in listed["source"]]
    check_clips(sources, clip_s, "; clip_s sets the shortest length that is accepted")
    settings, places = arguments(
        corpus=corpus, split=split, seed=seed, clip_s=clip_s, link=link, drop_leaks=drop_leaks
    )
    described_by = [path for path in places.values() if path.is_file()]  # tables of tracks, artists
    inputs = hash_inputs([*sources, *described_by])
    work = link_work(sources, out, link)
    step = Step(
        COMMAND, out, settings, inputs, places, function="make_file_lists", overwrite=overwrite,
        work=work,
    )  # fmt: skip
    if step.is_done():
        return out
    with step.directory() as directory:
        for row in track(listed.itertuples(), "link clips", len(listed)):
            lists.link_or_copy(Path(row.source), directory / row.path, link)
        lists.write_lists(directory, tables)
    counts = ", ".join(f"{each['path'].count()} {name}" for name, each in tables.items())
    by = "split by track" if split else "split as published"
    how = _folds_text(files["run"].nunique()) if "run" in files else by
    log.info("wrote %s: %s clips in %d classes, %s", out, counts, table["genre"].nunique(), how)
    if drop_leaks:
        _log_dropped(tables, drop_leaks.level)
    return out


def _folds_text(n: int) -> str:
    return f"{n} folds as runs of train.tsv; 'neuromusic crossval' holds out each in turn"


def _without_faults(corpus: Corpus) -> pd.DataFrame:
    """Return the table of a corpus without files that are known to be faulty."""
    files = corpus.table()
    if corpus.size() is not None:
        log.info("%s: has %d of %d files", corpus.path, len(files), corpus.size())
    if "fault" not in files:
        return files
    for row in files[files["fault"].notna()].itertuples():
        log.warning("%s: %s; left out", row.source, row.fault)
    return files[files["fault"].isna()]


def _without_dropped_paths(table: pd.DataFrame) -> pd.DataFrame:
    if lists.DROPPED not in table:
        return table
    return table.assign(path=table["path"].mask(table[lists.DROPPED].notna()))


def _log_dropped(tables: Tables, level: leaks.Level) -> None:
    for split, name in (("train", "training"), ("valid", "validation")):
        if lists.DROPPED not in tables.get(split, ()):
            continue
        table = tables[split][tables[split]["trial"].fillna(1) > 0]
        clips = table.drop_duplicates("clip")
        dropped = clips[clips[lists.DROPPED].notna()]
        counts = dropped["genre"].value_counts().sort_index().items()
        genres = f" ({', '.join(f'{genre} {n}' for genre, n in counts)})" if len(dropped) else ""
        log.info(
            "dropped for sharing a %s with the test: %d of %d %s clips%s; %s gives the reasons",
            level,
            len(dropped),
            len(clips),
            name,
            genres,
            lists.LIST_FILES[split],
        )
