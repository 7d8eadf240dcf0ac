"""The exported BIDS derivative, against the BIDS validator and the volumes' probabilities."""

import gzip
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.io
from bids_validator import validate
from exports import TEST, components_by_sklearn, presentations, stage_rows

from neuromusic.design.orders import GENRES
from neuromusic.fmri.export.formats import FORMATS, WRITERS, Regressors
from neuromusic.pipeline.export import export

pytest_plugins = ("export_fixtures",)


def read_signals(path):
    with gzip.open(path, "rt") as file:
        return pd.read_csv(file, sep="\t", header=None)


def test_the_bids_validator_finds_nothing_in_the_whole_export(exported, without_a_clip, tmp_path):
    for folder in (exported / "out", without_a_clip[0]):
        assert {path.name for path in folder.iterdir() if path.is_dir()} > set(WRITERS)
        assert validate(folder) == {"error": set(), "warning": set()}
    # The validator does find an error if there is one, and a file that is not ignored.
    broken = tmp_path / "broken"
    shutil.copytree(exported / "out", broken)
    path = broken / f"{TEST}_events.tsv"
    path.write_text(path.read_text().replace("onset\t", "start\t", 1))
    assert validate(broken)["error"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, *FORMATS])
def test_every_format_alone_passes_the_validator(exported, tmp_path, name):
    out = export(
        exported / "run", exported / "lists", out=tmp_path / "out",
        formats=[name] if name else [], regressors=Regressors(components=2, stages=("A1",)),
    )  # fmt: skip
    assert validate(out) == {"error": set(), "warning": set()}


def test_metadata_is_at_the_root_once(exported):
    """Nothing but ignored directories and the network's answers is below the root."""
    out = exported / "out"
    ignored = set((out / ".bidsignore").read_text().split())
    assert ignored == {"provenance.json", "activations", *WRITERS}
    assert {path.name for path in out.glob("*.json")} == {
        "dataset_description.json", "provenance.json", "stim.json", "beh.json", "events.json",
    }  # fmt: skip
    below = {path.name for path in out.iterdir() if path.is_dir()}
    assert below - ignored == {"sub-cortexz"}


def test_the_network_answers_each_trial(exported):
    out = exported / "out"
    path = out / "sub-cortexz/beh" / f"sub-cortexz_{TEST}_beh.tsv"
    table = pd.read_csv(path, sep="\t")
    events = pd.read_csv(out / f"{TEST}_events.tsv", sep="\t")
    pd.testing.assert_frame_equal(table, events[list(table)])
    columns = json.loads((out / "beh.json").read_text())
    assert set(table) <= set(columns)
    assert "Description" in columns["genre_probability"]


def test_events_have_the_genre_and_the_prediction(exported):
    out = exported / "out"
    table = pd.read_csv(out / f"{TEST}_events.tsv", sep="\t")
    trials = presentations(exported, "test", 1)
    assert table["clip"].tolist() == trials["clip"].tolist()
    assert table["genre"].tolist() == trials["genre"].tolist()
    assert table["trial_type"].tolist() == ["dummy", *trials["genre"].iloc[1:]]
    p = read_signals(out / f"{TEST}_stim.tsv.gz").to_numpy()[:, :10].clip(1e-9)
    product = np.exp(np.log(p).reshape(41, 10, 10).mean(axis=1))
    product /= product.sum(axis=1, keepdims=True)
    genres = sorted(GENRES)
    assert table["predicted"].tolist() == [genres[k] for k in product.argmax(axis=1)]
    np.testing.assert_allclose(table["probability"], product.max(axis=1), atol=1e-3)
    true = [row[genres.index(g)] for row, g in zip(product, trials["genre"], strict=True)]
    np.testing.assert_allclose(table["genre_probability"], true, atol=1e-3)


def test_signals_are_the_probabilities_and_the_components(exported):
    out = exported / "out"
    sidecar = json.loads((out / "stim.json").read_text())
    signals = read_signals(out / f"{TEST}_stim.tsv.gz")
    signals.columns = sidecar["Columns"]
    mat = scipy.io.loadmat(out / "mat" / f"{TEST}_activations.mat")
    np.testing.assert_allclose(signals[sorted(GENRES)], mat["probability"], atol=1e-6)
    pca = components_by_sklearn(exported, "A1")
    components = pca.transform(stage_rows(exported, TEST, "A1"))
    np.testing.assert_allclose(signals[["A1_pc01", "A1_pc02", "A1_pc03"]], components, atol=1e-4)
    assert all({"Description", "Units"} <= set(sidecar[name]) for name in signals)
