"""Events and images as people have them: what `encode` fits, and what is refused.

The first half changes a small dataset in ways in which nothing may change for `encode`: its volumes
must still be those of the same sounds. The second half is refused, in one line with the remedy.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import scipy.io
import soundfile
from conftest import RATE_HZ, tone_clip
from designs import write_events, write_json
from nibabel import cifti2, gifti

from neuromusic.cli.main import cli
from neuromusic.design.dataset import Dataset
from neuromusic.encoding.options import EncodingOptions
from neuromusic.encoding.rois import Rois
from neuromusic.fmri.bold import read_voxels
from neuromusic.fmri.scan_series import clean_scans
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.pipeline import encode as pipeline
from neuromusic.pipeline.simulate import simulate

TR_S, SOUND_S, N_VOLUMES = 1.5, 6.0, 28
LEAD_IN = 4  # volumes
RUNS = (1, 2, 3)
DESCRIPTION = """
name = "listening"
[files]
tasks = ["listen"]
[sounds]
sound = "stim_file"
[time]
trials = 6
lead_in_s = 6.0
"""


def stem(run):
    """Return the beginning of the names of a run."""
    return f"sub-1_task-listen_run-{run:02d}"


# --- The dataset, and what encode makes of it -----------------------------------------------------


@pytest.fixture(scope="module")
def dataset(sound_run, tmp_path_factory):
    """One subject, three runs of a lead-in and six sounds of 6 s, simulated images, TR 1.5 s."""
    root = tmp_path_factory.mktemp("dataset")
    (root / "sounds").mkdir()
    names = [f"{letter}.wav" for letter in "abcdef"]
    for number, name in enumerate(names):
        soundfile.write(root / "sounds" / name, tone_clip(number, 0, SOUND_S), RATE_HZ)
    rng = np.random.default_rng(0)
    for run in RUNS:
        order = rng.permutation(names)
        rows = [(i * SOUND_S, SOUND_S, name) for i, name in enumerate([order[-1], *order])]
        func = root / "events/sub-1/func"
        write_events(func, stem(run), rows, "onset duration stim_file")
        write_json(func / f"{stem(run)}_bold.json", RepetitionTime=TR_S, TaskName="listen")
    (root / "e.toml").write_text(DESCRIPTION)
    simulate(
        sound_run, bids=Dataset(root / "events", root / "e.toml", root / "sounds"),
        planted=Planted(stages=("A1",), voxels=8, noise_voxels=2), out=root / "bids",
    )  # fmt: skip
    shutil.rmtree(root / "bids/derivatives")
    return root


@pytest.fixture
def copy(dataset, tmp_path):
    """A copy of the dataset, for a test to change."""
    shutil.copytree(dataset, tmp_path / "copy")
    return tmp_path / "copy"


@dataclass
class Fitted:
    """What `encode` fits: rows (sounds on volumes), their series, and what the command said."""

    inputs: object
    rows: pd.DataFrame
    series: np.ndarray
    trials: list
    output: str


@pytest.fixture
def encode(sound_run, runner, monkeypatch, tmp_path):
    """A function that runs `neuromusic encode` up to the work, and returns its result."""

    def run(root, *more, roi="whole"):
        opened = {}

        def keep(trained, design, subjects, options):
            opened.update(subjects)
            return work(trained, design, subjects, options)

        work = pipeline.encoding_work
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "encoding_work", keep)
            line = [
                "encode", sound_run.directory, "--bids", root / "bids", "--sounds",
                root / "sounds", "--roi", roi, "--out", tmp_path / "encoded", "--dry-run", *more,
            ]  # fmt: skip
            result = runner.invoke(cli, [str(word) for word in line])
        if result.exit_code:
            return result
        inputs = opened["1"]
        scans = inputs.scans
        scratch = Path(tempfile.mkdtemp(dir=tmp_path))
        series = clean_scans(scans, inputs.voxels, scratch, 1 / 256, "x").series(0)
        trials = [run.trials[["clip", "is_dummy"]].to_numpy() for run in scans.runs.values()]
        return Fitted(inputs, scans.rows, series, trials, result.output)

    return run


@pytest.fixture
def expected(dataset, encode):
    return encode(dataset)


def events_of(root):
    return sorted((root / "bids").rglob("*_events.tsv"))


def images_of(root):
    return sorted((root / "bids").rglob("*_bold.nii.gz"))


def change_events(root, change):
    """Replace the events of each run by ``change`` of its rows."""
    for path in events_of(root):
        rows = change(pd.read_csv(path, sep="\t"))
        rows.to_csv(path, sep="\t", index=False, na_rep="n/a")


def change_images(root, change):
    """Replace the volumes of each image by ``change`` of them."""
    for path in images_of(root):
        image = nibabel.load(path)
        data = change(np.asarray(image.dataobj))
        nibabel.save(nibabel.Nifti1Image(data, image.affine, image.header), path)


def rename(root, new_stem):
    """Move the files of each run; ``new_stem`` of a run is its folder and beginning of names."""
    for run in RUNS:
        for path in sorted((root / "bids/sub-1/func").glob(f"{stem(run)}_*")):
            target = root / "bids" / f"{new_stem(run)}_{path.name.removeprefix(stem(run) + '_')}"
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)


# --- What must not change anything ----------------------------------------------------------------

ROWS: dict = {}


def row(name):
    """Register a way of changing a dataset that `encode` must not notice."""

    def register(change):
        ROWS[name] = change
        return change

    return register


@row("unsorted events: neighbours swapped")
def _(root):
    change_events(root, lambda rows: rows.iloc[[0, 2, 1, 4, 3, 6, 5]])
    return "have rows that are not in the order of their onsets, and were sorted"


@row("unsorted events: shuffled")
def _(root):
    change_events(root, lambda rows: rows.sample(frac=1, random_state=1))
    return "were sorted"


@row("lead-in volumes cut, onsets from -6")
def _(root):
    change_images(root, lambda data: data[..., LEAD_IN:])
    change_events(root, lambda rows: rows.assign(onset=rows["onset"] - SOUND_S))
    return ""


@row("three surplus volumes")
def _(root):
    change_images(root, lambda data: np.concatenate([data, data[..., :3] * 3], axis=3))
    return "has 3 volumes after those of its design; they are dropped"


@row("ses-01")
def _(root):
    rename(root, lambda run: f"sub-1/ses-01/func/sub-1_ses-01_task-listen_run-{run}")
    return ""


@row("run numbers restart in each session")
def _(root):
    rename(root, lambda run: f"sub-1/ses-{run}/func/sub-1_ses-{run}_task-listen_run-1")
    return ""


@row("no run numbers, one session each")
def _(root):
    rename(root, lambda run: f"sub-1/ses-{run}/func/sub-1_ses-{run}_task-listen")
    return ""


@row("acq- before run-")
def _(root):
    rename(root, lambda run: f"sub-1/func/sub-1_task-listen_acq-mb4_run-{run}")
    return ""


@row("dir- before run-")
def _(root):
    rename(root, lambda run: f"sub-1/func/sub-1_task-listen_dir-AP_run-{run:02d}")
    return ""


@row("dir- in the names of images and their JSON only")
def _(root):
    for path in (root / "bids/sub-1/func").glob("*_bold.*"):
        path.rename(path.with_name(path.name.replace("_run-", "_dir-AP_run-")))
    return ""


@row("acq- before task-")
def _(root):
    rename(root, lambda run: f"sub-1/func/sub-1_acq-mb4_task-listen_run-{run:03d}")
    return ""


@row("one JSON file at the root, events of each run at the root")
def _(root):
    write_json(root / "bids/task-listen_bold.json", RepetitionTime=TR_S)
    for path in (root / "bids/sub-1/func").glob("*.json"):
        path.unlink()
    for path in events_of(root):
        path.rename(root / "bids" / path.name.removeprefix("sub-1_"))
    return ""


def header(step, unit):
    def change(root):
        for path in images_of(root):
            image = nibabel.load(path)
            image.header.set_zooms((*image.header.get_zooms()[:3], step))
            image.header.set_xyzt_units("mm", unit)
            nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)
        return ""

    return change


for each in ((1.0, "sec"), (0.0, "sec"), (1500.0, "msec"), (1500.0, "sec"), (1.5, "unknown")):
    ROWS[f"TR in the header: {each[0]:g} {each[1]}"] = header(*each)


@row("lines end as in Windows, without an end of the last")
def _(root):
    for path in events_of(root):
        path.write_bytes(path.read_bytes().rstrip(b"\n").replace(b"\n", b"\r\n"))
    return ""


@row("rest rows between the sounds, more columns")
def _(root):
    def change(rows):
        rest = pd.DataFrame({"onset": [5.9, 40.0], "duration": [0.1, "n/a"], "stim_file": "n/a"})
        return pd.concat([rows, rest]).assign(trial_type="music", response_time="n/a")

    change_events(root, change)
    return "rest rows"


@row("durations n/a: those of the sounds")
def _(root):
    change_events(root, lambda rows: rows.assign(duration="n/a"))
    return ""


@row("stim_file with a folder")
def _(root):
    change_events(root, lambda rows: rows.assign(stim_file="stimuli/" + rows["stim_file"]))
    return ""


@pytest.mark.parametrize("name", ROWS)
def test_encode_fits_the_same_volumes_of_the_same_sounds(copy, encode, expected, name):
    said = ROWS[name](copy)
    found = encode(copy)
    assert not hasattr(found, "exit_code"), found.output
    assert said in " ".join(found.output.split())
    columns = ["run", "clip", "within"]
    pd.testing.assert_frame_equal(found.rows[columns], expected.rows[columns])
    shift = LEAD_IN if "cut" in name else 0
    assert (found.rows["volume"] + shift).equals(expected.rows["volume"])
    np.testing.assert_array_equal(found.series, expected.series)
    for one, other in zip(found.trials, expected.trials, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_first_row_is_missing(copy, encode, expected):
    """The lead-in is in the images only: its volumes become rest, and no trial is lost."""
    change_events(copy, lambda rows: rows.iloc[1:])
    found = encode(copy)
    assert not any(dummy for trials in found.trials for _, dummy in trials)
    sounds = found.rows[found.rows["within"] >= 0].reset_index(drop=True)
    columns = ["run", "volume", "clip", "within"]
    pd.testing.assert_frame_equal(sounds[columns], expected.rows[columns])


def test_lead_in_volumes_are_cut_and_its_row_is_deleted(copy, encode, expected):
    change_images(copy, lambda data: data[..., LEAD_IN:])
    change_events(
        copy, lambda rows: rows.assign(onset=rows["onset"] - SOUND_S).iloc[1:]
    )  # fmt: skip
    found = encode(copy)
    assert "its lead-in is taken to have been cut off" in " ".join(found.output.split())
    columns = ["run", "clip", "within"]
    pd.testing.assert_frame_equal(found.rows[columns], expected.rows[columns])
    np.testing.assert_array_equal(found.series, expected.series)


def test_one_events_file_for_all_runs(copy, encode):
    first, *others = events_of(copy)
    first.rename(copy / "bids/task-listen_events.tsv")
    for path in others:
        path.unlink()
    found = encode(copy)
    assert len(found.trials) == 3
    assert all((trials == found.trials[0]).all() for trials in found.trials)


# --- Images ---------------------------------------------------------------------------------------


def write_like(path, folder_of, **entities):
    """Write a copy of an image with more entities in its name, and other values."""
    image = nibabel.load(path)
    keys = "".join(f"_{key}-{value}" for key, value in entities.items())
    target = folder_of / path.name.replace("_bold", f"{keys}_bold")
    target.parent.mkdir(parents=True, exist_ok=True)
    data = np.asarray(image.dataobj)[..., ::-1]
    nibabel.save(nibabel.Nifti1Image(data, image.affine, image.header), target)


ENTITIES = {
    "res": ({"res": "2"}, "res: 2, none", ["--res", "none"]),
    "desc": ({"desc": "smooth"}, "desc: smooth, none", ["--desc", "none"]),
    "echo": ({"echo": "2"}, "echo: 2, none", ["--echo", "none"]),
    "native next to MNI": (
        {"space": "MNI152NLin2009cAsym", "desc": "preproc"},
        "space: MNI152NLin2009cAsym, none; desc: preproc, none", ["--space", "none"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTITIES)
def test_an_option_chooses_between_two_images(copy, encode, expected, name):
    entities, listed, option = ENTITIES[name]
    for path in images_of(copy):
        write_like(path, path.parent, **entities)
    refused = encode(copy)
    check_refused(refused, listed, f"choose one with {option[0][2:]}=... ({option[0]}")
    found = encode(copy, *option)
    np.testing.assert_array_equal(found.series, expected.series)
    other = encode(copy, option[0], entities[option[0][2:]])
    assert not np.array_equal(other.series, expected.series)
    check_refused(encode(copy, option[0], "9"), f"with {option[0][2:]}-9; it has {option[0][2:]}: ")


def check_refused(result, *texts, code=2):
    """One line for the user: what is wrong, and what to do."""
    assert result.exit_code == code, (result.output, result.exception)
    [line] = [line for line in result.output.splitlines() if line.startswith("Error: ")]
    assert result.output.rstrip().endswith(line)
    for text in texts:
        assert text in line


def values_of(path, inputs):
    """Return the series of an image in the voxels of `Fitted.inputs` (volumes, voxels)."""
    return read_voxels([path], inputs.voxels)


def as_cifti(path, series):
    """Two vertices of each cortex, the other voxels in the thalamus."""
    left, right = (
        cifti2.BrainModelAxis.from_surface([1, 3], 9, f"CIFTI_STRUCTURE_CORTEX_{side}")
        for side in ("LEFT", "RIGHT")
    )
    mask = np.arange(27).reshape(3, 3, 3) < series.shape[1] - 4
    below = cifti2.BrainModelAxis.from_mask(mask, "CIFTI_STRUCTURE_THALAMUS_LEFT", np.eye(4) * 2)
    axes = (cifti2.SeriesAxis(0, TR_S, len(series)), left + right + below)
    image = cifti2.Cifti2Image(series, axes)
    image.nifti_header.set_intent("ConnDenseSeries")
    nibabel.save(image, path.with_name(f"{path.name[:-12]}_space-fsLR_den-91k_bold.dtseries.nii"))


def as_gifti(arrays_of, step):
    def write(path, series):
        for side, part in zip("LR", np.array_split(series, 2, axis=1), strict=True):
            meta = gifti.GiftiMetaData({"TimeStep": str(step)})
            arrays = [
                gifti.GiftiDataArray(
                    np.ascontiguousarray(each), intent="NIFTI_INTENT_TIME_SERIES", meta=meta
                )
                for each in arrays_of(part)
            ]
            name = f"{path.name[:-12]}_hemi-{side}_space-fsaverage5_bold.func.gii"
            nibabel.save(gifti.GiftiImage(darrays=arrays), path.with_name(name))

    return write


FORMS = {
    "CIFTI dtseries": as_cifti,
    "GIFTI: one array (vertices, volumes)": as_gifti(lambda series: [series.T], 1500),
    "GIFTI: TimeStep 1.5": as_gifti(list, 1.5),
    "GIFTI: TimeStep 1500": as_gifti(list, 1500.0),
    "GIFTI: columns": as_gifti(lambda series: [each[:, None] for each in series], 1500),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("has_json", [True, False])
def test_surfaces_and_grayordinates(copy, encode, expected, form, has_json):
    for path in images_of(copy):
        FORMS[form](path, values_of(path, expected.inputs))
        path.unlink()
    if not has_json:
        for path in (copy / "bids/sub-1/func").glob("*.json"):
            path.unlink()
    found = encode(copy)
    np.testing.assert_array_equal(found.series, expected.series)
    assert found.inputs.scans.tr_s == TR_S


def test_one_hemisphere_is_half_a_brain(copy, encode, expected):
    for path in images_of(copy):
        FORMS["GIFTI: TimeStep 1.5"](path, values_of(path, expected.inputs))
        path.unlink()
    for path in (copy / "bids").rglob("*_hemi-R_*"):
        path.unlink()
    found = encode(copy)
    said = " ".join(found.output.split())
    assert "3 images are of one hemisphere" in said
    assert "is the left one" in said
    assert found.series.shape[1] == expected.series.shape[1] // 2


@pytest.fixture
def fmriprep(copy):
    """The same images in a derivative of fMRIPrep, with confounds and masks of the brain."""
    func = copy / "bids/derivatives/fmriprep/sub-1/func"
    func.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for run, path in zip(RUNS, images_of(copy), strict=True):
        image = nibabel.load(path)
        start = f"{stem(run)}_space-MNI152NLin2009cAsym"
        inside = np.asarray(image.dataobj).std(3) > 0
        path.rename(func / f"{start}_desc-preproc_bold.nii.gz")
        inside.flat[np.flatnonzero(inside)[-2:]] = False
        mask = nibabel.Nifti1Image(inside.astype(np.uint8), image.affine)
        nibabel.save(mask, func / f"{start}_desc-brain_mask.nii.gz")
        table = pd.DataFrame({"global_signal": rng.normal(size=N_VOLUMES)})
        table["non_steady_state_outlier00"] = np.eye(N_VOLUMES)[0]
        table.to_csv(func / f"{stem(run)}_desc-confounds_timeseries.tsv", sep="\t", index=False)
        write_json(func / f"{stem(run)}_desc-confounds_timeseries.json")
    return copy


def test_confounds_and_brain_masks_of_fmriprep(fmriprep, encode, expected):
    found = encode(fmriprep)
    n = expected.series.shape[1] - 2
    assert found.series.shape[1] == n
    assert "2 voxels of the areas are outside the brain mask" in " ".join(found.output.split())
    np.testing.assert_allclose(found.series, expected.series[:, :n], rtol=1e-4, atol=1e-6)
    cleaned = encode(fmriprep, "--confounds", "global_signal")
    assert not np.array_equal(cleaned.series, found.series)
    func = fmriprep / "bids/derivatives/fmriprep/sub-1/func"
    for number, run in enumerate(RUNS):
        table = pd.read_csv(func / f"{stem(run)}_desc-confounds_timeseries.tsv", sep="\t")
        confound = table["global_signal"].to_numpy()[LEAD_IN:]
        series = cleaned.series[(cleaned.rows["run"] == number).to_numpy()]
        assert np.abs((confound - confound.mean()) @ series).max() < 1e-3
    check_refused(encode(fmriprep, "--confounds", "motion"), "lacks confounds for motion")
    check_refused(encode(fmriprep, "--confounds", "moton"), "did you mean 'motion'")


MASKS = {
    "0/1": 1, "0/1.00000006": np.float32(1.00000006), "0/.9999999": np.float32(0.9999999),
    "0/255": 255,
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("more_axes", [(), (1,)])
def test_masks_with_a_single_value(copy, encode, expected, name, more_axes):
    inside = np.zeros(expected.inputs.scans.space.n_voxels, np.bool_)
    inside[expected.inputs.voxels[:5]] = True
    value = MASKS[name]
    data = np.where(inside, value, 0).astype(np.uint8 if value == 255 else np.float32)
    space = expected.inputs.scans.space
    image = nibabel.Nifti1Image(data.reshape(*space.shape, *more_axes), space.affine)
    nibabel.save(image, copy / "mask.nii.gz")
    found = encode(copy, roi=copy / "mask.nii.gz")
    np.testing.assert_array_equal(found.inputs.voxels, expected.inputs.voxels[:5])
    np.testing.assert_allclose(found.series, expected.series[:, :5], rtol=1e-4, atol=1e-6)


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["events.tsv", "bold.nii.gz"])
def test_content_that_is_not_fetched(copy, encode, runner, suffix):
    for path in (copy / "bids/sub-1/func").glob(f"*_{suffix}"):
        path.unlink()
        path.symlink_to("../../.git/annex/objects/xx/yy/KEY/KEY")
    check_refused(encode(copy), f"{stem(1)}_{suffix}", "is a link to", "'datalad get'")
    line = ["experiment", "check", copy / "e.toml", "--bids", copy / "bids"]
    checked = runner.invoke(cli, [str(word) for word in line])
    if suffix == "events.tsv":
        check_refused(checked, "'datalad get'")
    else:
        assert checked.exit_code == 0
        assert "3 images were not read" in checked.output and "datalad get" in checked.output


@pytest.mark.parametrize("shape", ["transposed", "a single column"])
def test_an_order_of_another_shape_is_not_as_designed(shared, runner, tmp_path, shape):
    train = scipy.io.loadmat(shared / "data/orders/ExpTrnOrder.mat")["TrnOrd"]
    changed = train.T if shape == "transposed" else train.reshape(-1, 1, order="F")
    scipy.io.savemat(tmp_path / "TrnOrd.mat", {"TrnOrd": changed})
    line = ["orders", "check", "--train-order", tmp_path / "TrnOrd.mat", "--test-order",
            shared / "data/orders/ExpValOrder.mat"]  # fmt: skip
    result = runner.invoke(cli, [str(word) for word in line])
    assert result.exit_code == 1, result.output
    said = {"transposed": "is not balanced over genres", "a single column": "one column per run"}
    assert "TrnOrd: run 1 " in result.output and said[shape] in result.output


# Each fault: what changes the dataset, what `check` says, and what all other commands say. An
# expectation of None: the command works.
FAULTS: dict = {}


def fault(name, **expected):
    def register(change):
        FAULTS[name] = (change, expected)
        return change

    return register


COMMANDS = ("check", "lists", "simulate", "encode")


@fault(
    "overlapping sounds",
    **dict.fromkeys(COMMANDS, f"{stem(1)}_events.tsv, row 3: begins at 9 s, before row 2 ends"),
)
def _(root):
    change_events(root, lambda rows: rows.assign(onset=rows["onset"].mask(rows.index == 2, 9.0)))


@fault(
    "a run without events",
    check=f"{stem(2).replace('_', ' ')}: has images but no events",
    encode="has no events.tsv in the BIDS dataset; add it",
)
def _(root):
    events_of(root)[1].unlink()


@fault(
    "events longer than the images",
    check=f"{stem(1)}_events.tsv, row 7: {{}} ends at 42 s; {stem(1)}_bold.nii.gz ends at 36 s",
    encode=f"{stem(1)}_bold.nii.gz: has 24 volumes; its events need 28",
)
def _(root):
    change_images(root, lambda data: data[..., :-4])


@fault(
    "runs that differ in their TR",
    check="run-03: has a TR of 2 s; the other runs of the subject",
    encode="run-03: has a TR of 2 s, sub-1 task-listen run-01 one of 1.5 s",
)
def _(root):
    write_json(root / f"bids/sub-1/func/{stem(3)}_bold.json", RepetitionTime=2.0)
    path = images_of(root)[2]
    image = nibabel.load(path)
    image.header.set_zooms((*image.header.get_zooms()[:3], 2.0))
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)


@fault("a TR that is text", **dict.fromkeys(COMMANDS, "RepetitionTime is '1.5 s'; expected a num"))
def _(root):
    write_json(root / f"bids/sub-1/func/{stem(3)}_bold.json", RepetitionTime="1.5 s")


@fault("no TR anywhere", **dict.fromkeys(COMMANDS, "the TR is not known; give RepetitionTime in"))
def _(root):
    header(0.0, "unknown")(root)
    for path in (root / "bids/sub-1/func").glob("*.json"):
        path.unlink()


@fault("the column of the sound is missing", **dict.fromkeys(COMMANDS, "has no column stim_file"))
def _(root):
    change_events(root, lambda rows: rows.rename(columns={"stim_file": "sound"}))


@fault("an onset that is no number", **dict.fromkeys(COMMANDS, "row 2: expected numbers (onset"))
def _(root):
    change_events(root, lambda rows: rows.assign(onset=["0", "six", *rows["onset"][2:]]))


@fault("a sound that is not there", check="f.wav: has no sound file",
       lists="1 of the 6 sounds are missing: f.wav; add them",
       simulate="1 of the 6 sounds are missing: f.wav; add them")  # fmt: skip
def _(root):
    (root / "sounds/f.wav").unlink()


@fault("a sound that is shorter than it was played", check="f.wav: the file is 3.000 s long",
       lists="f.wav: lasts 3.00 s, but was played for 6 s; correct the events",
       simulate="f.wav: lasts 3.00 s", encode="f.wav: lasts 3.00 s")  # fmt: skip
def _(root):
    soundfile.write(root / "sounds/f.wav", tone_clip(5, 0, 3.0), RATE_HZ)


@fault("two events files of one run", **dict.fromkeys(COMMANDS, "is of the same run as"))
def _(root):
    path = events_of(root)[0]
    shutil.copy(path, path.with_name(path.name.replace("run-01", "run-1")))


@fault(
    "an unknown key in the description", **dict.fromkeys(COMMANDS, "did you mean 'time.lead_in_s'")
)
def _(root):
    for path in (root / "e.toml", root / "bids/experiment.toml"):
        path.write_text(path.read_text().replace("lead_in_s", "lead_in"))


@fault("another task", **dict.fromkeys(COMMANDS, "the tasks with events are listen"))
def _(root):
    for path in (root / "e.toml", root / "bids/experiment.toml"):
        path.write_text(path.read_text().replace('"listen"', '"listening"'))


def line_of(command, root, network, out):
    bids, sounds, toml = root / "bids", root / "sounds", root / "e.toml"
    return {
        "check": ["experiment", "check", toml, "--bids", bids, "--sounds", sounds],
        "lists": ["lists", "--experiment", toml, "--bids", bids, "--clips", sounds, "--out", out],
        "simulate": ["fmri", "simulate", network, "--bids", bids, "--sounds", sounds, "--out", out],
        "encode": ["encode", network, "--bids", bids, "--sounds", sounds, "--roi", "whole",
                   "--out", out],
    }[command]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_in_one_line(copy, sound_run, runner, tmp_path, name, command):
    change, said = FAULTS[name]
    change(copy)
    line = [*line_of(command, copy, sound_run.directory, tmp_path / "out")]
    if command != "check":
        line.append("--dry-run")
    result = runner.invoke(cli, [str(word) for word in line])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    if command not in said:
        assert result.exit_code == 0, result.output
    elif command == "check" and result.exit_code == 1:
        found = [text for text in result.output.splitlines() if text.startswith("mismatch: ")]
        before, _, after = said[command].partition("{}")
        assert any(before in text and after in text for text in found), result.output
    else:
        check_refused(result, said[command])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_unsorted_events_give_the_same_scores(copy, sound_run, tmp_path):
    """All of `encode`: its tables and maps are those of sorted events, byte by byte."""
    outs = []
    for number in range(2):
        outs.append(
            pipeline.encode(
                sound_run, bids=Dataset(copy / "bids", sounds=copy / "sounds"),
                rois=Rois("whole"), options=EncodingOptions(components=3),
                out=tmp_path / f"encoded{number}",
            )
        )  # fmt: skip
        change_events(copy, lambda rows: rows.sample(frac=1, random_state=1))
    names = [path.relative_to(outs[0]) for path in outs[0].rglob("*.tsv")]
    assert len(names) > 5
    for name in names:
        assert (outs[0] / name).read_bytes() == (outs[1] / name).read_bytes(), name
