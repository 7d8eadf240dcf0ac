"""TODO: docstring."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from neuromusic.core.errors import InputError
from neuromusic.core.outputs import new_directory
from neuromusic.core.progress import Say
from neuromusic.core.records import hash_inputs, record
from neuromusic.evaluation.confusions import (
    _spreadsheets,
    count,
    read_behaviour,
    read_decoding,
    read_network,
    shares,
)
from neuromusic.stats.significance import MANTEL_PERMUTATIONS, rank_correlation
from neuromusic.training.trained import SCORES


def compare_confusions(
    run: Path, behaviour: Path, decoding: Path, seed: int, out: Path, say: Say
) -> None:
    """Write three confusion matrices, their rank correlations and a figure; say what was found."""
    from neuromusic.core import plotting
    from neuromusic.evaluation import plots

    network = read_network(run)
    classes = sorted({*network["true"], *network["answer"]})
    listeners, renamed = read_behaviour(behaviour, classes)
    answers = {
        "network": network,
        "listeners": listeners,
        "brain": read_decoding(decoding, classes),
    }
    counts = {}
    for name, table in answers.items():
        counts[name] = count(table, classes)
        empty = [genre for genre, n in zip(classes, counts[name].sum(1), strict=True) if n == 0]
        if empty:
            raise InputError(
                f"{name}: no answer to {empty[0]}; all three need every genre of the network's test"
            )
    rng = np.random.default_rng(seed)
    rows = []
    for first, second in combinations(counts, 2):
        rho, p = rank_correlation(shares(counts[first]), shares(counts[second]), rng)
        cells = len(classes) * (len(classes) - 1)
        rows.append((first, second, rho, p, cells, MANTEL_PERMUTATIONS))
    found = pd.DataFrame(
        rows, columns=["first", "second", "spearman", "p", "cells", "permutations"]
    )
    inputs = [Path(run) / SCORES[1], decoding, *_spreadsheets(behaviour)]
    with new_directory(out, record("confusions", {"seed": seed}, hash_inputs(inputs))) as part:
        _long(counts, classes).to_csv(
            part / "confusions.tsv", sep="\t", index=False, float_format="%.6g"
        )
        found.to_csv(
            part / "correlations.tsv", sep="\t", index=False, float_format="%.6g", na_rep="n/a"
        )
        titles = {name: _title(name, answers[name]) for name in answers}
        figure = plots.confusions(
            {titles[name]: shares(n) for name, n in counts.items()},
            classes,
            [f"{r.first} and {r.second}: {_words(r.spearman, r.p)}" for r in found.itertuples()],
        )
        plotting.save(figure, part / "confusions.png")
    for header, genre in renamed.items():
        say(f"note: the header {header!r} of {behaviour} is read as {genre}")
    for title in titles.values():
        say(title.replace("\n", ": "))
    for r in found.itertuples():
        say(f"{r.first} and {r.second}: {_words(r.spearman, r.p)}, {r.cells} cells")
    say(f"wrote {out}: confusions.tsv, correlations.tsv and confusions.png")


def _long(counts: dict[str, NDArray[np.int64]], classes: list[str]) -> pd.DataFrame:
    rows = [
        (name, classes[i], classes[j], matrix[i, j], share)
        for name, matrix in counts.items()
        for (i, j), share in np.ndenumerate(shares(matrix))
    ]
    return pd.DataFrame(rows, columns=["who", "true", "answer", "count", "share"])


def _title(name: str, answers: pd.DataFrame) -> str:
    accuracy = (answers["true"] == answers["answer"]).mean()
    n_subjects = answers["subject"].nunique()
    n = len(answers) // n_subjects
    who = f"{n_subjects} subjects x {n} clips" if n_subjects > 1 else f"{n} clips"
    return f"{name}\n{accuracy:.1%} right, {who}"


def _words(rho: float, p: float) -> str:
    return f"Spearman's rho {rho:.2f} (p = {p:.4f})"
