"""Report which clips, tracks, artists and copies the sides of a split share."""

import logging
from pathlib import Path

from neuromusic.core.errors import InputError
from neuromusic.core.files import as_path
from neuromusic.core.outputs import write_result
from neuromusic.core.plan import Work, begin
from neuromusic.design.artists import read_artists
from neuromusic.design.leaks import (
    Comparison,
    compare_sides,
    format_counts,
    identify_sounds,
    pairs_table,
    with_copies,
)
from neuromusic.design.lists import listed_files, read_lists
from neuromusic.design.splits import HeldOutRuns
from neuromusic.stimuli.channels import Channel, check_channel

log = logging.getLogger(__name__)

SECONDS_PER_SOUND = 0.05


def find_leaks(
    lists: str | Path,
    *,
    artists: str | Path | None = None,
    held_out: HeldOutRuns = HeldOutRuns(),  # noqa: B008  # immutable
    audio: bool = False,
    channel: Channel = "mix",
    out: str | Path | None = None,
    overwrite: bool = False,
) -> list[Comparison]:
    """Find what the training, validation and test clips of stimulus lists share.

    Replicas are tracks of the same artist of which at least one is known to repeat or distort
    another (Sturm 2013). The counts are logged.

    Parameters
    ----------
    lists : str or Path
        Directory of stimulus lists, as `make_lists` and `make_file_lists` write it.
    artists : str or Path, optional
        Artist table: TSV with the columns track, artist_group and fault. Without it, artists and
        replicas are not compared.
    held_out : HeldOutRuns
        Runs of the training order that are for validation or testing.
    audio : bool
        Also compare the sounds: find exact copies, and near copies that differ in gain, start or
        coding.
    channel : {"mix", "left", "right"}
        With ``audio``: which channel of the sounds is compared.
    out : str or Path, optional
        TSV file to write with all pairs of clips that share something.
    overwrite : bool
        Replace ``out`` if it exists and its content differs.

    Returns
    -------
    list of Comparison
        One per pair of sides, with ``names``, ``left``, ``right`` and ``pairs``.

    Raises
    ------
    InputError
        If there is only one side, a held-out run does not exist, a table or sound is not readable,
        or ``out`` is another file and ``overwrite`` is False.

    References
    ----------
    Sturm (2013). The GTZAN dataset: its contents, its faults, their effects on evaluation, and its
    future use. arXiv 1306.1461.

    Examples
    --------
    >>> import neuromusic as nm
    >>> comparisons = nm.find_leaks("run_dataset", artists="artists.tsv",
    ...                             held_out=nm.HeldOutRuns(valid=0))
    >>> comparisons[0].names
    ('training', 'test')
    >>> sorted(set(comparisons[0].pairs["kind"]))
    ['artists']
    """
    check_channel(channel)
    lists, artists = as_path(lists), as_path(artists) if artists else None
    out = as_path(out) if out is not None else None
    table = read_artists(artists) if artists else None
    comparisons = compare_sides(read_lists(lists), held_out, table, artists)
    if not comparisons:
        raise InputError(
            f"{lists}: has only one side, so nothing can be shared; expected train.tsv with "
            "test.tsv or several runs"
        )
    files = listed_files(lists) if audio else [lists]
    seconds = len(files) * SECONDS_PER_SOUND if audio else 1.0
    begin(out, Work(f"what {len(comparisons)} pairs of sides share", seconds, 1_000_000), files)
    if audio:
        sounds = identify_sounds(lists, comparisons, channel)
        comparisons = [with_copies(comparison, sounds) for comparison in comparisons]
        first = comparisons[0]
        n_missing = sum(int(side["path"].isna().sum()) for side in (first.left, first.right))
        if n_missing:
            log.warning("%d clips are missing (path n/a); their sound was not compared", n_missing)
    _log_counts(comparisons, artists)
    if out is not None:
        pairs = pairs_table(comparisons)
        write_result(out, pairs.to_csv(sep="\t", index=False, lineterminator="\n"), overwrite)
        log.info("wrote %s: %d pairs", out, len(pairs))
    for comparison in comparisons:
        present = set(comparison.pairs["kind"])
        kinds = ", ".join(kind for kind in comparison.kinds if kind in present)
        log.info("%s and %s share %s", *comparison.names, kinds or "nothing that is known")
    return comparisons


def _log_counts(comparisons: list[Comparison], artists: Path | None) -> None:
    for comparison in comparisons:
        log.info("%s\n", format_counts(comparison))
    if artists is not None:
        log.info("(faults): known repetitions and distortions of any track in %s", artists)
        return
    log.info("artists and replicas were not compared; that needs artists, an artist table")
    if "fault" in comparisons[0].left:
        log.info("(faults): repetitions and distortions that torchaudio leaves out of GTZAN")
