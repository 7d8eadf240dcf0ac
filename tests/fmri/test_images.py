"""Images as people have them: every form of file, written by nibabel, and what is read from it."""

import json

import nibabel
import numpy as np
import pytest
from nibabel import cifti2, gifti

from neuromusic.core.errors import InputError
from neuromusic.design.bids import index_bids
from neuromusic.encoding.rois import Rois, read_areas
from neuromusic.fmri.bold import check_run, open_run, read_voxels, sidecars_of, varying_at_start
from neuromusic.fmri.bold_files import find_bold
from neuromusic.fmri.voxel_space import open_space, read_volumes

RNG = np.random.default_rng(0)
SERIES = RNG.normal(100, 10, (7, 60)).astype(np.float32)  # volumes, voxels
STEM = "sub-A_task-Test_run-01"


def write_nifti(path, step=1.5, unit="sec", series=SERIES):
    image = nibabel.Nifti1Image(series.T.reshape(3, 4, 5, -1), np.eye(4))
    image.header.set_zooms((1, 1, 1, step))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)
    return path


def write_gifti(path, arrays, step=None):
    meta = gifti.GiftiMetaData({"TimeStep": str(step)} if step else {})
    darrays = [
        gifti.GiftiDataArray(array, intent="NIFTI_INTENT_TIME_SERIES", meta=meta)
        for array in arrays
    ]
    nibabel.save(gifti.GiftiImage(darrays=darrays), path)
    return path


def brain_models(right=(0, 2, 3), shift=0):
    """Return both cortices and two structures below, 60 grayordinates."""
    left = cifti2.BrainModelAxis.from_surface(np.arange(20), 32, "CIFTI_STRUCTURE_CORTEX_LEFT")
    other = cifti2.BrainModelAxis.from_surface(right, 32, "CIFTI_STRUCTURE_CORTEX_RIGHT")
    mask = np.zeros((5, 5, 5), bool)
    mask.ravel()[shift : shift + 37] = True
    below = cifti2.BrainModelAxis.from_mask(mask, "CIFTI_STRUCTURE_THALAMUS_LEFT", np.eye(4) * 2)
    return left + other + below


def write_cifti(path, models, series=SERIES, step=1.5, dtype=np.float32):
    axes = (cifti2.SeriesAxis(0, step, len(series)), models)
    image = cifti2.Cifti2Image(series.astype(dtype), axes)
    image.nifti_header.set_intent("ConnDenseSeries")
    nibabel.save(image, path)
    return path


def write_json(folder, name, tr_s):
    (folder / name).write_text(json.dumps({"RepetitionTime": tr_s}))


def checked(path, tr_s=1.5, n_volumes=7):
    files = [path] if not isinstance(path, list) else path
    index = index_bids(files[0].parent)
    return check_run(files, open_run(files).space, tr_s, n_volumes, index)


# --- The repetition time --------------------------------------------------------------------------

HEADERS = [
    (0.0, "sec"), (0.0, "unknown"), (1.0, "sec"), (1.0, "unknown"), (1500.0, "msec"),
    (1500.0, "sec"), (1500.0, "unknown"), (1500.0, "usec"), (1.5, "msec"), (1.5, "unknown"),
    (1e9, "sec"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "unit"), HEADERS)
@pytest.mark.parametrize("sidecar", [f"{STEM}_bold.json", "task-Test_bold.json", "bold.json"])
def test_the_json_has_precedence_over_any_header(tmp_path, step, unit, sidecar):
    path = write_nifti(tmp_path / f"{STEM}_bold.nii.gz", step, unit)
    write_json(tmp_path, sidecar, 1.5)
    check = checked(path)
    assert (check.reason, check.tr_s) == (None, 1.5)
    assert sidecars_of([path], index_bids(tmp_path)) == [tmp_path / sidecar]
    assert checked(path, tr_s=None).tr_s == 1.5
    reason = checked(path, tr_s=2.0).reason
    assert reason == f"{sidecar}: has a TR of 1.5 s; expected 2 s"


@pytest.mark.parametrize(("step", "unit"), HEADERS)
def test_without_a_json_the_header_counts_if_it_can_be_a_tr(tmp_path, step, unit):
    expected = {0.0: None, 1e9: None, 1.0: 1.0 if unit == "sec" else None}.get(step, 1.5)
    path = write_nifti(tmp_path / f"{STEM}_bold.nii.gz", step, unit)
    assert open_run([path]).tr_s == (expected and pytest.approx(expected))
    check = checked(path, tr_s=1.5)
    if expected == 1.0:
        assert "has a TR of 1 s; expected 1.5 s" in check.reason
    else:
        assert (check.reason, check.tr_s) == (None, 1.5)


def test_a_json_without_a_number_is_named_without_its_folder(tmp_path):
    path = write_nifti(tmp_path / f"{STEM}_bold.nii.gz")
    write_json(tmp_path, "task-Test_bold.json", "1.5 s")
    assert checked(path).reason.startswith("task-Test_bold.json: RepetitionTime is '1.5 s'")
    (tmp_path / "task-Test_bold.json").write_text("[1]")
    assert checked(path).reason.startswith("task-Test_bold.json: is not a JSON object")


# --- GIFTI ----------------------------------------------------------------------------------------

FORMS = {
    "one array per volume": list(SERIES),
    "columns": [volume[:, None] for volume in SERIES],
    "rows": [volume[None] for volume in SERIES],
    "one array": [SERIES.T],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("step", "tr_s"), [(1500, 1.5), (1.5, 1.5), (1500.0, 1.5), (None, None)])
def test_surfaces_are_read_in_every_form(tmp_path, form, step, tr_s):
    paths = [tmp_path / f"{STEM}_hemi-{side}_bold.func.gii" for side in "LR"]
    for path in paths:
        write_gifti(path, FORMS[form], step)
    run = open_run(paths)
    assert (run.n_volumes, run.space.shape, run.tr_s) == (7, (60, 60), tr_s)
    np.testing.assert_array_equal(read_voxels(paths, np.array([3, 59, 60])), SERIES[:, [3, 59, 0]])
    assert varying_at_start(paths, np.arange(120)).all()
    write_json(tmp_path, f"{STEM}_bold.json", 1.5)
    assert checked(paths).reason is None
    left = check_run(paths[:1], run.space, 1.5, 7, index_bids(tmp_path))
    assert "differs in space or grid" in left.reason


def test_hemispheres_of_different_lengths_are_refused(tmp_path):
    paths = [tmp_path / f"{STEM}_hemi-{side}_bold.func.gii" for side in "LR"]
    write_gifti(paths[0], list(SERIES))
    write_gifti(paths[1], [SERIES[:5].T])
    with pytest.raises(InputError, match="differs from the other hemisphere"):
        open_run(paths)
    write_gifti(paths[1], [np.ones((60, 3), np.float32)] * 2)
    with pytest.raises(InputError, match=r"its arrays have the shapes \[\(60, 3\)\]"):
        open_run(paths)


# --- CIFTI ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.float64])
def test_grayordinates_are_read_and_written(tmp_path, dtype):
    models, series = brain_models(), SERIES.astype(dtype)
    name = f"{STEM}_space-fsLR_den-91k_bold"
    path = write_cifti(tmp_path / f"{name}.dtseries.nii", models, series, dtype=dtype)
    assert list(find_bold(index_bids(tmp_path), "A", ["Test"]).values()) == [(path,)]
    run = open_run([path])
    assert (run.space.kind, run.space.shape, run.n_volumes, run.tr_s) == ("cifti", (60,), 7, 1.5)
    voxels = np.array([0, 22, 23, 59])
    np.testing.assert_array_equal(read_voxels([path], voxels), series[:, voxels].astype("f4"))
    np.testing.assert_array_equal(run.space.varying(), np.ptp(series, axis=0) > 0)
    assert varying_at_start([path], voxels).all()

    out = tmp_path / f"map{run.space.extension}"
    run.space.write_map([out], voxels, np.array([1.0, 2, 3, 4]))
    written = nibabel.load(out)
    assert written.nifti_header.get_intent()[0] == "ConnDenseScalar"
    assert list(written.header.get_axis(0).name) == ["map"]
    assert written.header.get_axis(1) == models
    expected = np.full(60, np.nan, np.float32)
    expected[voxels] = [1, 2, 3, 4]
    np.testing.assert_array_equal(written.get_fdata()[0], expected)
    assert open_space([out]).matches(run.space)
    # Earlier versions of fMRIPrep repeat the extension in the name of the JSON file.
    write_json(tmp_path, f"{name}.dtseries.json", 2.0)
    assert f"{name}.dtseries.json: has a TR of 2 s" in checked(path).reason


@pytest.mark.parametrize("change", [{"right": (0, 2, 4)}, {"shift": 1}])
def test_runs_with_other_brain_models_do_not_match(tmp_path, change):
    first = write_cifti(tmp_path / "a.dtseries.nii", brain_models())
    other = write_cifti(tmp_path / "b.dtseries.nii", brain_models(**change))
    check = check_run([other], open_space([first]), 1.5, 7, index_bids(tmp_path))
    assert check.reason == "b.dtseries.nii: differs in space or grid from a.dtseries.nii"


def test_other_cifti_files_are_named(tmp_path):
    path = tmp_path / "a.dtseries.nii"
    parcels = cifti2.ParcelsAxis.from_brain_models([("x", brain_models())])
    axes = (cifti2.SeriesAxis(0, 1.5, 7), parcels)
    nibabel.save(cifti2.Cifti2Image(SERIES[:, :1], axes), path)
    with pytest.raises(InputError, match=r"a\.dtseries\.nii: .*its columns are not grayordinates"):
        open_run([path])
    write_cifti(path, brain_models())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"a\.dtseries\.nii: is not a readable"):
        open_run([path])
    nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2, 3)), np.eye(4)), tmp_path / "x.nii")
    (tmp_path / "x.nii").rename(path)
    with pytest.raises(InputError, match=r"a\.dtseries\.nii: .*CIFTI"):
        open_run([path])


def test_labels_and_masks_of_grayordinates(tmp_path):
    models = brain_models()
    space = open_space([write_cifti(tmp_path / "a.dtseries.nii", models)])
    labels = np.repeat([0, 1, 2], 20).astype(np.int32)
    names = {0: ("???", (0, 0, 0, 0)), 1: ("A1", (1, 0, 0, 1)), 2: ("belt", (0, 1, 0, 1))}
    atlas = tmp_path / "areas.dlabel.nii"
    cifti2.Cifti2Image(labels[None], (cifti2.LabelAxis(["areas"], [names]), models)).to_filename(
        atlas
    )
    areas = read_areas(Rois("all", atlas), space)
    assert areas.names == ["A1", "belt"]
    np.testing.assert_array_equal(areas.label, labels)
    mask = tmp_path / "mask.dscalar.nii"
    space.write_map([mask], np.arange(5), np.full(5, 0.9999999))
    assert list(read_areas(Rois(mask), space).voxels("mask")) == list(range(5))
    wrong = tmp_path / "wrong.dscalar.nii"
    other = open_space([write_cifti(tmp_path / "b.dtseries.nii", brain_models(shift=1))])
    other.write_map([wrong], np.arange(5), np.ones(5))
    with pytest.raises(InputError, match=r"wrong\.dscalar\.nii: has other grayordinates"):
        read_areas(Rois(wrong), space)


# --- Masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, 1.00000006, 0.9999999, 255, 0.5, -1])
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 1), (3, 4, 5, 1, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mask_may_have_any_one_value(tmp_path, value, shape, dtype):
    file = write_nifti(tmp_path / "bold.nii.gz")
    inside = RNG.random(60) < 0.4
    values = np.where(inside, value, 0).astype(dtype).reshape(shape)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "mask.nii.gz")
    areas = read_areas(Rois(tmp_path / "mask.nii.gz"), open_space([file]))
    np.testing.assert_array_equal(areas.label, inside)


@pytest.mark.parametrize("slope", [1 / 255, 1 / 3])
def test_a_mask_may_be_stored_with_a_scale(tmp_path, slope):
    file = write_nifti(tmp_path / "bold.nii.gz")
    inside = RNG.random(60) < 0.4
    stored = np.where(inside, round(1 / slope), 0).astype(np.uint8).reshape(3, 4, 5)
    header = nibabel.Nifti1Image(stored, np.eye(4)).header
    header.set_slope_inter(slope, 0)
    header["vox_offset"] = 352
    path = tmp_path / "mask.nii"
    path.write_bytes(header.binaryblock + bytes(4) + stored.tobytes("F"))
    assert read_volumes(path).max() == pytest.approx(1)
    areas = read_areas(Rois(path), open_space([file]))
    np.testing.assert_array_equal(areas.label, inside)


def test_a_map_of_probabilities_is_no_mask(tmp_path):
    file = write_nifti(tmp_path / "bold.nii.gz")
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "p.nii.gz")
    with pytest.raises(InputError, match=r"p\.nii\.gz: contains fractions"):
        read_areas(Rois(tmp_path / "p.nii.gz"), open_space([file]))
