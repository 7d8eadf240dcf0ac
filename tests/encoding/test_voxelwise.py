"""Encoding against datasets whose truth is planted, whole commands included."""

import json
import shutil
import tomllib

import nibabel
import numpy as np
import pandas as pd
import pytest
from helpers import TINY_TOML, neuromusic, write_events, write_features
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import squareform
from scipy.stats import spearmanr

from neuromusic.core.errors import InputError
from neuromusic.design.orders import Order, presentations
from neuromusic.encoding import rsa
from neuromusic.encoding.voxelwise import area_table
from neuromusic.fmri import scans
from neuromusic.fmri.bold import find_bold, read_geometry, read_voxels
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.pipeline import prepare, simulate
from neuromusic.pipeline.encode import make_encoding
from neuromusic.pipeline.train import make_run
from neuromusic.training.config import make_config
from neuromusic.training.trained import load_network

EV = 0.7


def quiet(text):
    """Say nothing."""


def encode(run, data, out, say=quiet, images=None, roi="all", atlas=None, **more):
    atlas = atlas or data / "derivatives/truth/areas.nii.gz"
    return make_encoding(
        run.directory, data, images or data, ["all"], roi, None if roi == "whole" else atlas, None,
        out, say, components=12, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny network and eight runs of sounds that vary slowly and in a few ways, as music does."""
    root = tmp_path_factory.mktemp("encoding")
    rng = np.random.default_rng(0)
    shapes = ndimage.gaussian_filter1d(rng.normal(size=(5, 64)), 4, axis=1)
    for name, runs, first in (("train", 8, 0), ("test", 2, 50)):
        path = write_features(root / f"{name}.npz", runs, first, first)
        content = dict(np.load(path))
        course = rng.normal(size=(len(content["clip"]), 97, 5))
        course = ndimage.gaussian_filter1d(course, 6, axis=1) * 4
        content["features"] = (-40 + 25 * (course @ shapes).transpose(0, 2, 1)).astype(np.float16)
        np.savez(path, **content)
    prepare.make_prepared_features(root / "train.npz", root / "test.npz", root / "p", quiet)
    tree = tomllib.loads(TINY_TOML)
    tree["train"]["epochs"] = 1
    config = make_config(tree, "tiny.toml")
    make_run(config, root / "p", root / "run", False, quiet)
    return load_network(root / "run")


@pytest.fixture(scope="module")
def data(run, tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated")
    write_events(run.prepared, root / "events")
    planted = Planted(voxels=25, noise_voxels=25, ceiling=(EV, EV))
    return simulate.simulate(run.directory, root / "events", None, planted, 3, root / "data", quiet)


@pytest.fixture(scope="module")
def encoded(run, data):
    return encode(run, data, data.parent / "encoded", banded=True)


def voxels(encoded):
    [path] = encoded.glob("sub-*/*_voxels.tsv")
    return pd.read_csv(path, sep="\t")


def test_the_stage_that_drives_an_area_predicts_it_best(encoded):
    table = pd.read_csv(encoded / "areas.tsv", sep="\t")
    trained = table[(table["network"] == "trained") & (table["stage"] != "all stages")]
    for area in ("A1", "belt", "PB", "T2T3"):
        own = trained[trained["area"] == area].set_index("stage")["rc"]
        assert own.idxmax() == area
        assert own[area] > 0.4
    assert (table.loc[table["area"] == "T2T3", "top5"] > 0.5).all()
    similar = pd.read_csv(encoded / "similarity.tsv", sep="\t")
    own = similar[(similar["area"] == "T2T3") & (similar["network"] == "trained")]
    own = own.set_index("stage")["rho"]
    assert own["T2T3"] > own["A1"] + 0.05
    for name in ("stage_by_area.png", "similarity.png"):
        assert (encoded / "figures" / name).stat().st_size > 10_000


def test_the_planted_ceiling_lies_in_its_interval(encoded, data):
    truth = pd.read_csv(data / "derivatives/truth/truth.tsv", sep="\t")
    both = voxels(encoded).merge(truth, on=["i", "j", "k"], suffixes=("", "_true"))
    assert (both["area"] == both["area_true"]).all()
    driven = both[both["area"] != "noise"]
    inside = driven["ev"].between(driven["explainable_low"], driven["explainable_high"])
    assert inside.mean() > 0.8
    assert driven["explainable"].mean() == pytest.approx(EV, abs=0.06)
    assert driven["ceiling_r"].mean() == pytest.approx(driven["ceiling_r_true"].mean(), abs=0.03)
    assert driven["reliable"].all()
    assert not both.loc[both["area"] == "noise", "reliable"].all()


def test_nothing_is_found_in_noise(run, data, tmp_path):
    atlas = nibabel.load(data / "derivatives/truth/areas.nii.gz")
    noise = (np.asarray(atlas.dataobj) == 5).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(noise, atlas.affine), tmp_path / "noise.nii.gz")
    out = make_encoding(
        run.directory, data, data, ["A"], str(tmp_path / "noise.nii.gz"), None, None,
        tmp_path / "out", quiet, components=12,
    )  # fmt: skip
    table = pd.read_csv(out / "areas.tsv", sep="\t")
    assert (table["voxels"] == 25).all()
    assert (table["significant"] == 0).all()
    assert table["r"].abs().max() < 0.08
    assert table["top1"].max() < 0.3


def test_an_area_without_voxels_has_no_row(encoded):
    table = voxels(encoded)
    matches = {(area, "A1"): np.zeros((5, 5)) for area in ("A1", "empty")}
    rows = area_table(table, np.ones(len(table), int), ["A1", "empty"], matches)
    assert rows["area"].tolist() == ["A1"]
    assert rows["top1"].tolist() == [0]


def test_maps_hold_the_table(encoded, data):
    table = voxels(encoded)
    example = nibabel.load(next(data.glob("sub-A/func/*_bold.nii.gz")))
    for column in ("r_belt", "ceiling_r", "rc_A1"):
        [path] = encoded.glob(f"sub-A/*_stat-{column.replace('_', '-')}_map.nii.gz")
        image = nibabel.load(path)
        np.testing.assert_allclose(image.affine, example.affine)
        assert image.header["sform_code"] == example.header["sform_code"]
        values = np.asarray(image.dataobj)[table["i"], table["j"], table["k"]]
        np.testing.assert_allclose(values, table[column], rtol=1e-4, atol=1e-6)
        assert np.isfinite(np.asarray(image.dataobj)).sum() == table[column].notna().sum()


def test_arrays_and_surfaces_give_what_images_give(run, data, encoded, tmp_path):
    """The same series as .npy and as GIFTI of two hemispheres."""
    atlas = np.asarray(nibabel.load(data / "derivatives/truth/areas.nii.gz").dataobj).ravel()
    inside = np.flatnonzero(atlas)
    half = len(inside) // 2
    for kind in ("array", "surface"):
        folder = tmp_path / kind / "sub-A/func"
        folder.mkdir(parents=True)
        for (_, _), [path] in find_bold(data, "A").items():
            series = read_voxels([path], inside)
            stem = path.name.removesuffix("_bold.nii.gz")
            if kind == "array":
                np.save(folder / f"{stem}_bold.npy", series)
                continue
            for side, part in (("L", series[:, :half]), ("R", series[:, half:])):
                arrays = [nibabel.gifti.GiftiDataArray(row, intent=2001) for row in part]
                image = nibabel.gifti.GiftiImage(darrays=arrays)
                nibabel.save(image, folder / f"{stem}_hemi-{side}_bold.func.gii")
        labels = tmp_path / f"{kind}.npy"
        np.save(labels, atlas[inside])
        out = tmp_path / f"{kind}_out"
        encode(run, data, out, images=tmp_path / kind, atlas=labels)
        got = voxels(out)
        np.testing.assert_allclose(got["r_A1"], voxels(encoded)["r_A1"], atol=1e-4)
        end = "npy" if kind == "array" else "func.gii"
        maps = sorted(out.glob(f"sub-A/*_stat-r-A1_map*.{end}"))
        if kind == "array":
            np.testing.assert_allclose(np.load(maps[0]), got["r_A1"], rtol=1e-4)
        else:
            assert [len(nibabel.load(path).darrays[0].data) for path in maps] == [
                half,
                len(inside) - half,
            ]


def test_what_cannot_be_used_is_left_out_and_named(run, data, tmp_path):
    """A run of another length, one of another TR, NaN voxels and constant ones, a run missing."""
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    func = copy / "sub-A/func"
    third = func / "sub-A_task-Training_run-03_bold.nii.gz"
    image = nibabel.load(third)
    nibabel.save(image.slicer[..., :100], third)
    (func / "sub-A_task-Test_run-02_bold.nii.gz").unlink()
    first = func / "sub-A_task-Training_run-01_bold.nii.gz"
    image = nibabel.load(first)
    series = np.asarray(image.dataobj).astype(np.float32)
    where = np.argwhere(series.std(3) > 0)
    series[tuple(where[0])] = np.nan
    series[tuple(where[1])] = 7
    nibabel.save(nibabel.Nifti1Image(series, image.affine, image.header), first)
    said = []
    out = encode(run, copy, tmp_path / "out", said.append)
    text = "\n".join(said)
    assert "run-03_bold.nii.gz: has 100 volumes; its events need 110" in text
    assert "task-Test run-02: has events and no image" in text
    assert "run-01_bold.nii.gz: 2 voxels hold NaN or do not vary" in text
    [path] = out.glob("sub-A/*_encoding.json")
    record = json.loads(path.read_text())
    assert (record["TrainingRuns"], record["TestRuns"], record["VoxelsLeftOut"]) == (7, 1, 2)
    assert len(record["LeftOut"]) == 3
    assert len(voxels(out)) == 4 * 25 + 25 - 2
    for index in range(2, 9):
        path = func / f"sub-A_task-Training_run-{index:02d}_bold.nii.gz"
        image = nibabel.load(path)
        image.header.set_zooms((*image.header.get_zooms()[:3], 2.0))
        nibabel.save(image, path)
    with pytest.raises(InputError, match="1 training and 1 test runs") as raised:
        encode(run, copy, tmp_path / "out2")
    assert "run-02_bold.nii.gz: has a TR of 2 s; expected 1.5 s" in str(raised.value)
    assert not (tmp_path / "out2").exists()


def test_images_that_do_not_fit_are_named(run, data, tmp_path):
    other = tmp_path / "images/sub-A/func"
    other.mkdir(parents=True)
    with pytest.raises(InputError, match="no images of sub-A"):
        encode(run, data, tmp_path / "out", images=tmp_path / "images")
    for name in ("space-a", "space-b"):
        np.save(other / f"sub-A_task-Training_run-01_{name}_bold.npy", np.zeros((110, 3)))
    with pytest.raises(InputError, match=r"has 2 images .* --space"):
        encode(run, data, tmp_path / "out", images=tmp_path / "images")
    assert list(find_bold(tmp_path / "images", "A", "a")) == [("train", 1)]
    np.save(other / "sub-A_task-Training_run-09_space-a_bold.npy", np.zeros((110, 3)))
    with pytest.raises(InputError, match=r"run-09.*has no events"):
        encode(run, data, tmp_path / "out", images=tmp_path / "images", space="a")
    np.save(other / "sub-A_task-Test_run-01_space-c_bold.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"expected \(volumes, voxels\)"):
        read_geometry([other / "sub-A_task-Test_run-01_space-c_bold.npy"])


def test_the_command(run, data, encoded, tmp_path):
    line = f"encode {run.directory} --bids {data} --roi all --components 12 --out"
    atlas = data / "derivatives/truth/areas.nii.gz"
    done = neuromusic(*line.split(), encoded, "--atlas", atlas, "--banded", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "is there already and unchanged" in done.stdout
    done = neuromusic(*line.split(), "new", "--subjects", "B", cwd=tmp_path)
    assert done.returncode == 2
    assert "has no events of sub-B; subjects are A" in done.stderr
    assert list(tmp_path.iterdir()) == []


@given(
    st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(1, 5), st.integers(0, 99)
)
def test_dummies_are_never_scored_and_every_other_volume_is_once(
    n_train, n_trials, n_test, n, seed
):
    rng = np.random.default_rng(seed)
    names = [f"blues.{number:05d}_15s.wav" for number in range(n_train * n_trials + n_test * n)]
    train = np.array(names[: n_train * n_trials]).reshape(n_train, n_trials)
    test = np.array([np.tile(rng.permutation(names[-n * (k + 1) :][:n]), 4) for k in range(n_test)])
    trials = {
        (split, int(run)): rows.reset_index(drop=True)
        for split, clips in (("train", train), ("test", test))
        for run, rows in presentations(Order(split, clips)).groupby("run")
    }
    rows = scans.volume_rows(trials)
    assert rows["trial"].min() == 1
    assert rows["volume"].min() == 10
    assert len(rows) == 10 * (train.size + test.size)
    assert not rows.duplicated(["split", "run", "volume"]).any()
    cube, clips = scans.repeat_rows(rows, np.ones(len(rows), bool))
    assert cube.shape == (4, n_test * n, 10)
    assert sorted(cube.ravel()) == list(np.flatnonzero(rows["split"] == "test"))
    for index, clip in enumerate(clips):
        assert (rows["clip"].to_numpy()[cube[:, index]] == clip).all()
    assert (rows["within"].to_numpy()[cube] == np.arange(10)).all()
    # A clip with one volume that cannot be used goes as a whole, and no other.
    usable = np.ones(len(rows), bool)
    usable[cube[2, 0, 5]] = False
    if n_test * n > 1:
        assert scans.repeat_rows(rows, usable)[1] == clips[1:]


# --- Similarity ---------------------------------------------------------------------------------


def test_similarity_is_scipys_spearman_and_its_p_that_of_a_loop():
    rng = np.random.default_rng(0)
    a, b = (rsa.dissimilarity(rng.normal(size=(9, 20))) for _ in range(2))
    b = b + 0.5 * a
    rho, p = rsa.similarity(a, b, np.random.default_rng(1))
    assert rho == pytest.approx(spearmanr(a, b).statistic)
    draws, reached = np.random.default_rng(1), 0
    for _ in range(rsa.PERMUTATIONS):
        order = draws.permutation(9)
        moved = squareform(squareform(b)[order][:, order])
        reached += spearmanr(a, moved).statistic >= rho - 1e-12
    assert p == pytest.approx((1 + reached) / (1 + rsa.PERMUTATIONS), abs=2e-3)


def test_the_ceiling_between_subjects_brackets_the_truth():
    rng = np.random.default_rng(2)
    clips = rng.normal(size=(40, 30))
    truth = rsa.dissimilarity(clips)
    rdms = [rsa.dissimilarity(clips + rng.normal(size=clips.shape)) for _ in range(5)]
    low, high = rsa.subject_ceiling(rdms)
    best = np.mean([spearmanr(truth, rdm).statistic for rdm in rdms])
    assert low < best < high
    lower = [
        spearmanr(
            rdm, np.mean([np.argsort(np.argsort(o)) for o in rdms if o is not rdm], axis=0)
        ).statistic
        for rdm in rdms
    ]
    assert low == pytest.approx(np.mean(lower), abs=1e-4)


def test_the_ceiling_between_repeats_is_what_the_truth_reaches():
    rng = np.random.default_rng(3)
    found, reached = [], []
    for _ in range(20):
        clips = rng.normal(size=(40, 50))
        patterns = clips + 1.5 * rng.normal(size=(4, *clips.shape))
        found.append(rsa.repeat_ceiling(patterns))
        own = rsa.dissimilarity(patterns.mean(0))
        reached.append(spearmanr(rsa.dissimilarity(clips), own).statistic)
    assert np.mean(found) == pytest.approx(np.mean(reached), abs=0.05)
