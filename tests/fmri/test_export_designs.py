"""Exported designs, read by the programs that use them: Octave (as SPM), FSL, AFNI, nilearn."""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.io
from exports import TEST, TRAINING, components_by_sklearn, onsets_of, presentations, stage_rows

from neuromusic.design.orders import GENRES

pytest_plugins = ("export_fixtures",)


def spm_response(values):
    """Return nilearn's own regressor of one event per volume, (n_volumes,) to (n_volumes,)."""
    from nilearn.glm.first_level import compute_regressor

    onset_s = 1.5 * np.arange(len(values))
    events = np.array([onset_s, np.full(len(values), 1.5), values])
    return compute_regressor(events, "spm", onset_s, oversampling=250)[0][:, 0]


# --- SPM ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "stem"), [("train", TRAINING), ("test", TEST)])
def test_octave_loads_spm_conditions_and_regressors(exported, octave, split, stem):
    """As SPM's own loader does: names, onsets, durations, pmod by index, and R."""
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
    spm = exported / "out" / "spm"
    *conditions, shape, total = [line.split("|") for line in octave(code, spm).splitlines()]
    table = pd.read_csv(exported / "out" / f"{stem}_events.tsv", sep="\t")
    onsets, modulated, name = {}, {}, ""
    for line in conditions:
        values = np.array(line[2 if line[0] == "pmod" else 1].strip("[]").split(), float)
        if line[0] == "pmod":
            assert line[1] == "probability"
            assert line[3] == "1"
            modulated[name] = values
        else:
            name = line[0]
            onsets[name] = values.tolist()
            assert set(line[2].strip("[]").split()) == {"15"}
    assert onsets == onsets_of(presentations(exported, split, 1))
    assert list(onsets) == [*sorted(GENRES), "dummy"]
    # A test run plays one clip of a genre four times: nothing to modulate.
    assert set(modulated) == (set(GENRES) if split == "train" else set())
    for name, values in modulated.items():
        expected = table.loc[table["trial_type"] == name, "genre_probability"]
        np.testing.assert_allclose(values, expected, atol=1e-6)
    n_volumes = 210 if split == "train" else 410
    assert shape == ["R", str(n_volumes), "3", "A1_pc01 A1_pc02 A1_pc03"]
    stored = scipy.io.loadmat(spm / f"{stem}_stage-A1_regressors.mat")["R"]
    assert float(total[1]) == pytest.approx(np.abs(stored).sum())


@pytest.mark.parametrize(("stem", "stage"), [(TRAINING, "A1"), (TEST, "T2T3")])
def test_regressors_are_projected_and_convolved(exported, stem, stage):
    """Against scikit-learn's PCA of the training runs and nilearn's convolution of events."""
    out = exported / "out"
    pca = components_by_sklearn(exported, stage)
    components = pca.transform(stage_rows(exported, stem, stage))
    expected = np.column_stack([spm_response(column) for column in components.T])
    stored = scipy.io.loadmat(out / "spm" / f"{stem}_stage-{stage}_regressors.mat")["R"]
    np.testing.assert_allclose(stored, expected, atol=5e-3)  # of a deviation of 1
    series = np.loadtxt(out / "afni" / f"{stem}_stage-{stage}_regressors.1D")
    np.testing.assert_allclose(series, stored, atol=1e-6)
    columns = [f"{stage}_pc{index:02d}" for index in (1, 2, 3)]
    design = pd.read_csv(out / "nilearn" / f"{stem}_design.tsv", sep="\t")
    np.testing.assert_allclose(design[columns], stored, atol=1e-6)
    sidecar = json.loads((out / "spm" / "spm.json").read_text())["Components"][stage]
    assert sidecar["Columns"] == columns
    assert sidecar["FittedVolumes"] == 400
    np.testing.assert_allclose(
        sidecar["ExplainedVarianceRatio"], pca.explained_variance_ratio_, atol=1e-6
    )


# --- FSL and AFNI ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "stem"), [("train", TRAINING), ("test", TEST)])
def test_fsl_files_have_three_columns(exported, split, stem):
    folder = exported / "out" / "fsl" / stem
    conditions = onsets_of(presentations(exported, split, 1))
    for name, onsets in conditions.items():
        table = np.loadtxt(folder / f"{name}.txt", ndmin=2)
        # FEAT samples its model in the middle of each volume, half a TR after its onset.
        np.testing.assert_array_equal(table, [[onset + 0.75, 15, 1] for onset in onsets])
    pca = components_by_sklearn(exported, "A1")
    components = pca.transform(stage_rows(exported, stem, "A1"))
    for index in (1, 2, 3):
        table = np.loadtxt(folder / f"A1_pc{index:02d}.txt")
        np.testing.assert_allclose(table[:, 0], 1.5 * np.arange(len(components)) + 0.75)
        assert (table[:, 1] == 1.5).all()
        np.testing.assert_allclose(table[:, 2], components[:, index - 1], atol=1e-4)
    names = {*conditions, "probability"}
    names |= {f"{stage}_pc0{index}" for stage in ("A1", "T2T3") for index in (1, 2, 3)}
    assert {path.stem for path in folder.iterdir()} == names


def test_the_probability_is_centred_on_the_training_runs(exported):
    folder = exported / "out" / "fsl"
    weights = [
        np.loadtxt(folder / f"task-Training_run-{run:02d}" / "probability.txt")[10:, 2]
        for run in (1, 2)
    ]
    assert np.mean(weights) == pytest.approx(0, abs=1e-5)


def test_afni_times_have_one_row_per_run(exported):
    folder = exported / "out" / "afni"
    runs = [onsets_of(presentations(exported, "train", run)) for run in (1, 2)]
    for name in (*GENRES, "dummy"):
        rows = (folder / f"task-Training_{name}_times.1D").read_text().splitlines()
        times = [[float(t) for t in row.split() if t != "*"] for row in rows]
        assert times == [onsets[name] for onsets in runs]
        # AFNI takes a file with one time in each row for global times; the star marks local ones.
        assert all(len(row.split()) > 1 for row in rows)


def test_afni_amplitudes_are_the_probability_of_each_trial(exported):
    folder = exported / "out" / "afni"
    runs = [onsets_of(presentations(exported, "train", run)) for run in (1, 2)]
    bids = exported / "out"
    events = [
        pd.read_csv(bids / f"task-Training_run-{run:02d}_events.tsv", sep="\t") for run in (1, 2)
    ]
    for name in GENRES:
        rows = (folder / f"task-Training_{name}_times-probability.1D").read_text().splitlines()
        for row, onsets, table in zip(rows, runs, events, strict=True):
            pairs = np.array([pair.split("*") for pair in row.split()], float)
            assert pairs[:, 0].tolist() == onsets[name]
            expected = table.loc[table["trial_type"] == name, "genre_probability"]
            np.testing.assert_allclose(pairs[:, 1], expected, atol=1e-5)


def test_afni_regressors_of_a_task_are_those_of_its_runs(exported):
    folder = exported / "out" / "afni"
    task = np.loadtxt(folder / "task-Training_stage-A1_regressors.1D")
    runs = [np.loadtxt(folder / f"task-Training_run-0{r}_stage-A1_regressors.1D") for r in (1, 2)]
    np.testing.assert_array_equal(task, np.concatenate(runs))


# --- nilearn --------------------------------------------------------------------------------------


def test_nilearn_fits_the_designs(exported):
    """Two runs of images with a planted effect of a genre and of a component."""
    import nibabel
    from nilearn.glm.first_level import FirstLevelModel

    designs, images = [], []
    rng = np.random.default_rng(0)
    for run in (1, 2):
        path = exported / "out" / "nilearn" / f"task-Training_run-{run:02d}_design.tsv"
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


def test_conditions_are_those_of_nilearn(exported):
    from nilearn.glm.first_level import make_first_level_design_matrix

    times = 1.5 * np.arange(410)
    onsets = onsets_of(presentations(exported, "test", 1))
    rows = [(onset, 15.0, name) for name, onsets_s in onsets.items() for onset in onsets_s]
    events = pd.DataFrame(rows, columns=["onset", "duration", "trial_type"])
    expected = make_first_level_design_matrix(times, events, "spm", "cosine", 1 / 256)
    path = exported / "out" / "nilearn" / f"{TEST}_design.tsv"
    design = pd.read_csv(path, sep="\t", index_col=0)
    assert set(expected) <= set(design)
    np.testing.assert_allclose(design[list(expected)], expected, atol=1e-6)
