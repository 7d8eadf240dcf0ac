"""What the exported designs can find: drift, standard errors and variance inflation.

nilearn's own model, fitted to noise, has the standard error that the export states.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from exports import TEST, TRAINING

from neuromusic.design.bids import RunId
from neuromusic.design.orders import GENRES, design_orders, presentations, read_order
from neuromusic.fmri.export.nilearn import write_nilearn
from neuromusic.fmri.export.scanner_run import Context, ScannerRun
from neuromusic.pipeline.export import export

pytest_plugins = ("export_fixtures",)

STAGES = ("A1", "belt", "PB", "T2T3", "GRU")
ORDERS = Path(__file__).parents[2] / "orders"


def generated_orders():
    names = [f"{genre}.{number:05d}_15s.wav" for genre in GENRES for number in range(54)]
    return dict(zip(("train", "test"), design_orders(names, 0), strict=True))


def real_orders():
    if not (ORDERS / "ExpTrnOrder.mat").is_file():
        pytest.skip("the project's directory orders is not here")
    return {
        "train": read_order(ORDERS / "ExpTrnOrder.mat", "train"),
        "test": read_order(ORDERS / "ExpValOrder.mat", "test"),
    }


@pytest.fixture(scope="module", params=[generated_orders, real_orders])
def orders(request):
    return request.param()


def clip_components(clip):
    """Responses of 5 stages x 10 components, tuned to the genre, to the volumes of a clip."""
    genre, number = clip.split(".")[0], int(clip.split(".")[1][:5])
    tuning = np.random.default_rng(0).normal(size=(10, 50))[GENRES.index(genre)]
    rng = np.random.default_rng([GENRES.index(genre), number])
    return tuning + 0.5 * rng.normal(size=50) + 0.5 * rng.normal(size=(10, 50))


def scanner_runs(order):
    """Return the runs of an order, with a probability and components for each stage."""
    runs = []
    for number, table in presentations(order).groupby("run"):
        condition = table["genre"].where(table["trial"] > 0, "dummy")
        trials = table.assign(condition=condition, duration_s=15.0)
        values = np.concatenate([clip_components(clip) for clip in trials["clip"]])
        rng = np.random.default_rng(number)
        level = np.repeat(rng.uniform(-0.5, 0.5, len(trials)), 10)
        probability = pd.DataFrame({"probability": level + rng.normal(0, 0.1, len(values))})
        regressors = {"probability": probability}
        for index, stage in enumerate(STAGES):
            columns = [f"{stage}_pc{component:02d}" for component in range(1, 11)]
            block = values[:, 10 * index : 10 * index + 10]
            regressors[stage] = pd.DataFrame(block, columns=columns)
        run_id = RunId("", "", order.split, number)
        volumes = pd.DataFrame({"clip": np.repeat(trials["clip"].to_numpy(), 10)})
        runs.append(ScannerRun(run_id, order.split, 1.5, trials, volumes, {}, regressors))
    return runs


def write_designs(directory, runs, groups):
    """Write the designs with these groups of regressors; return them, the sidecar and the notes."""
    directory.mkdir()
    context = Context(list(GENRES), "spm", 0.0, "probability", groups, ("jazz", "rock"), (), {})
    notes = write_nilearn(directory, runs, context)
    designs = {
        run.stem: pd.read_csv(directory / f"{run.stem}_design.tsv", sep="\t", index_col=0)
        for run in runs
    }
    return designs, json.loads((directory / "nilearn.json").read_text()), notes


def contrast_weights(design):
    weights = pd.Series(0.0, index=design.columns)
    weights[["jazz", "rock"]] = 1.0, -1.0
    return weights.to_numpy()


# --- Drift ----------------------------------------------------------------------------------------


def removed(design, cutoff_hz):
    """Return the share of the genres' variance that nilearn's cosines remove, over all genres."""
    from nilearn.signal import clean

    genres = design[list(GENRES)].to_numpy()
    options = {"t_r": 1.5, "detrend": False, "standardize": None, "filter": "cosine"}
    left = clean(genres, high_pass=cutoff_hz, **options)
    return 1 - left.var(axis=0).sum() / genres.var(axis=0).sum()


@pytest.mark.parametrize(
    ("make_orders", "split", "most"),
    [
        (real_orders, "train", 0.045),
        (real_orders, "test", 0.015),
        (generated_orders, "train", 0.11),  # genres are not spread evenly over a run
        (generated_orders, "test", 0.015),
    ],
)
def test_the_drift_leaves_the_genres_alone(make_orders, split, most, tmp_path):
    """1/256 Hz removes 1 to 4 % of their variance, nilearn's default of .01 Hz 21 to 25 %."""
    designs, _, _ = write_designs(tmp_path / "plain", scanner_runs(make_orders()[split]), ())
    exported, default = np.transpose(
        [(removed(design, 1 / 256), removed(design, 0.01)) for design in designs.values()]
    )
    assert 0.005 < exported.mean() < most
    assert exported.max() < 1.6 * most
    assert 0.21 < default.mean() < (0.25 if make_orders is real_orders else 0.29)
    for design in designs.values():  # 615 s: 2 x 615 / 256 cosines
        assert [n for n in design if n.startswith("drift")] == [f"drift_{k}" for k in (1, 2, 3, 4)]


# --- Standard errors ------------------------------------------------------------------------------


def test_by_default_a_design_has_genres_dummy_drift_and_constant(exported, tmp_path, caplog):
    with caplog.at_level("INFO", "neuromusic"):
        out = export(
            exported / "run", exported / "lists", out=tmp_path / "out", formats=["nilearn"]
        )
    assert not [line for line in caplog.messages if "variance" in line]
    for stem, drifts in ((TRAINING, 2), (TEST, 4)):
        design = pd.read_csv(out / "nilearn" / f"{stem}_design.tsv", sep="\t", index_col=0)
        names = {*GENRES, "dummy", "constant", *(f"drift_{k + 1}" for k in range(drifts))}
        assert set(design) == names
    runs = json.loads((out / "nilearn/nilearn.json").read_text())["Contrast"]["Runs"]
    assert {values["VarianceInflation"] for values in runs.values()} == {1.0}


@pytest.mark.parametrize("groups", [(), ("probability",), ("all",)])
def test_nilearn_has_the_stated_standard_error_in_noise(orders, groups, tmp_path):
    """White noise in 4 000 voxels: spread of the estimates, their error, and the size at .05."""
    from nilearn.glm.contrasts import compute_contrast
    from nilearn.glm.first_level import run_glm

    n_voxels = 4000
    runs = scanner_runs(orders["train"])[:1]
    designs, sidecar, _ = write_designs(tmp_path / "designs", runs, groups)
    (stem, design) = next(iter(designs.items()))
    stated = sidecar["Contrast"]["Runs"][stem]["StandardError"]
    noise = np.random.default_rng(1).normal(size=(len(design), n_voxels))
    labels, results = run_glm(noise, design.to_numpy(), noise_model="ols")
    contrast = compute_contrast(labels, results, contrast_weights(design), stat_type="t")
    # A standard deviation over n voxels is known to 1 / sqrt(2 n) = 1.1 % (one standard error).
    assert contrast.effect_size().std() == pytest.approx(stated, rel=0.045)
    assert np.sqrt(contrast.effect_variance()).mean() == pytest.approx(stated, rel=0.01)
    two_sided = 2 * np.minimum(contrast.p_value(), contrast.one_minus_pvalue())
    assert (two_sided < 0.05).mean() == pytest.approx(0.05, abs=4 * np.sqrt(0.0475 / n_voxels))


def test_regressors_of_the_network_inflate_the_contrast(orders, tmp_path, caplog):
    """Against a regression of the contrast's regressor on all others (1 / (1 - R2))."""
    from sklearn.linear_model import LinearRegression

    runs = scanner_runs(orders["train"])[:4]
    errors = {}
    with caplog.at_level("INFO", "neuromusic"):
        for groups in ((), ("probability",), ("all",)):
            name = "-".join(groups) or "plain"
            designs, sidecar, notes = write_designs(tmp_path / name, runs, groups)
            rows = sidecar["Contrast"]["Runs"]
            errors[name] = np.array([rows[run.stem]["StandardError"] for run in runs])
            inflation = np.array([rows[run.stem]["VarianceInflation"] for run in runs])
            np.testing.assert_allclose(inflation, (errors[name] / errors["plain"]) ** 2, rtol=2e-3)
            assert notes == sidecar["Notes"]
    assert 0.20 < errors["plain"].mean() < 0.25
    assert (errors["probability"] >= errors["plain"]).all()
    assert (errors["all"] > 3 * errors["plain"]).all()
    assert caplog.messages[0].startswith("nilearn: the network's regressors multiply the variance")
    assert len(caplog.messages) == 2  # none for the plain designs
    assert "multiply the variance of jazz - rock by up to" in notes[-1]
    # jazz - rock in a design with jazz + rock in place of rock: the same contrast, one column.
    design = designs[runs[0].stem].assign(both=lambda d: (d["jazz"] + d["rock"]) / 2)
    half = (design.pop("jazz") - design.pop("rock")) / 2
    others = design.drop(columns="constant")
    left = half - LinearRegression().fit(others, half).predict(others)
    assert errors["all"][0] == pytest.approx(1 / np.sqrt((left**2).sum()), rel=2e-3)


def test_at_the_cutoff_of_100_s_the_standard_error_is_a_sixth_larger(tmp_path):
    """In the real training runs: .26 with nilearn's default cutoff, .23 with the exported one."""
    from nilearn.glm.first_level.design_matrix import create_cosine_drift

    designs, sidecar, _ = write_designs(tmp_path / "d", scanner_runs(real_orders()["train"]), ())
    ours = [values["StandardError"] for values in sidecar["Contrast"]["Runs"].values()]
    others = []
    for design in designs.values():
        events = design[[*GENRES, "dummy"]].to_numpy()
        x = np.column_stack([events, create_cosine_drift(0.01, design.index.to_numpy())])
        weights = np.zeros(x.shape[1])
        weights[[GENRES.index("jazz"), GENRES.index("rock")]] = 1, -1
        others.append(np.sqrt(weights @ np.linalg.inv(x.T @ x) @ weights))
    assert np.mean(others) == pytest.approx(0.26, abs=0.01)
    assert np.mean(ours) == pytest.approx(0.226, abs=0.005)


def test_a_run_without_a_genre_of_the_contrast_has_no_entry(tmp_path):
    run = scanner_runs(generated_orders()["train"])[0]
    run.trials["condition"] = run.trials["condition"].replace("jazz", "blues")
    _, sidecar, notes = write_designs(tmp_path / "designs", [run], ("probability",))
    assert (sidecar["Contrast"]["Runs"], notes) == ({}, [])
