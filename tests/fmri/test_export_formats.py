"""The formats for other programs, read by those programs: Octave, nilearn, the BIDS validator."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from click.testing import CliRunner
from helpers import write_features
from sklearn.decomposition import PCA

from neuromusic.cli.main import cli
from neuromusic.design.lists import read_lists
from neuromusic.design.orders import GENRES, Order, write_order
from neuromusic.fmri.components import fit_components, fit_units
from neuromusic.fmri.export.formats import WRITERS, Wanted
from neuromusic.pipeline import export, prepare
from neuromusic.pipeline.lists import make_lists
from neuromusic.pipeline.train import make_run
from neuromusic.training.config import make_config

TRAINING = "task-Training_run-01"
TEST = "task-Test_run-01"
ALL = Wanted(tuple(WRITERS), components=3, stages=("A1", "T2T3"))
MISSING = "jazz.00001_15s.wav"


def quiet(text):
    pass


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A network on ready-made features; two training runs of 20 trials, one test run of 10 x 4.

    ``out`` has every format, ``gone`` too, but lacks one clip of training run 2.
    """
    root = tmp_path_factory.mktemp("formats")
    write_features(root / "train.npz", runs=4)
    write_features(root / "test.npz", runs=1, seed=1, first=90)
    rng = np.random.default_rng(0)
    names = np.array([[f"{g}.{n:05d}_15s.wav" for g in GENRES] for n in range(4)])
    train = Order("train", np.array([rng.permutation(names[i : i + 2].ravel()) for i in (0, 2)]))
    test_names = rng.permutation([f"{g}.00090_15s.wav" for g in GENRES])
    test = Order("test", np.tile(test_names, 4)[None])
    write_order(train, root / "trn.mat")
    write_order(test, root / "val.mat")
    (root / "none").mkdir()
    lists = make_lists(
        root / "trn.mat", root / "val.mat", root / "none", root / "lists", True, "sym", quiet
    )
    prepare.make_prepared_features(root / "train.npz", root / "test.npz", root / "prepared", quiet)
    tree = {
        "data": {"window_s": 5.0, "hop_s": 5.0, "windows_per_epoch": 32, "validation_runs": 0},
        "model": {"options": {"size": "tiny"}},
        "train": {"epochs": 2, "batch_size": 16},
    }
    make_run(make_config(tree, "test"), root / "prepared", root / "run", False, quiet)
    export.make_export(root / "run", lists, root / "out", quiet, ALL)
    return root


@pytest.fixture(scope="module")
def gone(root):
    """The same export where one clip, played in a training run, is not in the prepared set."""
    prepared = json.loads((root / "prepared" / "prepared.json").read_text())
    assert prepared["source"] == "features"
    copy = root / "less"
    shutil.copytree(root / "prepared", copy)
    rows = pd.read_csv(copy / "rows.tsv", sep="\t", keep_default_na=False)
    rows.loc[rows["clip"] == MISSING, "clip"] = "jazz.00099_15s.wav"
    rows.to_csv(copy / "rows.tsv", sep="\t", index=False)
    whole = root / "prepared"
    whole.rename(root / "kept")
    copy.rename(whole)
    said = []
    try:
        export.make_export(root / "run", root / "lists", root / "gone", said.append, ALL)
    finally:
        whole.rename(copy)
        (root / "kept").rename(whole)
    return root / "gone", said


def played(root, split, run):
    """The presentations of a run, straight from the list."""
    table = read_lists(root / "lists")
    return table[(table["split"] == split) & (table["run"] == run)].sort_values("trial")


def onsets_of(trials):
    """Condition -> onsets, by hand: a presentation every 15 s, the dummy at 0."""
    out = {"dummy": [0.0]}
    for row in trials.itertuples():
        if row.trial > 0:
            out.setdefault(row.genre, []).append(row.trial * 15.0)
    return out


def stage_rows(root, stem, stage):
    return np.load(root / "out" / f"{stem}_stage-{stage}_activations.npy")


def components_by_sklearn(root, stage):
    """Fit scikit-learn's PCA on the training runs' volumes without the dummy."""
    rows = [stage_rows(root, f"task-Training_run-{run:02d}", stage)[10:] for run in (1, 2)]
    return PCA(3, whiten=True, svd_solver="full").fit(np.concatenate(rows).astype(np.float64))


def spm_response(values):
    """Return nilearn's own regressor of one event a volume, (n_vol,) to (n_vol,)."""
    from nilearn.glm.first_level import compute_regressor

    onset_s = 1.5 * np.arange(len(values))
    events = np.array([onset_s, np.full(len(values), 1.5), values])
    return compute_regressor(events, "spm", onset_s, oversampling=250)[0][:, 0]


@pytest.fixture
def octave():
    if shutil.which("octave-cli") is None:
        pytest.skip("octave-cli is not installed (Debian package octave)")

    def run(code, cwd):
        result = subprocess.run(
            ["octave-cli", "--no-gui", "--quiet", "--norc", "--eval", code],
            cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


# --- Components ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(300, 40), (60, 700), (1100, 1050)])
def test_components_are_those_of_sklearn(shape):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(shape[0], 8)) @ rng.normal(size=(8, shape[1])) * 3 + 50
    rows = (rows + 0.3 * rng.normal(size=shape)).astype(np.float32)
    ours = fit_components(rows, 5)
    theirs = PCA(5, whiten=True, svd_solver="full").fit(rows.astype(np.float64))
    np.testing.assert_allclose(ours.explained, theirs.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(ours.weights, theirs.components_, atol=1e-7)
    fresh = rng.normal(size=(20, shape[1]))
    np.testing.assert_allclose(ours.project(fresh), theirs.transform(fresh), atol=1e-6)
    assert (np.abs(ours.weights).max(1) == ours.weights.max(1)).all()


def test_components_are_no_more_than_the_volumes_span():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 2)) @ rng.normal(size=(2, 30))
    assert fit_components(rows, 10).labels == ["pc01", "pc02"]
    assert fit_components(np.ones((50, 4)), 3).labels == []
    rows[:, 3] = 7  # a unit that never moves
    units = fit_units(rows)
    assert len(units.labels) == 29
    assert "unit0004" not in units.labels
    np.testing.assert_allclose(units.project(rows).std(axis=0, ddof=1), 1)


# --- SPM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "stem"), [("train", TRAINING), ("test", TEST)])
def test_octave_loads_spm(root, octave, split, stem):
    """What SPM's own loader does: names, onsets, durations, pmod by their number, and R."""
    code = f"""
    c = load('{stem}_conditions.mat');
    assert(iscell(c.names) && rows(c.names) == 1 && size(c.onsets) == size(c.names));
    for i = 1:numel(c.names)
      printf('%s|%s|%s\\n', c.names{{i}}, mat2str(c.onsets{{i}}(:)'), mat2str(c.durations{{i}}(:)'));
      if isfield(c, 'pmod') && i <= numel(c.pmod)
        for k = 1:numel(c.pmod(i).name)
          assert(size(c.pmod(i).param{{k}}) == size(c.onsets{{i}}));
          printf('pmod|%s|%s|%g\\n', c.pmod(i).name{{k}}, mat2str(c.pmod(i).param{{k}}(:)', 12), c.pmod(i).poly{{k}});
        end
      end
    end
    r = load('{stem}_stage-A1_regressors.mat');
    printf('R|%d|%d|%s\\n', size(r.R), strjoin(r.names, ' '));
    printf('sum|%.10g\\n', sum(abs(r.R(:))));
    """  # noqa: E501
    lines = [line.split("|") for line in octave(code, root / "out" / "spm").splitlines()]
    table = pd.read_csv(root / "out" / "bids" / f"{stem}_events.tsv", sep="\t")
    expected = onsets_of(played(root, split, 1))
    found, modulated, name = {}, {}, ""
    for line in lines[:-2]:
        values = np.array(line[2 if line[0] == "pmod" else 1].strip("[]").split(), float)
        if line[0] == "pmod":
            assert line[1] == "probability"
            assert line[3] == "1"
            modulated[name] = values
        else:
            name = line[0]
            found[name] = values.tolist()
            assert set(line[2].strip("[]").split()) == {"15"}
    assert found == expected
    assert list(found) == [*sorted(GENRES), "dummy"]
    # A test run plays one clip of a genre four times: nothing to modulate.
    assert set(modulated) == (set(GENRES) if split == "train" else set())
    for name, values in modulated.items():
        own = table.loc[table["trial_type"] == name, "genre_probability"]
        np.testing.assert_allclose(values, own, atol=1e-6)
    n_vol = 210 if split == "train" else 410
    assert lines[-2] == ["R", str(n_vol), "3", "A1_pc01 A1_pc02 A1_pc03"]
    stored = scipy.io.loadmat(root / "out" / "spm" / f"{stem}_stage-A1_regressors.mat")["R"]
    assert float(lines[-1][1]) == pytest.approx(np.abs(stored).sum())


@pytest.mark.parametrize(("stem", "stage"), [(TRAINING, "A1"), (TEST, "T2T3")])
def test_regressors_are_projected_and_convolved(root, stem, stage):
    """Against scikit-learn's PCA of the training runs and nilearn's convolution of events."""
    scores = components_by_sklearn(root, stage).transform(stage_rows(root, stem, stage))
    expected = np.column_stack([spm_response(column) for column in scores.T])
    stored = scipy.io.loadmat(root / "out" / "spm" / f"{stem}_stage-{stage}_regressors.mat")["R"]
    np.testing.assert_allclose(stored, expected, atol=5e-3)  # of a deviation of 1
    series = np.loadtxt(root / "out" / "afni" / f"{stem}_stage-{stage}_regressors.1D")
    np.testing.assert_allclose(series, stored, atol=1e-6)
    columns = [f"{stage}_pc{index:02d}" for index in (1, 2, 3)]
    design = pd.read_csv(root / "out" / "nilearn" / f"{stem}_design.tsv", sep="\t")
    np.testing.assert_allclose(design[columns], stored, atol=1e-6)
    sidecar = json.loads((root / "out" / "spm" / "spm.json").read_text())["Components"][stage]
    assert sidecar["Columns"] == columns
    assert sidecar["FittedVolumes"] == 400
    np.testing.assert_allclose(
        sidecar["ExplainedVarianceRatio"],
        components_by_sklearn(root, stage).explained_variance_ratio_,
        atol=1e-6,
    )


# --- FSL and AFNI -------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "stem"), [("train", TRAINING), ("test", TEST)])
def test_fsl_has_three_columns(root, split, stem):
    folder = root / "out" / "fsl" / stem
    expected = onsets_of(played(root, split, 1))
    for name, onsets in expected.items():
        table = np.loadtxt(folder / f"{name}.txt", ndmin=2)
        np.testing.assert_array_equal(table, [[onset, 15, 1] for onset in onsets])
    scores = components_by_sklearn(root, "A1").transform(stage_rows(root, stem, "A1"))
    for index in (1, 2, 3):
        table = np.loadtxt(folder / f"A1_pc{index:02d}.txt")
        np.testing.assert_allclose(table[:, 0], 1.5 * np.arange(len(scores)))
        assert (table[:, 1] == 1.5).all()
        np.testing.assert_allclose(table[:, 2], scores[:, index - 1], atol=1e-4)
    weights = [
        np.loadtxt(root / "out" / "fsl" / f"task-Training_run-{run:02d}" / "probability.txt")[
            10:, 2
        ]
        for run in (1, 2)
    ]
    assert np.mean(weights) == pytest.approx(0, abs=1e-5)
    names = {*expected, "probability"} | {f"{s}_pc0{i}" for s in ("A1", "T2T3") for i in (1, 2, 3)}
    assert {path.stem for path in folder.iterdir()} == names


def test_afni_has_a_row_a_run(root):
    folder = root / "out" / "afni"
    runs = [onsets_of(played(root, "train", run)) for run in (1, 2)]
    events = [
        pd.read_csv(root / "out" / "bids" / f"task-Training_run-{run:02d}_events.tsv", sep="\t")
        for run in (1, 2)
    ]
    for name in (*GENRES, "dummy"):
        rows = (folder / f"task-Training_{name}_times.1D").read_text().splitlines()
        assert [[float(t) for t in row.split() if t != "*"] for row in rows] == [
            onsets[name] for onsets in runs
        ]
        # AFNI takes a file with one time in each row for global times; the star says local.
        assert all(len(row.split()) > 1 for row in rows)
    for name in GENRES:
        rows = (folder / f"task-Training_{name}_times-probability.1D").read_text().splitlines()
        for row, onsets, table in zip(rows, runs, events, strict=True):
            pairs = np.array([pair.split("*") for pair in row.split()], float)
            assert pairs[:, 0].tolist() == onsets[name]
            own = table.loc[table["trial_type"] == name, "genre_probability"]
            np.testing.assert_allclose(pairs[:, 1], own, atol=1e-5)
    every = np.loadtxt(folder / "task-Training_stage-A1_regressors.1D")
    parts = [np.loadtxt(folder / f"task-Training_run-0{r}_stage-A1_regressors.1D") for r in (1, 2)]
    np.testing.assert_array_equal(every, np.concatenate(parts))


# --- nilearn ------------------------------------------------------------------------------------


def test_nilearn_fits_the_designs(root):
    """Two runs of images that hold a planted effect of a genre and of a component."""
    import nibabel
    from nilearn.glm.first_level import FirstLevelModel

    designs, images = [], []
    rng = np.random.default_rng(0)
    for run in (1, 2):
        path = root / "out" / "nilearn" / f"task-Training_run-{run:02d}_design.tsv"
        design = pd.read_csv(path, sep="\t", index_col=0)
        assert design.index.name == "frame_times"
        np.testing.assert_allclose(design.index, 1.5 * np.arange(210))
        assert {*GENRES, "dummy", "probability", "A1_pc01", "drift_1", "constant"} <= set(design)
        data = 100 + rng.normal(0, 0.02, (2, 2, 1, 210))
        data[0, 0, 0] += (2 * design["jazz"] - 1 * design["rock"]).to_numpy()
        data[1, 1, 0] += 0.5 * design["A1_pc01"].to_numpy()
        data += 3 * design["drift_1"].to_numpy()
        designs.append(design)
        images.append(nibabel.Nifti1Image(data, np.eye(4)))
    mask = nibabel.Nifti1Image(np.ones((2, 2, 1), np.int8), np.eye(4))
    model = FirstLevelModel(mask_img=mask, signal_scaling=False)
    model.fit(images, design_matrices=designs)
    genre = model.compute_contrast("jazz - rock", output_type="effect_size").get_fdata()
    assert genre[0, 0, 0] == pytest.approx(3, abs=0.1)
    assert abs(genre[1, 1, 0]) < 0.1
    component = model.compute_contrast("A1_pc01", output_type="effect_size").get_fdata()
    assert component[1, 1, 0] == pytest.approx(0.5, abs=0.05)
    assert abs(component[0, 0, 0]) < 0.05
    z = model.compute_contrast("A1_pc01", output_type="z_score").get_fdata()
    assert z[1, 1, 0] > 5 > abs(z[0, 1, 0])


def test_conditions_are_nilearns(root):
    from nilearn.glm.first_level import make_first_level_design_matrix

    times = 1.5 * np.arange(410)
    rows = [(t, 15.0, name) for name, ts in onsets_of(played(root, "test", 1)).items() for t in ts]
    events = pd.DataFrame(rows, columns=["onset", "duration", "trial_type"])
    expected = make_first_level_design_matrix(times, events, "spm", "cosine", 0.01)
    design = pd.read_csv(root / "out" / "nilearn" / f"{TEST}_design.tsv", sep="\t", index_col=0)
    assert set(expected) <= set(design)
    np.testing.assert_allclose(design[list(expected)], expected, atol=1e-6)


# --- BIDS ---------------------------------------------------------------------------------------


def validate(folder):
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


def test_the_bids_validator_finds_no_error(root, gone, tmp_path):
    for folder in (root / "out" / "bids", gone[0] / "bids"):
        found = validate(folder)
        assert found["error"] == set()
        # No subjects, since all of them heard the same; and no authors to name.
        assert found["warning"] <= {"SUBJECT_FOLDERS", "TOO_FEW_AUTHORS"}
    # The validator does see what is wrong.
    broken = tmp_path / "bids"
    shutil.copytree(root / "out" / "bids", broken)
    path = broken / f"{TEST}_events.tsv"
    path.write_text(path.read_text().replace("onset\t", "start\t", 1))
    assert validate(broken)["error"]


def test_events_say_genre_and_prediction(root):
    table = pd.read_csv(root / "out" / "bids" / f"{TEST}_events.tsv", sep="\t")
    trials = played(root, "test", 1)
    assert table["clip"].tolist() == trials["clip"].tolist()
    assert table["genre"].tolist() == trials["genre"].tolist()
    assert table["trial_type"].tolist() == ["dummy", *trials["genre"].iloc[1:]]
    with gzip.open(root / "out" / f"{TEST}_stim.tsv.gz", "rt") as file:
        p = pd.read_csv(file, sep="\t", header=None).to_numpy().clip(1e-9)
    product = np.exp(np.log(p).reshape(41, 10, 10).mean(axis=1))
    product /= product.sum(axis=1, keepdims=True)
    genres = sorted(GENRES)
    assert table["predicted"].tolist() == [genres[k] for k in product.argmax(axis=1)]
    np.testing.assert_allclose(table["probability"], product.max(axis=1), atol=1e-3)
    own = [row[genres.index(g)] for row, g in zip(product, trials["genre"], strict=True)]
    np.testing.assert_allclose(table["genre_probability"], own, atol=1e-3)
    sidecar = json.loads((root / "out" / "bids" / f"{TEST}_stim.json").read_text())
    with gzip.open(root / "out" / "bids" / f"{TEST}_stim.tsv.gz", "rt") as file:
        signals = pd.read_csv(file, sep="\t", header=None, names=sidecar["Columns"])
    np.testing.assert_allclose(signals[genres], p, atol=1e-6)
    scores = components_by_sklearn(root, "A1").transform(stage_rows(root, TEST, "A1"))
    np.testing.assert_allclose(signals[["A1_pc01", "A1_pc02", "A1_pc03"]], scores, atol=1e-4)


# --- All units ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "stem"), [("train", TRAINING), ("test", TEST)])
def test_full_activations_agree(root, split, stem):
    out = root / "out"
    npz = np.load(out / "npz" / f"{stem}_activations.npz", allow_pickle=False)
    mat = scipy.io.loadmat(out / "mat" / f"{stem}_activations.mat", squeeze_me=True)
    table = pd.read_csv(out / f"{stem}_volumes.tsv", sep="\t")
    trials = played(root, split, 1)
    with h5py.File(out / "hdf5" / "activations.h5") as file:
        group = file[stem]
        assert group["A1"].chunks[0] == 10
        assert "normalised" in file.attrs["delay_policy"]
        for stage in ("A1", "belt", "PB", "T2T3", "GRU"):
            block = stage_rows(root, stem, stage)
            for stored in (npz[stage], mat[stage], group[stage][()]):
                np.testing.assert_array_equal(stored, block)
                assert stored.dtype == np.float32
        for name in ("volume", "onset_s", "trial", "repeat", "dummy"):
            for stored in (npz[name], mat[name], group[name][()]):
                np.testing.assert_array_equal(stored, table[name])
        clips = np.repeat(trials["clip"].to_numpy(), 10).tolist()
        assert clips == npz["clip"].tolist() == mat["clip"].tolist()
        assert clips == group["clip"].asstr()[()].tolist()


def test_octave_loads_all_units(root, octave):
    code = f"""
    a = load('mat/{TEST}_activations.mat'); b = load('activations.mat');
    assert(isequal(a.belt, b.runs(end).belt) && isequal(a.clip, b.runs(end).clip));
    printf('%s %d %d %s %d', class(a.belt), size(a.belt), a.clip{{11}}, sum(a.dummy));
    """
    units = stage_rows(root, TEST, "belt").shape[1]
    first = played(root, "test", 1)["clip"].iloc[1]
    assert octave(code, root / "out") == f"single 410 {units} {first} 10"


# --- Missing clips, repetition, bad input -------------------------------------------------------


def test_a_missing_clip_is_no_silent_zero(root, gone):
    out, said = gone
    run = int(played(root, "train", 1)["clip"].eq(MISSING).sum() == 0) + 1
    stem = f"task-Training_run-{run:02d}"
    trials = played(root, "train", run)
    place = int(trials.loc[trials["clip"].eq(MISSING) & trials["trial"].gt(0), "trial"].iloc[0])
    whole = "task-Test_run-01"
    assert f"1 clips are missing; their volumes are NaN: {MISSING}" in said
    assert any(line.startswith(f"note: {stem}: no regressors of") for line in said)
    for name in ("spm", "afni", "fsl", "nilearn"):
        sidecar = json.loads((out / name / f"{name}.json").read_text())
        assert sidecar["MissingClips"][stem] == [MISSING]
        assert any(line.startswith(f"{stem}: no regressors") for line in sidecar["Notes"])
        assert not any(line.startswith(whole) for line in sidecar["Notes"])
    assert not (out / "spm" / f"{stem}_stage-A1_regressors.mat").exists()
    assert (out / "spm" / f"{whole}_stage-A1_regressors.mat").exists()
    assert not (out / "afni" / "task-Training_stage-A1_regressors.1D").exists()
    assert not (out / "afni" / "task-Training_jazz_times-probability.1D").exists()
    assert (out / "afni" / "task-Training_rock_times-probability.1D").exists()
    # The genre was played all the same.
    content = scipy.io.loadmat(out / "spm" / f"{stem}_conditions.mat", simplify_cells=True)
    index = content["names"].tolist().index("jazz")
    assert content["onsets"][index].tolist() == onsets_of(trials)["jazz"]
    assert np.size(content["pmod"][index]["name"]) == 0
    assert np.size(content["pmod"][content["names"].tolist().index("rock")]["name"]) == 1
    design = pd.read_csv(out / "nilearn" / f"{stem}_design.tsv", sep="\t", index_col=0)
    assert set(GENRES) <= set(design)
    assert not [name for name in design if "pc0" in name or name == "probability"]
    assert np.isfinite(design.to_numpy()).all()
    events = pd.read_csv(out / "bids" / f"{stem}_events.tsv", sep="\t")
    assert events.loc[place, ["predicted", "probability", "genre_probability"]].isna().all()
    assert events.loc[place, "genre"] == "jazz"
    block = np.load(out / "npz" / f"{stem}_activations.npz")["A1"]
    assert np.isnan(block[10 * place : 10 * place + 10]).all()


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_call_gives_the_same_bytes(root):
    export.make_export(root / "run", root / "lists", root / "again", quiet, ALL)
    first, second = digests(root / "out"), digests(root / "again")
    assert {path.split("/")[0] for path in first if "/" in path} == set(WRITERS)
    assert first == second


def test_components_and_units_can_be_chosen(root, tmp_path):
    """From the command line: several formats at once, one stage, a component as modulator."""
    line = (
        f"export {root / 'run'} --lists {root / 'lists'} --out {tmp_path / 'out'} "
        "--format spm,fsl --format afni --stages GRU --components 2 --modulator GRU_pc01 "
        "--hrf glover"
    )
    result = CliRunner().invoke(cli, line.split())
    assert result.exit_code == 0, result.output
    assert "docs/export.md" in result.output
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"spm", "fsl", "afni"}
    content = scipy.io.loadmat(out / "spm" / f"{TRAINING}_conditions.mat", simplify_cells=True)
    assert {pmod["name"] for pmod in content["pmod"][:10]} == {"GRU_pc01"}
    scores = np.loadtxt(out / "fsl" / TRAINING / "GRU_pc01.txt")[:, 2]
    trial = int(content["onsets"][0][0] // 15)
    mean = scores[10 * trial : 10 * trial + 10].mean()
    assert content["pmod"][0]["param"][0] == pytest.approx(mean, abs=1e-5)
    assert json.loads((out / "spm" / "spm.json").read_text())["DelayPolicy"].count("glover") == 1


def test_all_units_are_regressors_where_they_fit(root, tmp_path):
    wanted = Wanted(("fsl",), "all", ("GRU",))
    export.make_export(root / "run", root / "lists", tmp_path / "out", quiet, wanted)
    block = stage_rows(root, TEST, "GRU")
    train = [stage_rows(root, f"task-Training_run-{run:02d}", "GRU")[10:] for run in (1, 2)]
    train = np.concatenate(train).astype(float)
    files = sorted((tmp_path / "out" / "fsl" / TEST).glob("GRU_unit*.txt"))
    assert len(files) == (train.std(axis=0) > 0).sum() > 0
    for path in files[:3]:
        unit = int(path.stem[-4:]) - 1
        expected = (block[:, unit] - train[:, unit].mean()) / train[:, unit].std(ddof=1)
        np.testing.assert_allclose(np.loadtxt(path)[:, 2], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--format smp", "did you mean 'spm'"),
        ("--format spm --stages A2", "it has A1, belt, PB, T2T3, GRU"),
        ("--format spm --modulator A1_pc11", "such as A1_pc01"),
        ("--format spm --modulator loudness", "expected probability"),
        ("--format spm --components 0", "expected a number from 1, or all"),
        ("--format nilearn --components all", "which no design can fit"),
        ("--format nilearn --components 60", "which no design can fit"),
    ],
)
def test_what_cannot_be_exported_is_one_clear_line(root, tmp_path, arguments, said):
    result = CliRunner().invoke(
        cli,
        ["export", str(root / "run"), "--lists", str(root / "lists"), "--out",
         str(tmp_path / "new"), *arguments.split()],
    )  # fmt: skip
    assert result.exit_code == 2
    assert said in result.output.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_without_nilearn_the_command_says_what_to_install(root, tmp_path, monkeypatch):
    monkeypatch.setattr("neuromusic.core.errors.importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(
        cli, ["export", str(root / "run"), "--lists", str(root / "lists"), "--out",
              str(tmp_path / "new"), "--format", "nilearn"],
    )  # fmt: skip
    assert result.exit_code == 2
    assert 'pip install "neuromusic[fmri]"' in result.output
