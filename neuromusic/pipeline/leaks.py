"""TODO: docstring."""

from pathlib import Path

from neuromusic.core.errors import InputError
from neuromusic.core.files import write_text
from neuromusic.core.progress import Say
from neuromusic.design.artists import read_artists
from neuromusic.design.leaks import as_table, as_text, compare_sides, listen, with_copies
from neuromusic.design.lists import read_lists
from neuromusic.design.splits import Held


def report(
    directory: Path, artists: Path | None, held: Held, with_audio: bool,
    out: Path | None, say: Say,
) -> bool:  # fmt: skip
    """Say what the sides of the lists in a directory share; return whether they share anything.

    ``with_audio``: also which clips are copies of each other. With ``out``, write all pairs there,
    as TSV. Raises InputError where there is only one side.
    """
    table = read_artists(artists) if artists else None
    comparisons = compare_sides(read_lists(directory), held, table, artists)
    if not comparisons:
        raise InputError(
            f"{directory}: has one side only, so nothing can be shared; expected train.tsv with "
            "test.tsv or several runs"
        )
    if with_audio:
        heard = listen(Path(directory), comparisons)
        comparisons = [with_copies(comparison, heard) for comparison in comparisons]
        first = comparisons[0]
        silent = sum(int(side["path"].isna().sum()) for side in (first.left, first.right))
        if silent:
            say(f"warning: {silent} clips are missing (path n/a); their sound was not compared")
    for comparison in comparisons:
        say(as_text(comparison) + "\n")
    if artists is None:
        say("artists and replicas are not known; --artists names a table of them")
        if "fault" in comparisons[0].left:
            say("(faults): repetitions and distortions that torchaudio leaves out of GTZAN")
    else:
        say(f"(faults): known repetitions and distortions in {artists}, of whatever track")
    pairs = as_table(comparisons)
    if out is not None:
        write_text(out, pairs.to_csv(sep="\t", index=False))
        say(f"wrote {out}: {len(pairs)} pairs")
    for c in comparisons:
        kinds = [kind for kind in c.kinds if kind in set(c.pairs["kind"])]
        say(f"{c.names[0]} and {c.names[1]} share {', '.join(kinds) or 'nothing that is known'}")
    return len(pairs) > 0
