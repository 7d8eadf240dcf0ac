"""Compare what a network confuses with what listeners and decoders of brain images confuse."""

import logging
from pathlib import Path

import pandas as pd

from neuromusic.core import plan
from neuromusic.core.figures import FigureStyle, percent, save
from neuromusic.core.files import as_path
from neuromusic.core.outputs import Step, check_target
from neuromusic.core.records import arguments, hash_inputs
from neuromusic.evaluation import plots
from neuromusic.evaluation.answers import (
    read_behaviour,
    read_decoding,
    read_network,
    spreadsheets,
)
from neuromusic.evaluation.confusions import correlate, count_all, long_table, shares
from neuromusic.evaluation.stored_scores import scored_directory
from neuromusic.training.trained import SCORES, TrainedNetwork

log = logging.getLogger(__name__)

DISK_BYTES = 1_000_000  # of tables and a figure


def confusions(
    network: TrainedNetwork | Path | str,
    *,
    behaviour: Path | str,
    decoding: Path | str,
    out: Path | str,
    seed: int = 0,
    overwrite: bool = False,
    figures: FigureStyle = FigureStyle(),  # noqa: B008  # immutable
) -> pd.DataFrame:
    """Compare the confusions of a network with those of listeners and of brain decoders.

    Writes three confusion matrices (``confusions.tsv``), their rank correlations
    (``correlations.tsv``) and a figure.

    Parameters
    ----------
    network : TrainedNetwork, str or Path
        An evaluated network, its directory, or the directory of a cross-validation.
    behaviour : str or Path
        Folder with the listeners' answers, one spreadsheet (.xlsx) per subject: one row per
        presentation, one column per genre.
    decoding : str or Path
        TSV with the genres that were decoded from brain images: subject, y_true, y_pred.
    out : str or Path
        Output directory.
    seed : int
        Seed of the permutations.
    overwrite : bool
        Replace an earlier result in ``out`` that was made with other settings or inputs.
    figures : FigureStyle
        Formats and width of the figure.

    Returns
    -------
    pandas.DataFrame
        One row per pair of matrices: first, second, Spearman's rho of the cells off the diagonal,
        its one-sided p, and the numbers of cells and of permutations.

    Raises
    ------
    InputError
        If the network was not evaluated, a file is not in the expected form, one of the three has
        no answer to a genre of the network's test, or ``out`` contains something else.

    References
    ----------
    Mantel 1967, The detection of disease clustering and a generalized regression approach, Cancer
    Research 27, 209-220.

    Examples
    --------
    >>> import neuromusic as nm
    >>> scores = nm.evaluate("network")
    >>> table = nm.confusions(
    ...     "network", behaviour="behaviour", decoding="decoding.tsv", out="confusions"
    ... )
    >>> table[["first", "second", "cells"]].values.tolist()
    [['network', 'listeners', 90], ['network', 'brain', 90], ['listeners', 'brain', 90]]
    """
    directory = scored_directory(network)
    behaviour, decoding, out = as_path(behaviour), as_path(decoding), as_path(out)
    check_target(out, "confusions")
    of_network = read_network(directory)
    classes = sorted({*of_network["true"], *of_network["answer"]})
    of_listeners, respelt = read_behaviour(behaviour, classes)
    of_brain = read_decoding(decoding, classes)
    answers = {"network": of_network, "listeners": of_listeners, "brain": of_brain}
    counts = count_all(answers, classes)
    settings, places = arguments(
        network=directory,
        behaviour=behaviour,
        decoding=decoding,
        seed=seed,
        figures=figures,
    )
    inputs = hash_inputs([directory / SCORES[1], decoding, *spreadsheets(behaviour)])
    step = Step(
        "confusions", out, settings, inputs, places, function="confusions", overwrite=overwrite,
        work=plan.Work("three rank correlations with permutations", 10.0, DISK_BYTES),
    )  # fmt: skip
    is_done = step.is_done()
    if not is_done:
        plan.begin(out, step.work, [directory / SCORES[1], decoding, behaviour])
    correlations = correlate(counts, seed)
    titles = {name: _title(name, table) for name, table in answers.items()}
    if not is_done:
        with step.directory() as part:
            form = {"sep": "\t", "index": False, "float_format": "%.6g", "lineterminator": "\n"}
            long_table(counts, classes).to_csv(part / "confusions.tsv", **form)
            correlations.to_csv(part / "correlations.tsv", na_rep="n/a", **form)
            matrices = {titles[name]: shares(matrix) for name, matrix in counts.items()}
            figure = plots.confusions(matrices, classes, _notes(correlations), figures)
            save(figure, part / "confusions", figures)
    for header, genre in respelt.items():
        log.info("the header %r in %s was read as %s", header, behaviour, genre)
    for title in titles.values():
        log.info("%s", title.replace("\n", ": "))
    for note, n_cells in zip(_notes(correlations), correlations["cells"], strict=True):
        log.info("%s, %d cells", note, n_cells)
    if not is_done:
        names = ", ".join(figures.names("confusions"))
        log.info("wrote %s: confusions.tsv, correlations.tsv and %s", out, names)
    return correlations


def _title(name: str, answers: pd.DataFrame) -> str:
    accuracy = (answers["true"] == answers["answer"]).mean()
    n_subjects = answers["subject"].nunique()
    n = len(answers) // n_subjects
    size = f"{n_subjects} subjects x {n} clips" if n_subjects > 1 else f"{n} clips"
    return f"{name}\n{percent(accuracy)} correct, {size}"


def _notes(correlations: pd.DataFrame) -> list[str]:
    return [
        f"{row.first} and {row.second}: Spearman's rho {row.spearman:.2f} "
        f"(one-sided p = {row.p:.4f})"
        for row in correlations.itertuples()
    ]
