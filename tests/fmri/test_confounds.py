"""What fMRIPrep writes beside its images, and what cleaning removes."""

import json
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
from numpy.linalg import lstsq

from neuromusic.core.errors import InputError
from neuromusic.fmri.bold import clean_run, filtered
from neuromusic.fmri.confounds import (
    STRATEGIES,
    brain_mask_of,
    common_brain_mask,
    confounds_table,
    load_confounds,
    non_steady_state,
)
from neuromusic.fmri.voxel_space import open_space

N, TR_S, HIGH_PASS_HZ = 120, 1.5, 1 / 100
STEM = "sub-A_ses-1_task-Test_run-01"
IMAGE = f"{STEM}_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.nii.gz"
MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
MODELS = ("", "_derivative1", "_power2", "_derivative1_power2")


def fmriprep_table(seed=0, n_start=0):
    """Return a table like fMRIPrep's, and the metadata of its columns."""
    rng = np.random.default_rng(seed)
    columns = {}
    for name in (*MOTION, "csf", "white_matter", "global_signal"):
        for model in MODELS:
            columns[name + model] = rng.normal(size=N).cumsum()
            if "derivative1" in model:
                columns[name + model][0] = np.nan
    columns["framewise_displacement"] = np.r_[np.nan, rng.uniform(0, 0.2, N - 1)]
    columns["std_dvars"] = np.r_[np.nan, rng.uniform(0.8, 1.2, N - 1)]
    meta = {}
    for number in range(6):
        columns[f"a_comp_cor_{number:02d}"] = rng.normal(size=N)
        mask = ("combined", "CSF")[number // 4]
        meta[f"a_comp_cor_{number:02d}"] = {"Method": "aCompCor", "Mask": mask}
    for number in range(3):
        time = np.arange(N)
        columns[f"cosine{number:02d}"] = np.cos(np.pi * (number + 1) * (time + 0.5) / N)
    columns["aroma_motion_01"] = rng.normal(size=N)
    for number in range(n_start):
        columns[f"non_steady_state_outlier{number:02d}"] = np.eye(N)[number]
    return pd.DataFrame(columns), meta


def write_confounds(folder, table, meta, name=f"{STEM}_desc-confounds_timeseries"):
    table.to_csv(folder / f"{name}.tsv", sep="\t", index=False, na_rep="n/a")
    (folder / f"{name}.json").write_text(json.dumps(meta))


@pytest.fixture
def folder(tmp_path):
    write_confounds(tmp_path, *fmriprep_table())
    return tmp_path


# --- Columns --------------------------------------------------------------------------------------

COUNTS = {
    "motion": 24, "wm_csf": 2, "global_signal": 1, "scrub": 0, "simple": 26, "scrubbing": 32,
    "compcor": 24 + 4 + 3, "ica_aroma": 2 + 1,
}  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        IMAGE.removesuffix(".gz"),
        f"{STEM}_hemi-L_space-fsaverage5_bold.func.gii",
        f"{STEM}_space-fsaverage5_hemi-R_bold.func.gii",
        f"{STEM}_space-fsLR_den-91k_bold.dtseries.nii",
        f"{STEM}_space-x_bold.npy",
    ],
)
def test_every_strategy_reads_the_table_of_every_kind_of_image(folder, strategy, image):
    found = load_confounds([folder / image], [strategy], N)
    assert found.values.shape == (N, COUNTS[strategy])
    assert len(found.names) == COUNTS[strategy]
    assert found.kept.all()
    assert np.isfinite(found.values).all()
    assert bool(found.notes) == (strategy == "compcor")


@pytest.mark.parametrize("preset", ["simple", "scrubbing", "compcor"])
def test_presets_are_those_of_nilearn_without_its_drift(folder, preset):
    fmriprep = pytest.importorskip("nilearn.interfaces.fmriprep")
    expected, sample = fmriprep.load_confounds_strategy(str(folder / IMAGE), preset, demean=False)
    found = load_confounds([folder / IMAGE], [preset], N)
    kept = [name for name in expected if preset == "compcor" or "cosine" not in name]
    assert sorted(found.names) == sorted(kept)
    np.testing.assert_array_equal(found.values, expected[found.names])
    assert sample is None


def test_strategies_are_combined(folder):
    both = load_confounds([folder / IMAGE], ["motion", "global_signal"], N)
    assert set(both.names) == {f"{name}{model}" for name in MOTION for model in MODELS} | {
        "global_signal"
    }


@pytest.mark.parametrize(
    ("column", "value", "is_kept"),
    [("framewise_displacement", 0.49, True), ("framewise_displacement", 0.51, False),
     ("std_dvars", 1.49, True), ("std_dvars", 1.51, False)],
)  # fmt: skip
def test_volumes_are_scrubbed_at_the_thresholds_of_fmriprep(tmp_path, column, value, is_kept):
    """With every version of nilearn, whose own defaults have changed."""
    table, meta = fmriprep_table()
    table["framewise_displacement"], table["std_dvars"] = 0.1, 1.0
    table.loc[60, column] = value
    write_confounds(tmp_path, table, meta)
    found = load_confounds([tmp_path / IMAGE], ["scrub"], N)
    assert np.flatnonzero(~found.kept).tolist() == ([] if is_kept else [60])


@pytest.mark.parametrize(("n_between", "is_kept"), [(4, False), (5, True)])
def test_short_stretches_between_scrubbed_volumes_are_scrubbed(tmp_path, n_between, is_kept):
    table, meta = fmriprep_table()
    table["framewise_displacement"], table["std_dvars"] = 0.1, 1.0
    last = 60 + n_between + 1
    table.loc[[60, last], "framewise_displacement"] = 0.6
    write_confounds(tmp_path, table, meta)
    found = load_confounds([tmp_path / IMAGE], ["scrub"], N)
    expected = [60, last] if is_kept else list(range(60, last + 1))
    assert np.flatnonzero(~found.kept).tolist() == expected


def test_scrubbed_and_first_volumes_are_not_kept(tmp_path):
    table, meta = fmriprep_table(n_start=2)
    table.loc[60, "framewise_displacement"] = 3.0
    write_confounds(tmp_path, table, meta)
    files = [tmp_path / IMAGE]
    assert non_steady_state(files) == 2
    found = load_confounds(files, ["motion"], N)
    assert list(np.flatnonzero(~found.kept)) == [0, 1]
    assert found.values.shape == (N, 24 + 2)
    found = load_confounds(files, ["scrubbing"], N)
    assert list(np.flatnonzero(~found.kept)) == [0, 1, 60]
    assert found.notes[0].startswith("the first 2 volumes are not in a steady state")
    assert found.notes[1].startswith("1 of 120 volumes are scrubbed")
    # Left-out volumes change nothing in the others: the same as a fit to the others only.
    rng = np.random.default_rng(1)
    series = rng.normal(size=(N, 3))
    spoilt = series.copy()
    spoilt[~found.kept] = 1e3
    clean, again = (
        filtered(each, TR_S, HIGH_PASS_HZ, False, found.values) for each in (series, spoilt)
    )
    np.testing.assert_allclose(clean[found.kept], again[found.kept], atol=1e-4)
    np.testing.assert_allclose(again[~found.kept], 0, atol=1e-3)


def test_the_closest_table_is_read(folder):
    other, meta = fmriprep_table(seed=5)
    write_confounds(folder, other, meta, "sub-A_ses-1_task-Test_run-02_desc-confounds_timeseries")
    write_confounds(folder, other, meta, "sub-B_ses-1_task-Test_run-01_desc-confounds_timeseries")
    table = confounds_table([folder / IMAGE])
    assert table == folder / f"{STEM}_desc-confounds_timeseries.tsv"
    older = folder / f"{STEM}_desc-confounds_regressors.tsv"
    table.rename(older)
    assert confounds_table([folder / IMAGE]) == older
    (folder / f"{STEM}_desc-confounds_timeseries.json").rename(older.with_suffix(".json"))
    assert load_confounds([folder / IMAGE], ["compcor"], N).values.shape == (N, 31)


def test_tables_that_cannot_be_used_are_named(folder):
    files = [folder / IMAGE]
    table, meta = fmriprep_table()

    def refused(message, strategies=("motion",), n=N):
        with pytest.raises(InputError, match=message):
            load_confounds(files, strategies, n)

    refused("moton: is not a strategy .*did you mean 'motion'", ["moton"])
    refused("timeseries.tsv: has 120 rows; its image has 118 volumes", n=118)
    write_confounds(folder, table.drop(columns=["rot_z"]), meta)
    refused(r"timeseries.tsv: lacks confounds for motion \(.*rot_z")
    write_confounds(folder, table.drop(columns=["csf"]), meta)
    refused("timeseries.tsv: lacks confounds for wm_csf", ["wm_csf"])
    write_confounds(folder, table.drop(columns=["std_dvars"]), meta)
    refused(r"timeseries.tsv: lacks confounds for scrub \(std_dvars", ["scrub"])
    write_confounds(folder, table, {})
    refused("timeseries.tsv: lacks confounds for compcor", ["compcor"])
    (folder / f"{STEM}_desc-confounds_timeseries.json").unlink()
    refused("timeseries.tsv: lacks confounds for compcor", ["compcor"])
    write_confounds(folder, table.drop(columns=["aroma_motion_01"]), meta)
    refused("timeseries.tsv: lacks confounds for ica_aroma", ["ica_aroma"])
    gap = table.copy()
    gap.loc[7, "trans_x"] = np.nan
    write_confounds(folder, gap, meta)
    refused("timeseries.tsv: column trans_x is n/a after the first volume")
    write_confounds(folder, table[:26], meta)
    refused("24 confounds for 26 volumes, which removes everything", n=26)
    for content in (b"", b"\xff\xfe\x00", b"a\tb\n1\t2\t3\t4\n1\n"):
        (folder / f"{STEM}_desc-confounds_timeseries.tsv").write_bytes(content)
        refused(r"timeseries\.tsv: ")
    path = folder / f"{STEM}_desc-confounds_timeseries.tsv"
    path.unlink()
    path.symlink_to("../.git/annex/objects/KEY")
    refused("timeseries.tsv: is a link to .*'datalad get'")
    path.unlink()
    refused("bold.nii.gz: fMRIPrep's confounds are missing; expected")
    assert non_steady_state(files) == 0


# --- Masks ----------------------------------------------------------------------------------------


def write_mask(path, inside, affine=None):
    values = np.asarray(inside, np.uint8)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def test_the_brain_is_in_the_masks_of_all_runs(tmp_path):
    rng = np.random.default_rng(0)
    shape = (3, 4, 5)
    runs, masks = [], []
    for run in (1, 2):
        stem = f"sub-A_task-Test_run-{run:02d}"
        image = tmp_path / f"{stem}_space-MNI_desc-preproc_bold.nii.gz"
        nibabel.save(nibabel.Nifti1Image(rng.normal(size=(*shape, 3)), np.eye(4)), image)
        runs.append([image])
        masks.append(rng.random(shape) < 0.8)
        write_mask(tmp_path / f"{stem}_space-T1w_desc-brain_mask.nii.gz", np.zeros(shape))
        assert brain_mask_of([image]) is None
    space = open_space(runs[0])
    assert common_brain_mask(runs, space) is None
    paths = [
        write_mask(tmp_path / f"sub-A_task-Test_run-{run:02d}_space-MNI_desc-brain_mask.nii.gz", m)
        for run, m in enumerate(masks, start=1)
    ]
    inside, found = common_brain_mask(runs, space)
    np.testing.assert_array_equal(inside, (masks[0] & masks[1]).ravel())
    assert found == paths
    write_mask(paths[1], ~masks[0])
    with pytest.raises(InputError, match="no voxel in common"):
        common_brain_mask(runs, space)
    write_mask(paths[1], masks[1], np.eye(4) * 2)
    with pytest.raises(InputError, match=r"run-02.*is on another grid than"):
        common_brain_mask(runs, space)
    paths[1].unlink()
    paths[1].symlink_to("../annex/objects/KEY")
    with pytest.raises(InputError, match="is a link to"):
        common_brain_mask(runs, space)


# --- Cleaning -------------------------------------------------------------------------------------


def drift():
    """Return mean, trend and the cosines that are slower than the cutoff, by hand."""
    time = np.arange(N)
    order = int(np.floor(2 * N * TR_S * HIGH_PASS_HZ))
    cosines = [np.cos(np.pi * k * (time + 0.5) / N) for k in range(1, order + 1)]
    return np.stack([np.ones(N), time, *cosines], axis=1)


def residual(series, columns):
    return series - columns @ lstsq(columns, series, rcond=None)[0]


def test_confounds_and_drift_are_removed_by_one_projection():
    """The oracle is one regression on drift and confounds."""
    rng = np.random.default_rng(0)
    confounds = rng.normal(size=(N, 5)).cumsum(0)
    series = rng.normal(size=(N, 8)) + drift() @ rng.normal(size=(drift().shape[1], 8)) * 9
    clean = filtered(series, TR_S, HIGH_PASS_HZ, False, confounds)
    np.testing.assert_allclose(clean, residual(series, np.hstack([drift(), confounds])), atol=1e-5)
    without = filtered(series, TR_S, HIGH_PASS_HZ, False)
    np.testing.assert_allclose(without, residual(series, drift()), atol=1e-5)
    none = filtered(series, TR_S, HIGH_PASS_HZ, False, np.empty((N, 0)))
    np.testing.assert_array_equal(none, without)


def test_a_planted_nuisance_is_removed_and_what_is_orthogonal_to_it_is_kept(folder):
    rng = np.random.default_rng(2)
    confounds = load_confounds([folder / IMAGE], ["simple"], N).values
    signal = residual(rng.normal(size=(N, 4)), np.hstack([drift(), confounds]))
    nuisance = confounds @ rng.normal(size=(26, 4)) * 3
    series = (1000 + signal + nuisance).astype(np.float32)
    clean, unusable = clean_run(series, TR_S, HIGH_PASS_HZ, confounds)
    assert not unusable.any()
    expected = (signal - signal.mean(0)) / signal.std(0, ddof=1)
    np.testing.assert_allclose(clean, expected, atol=2e-3)
    dirty, _ = clean_run(series, TR_S, HIGH_PASS_HZ)
    assert np.abs(dirty - expected).max() > 1


def test_cleaning_is_that_of_nilearn():
    """On images, with its masker and with clean_img."""
    maskers, image = pytest.importorskip("nilearn.maskers"), pytest.importorskip("nilearn.image")
    rng = np.random.default_rng(3)
    confounds = rng.normal(size=(N, 6))  # not correlated with a cosine: see the next test
    series = rng.normal(1000, 20, (3, 4, 5, N)).astype(np.float32)
    nifti = nibabel.Nifti1Image(series, np.eye(4))
    mask = nibabel.Nifti1Image(np.ones((3, 4, 5), np.uint8), np.eye(4))
    columns = series.reshape(60, N).T
    ours, _ = clean_run(columns, TR_S, HIGH_PASS_HZ, confounds)
    options = {"detrend": True, "high_pass": HIGH_PASS_HZ, "t_r": TR_S}
    masker = maskers.NiftiMasker(
        mask, standardize="zscore_sample", **options, clean_args={"filter": "cosine"}
    )
    np.testing.assert_allclose(ours, masker.fit_transform(nifti, confounds=confounds), atol=2e-3)
    cleaned = image.clean_img(
        nifti, standardize=None, **options, confounds=confounds, clean__filter="cosine"
    )
    without_mean = filtered(columns, TR_S, HIGH_PASS_HZ, False, confounds)
    np.testing.assert_allclose(without_mean, cleaned.get_fdata().reshape(60, N).T, atol=2e-2)


def test_slow_motion_does_not_replace_the_drift():
    """nilearn leaves out all its cosines if a confound is correlated with one of them."""
    rng = np.random.default_rng(5)
    series = rng.normal(size=(N, 4))
    motion = drift()[:, [2]] + 0.01 * rng.normal(size=(N, 1))
    doubled = np.hstack([motion, motion, np.ones((N, 1)), np.zeros((N, 1)), drift()[:, [1]]])
    expected = residual(series, np.hstack([drift(), motion]))
    for confounds in (motion, doubled, np.hstack([doubled, drift()[:, 3:]])):
        clean = filtered(series, TR_S, HIGH_PASS_HZ, False, confounds)
        np.testing.assert_allclose(clean, expected, atol=1e-5)


def test_a_design_that_is_made_of_confounds_is_removed_as_well(folder):
    """Otherwise a stage that follows the motion would still be fitted to the cleaned images."""
    rng = np.random.default_rng(4)
    confounds = load_confounds([folder / IMAGE], ["motion"], N).values
    design = np.stack([confounds[:, 0], rng.normal(size=N)], axis=1)
    clean = filtered(design, TR_S, HIGH_PASS_HZ, False, confounds)
    assert np.abs(clean[:, 0]).max() < 1e-4
    assert clean[:, 1].std() > 0.5


def test_nothing_but_the_table_is_needed(folder, tmp_path):
    """The image may be elsewhere or not exist: only its name and its folder are used."""
    other = tmp_path / "other"
    shutil.copytree(folder, other, ignore=shutil.ignore_patterns("other"))
    first, second = (load_confounds([at / IMAGE], ["motion"], N) for at in (folder, other))
    np.testing.assert_array_equal(first.values, second.values)
