"""Confusions side by side: the laboratory's own sums, scikit-learn, scipy, all permutations."""

import itertools
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics
from spreadsheets import judgements, write_sheet

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.design.orders import GENRES, presentations, read_order
from neuromusic.evaluation import confusions
from neuromusic.evaluation.xlsx import read_first_sheet
from neuromusic.stats import significance


@pytest.fixture
def place(tmp_path):
    """Two listeners, two brains and a network, with answers drawn at random."""
    rng = np.random.default_rng(0)
    (tmp_path / "behaviour").mkdir()
    (tmp_path / "run").mkdir()
    truth = np.repeat(np.arange(10), 6)
    made = {}
    for who in ("network", "sub-1", "sub-2", "brain-1", "brain-2"):
        said = np.where(rng.random(60) < 0.5, truth, rng.integers(10, size=60))
        made[who] = (truth, said)
    for who in ("sub-1", "sub-2"):
        path = tmp_path / f"behaviour/CategoryJudge_{who}.xlsx"
        headers = ["Blues", "Cassical", *GENRES[2:]]
        write_sheet(path, judgements(*made[who], headers))
    names = np.array(GENRES)
    decoded = [
        pd.DataFrame({"subject": who, "y_true": names[truth], "y_pred": names[made[who][1]]})
        for who in ("brain-1", "brain-2")
    ]
    pd.concat(decoded).to_csv(tmp_path / "decoded.tsv", sep="\t", index=False)
    pd.DataFrame(
        {"clip": "x", "genre": names[truth], "predicted": names[made["network"][1]]}
    ).to_csv(tmp_path / "run/predictions.tsv", sep="\t", index=False)
    return tmp_path, made


def ask(runner, root, *more):
    return runner.invoke(
        cli,
        ["confusions", f"{root}/run", "--behaviour", f"{root}/behaviour", "--decoding",
         f"{root}/decoded.tsv", "--out", f"{root}/out", *more],
    )  # fmt: skip


def test_the_three_are_scikit_learns_and_scipys(place, runner):
    root, made = place
    result = ask(runner, root)
    assert result.exit_code == 0, result.output
    assert "the header 'Cassical'" in result.output
    table = pd.read_csv(root / "out/confusions.tsv", sep="\t")
    theirs = {}
    for who, subjects in (("network", ["network"]), ("listeners", ["sub-1", "sub-2"]),
                          ("brain", ["brain-1", "brain-2"])):  # fmt: skip
        truth = np.concatenate([made[s][0] for s in subjects])
        said = np.concatenate([made[s][1] for s in subjects])
        mine = table[table["who"] == who].pivot(index="true", columns="answer")
        counts = sklearn.metrics.confusion_matrix(truth, said)
        assert (mine["count"].to_numpy() == counts).all()
        theirs[who] = sklearn.metrics.confusion_matrix(truth, said, normalize="true")
        np.testing.assert_allclose(mine["share"], theirs[who], atol=1e-6)
    off = ~np.eye(10, dtype=bool)
    found = pd.read_csv(root / "out/correlations.tsv", sep="\t")
    assert len(found) == 3
    for row in found.itertuples():
        rho = scipy.stats.spearmanr(theirs[row.first][off], theirs[row.second][off]).statistic
        assert row.spearman == pytest.approx(rho, abs=1e-5)
    assert (root / "out/confusions.png").stat().st_size > 10_000
    before = (root / "out/correlations.tsv").read_bytes()
    assert ask(runner, root).exit_code == 0
    assert (root / "out/correlations.tsv").read_bytes() == before
    assert ask(runner, root, "--seed", "1").exit_code == 0
    assert (root / "out/correlations.tsv").read_bytes() != before


def test_p_is_that_of_all_permutations():
    rng = np.random.default_rng(1)
    first = rng.random((5, 5))
    second = first + 0.7 * rng.random((5, 5))
    off = ~np.eye(5, dtype=bool)
    every = []
    for order in itertools.permutations(range(5)):
        exchanged = second[np.ix_(order, order)]
        every.append(scipy.stats.spearmanr(first[off], exchanged[off]).statistic)
    rho, p = significance.rank_correlation(first, second, np.random.default_rng(0))
    assert rho == pytest.approx(every[0])
    assert p == pytest.approx(np.mean(np.array(every) >= every[0] - 1e-12), abs=0.01)
    assert np.isnan(significance.rank_correlation(first, np.eye(5), np.random.default_rng(0))[0])


def test_unlike_matrices_are_seldom_alike():
    """Under the null, p is below .05 in one of twenty."""
    rng = np.random.default_rng(2)
    p = [
        significance.rank_correlation(rng.random((10, 10)), rng.random((10, 10)), rng, 200)[1]
        for _ in range(300)
    ]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09


def test_the_laboratorys_own_sums(shared):
    """The accuracy that Excel left in each sheet, and the true genres of the test order."""
    folder = shared / "data/behaviour"
    table, renamed = confusions.read_behaviour(folder, list(GENRES))
    assert renamed == {"Cassical": "classical"}
    order = presentations(read_order(shared / "data/orders/ExpValOrder.mat", "test"))
    played = order.query("1 <= trial <= 10")["genre"].tolist()
    for subject, rows in table.groupby("subject"):
        assert rows["true"].tolist() == played
        cells = read_first_sheet(folder / f"CategoryJudge_{subject}.xlsx")
        (total,) = (
            float(row[chr(ord(column) + 1)])
            for row in cells.values()
            for column, text in row.items()
            if text == "Total Accuracy"
        )
        assert 100 * (rows["true"] == rows["answer"]).mean() == pytest.approx(total)
    assert table["subject"].nunique() == 5


def test_the_real_decoding(shared):
    path = shared / "data/decoding/predictions_480_clips.tsv"
    table = confusions.read_decoding(path, list(GENRES))
    right = (table["true"] == table["answer"]).groupby(table["subject"]).mean()
    assert right.round(3).tolist() == [0.325, 0.342, 0.400, 0.271, 0.358]


def spoil(root, what):
    sheet, truth = root / "behaviour/CategoryJudge_sub-1.xlsx", np.arange(10)
    rows = judgements(truth, truth)
    if what == "two answers":
        rows[3][1] = 1
    elif what == "no such genre":
        rows[0][2] = "Klassik"
    elif what == "no truth":
        rows[2][-1] = 11
    elif what == "no trials":
        rows = rows[:1]
    if what == "no zip":
        sheet.write_text("Blues,Classical")
    elif what == "entities":
        write_sheet(sheet, rows, '<!DOCTYPE x [<!ENTITY a "aaaa">]>')
    elif what == "decoded":
        text = (root / "decoded.tsv").read_text().splitlines()
        text[4] = "brain-1\tblues\tpolka"
        (root / "decoded.tsv").write_text("\n".join(text))
    elif what == "no sheets":
        for path in (root / "behaviour").iterdir():
            path.unlink()
    elif what == "not evaluated":
        (root / "run/predictions.tsv").unlink()
    elif what == "no metal":
        table = pd.read_csv(root / "decoded.tsv", sep="\t")
        table[table["y_true"] != "metal"].to_csv(root / "decoded.tsv", sep="\t", index=False)
    else:
        write_sheet(sheet, rows)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("two answers", "sub-1.xlsx, row 4 (Run13_3): has 2 answers"),
        ("no such genre", "sub-1.xlsx, row 1: has the headers blues, Klassik"),
        ("no truth", "sub-1.xlsx, row 3 (Run13_2): Correct is '11'"),
        ("no trials", "sub-1.xlsx: has no row such as Run13_1"),
        ("no zip", "sub-1.xlsx: is no readable spreadsheet"),
        ("entities", "declares entities"),
        ("decoded", "decoded.tsv, row 5: y_pred is 'polka'"),
        ("no sheets", "behaviour: has no spreadsheets"),
        ("not evaluated", "predictions.tsv: is not there; type 'neuromusic evaluate"),
        ("no metal", "brain: no answer to metal"),
    ],
)
def test_what_is_wrong_is_named(place, runner, what, said):
    root, _ = place
    spoil(root, what)
    result = ask(runner, root)
    assert result.exit_code == 2
    assert said in result.output
    assert not (root / "out").exists()


def test_a_huge_part_is_not_unpacked(tmp_path):
    path = write_sheet(tmp_path / "a.xlsx", judgements([0], [0]))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/sharedStrings.xml", b" " * 11_000_000)
    with pytest.raises(InputError, match="unpacks to over 10 MB"):
        read_first_sheet(path)
