"""Confusions against scikit-learn, scipy, all permutations, and the laboratory's own sums."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import sklearn.metrics
from spreadsheets import judgements, write_sheet

from neuromusic.cli.main import cli
from neuromusic.design.orders import GENRES, presentations, read_order
from neuromusic.evaluation.answers import read_behaviour, read_decoding
from neuromusic.evaluation.spreadsheet import read_sheets
from neuromusic.pipeline.confusions import confusions
from neuromusic.stats import significance


@pytest.fixture
def place(tmp_path):
    """Random answers of two listeners, two decoders and a network."""
    rng = np.random.default_rng(0)
    (tmp_path / "behaviour").mkdir()
    (tmp_path / "network").mkdir()
    truth = np.repeat(np.arange(10), 6)
    answers = {}
    for subject in ("network", "sub-1", "sub-2", "brain-1", "brain-2"):
        answer = np.where(rng.random(60) < 0.5, truth, rng.integers(10, size=60))
        answers[subject] = (truth, answer)
    for subject in ("sub-1", "sub-2"):
        path = tmp_path / f"behaviour/CategoryJudge_{subject}.xlsx"
        headers = ["Blues", "Cassical", *GENRES[2:]]
        write_sheet(path, judgements(*answers[subject], headers))
    names = np.array(GENRES)
    decoded = [
        pd.DataFrame({"subject": s, "y_true": names[truth], "y_pred": names[answers[s][1]]})
        for s in ("brain-1", "brain-2")
    ]
    pd.concat(decoded).to_csv(tmp_path / "decoded.tsv", sep="\t", index=False)
    pd.DataFrame(
        {"clip": "x", "genre": names[truth], "predicted": names[answers["network"][1]]}
    ).to_csv(tmp_path / "network/predictions.tsv", sep="\t", index=False)
    return tmp_path, answers


def compare(root, seed=0, overwrite=False):
    return confusions(
        root / "network", behaviour=root / "behaviour", decoding=root / "decoded.tsv",
        out=root / "out", seed=seed, overwrite=overwrite,
    )  # fmt: skip


def test_matrices_agree_with_scikit_learn_and_correlations_with_scipy(place, caplog):
    root, answers = place
    caplog.set_level("INFO", "neuromusic")
    returned = compare(root)
    assert "the header 'Cassical'" in caplog.text
    table = pd.read_csv(root / "out/confusions.tsv", sep="\t")
    expected = {}
    for observer, subjects in (("network", ["network"]), ("listeners", ["sub-1", "sub-2"]),
                               ("brain", ["brain-1", "brain-2"])):  # fmt: skip
        truth = np.concatenate([answers[s][0] for s in subjects])
        answer = np.concatenate([answers[s][1] for s in subjects])
        ours = table[table["who"] == observer].pivot(index="true", columns="answer")
        counts = sklearn.metrics.confusion_matrix(truth, answer)
        assert (ours["count"].to_numpy() == counts).all()
        expected[observer] = sklearn.metrics.confusion_matrix(truth, answer, normalize="true")
        np.testing.assert_allclose(ours["share"], expected[observer], atol=1e-6)
    off = ~np.eye(10, dtype=bool)
    correlations = pd.read_csv(root / "out/correlations.tsv", sep="\t")
    pd.testing.assert_frame_equal(correlations, returned, rtol=1e-5)
    assert len(correlations) == 3
    for row in correlations.itertuples():
        theirs = scipy.stats.spearmanr(expected[row.first][off], expected[row.second][off])
        assert row.spearman == pytest.approx(theirs.statistic, abs=1e-5)
    assert (root / "out/confusions.png").stat().st_size > 10_000


def test_the_seed_determines_the_permutations(place):
    root, _ = place
    compare(root)
    before = (root / "out/correlations.tsv").read_bytes()
    compare(root)
    assert (root / "out/correlations.tsv").read_bytes() == before
    compare(root, seed=1, overwrite=True)
    assert (root / "out/correlations.tsv").read_bytes() != before


def test_p_agrees_with_all_permutations():
    rng = np.random.default_rng(1)
    first = rng.random((5, 5))
    second = first + 0.7 * rng.random((5, 5))
    off = ~np.eye(5, dtype=bool)
    exact = []
    for order in itertools.permutations(range(5)):
        permuted = second[np.ix_(order, order)]
        exact.append(scipy.stats.spearmanr(first[off], permuted[off]).statistic)
    rho, p = significance.mantel_test(first, second, np.random.default_rng(0))
    assert rho == pytest.approx(exact[0])
    assert p == pytest.approx(np.mean(np.array(exact) >= exact[0] - 1e-12), abs=0.01)
    assert np.isnan(significance.mantel_test(first, np.eye(5), np.random.default_rng(0))[0])


def test_unrelated_matrices_are_seldom_significant():
    """Under the null hypothesis, p is below .05 in one pair of twenty."""
    rng = np.random.default_rng(2)
    p = [
        significance.mantel_test(rng.random((10, 10)), rng.random((10, 10)), rng, 200)[1]
        for _ in range(300)
    ]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09


def test_the_real_judgements_agree_with_the_laboratorys_sums(shared):
    """The accuracy that Excel stored in each sheet, and the true genres of the test order."""
    folder = shared / "data/behaviour"
    table, respelt = read_behaviour(folder, list(GENRES))
    assert respelt == {"Cassical": "classical"}
    order = presentations(read_order(shared / "data/orders/ExpValOrder.mat", "test"))
    played = order.query("1 <= trial <= 10")["genre"].tolist()
    for subject, rows in table.groupby("subject"):
        assert rows["true"].tolist() == played
        (sheet,) = read_sheets(folder / f"CategoryJudge_{subject}.xlsx").values()
        ((row, column),) = np.argwhere(sheet == "Total Accuracy")
        total = float(sheet.iat[row, column + 1])
        assert 100 * (rows["true"] == rows["answer"]).mean() == pytest.approx(total)
    assert table["subject"].nunique() == 5


def test_the_real_decoding_has_the_published_accuracies(shared):
    path = shared / "data/decoding/predictions_480_clips.tsv"
    table = read_decoding(path, list(GENRES))
    accuracy = (table["true"] == table["answer"]).groupby(table["subject"]).mean()
    assert accuracy.round(3).tolist() == [0.325, 0.342, 0.400, 0.271, 0.358]


def spoil(root, fault):
    sheet, truth = root / "behaviour/CategoryJudge_sub-1.xlsx", np.arange(10)
    rows = judgements(truth, truth)
    if fault == "two answers":
        rows[3][1] = 1
    elif fault == "unknown genre":
        rows[0][2] = "Klassik"
    elif fault == "no truth":
        rows[2][-1] = 11
    elif fault == "no trials":
        rows = rows[:1]
    if fault == "not a zip file":
        sheet.write_text("Blues,Classical")
    elif fault == "entities":
        write_sheet(sheet, rows, '<!DOCTYPE x [<!ENTITY a "aaaa">]>')
    elif fault == "decoded genre":
        text = (root / "decoded.tsv").read_text().splitlines()
        text[4] = "brain-1\tblues\tpolka"
        (root / "decoded.tsv").write_text("\n".join(text))
    elif fault == "no sheets":
        for path in (root / "behaviour").iterdir():
            path.unlink()
    elif fault == "not evaluated":
        (root / "network/predictions.tsv").unlink()
    elif fault == "no metal":
        table = pd.read_csv(root / "decoded.tsv", sep="\t")
        table[table["y_true"] != "metal"].to_csv(root / "decoded.tsv", sep="\t", index=False)
    else:
        write_sheet(sheet, rows)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("two answers", "sub-1.xlsx, row 4 (Run13_3): has 2 answers"),
        ("unknown genre", "sub-1.xlsx, row 1: has the headers blues, Klassik"),
        ("no truth", "sub-1.xlsx, row 3 (Run13_2): Correct is '11'"),
        ("no trials", "sub-1.xlsx: has no row such as Run13_1"),
        ("not a zip file", "sub-1.xlsx: is not a readable spreadsheet"),
        ("entities", "declares entities"),
        ("decoded genre", "decoded.tsv, row 5: y_pred is 'polka'"),
        ("no sheets", "behaviour: has no spreadsheets"),
        ("not evaluated", "predictions.tsv: does not exist; type 'neuromusic evaluate"),
        ("no metal", "brain: no answer to metal"),
    ],
)
def test_faults_are_named(place, runner, fault, message):
    root, _ = place
    spoil(root, fault)
    result = runner.invoke(
        cli,
        ["confusions", f"{root}/network", "--behaviour", f"{root}/behaviour", "--decoding",
         f"{root}/decoded.tsv", "--out", f"{root}/out"],
    )  # fmt: skip
    assert result.exit_code == 2
    assert message in result.output
    assert not (root / "out").exists()
