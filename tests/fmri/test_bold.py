"""Names, headers and voxels of functional images."""

import logging
import re

import nibabel
import numpy as np
import pytest

from neuromusic.core.errors import InputError
from neuromusic.design.bids import RunId, index_bids
from neuromusic.fmri.bold import check_run, open_run, read_voxels, voxel_slabs
from neuromusic.fmri.bold_files import find_bold
from neuromusic.fmri.voxel_space import open_space

TASKS = ("Training", "Test")
# The form of a name that fMRIPrep and raw datasets use.
NAME = re.compile(
    r"sub-[A-Za-z0-9]+_(ses-[A-Za-z0-9]+_)?(.*_)?task-(Training|Test)_(.*_)?"
    r"bold(\.nii|\.nii\.gz|\.func\.gii|\.dtseries\.nii|\.npy)"
)


def find(folder, subject="A", tasks=TASKS, **filters):
    return find_bold(index_bids(folder), subject, tasks, filters)


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    "name",
    [
        "sub-A_task-Training_run-03_bold.nii.gz",
        "sub-A_task-Training_run-03_bold.nii",
        "sub-A_task-Training_run-3_space-T1w_bold.func.gii",
        "sub-A_task-Test_run-03_bold.npy",
        "sub-A_task-Test_run-03_bold.dtseries.nii",
        "sub-A_ses-1_task-Test_acq-x_run-03_echo-1_desc-preproc_bold.nii.gz",
        "sub-A_task-Test_run-03_hemi-L_space-fsaverage5_bold.func.gii",
        "sub-A_task-Test_dir-AP_run-03_bold.nii.gz",
        "sub-A_acq-x_task-Test_run-03_bold.nii.gz",
        "sub-A_task-Test_bold.nii.gz",
        "sub-A_task-Other_run-03_bold.nii.gz",
        "sub-A_task-Other_run-03_acq-Test_bold.nii.gz",
        "sub-A_task-Test_run-03_bold.json",
        "sub-A_task-Test_run-03_boldref.nii.gz",
        "sub-A_task-Test_run-03_desc-bold_mask.nii.gz",
    ],
)
def test_images_are_found_by_their_names(tmp_path, name):
    touch(tmp_path, name)
    if not NAME.fullmatch(name):
        with pytest.raises(InputError, match="contains no images of sub-A"):
            find(tmp_path)
        return
    [(run, files)] = find(tmp_path).items()
    assert files == (tmp_path / name,)
    assert (run.subject, run.run) == ("A", 3 if "run" in name else 0)


def test_runs_are_in_the_order_of_tasks_sessions_and_numbers(tmp_path):
    touch(
        tmp_path,
        *(
            f"sub-A/ses-{ses}/func/sub-A_ses-{ses}_task-{task}_run-{run}_bold.nii.gz"
            for ses in "21"
            for task in ("Test", "Training")
            for run in (10, 2)
        ),
    )
    assert list(find(tmp_path)) == [
        RunId("A", ses, task, run) for task in TASKS for ses in "12" for run in (2, 10)
    ]
    assert [run.session for run in find(tmp_path, ses="2")] == ["2"] * 4


def test_two_images_of_a_run_need_a_space_unless_they_are_hemispheres(tmp_path):
    for side in "LR":
        for space in ("a", "b"):
            touch(tmp_path, f"sub-A_task-Test_run-01_hemi-{side}_space-{space}_bold.func.gii")
    with pytest.raises(InputError, match=r"run-01 has 4 images .*space: a, b; choose one with spa"):
        find(tmp_path)
    [(run, files)] = find(tmp_path, space="b").items()
    assert run == RunId("A", "", "Test", 1)
    assert [path.name.split("_")[3] for path in files] == ["hemi-L", "hemi-R"]
    with pytest.raises(InputError, match="no images of sub-A with space-c; it has space: a, b"):
        find(tmp_path, space="c")


def test_one_hemisphere_is_reported_unless_it_was_chosen(tmp_path, caplog):
    names = [f"sub-A_task-Test_run-0{run}_hemi-L_bold.func.gii" for run in (1, 2)]
    touch(tmp_path, *names)
    with caplog.at_level(logging.WARNING):
        assert len(find(tmp_path)) == 2
    assert "2 images are of one hemisphere" in caplog.text
    assert names[0] in caplog.text
    caplog.clear()
    assert len(find(tmp_path, hemi="L")) == 2
    assert not caplog.records


@pytest.mark.parametrize(
    ("names", "message", "filters", "chosen"),
    [
        (("res-1_desc-preproc", "res-2_desc-preproc"), "res: 1, 2", {"res": "2"}, 1),
        (("desc-preproc", "desc-smoothAROMAnonaggr"), "desc: pre", {"desc": "preproc"}, 0),
        (("echo-1", "echo-2", "desc-preproc"), "echo: 1, 2, none; desc", {"echo": "02"}, 1),
        (("echo-1", "echo-2", ""), "echo: 1, 2, none", {"echo": "none"}, 2),
        (("part-mag", "part-phase"), "part: mag, phase", {"part": "mag"}, 0),
        (("space-T1w", "space-MNI152"), "space: MNI152, T1w", {"space": "space-T1w"}, 0),
        (("desc-preproc", "space-MNI_desc-preproc"), "space: MNI, none", {"space": "none"}, 0),
        (("space-MNI_res-2", "space-fsLR_den-91k"), "res: 2, none; den: 91k", {"den": "91k"}, 1),
    ],
)
def test_each_entity_chooses_among_images(tmp_path, names, message, filters, chosen):
    files = [
        tmp_path / f"{'_'.join(filter(None, ('sub-A_task-Test_run-01', each, 'bold')))}.nii.gz"
        for each in names
    ]
    touch(tmp_path, *(path.name for path in files))
    [option] = filters
    with pytest.raises(InputError, match=f"{message}.*choose one with .*{option}=.*--{option}"):
        find(tmp_path)
    assert find(tmp_path, **filters) == {RunId("A", "", "Test", 1): (files[chosen],)}


def test_what_no_entity_tells_apart_is_to_be_moved_away(tmp_path):
    name = "sub-A_task-Test_run-01_bold"
    touch(tmp_path, f"{name}.nii", f"{name}.nii.gz")
    with pytest.raises(InputError, match=r"2 images .*bold\.nii\.gz.*; move all but one away"):
        find(tmp_path)
    (tmp_path / f"{name}.nii").unlink()
    touch(tmp_path, f"derivatives/x/{name}.nii.gz")
    with pytest.raises(InputError, match=r"2 images .*/derivatives/x/.*; move all but one away"):
        find(tmp_path)
    with pytest.raises(InputError, match=r"spce: is not an entity .*did you mean 'space'"):
        find(tmp_path, spce="x")


def test_images_of_other_tasks_and_those_not_fetched_are_named(tmp_path):
    touch(tmp_path, "sub-A/func/sub-A_task-rest_bold.nii.gz")
    with pytest.raises(InputError, match=r"task-Training_run-01.*the tasks with images are rest"):
        find(tmp_path)
    path = tmp_path / "sub-A/func/sub-A_task-Test_run-01_bold.nii.gz"
    path.symlink_to("../../.git/annex/objects/KEY")
    with pytest.raises(InputError, match=r"bold\.nii\.gz: is a link to .*'datalad get'"):
        find(tmp_path)


@pytest.mark.parametrize(("zoom", "unit"), [(1.5, "sec"), (1500, "msec"), (1.5e6, "usec")])
def test_the_tr_is_in_seconds_whatever_the_unit_of_the_header(tmp_path, zoom, unit):
    image = nibabel.Nifti1Image(np.zeros((2, 3, 4, 5), np.int16), np.eye(4))
    image.header.set_zooms((1, 1, 1, zoom))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, tmp_path / "bold.nii.gz")
    run, index = open_run([tmp_path / "bold.nii.gz"]), index_bids(tmp_path)
    assert (run.n_volumes, run.space.n_voxels) == (5, 24)
    assert run.tr_s == pytest.approx(1.5)
    check = check_run(run.space.files, run.space, 1.5, 5, index)
    assert (check.reason, check.n_volumes, check.n_surplus) == (None, 5, 0)
    surplus = check_run(run.space.files, run.space, None, 3, index)
    assert (surplus.reason, surplus.n_volumes, surplus.n_surplus) == (None, 3, 2)
    assert surplus.tr_s == pytest.approx(1.5)
    assert check_run(run.space.files, run.space, 1.5, None, index).n_volumes == 5
    too_short = check_run(run.space.files, run.space, 1.5, 6, index)
    assert "has 5 volumes; its events need 6" in too_short.reason
    other = check_run(run.space.files, run.space, 2.0, 5, index)
    assert other.reason.startswith("bold.nii.gz: has a TR of 1.5 s; expected 2 s; if the header")


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


@pytest.mark.parametrize("slab_bytes", [1, 500, 2**26])
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", ">f8"])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_slabs_have_the_values_of_nibabel(tmp_path, monkeypatch, ending, dtype, slab_bytes):
    monkeypatch.setattr("neuromusic.fmri.bold.SLAB_BYTES", slab_bytes)
    series = np.random.default_rng(0).normal(1000, 9, (3, 4, 5, 11))
    image = nibabel.Nifti1Image(series, np.eye(4), nibabel.Nifti1Header(endianness=dtype[0]))
    image.set_data_dtype(np.dtype(dtype))
    path = tmp_path / f"bold.{ending}"
    nibabel.save(image, path)
    voxels = np.array([59, 0, 7])
    expected = nibabel.load(path).get_fdata().reshape(60, 11)[voxels].T
    firsts = []
    for first, slab in voxel_slabs([path], voxels):
        assert slab.dtype == np.float32
        np.testing.assert_allclose(slab, expected[first : first + len(slab)], rtol=1e-6)
        firsts += range(first, first + len(slab))
    assert firsts == list(range(11))


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
    reason = check_run([path], space, 1.5, 4, index_bids(tmp_path)).reason
    assert reason.startswith("bold.nii: is not a readable image")
