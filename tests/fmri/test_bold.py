"""Names, headers and voxels of functional images."""

import re

import nibabel
import numpy as np
import pytest

from neuromusic.core.errors import InputError
from neuromusic.fmri.bold import check_run, find_bold, open_run, read_voxels
from neuromusic.fmri.voxel_space import open_space

# The form of a name that fMRIPrep and the raw dataset use.
NAME = re.compile(
    r"sub-[A-Za-z0-9]+_(ses-[A-Za-z0-9]+_)?task-(Training|Test)_(.*_)?run-\d+_(.*_)?"
    r"bold(\.nii|\.nii\.gz|\.func\.gii|\.npy)"
)


@pytest.mark.parametrize(
    "name",
    [
        "sub-A_task-Training_run-03_bold.nii.gz",
        "sub-A_task-Training_run-03_bold.nii",
        "sub-A_task-Training_run-3_space-T1w_bold.func.gii",
        "sub-A_task-Test_run-03_bold.npy",
        "sub-A_ses-1_task-Test_acq-x_run-03_echo-1_desc-preproc_bold.nii.gz",
        "sub-A_task-Test_run-03_hemi-L_space-fsaverage5_bold.func.gii",
        "sub-A_task-Other_run-03_bold.nii.gz",
        "sub-A_run-03_task-Test_bold.nii.gz",
        "sub-A_acq-x_task-Test_run-03_bold.nii.gz",
        "sub-A_task-Test_run-x_bold.nii.gz",
        "sub-A_task-Test_bold.nii.gz",
        "sub-A_task-Test_run-03_bold.json",
        "sub-A_task-Test_run-03_boldref.nii.gz",
        "sub-A_task-Test_run-03_bold.dtseries.nii",
        "sub-A_task-Test_run-03_desc-bold_mask.nii.gz",
    ],
)
def test_images_are_found_by_their_names(tmp_path, name):
    (tmp_path / name).touch()
    if not NAME.fullmatch(name):
        with pytest.raises(InputError, match="contains no images of sub-A"):
            find_bold(tmp_path, "A")
        return
    split = "train" if "Training" in name else "test"
    assert find_bold(tmp_path, "A") == {(split, 3): (tmp_path / name,)}


def test_two_images_of_a_run_need_a_space_unless_they_are_hemispheres(tmp_path):
    for side in "LR":
        for space in ("a", "b"):
            name = f"sub-A_task-Test_run-01_hemi-{side}_space-{space}_bold.func.gii"
            (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"run-01 has 4 images .*choose one with space"):
        find_bold(tmp_path, "A")
    [(key, files)] = find_bold(tmp_path, "A", "b").items()
    assert key == ("test", 1)
    assert [path.name.split("_")[3] for path in files] == ["hemi-L", "hemi-R"]
    with pytest.raises(InputError, match="no images of sub-A in space 'c'"):
        find_bold(tmp_path, "A", "c")


@pytest.mark.parametrize(("zoom", "unit"), [(1.5, "sec"), (1500, "msec"), (1.5e6, "usec")])
def test_the_tr_is_in_seconds_whatever_the_unit_of_the_header(tmp_path, zoom, unit):
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4, 5), np.int16), np.eye(4))
    image.header.set_zooms((1, 1, 1, zoom))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, tmp_path / "bold.nii.gz")
    run = open_run([tmp_path / "bold.nii.gz"])
    assert (run.n_volumes, run.space.n_voxels) == (5, 24)
    assert run.tr_s == pytest.approx(1.5)
    assert check_run(run.space.files, run.space, 5) is None
    assert "has 5 volumes; its events need 6" in check_run(run.space.files, run.space, 6)


def test_voxels_are_the_scaled_values_of_nibabel(tmp_path):
    series = np.random.default_rng(0).normal(1000, 9, (3, 4, 5, 6))
    image = nibabel.Nifti1Image(series, np.eye(4))
    image.set_data_dtype(np.int16)
    nibabel.save(image, tmp_path / "bold.nii")
    voxels = np.array([0, 7, 59])
    expected = nibabel.load(tmp_path / "bold.nii").get_fdata().reshape(60, 6)[voxels].T
    values = read_voxels([tmp_path / "bold.nii"], voxels)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, expected, rtol=1e-6)


def test_a_file_that_is_cut_short_or_has_no_time_axis_is_named(tmp_path):
    np.save(tmp_path / "bold.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"bold\.npy: .*expected \(volumes, voxels\)"):
        open_run([tmp_path / "bold.npy"])
    path = tmp_path / "bold.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)), path)
    with pytest.raises(InputError, match=r"bold\.nii: .*expected a 4-D image"):
        open_run([path])
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3, 4), np.int16), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:-50])
    space = open_space([path])
    assert space.shape == (3, 3, 3)
    with pytest.raises(InputError, match=r"bold\.nii: is not a readable image"):
        read_voxels([path], np.array([0]))
