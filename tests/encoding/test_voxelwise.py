"""Encoding of simulated images whose truth is known, whole commands included."""

import json
import shutil
import tomllib

import nibabel
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from helpers import TINY_TOML, neuromusic, write_events, write_features
from scipy import ndimage

from neuromusic.core.errors import InputError
from neuromusic.design.bids import RunId, index_bids
from neuromusic.encoding.clip_sets import clip_sets
from neuromusic.encoding.options import EncodingOptions
from neuromusic.encoding.rois import Areas, Rois
from neuromusic.encoding.score_tables import AreaTotals, area_table
from neuromusic.fmri.bold import read_voxels
from neuromusic.fmri.bold_files import find_bold
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.pipeline.encode import encode
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.simulate import simulate
from neuromusic.pipeline.train import train
from neuromusic.pipeline.verify import verify

TASKS = ("Training", "Test")
EXPLAINABLE = 0.7  # share of one presentation's variance that is signal


def encode_all(run, data, out, atlas=None, images=None, **options):
    """Encode every label of the atlas of a simulated dataset."""
    rois = Rois("all", atlas or data / "derivatives/truth/areas.nii.gz")
    options = EncodingOptions(components=8, **options)
    return encode(run, bids=data, out=out, images=images, rois=rois, options=options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny network; its ten runs of features vary slowly and in a few ways, as music does."""
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
    data = prepare_features(root / "train.npz", test=root / "test.npz", out=root / "p")
    tree = tomllib.loads(TINY_TOML)
    tree["train"]["epochs"] = 1
    return train(tree, data, out=root / "run")


@pytest.fixture(scope="module")
def data(run, tmp_path_factory):
    root = tmp_path_factory.mktemp("simulated")
    write_events(run.prepared, root / "events")
    planted = Planted(voxels=25, noise_voxels=25, ceiling=(EXPLAINABLE, EXPLAINABLE))
    return simulate(run, out=root / "data", bids=root / "events", planted=planted, seed=3)


@pytest.fixture(scope="module")
def encoded(run, data):
    return encode_all(run, data, data.parent / "encoded")


def voxel_table(out):
    [path] = out.glob("sub-*/*_voxels.tsv")
    return pd.read_csv(path, sep="\t")


def test_the_stage_that_drives_an_area_predicts_it_best(encoded):
    table = pd.read_csv(encoded / "areas.tsv", sep="\t")
    trained = table[(table["network"] == "trained") & (table["stage"] != "all stages")]
    for area in ("A1", "belt", "PB", "T2T3"):
        rc = trained[trained["area"] == area].set_index("stage")["rc"]
        assert rc.idxmax() == area
        assert rc[area] > 0.4
    assert (table.loc[table["area"] == "T2T3", "top5"] > 0.5).all()
    similar = pd.read_csv(encoded / "similarity.tsv", sep="\t")
    rows = similar[(similar["area"] == "T2T3") & (similar["network"] == "trained")]
    rho = rows.set_index("stage")["rho"]
    assert rho["T2T3"] > rho["A1"] + 0.05
    for name in ("stage_by_area.png", "similarity.png"):
        assert (encoded / "figures" / name).stat().st_size > 10_000


def test_the_planted_ceiling_is_in_its_interval(encoded, data):
    truth = pd.read_csv(data / "derivatives/truth/truth.tsv", sep="\t")
    both = voxel_table(encoded).merge(truth, on=["i", "j", "k"], suffixes=("", "_true"))
    assert (both["area"] == both["area_true"]).all()
    driven = both[both["area"] != "noise"]
    inside = driven["ev"].between(driven["explainable_low"], driven["explainable_high"])
    assert inside.mean() > 0.8
    assert driven["explainable"].mean() == pytest.approx(EXPLAINABLE, abs=0.06)
    assert driven["ceiling_r"].mean() == pytest.approx(driven["ceiling_r_true"].mean(), abs=0.03)
    assert driven["reliable"].all()
    assert not both.loc[both["area"] == "noise", "reliable"].all()


@pytest.mark.slow
def test_noise_is_not_predicted(run, data, tmp_path):
    atlas = nibabel.load(data / "derivatives/truth/areas.nii.gz")
    noise = (np.asarray(atlas.dataobj) == 5).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(noise, atlas.affine), tmp_path / "noise.nii.gz")
    out = encode(
        run, bids=data, out=tmp_path / "out", subjects=["A"], rois=Rois(tmp_path / "noise.nii.gz"),
        options=EncodingOptions(components=8),
    )  # fmt: skip
    table = pd.read_csv(out / "areas.tsv", sep="\t")
    assert (table["voxels"] == 25).all()
    assert (table["significant"] == 0).all()
    assert table["r"].abs().max() < 0.08
    assert table["top1"].max() < 0.3


def test_the_best_stage_is_chosen_on_the_training_runs(encoded):
    table = voxel_table(encoded)
    stages = ["A1", "belt", "PB", "T2T3", "GRU"]
    loss = table[[f"mse_{stage}" for stage in stages]]
    of_best = [row[f"mse_{row['best']}"] for _, row in table.iterrows()]
    np.testing.assert_allclose(of_best, loss.min(axis=1))
    for key in ("r", "p"):
        of_best = [row[f"{key}_{row['best']}"] for _, row in table.iterrows()]
        np.testing.assert_allclose(table[f"best_{key}"], of_best)
    driven = table[table["area"] != "noise"]
    assert (driven["best"] == driven["area"]).mean() > 0.6
    assert (table.loc[table["area"] == "noise", "best_q"] > 0.05).mean() > 0.9


def test_false_discovery_rates_are_over_voxels_and_the_stages_of_a_network(encoded):
    table = voxel_table(encoded)
    for prefix in ("", "random-"):
        names = [prefix + stage for stage in ("A1", "belt", "PB", "T2T3", "GRU")]
        p = table[[f"p_{name}" for name in names]].to_numpy()
        q = table[[f"q_{name}" for name in names]].to_numpy()
        np.testing.assert_allclose(
            q, scipy.stats.false_discovery_control(p, axis=None).reshape(p.shape), rtol=1e-4
        )
    [path] = encoded.glob("sub-*/*_encoding.json")
    family = json.loads(path.read_text())["FalseDiscoveryRate"]
    stages = "A1, belt, PB, T2T3, GRU"
    expected = f"Benjamini and Hochberg over {len(table)} voxels x {stages}"
    assert family["trained"] == expected


def test_what_stages_add_to_the_acoustic_baseline_is_written(encoded):
    table = voxel_table(encoded)
    unique = pd.read_csv(encoded / "unique.tsv", sep="\t").set_index(["area", "stage", "beyond"])
    baseline = "acoustic baseline"
    assert f"r_{baseline}" in table
    areas = pd.read_csv(encoded / "areas.tsv", sep="\t")
    row = areas[(areas["network"] == "baseline") & (areas["area"] == "A1")]
    [smaller] = row["r2"]
    for beyond, stage, column in (
        (baseline, "A1", "unique_A1"),
        (f"{baseline} and A1", "belt", "above_belt"),
    ):
        found = unique.loc[("A1", stage, beyond)]
        inside = table[table["area"] == "A1"]
        assert found["r2"] == pytest.approx(inside[column].mean(), rel=1e-3, abs=1e-6)
        assert found["voxels"] == 25
    assert unique.loc[("A1", "A1", baseline), "smaller_r2"] == pytest.approx(smaller, rel=1e-4)
    assert unique.loc[("A1", "A1", baseline), "p_holm"] < 0.001
    assert (unique.loc[("noise",), "p_holm"] > 0.05).all()
    about = json.loads((encoded / "encoding.json").read_text())["AcousticBaseline"]
    assert list(about["Groups"]) == ["spectrum", "modulation", "labels"]
    assert about["LeftOut"] == [
        "loudness, onsets, chroma, tempogram left out: the set was prepared from features, "
        "without sound"
    ]
    [path] = encoded.glob("sub-*/*_encoding.json")
    families = json.loads(path.read_text())["FalseDiscoveryRate"]
    assert families["above"].endswith("voxels x belt, PB, T2T3, GRU")
    folder = encoded / "sub-A/func"
    image = nibabel.load(folder / "sub-A_space-MNI152_stat-r2_desc-aboveGRU_statmap.nii.gz")
    values = np.asarray(image.dataobj)[table["i"], table["j"], table["k"]]
    np.testing.assert_allclose(values, table["above_GRU"], rtol=1e-4, atol=1e-6)
    assert not list(folder.glob("*stat-p*"))
    assert (encoded / "figures/unique_variance.png").stat().st_size > 10_000


def test_an_area_without_voxels_has_no_row(encoded):
    table = voxel_table(encoded)
    matches = {(area, "A1"): np.zeros((5, 5)) for area in ("A1", "empty")}
    labels = Areas(["A1", "empty"], np.ones(len(table), int))
    draws = {"A1": np.ones((20, 2)), "": np.ones((20, 2))}
    runs = np.ones(5, int)
    totals = AreaTotals(matches, draws, runs)
    rows = area_table(table, labels, totals, clip_sets(list("abcde"), runs))
    assert rows["area"].tolist() == ["A1"]
    assert rows["top1"].tolist() == [0]


def test_maps_contain_the_values_of_the_table(encoded, data):
    table = voxel_table(encoded)
    example = nibabel.load(next(data.glob("sub-A/func/*_bold.nii.gz")))
    maps = {"r_belt": "stat-r_desc-belt", "ceiling_r": "stat-ceiling", "rc_A1": "stat-rc_desc-A1"}
    for column, name in maps.items():
        path = encoded / f"sub-A/func/sub-A_space-MNI152_{name}_statmap.nii.gz"
        image = nibabel.load(path)
        np.testing.assert_allclose(image.affine, example.affine)
        assert image.header["sform_code"] == example.header["sform_code"]
        values = np.asarray(image.dataobj)[table["i"], table["j"], table["k"]]
        np.testing.assert_allclose(values, table[column], rtol=1e-4, atol=1e-6)
        assert np.isfinite(np.asarray(image.dataobj)).sum() == table[column].notna().sum()


@pytest.mark.slow
def test_arrays_and_surfaces_give_the_same_result_as_images(run, data, encoded, tmp_path):
    """The same series as .npy, and as one GIFTI per hemisphere."""
    atlas = np.asarray(nibabel.load(data / "derivatives/truth/areas.nii.gz").dataobj).ravel()
    inside = np.flatnonzero(atlas)
    half = len(inside) // 2
    for kind in ("array", "surface"):
        folder = tmp_path / kind / "sub-A/func"
        folder.mkdir(parents=True)
        for [path] in find_bold(index_bids(data), "A", TASKS).values():
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
        encode_all(run, data, out, labels, tmp_path / kind)
        table = voxel_table(out)
        np.testing.assert_allclose(table["r_A1"], voxel_table(encoded)["r_A1"], atol=1e-4)
        end = "npy" if kind == "array" else "func.gii"
        maps = sorted(out.glob(f"sub-A/func/*_space-orig_stat-r_desc-A1_statmap.{end}"))
        if kind == "array":
            np.testing.assert_allclose(np.load(maps[0]), table["r_A1"], rtol=1e-4)
        else:
            assert [len(nibabel.load(path).darrays[0].data) for path in maps] == [
                half,
                len(inside) - half,
            ]


@pytest.mark.slow
def test_runs_and_voxels_that_cannot_be_used_are_left_out_and_named(run, data, tmp_path, caplog):
    """A shorter run, one with another TR, voxels with NaN, constant voxels, a missing run."""
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
    out = encode_all(run, copy, tmp_path / "out")
    text = caplog.text
    assert "run-03_bold.nii.gz: has 100 volumes; its events need 110" in text
    assert "task-Test run-02: has events but no image" in text
    assert "run-01_bold.nii.gz: 2 voxels contain NaN or do not vary" in text
    [path] = out.glob("sub-A/*_encoding.json")
    record = json.loads(path.read_text())
    assert (record["TrainingRuns"], record["TestRuns"], record["VoxelsLeftOut"]) == (7, 1, 2)
    assert len(record["LeftOut"]) == 3
    assert len(voxel_table(out)) == 4 * 25 + 25 - 2
    for index in range(2, 9):
        path = func / f"sub-A_task-Training_run-{index:02d}_bold.nii.gz"
        image = nibabel.load(path)
        image.header.set_zooms((*image.header.get_zooms()[:3], 2.0))
        nibabel.save(image, path)
        path.with_name(path.name.replace(".nii.gz", ".json")).unlink()  # it has precedence
    with pytest.raises(InputError, match="1 training and 1 test runs") as raised:
        encode_all(run, copy, tmp_path / "out2")
    assert "run-02_bold.nii.gz: has a TR of 2 s; expected 1.5 s" in str(raised.value)
    assert not (tmp_path / "out2").exists()


def test_images_that_do_not_fit_are_named(run, data, tmp_path):
    images = tmp_path / "images"
    func = images / "sub-A/func"
    func.mkdir(parents=True)
    with pytest.raises(InputError, match="no images of sub-A"):
        encode_all(run, data, tmp_path / "out", images=images)
    for name in ("space-a", "space-b"):
        np.save(func / f"sub-A_task-Training_run-01_{name}_bold.npy", np.zeros((110, 3)))
    with pytest.raises(InputError, match=r"has 2 images .*choose one with space"):
        encode_all(run, data, tmp_path / "out", images=images)
    found = find_bold(index_bids(images), "A", TASKS, {"space": "a"})
    assert list(found) == [RunId("A", "", "Training", 1)]
    np.save(func / "sub-A_task-Training_run-09_space-a_bold.npy", np.zeros((110, 3)))
    with pytest.raises(InputError, match=r"run-09.*has no events"):
        encode_all(run, data, tmp_path / "out", images=images, entities={"space": "a"})
    assert not (tmp_path / "out").exists()


def test_the_command_skips_what_is_done_and_refuses_an_unknown_subject(
    run, data, encoded, tmp_path
):
    line = f"encode {run.directory} --bids {data} --roi all --components 8 --out"
    atlas = data / "derivatives/truth/areas.nii.gz"
    result = neuromusic(*line.split(), encoded, "--atlas", atlas, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "is up to date" in result.stdout
    result = neuromusic(*line.split(), "new", "--subjects", "B", cwd=tmp_path)
    assert result.returncode == 2
    assert "has no events of sub-B; its subjects are A" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_encoding_is_repeated_from_its_record(run, data, tmp_path):
    assert verify(encode_all(run, data, tmp_path / "out"), rerun=True)


@pytest.mark.slow
def test_a_banded_encoding_has_a_joint_model_and_is_repeated_from_its_record(run, data, tmp_path):
    out = encode_all(run, data, tmp_path / "out", banded=True)
    table = voxel_table(out)
    joint = scipy.stats.false_discovery_control(table["p_all stages"])
    np.testing.assert_allclose(table["q_all stages"], joint, rtol=1e-4)
    driven = table["area"] != "noise"
    assert table.loc[driven, "r_all stages"].mean() > table.loc[driven, "r_A1"].mean()
    assert verify(out, rerun=True)
