"""Compare what a network confuses with what listeners and decoders of brain images confuse."""

import logging
from pathlib import Path

import pandas as pd

from neuromusic.core import plotting
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


def confusions(
    network: TrainedNetwork | Path | str,
    *,
    behaviour: Path | str,
    decoding: Path | str,
    out: Path | str,
    seed: int = 0,
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

    Returns
    -------
    pandas.DataFrame
        One row per pair of matrices: first, second, Spearman's rho of the cells off the diagonal,
        its one-sided p, and the numbers of cells and of permutations.

    Raises
    ------
    InputError
        If the network was not evaluated, a file is not in the expected form, or one of the three
        has no answer to a genre of the network's test.

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
    behaviour, decoding, out = Path(behaviour), Path(decoding), Path(out)
    check_target(out, "confusions")
    of_network = read_network(directory)
    classes = sorted({*of_network["true"], *of_network["answer"]})
    of_listeners, respelt = read_behaviour(behaviour, classes)
    of_brain = read_decoding(decoding, classes)
    answers = {"network": of_network, "listeners": of_listeners, "brain": of_brain}
    counts = count_all(answers, classes)
    correlations = correlate(counts, seed)
    settings, places = arguments(
        network=directory, behaviour=behaviour, decoding=decoding, seed=seed
    )
    inputs = hash_inputs([directory / SCORES[1], decoding, *spreadsheets(behaviour)])
    step = Step("confusions", out, settings, inputs, places, function="confusions")
    titles = {name: _title(name, table) for name, table in answers.items()}
    with step.directory() as part:
        form = {"sep": "\t", "index": False, "float_format": "%.6g"}
        long_table(counts, classes).to_csv(part / "confusions.tsv", **form)
        correlations.to_csv(part / "correlations.tsv", na_rep="n/a", **form)
        matrices = {titles[name]: shares(matrix) for name, matrix in counts.items()}
        figure = plots.confusions(matrices, classes, _notes(correlations))
        plotting.save(figure, part / "confusions.png")
    for header, genre in respelt.items():
        log.info("the header %r in %s was read as %s", header, behaviour, genre)
    for title in titles.values():
        log.info("%s", title.replace("\n", ": "))
    for note, n_cells in zip(_notes(correlations), correlations["cells"], strict=True):
        log.info("%s, %d cells", note, n_cells)
    log.info("wrote %s: confusions.tsv, correlations.tsv and confusions.png", out)
    return correlations


def _title(name: str, answers: pd.DataFrame) -> str:
    accuracy = (answers["true"] == answers["answer"]).mean()
    n_subjects = answers["subject"].nunique()
    n = len(answers) // n_subjects
    size = f"{n_subjects} subjects x {n} clips" if n_subjects > 1 else f"{n} clips"
    return f"{name}\n{accuracy:.1%} correct, {size}"


def _notes(correlations: pd.DataFrame) -> list[str]:
    return [
        f"{row.first} and {row.second}: Spearman's rho {row.spearman:.2f} (p = {row.p:.4f})"
        for row in correlations.itertuples()
    ]
