"""The exported BIDS derivative, against the BIDS validator and the volumes' probabilities."""

import gzip
import json
import os
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from exports import TEST, components_by_sklearn, presentations, stage_rows

from neuromusic.design.orders import GENRES

pytest_plugins = ("export_fixtures",)


def validate(folder):
    """Return severity -> codes of the issues that the BIDS validator reports."""
    if shutil.which("bids-validator-deno") is None:
        pytest.skip("bids-validator-deno is not installed")
    result = subprocess.run(
        ["bids-validator-deno", "--format", "json", "--max-rows", "-1", str(folder)],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )  # fmt: skip
    if not result.stdout.lstrip().startswith("{"):
        pytest.skip(f"bids-validator-deno does not run here: {result.stderr[-200:]}")
    issues = json.loads(result.stdout)["issues"]["issues"]
    return {s: {i["code"] for i in issues if i["severity"] == s} for s in ("error", "warning")}


def read_signals(path):
    with gzip.open(path, "rt") as file:
        return pd.read_csv(file, sep="\t", header=None)


def test_the_bids_validator_finds_no_error(exported, without_a_clip, tmp_path):
    for folder in (exported / "out" / "bids", without_a_clip[0] / "bids"):
        issues = validate(folder)
        assert issues["error"] == set()
        # There are no subjects, since the files apply to all of them; and no authors to name.
        assert issues["warning"] <= {"SUBJECT_FOLDERS", "TOO_FEW_AUTHORS"}
    # The validator does find an error if there is one.
    broken = tmp_path / "bids"
    shutil.copytree(exported / "out" / "bids", broken)
    path = broken / f"{TEST}_events.tsv"
    path.write_text(path.read_text().replace("onset\t", "start\t", 1))
    assert validate(broken)["error"]


def test_events_have_the_genre_and_the_prediction(exported):
    out = exported / "out"
    table = pd.read_csv(out / "bids" / f"{TEST}_events.tsv", sep="\t")
    trials = presentations(exported, "test", 1)
    assert table["clip"].tolist() == trials["clip"].tolist()
    assert table["genre"].tolist() == trials["genre"].tolist()
    assert table["trial_type"].tolist() == ["dummy", *trials["genre"].iloc[1:]]
    p = read_signals(out / f"{TEST}_stim.tsv.gz").to_numpy().clip(1e-9)
    product = np.exp(np.log(p).reshape(41, 10, 10).mean(axis=1))
    product /= product.sum(axis=1, keepdims=True)
    genres = sorted(GENRES)
    assert table["predicted"].tolist() == [genres[k] for k in product.argmax(axis=1)]
    np.testing.assert_allclose(table["probability"], product.max(axis=1), atol=1e-3)
    true = [row[genres.index(g)] for row, g in zip(product, trials["genre"], strict=True)]
    np.testing.assert_allclose(table["genre_probability"], true, atol=1e-3)


def test_signals_are_the_probabilities_and_the_components(exported):
    out = exported / "out"
    sidecar = json.loads((out / "bids" / f"{TEST}_stim.json").read_text())
    signals = read_signals(out / "bids" / f"{TEST}_stim.tsv.gz")
    signals.columns = sidecar["Columns"]
    p = read_signals(out / f"{TEST}_stim.tsv.gz").to_numpy().clip(1e-9)
    np.testing.assert_allclose(signals[sorted(GENRES)], p, atol=1e-6)
    pca = components_by_sklearn(exported, "A1")
    components = pca.transform(stage_rows(exported, TEST, "A1"))
    np.testing.assert_allclose(signals[["A1_pc01", "A1_pc02", "A1_pc03"]], components, atol=1e-4)
