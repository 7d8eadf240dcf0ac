"""Compare networks and cross-validations in one table."""

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from neuromusic.core import plan
from neuromusic.core.figures import FigureStyle, save
from neuromusic.core.files import as_path, write_json
from neuromusic.core.outputs import Step
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.evaluation import plots
from neuromusic.evaluation.comparison import Comparison, compare_networks
from neuromusic.evaluation.comparison_text import (
    COLUMNS,
    PAIR_COLUMNS,
    SHORT_COLUMNS,
    as_markdown,
    as_text,
    pairs_text,
)
from neuromusic.evaluation.stored_scores import check_evaluated, scored_directory
from neuromusic.training.trained import SCORES, TrainedNetwork

log = logging.getLogger(__name__)

DISK_BYTES = 1_000_000  # of tables and a figure


def compare(
    networks: Sequence[TrainedNetwork | Path | str],
    *,
    out: Path | str | None = None,
    top: int | None = None,
    artists: Path | str | None = None,
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
) -> Comparison:
    """Rank networks and cross-validations by accuracy, and test each pair on the same clips.

    Networks that differ only in their seed are one row, their mean. Intervals are over clips (or
    artists) and seeds. P values are two-sided; a pair in which a setting has several seeds has an
    interval only.

    Parameters
    ----------
    networks : sequence of TrainedNetwork, str or Path
        Evaluated networks, their directories, or directories of cross-validations.
    out : str or Path, optional
        Output directory: both tables as TSV and Markdown, JSON and a figure.
    top : int, optional
        Return and write only this many settings, the best, and the pairs among them. P values are
        still corrected for all pairs that have one.
    artists : str or Path, optional
        Artist table: a TSV with the columns track, artist_group and fault. With it, intervals are
        over artists instead of clips, and the pairs are tested with sign flips over artists.
    overwrite : bool
        Replace another comparison in ``out``.
    figures : FigureStyle
        Formats and width of the figure.

    Returns
    -------
    Comparison
        ``table`` with one row per setting, ``pairs`` with one row per pair, and ``warnings``.

    Raises
    ------
    InputError
        If a directory was not evaluated, its scores are damaged, two of them disagree on the genre
        of a clip, or ``out`` contains something else.

    References
    ----------
    McNemar 1947, Psychometrika 12, 153-157; Holm 1979, Scandinavian Journal of Statistics 6, 65-70;
    Wilson 1927, Journal of the American Statistical Association 22, 209-212; Hillis 2007,
    Statistics in Medicine 26, 596-619 (intervals over clips and seeds).

    Examples
    --------
    >>> import neuromusic as nm
    >>> scores = nm.evaluate("network")
    >>> comparison = nm.compare(["network"])
    >>> comparison.table[["rank", "run", "model", "n"]].values.tolist()
    [[1, 'network', 'cortex-z', 20]]
    """
    directories = [scored_directory(network) for network in networks]
    out = None if out is None else as_path(out)
    artists = None if artists is None else as_path(artists)
    for directory in directories:
        check_evaluated(directory)
    files = [directory / name for directory in directories for name in SCORES]
    files += [artists] if artists else []
    settings, places = arguments(top=top, artists=artists, figures=figures)
    work = plan.Work(f"comparison of {len(directories)} networks", len(directories), DISK_BYTES)
    step, is_done = None, False
    if out is not None:
        inputs = hash_inputs(files)
        step = Step("compare", out, settings, inputs, places, overwrite=overwrite, work=work)
        is_done = step.is_done()
    if not is_done:
        plan.begin(out, work, files)
    comparison = compare_networks(directories, artists)
    shown = _best(comparison, top)
    over = "artists" if artists else "clips"
    if (shown.table["n_seeds"] > 1).any():
        over += " and seeds"
    log.info("%s", as_text(shown.table, SHORT_COLUMNS))
    log.info("from, to: 95 %% interval over %s", over)
    n_tested = int(comparison.pairs["p_mcnemar"].notna().sum())
    if len(shown.pairs):
        log.info("\n%s", pairs_text(shown.pairs, str(shown.table["run"][0]), over, n_tested))
    for warning in shown.warnings:
        log.warning("%s", warning)
    if step is None or is_done:
        return shown
    with step.directory() as part:
        _write(part, shown, over, n_tested, figures)
    names = ", ".join(figures.names("table"))
    log.info("wrote %s: table and pairs as .tsv and .md, compare.json and %s", out, names)
    return shown


def _best(comparison: Comparison, top: int | None) -> Comparison:
    """Return the ``top`` settings with the highest accuracy, and the pairs among them."""
    table, pairs = comparison.table.head(top), comparison.pairs
    names = set(table["run"])
    among = pairs["first"].isin(names) & pairs["second"].isin(names)
    return replace(comparison, table=table, pairs=pairs[among])


def _write(
    directory: Path, shown: Comparison, over: str, n_tested: int, figures: FigureStyle
) -> None:
    """Write both tables, JSON and a figure; ``n_tested`` p values were corrected."""
    table, pairs = shown.table, shown.pairs
    form: dict[str, Any] = {"sep": "\t", "index": False, "na_rep": "n/a", "float_format": "%.6g"}
    table[list(COLUMNS)].to_csv(directory / "table.tsv", **form)
    pairs.to_csv(directory / "pairs.tsv", **form)
    (directory / "table.md").write_text(as_markdown(table), "utf-8")
    (directory / "pairs.md").write_text(as_markdown(pairs, PAIR_COLUMNS), "utf-8")
    content = {
        "interval_over": over,
        "settings": json.loads(table[[*COLUMNS, "chance"]].to_json(orient="records")),
        "pairs": json.loads(pairs.to_json(orient="records")),
        "pairs_corrected_for": n_tested,
        "warnings": shown.warnings,
    }
    write_json(directory / "compare.json", content)
    save(plots.comparison(table, over, figures), directory / "table", figures)
