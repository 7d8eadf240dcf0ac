"""Experiments that are not ds003720: from events to lists, exports and simulated images.

One has the real events of ds000113: short sounds with silence in between, in another order for each
subject and run. In the other, invented here, long pieces without classes follow one another.
"""

import gzip
import json
import shutil
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.io
import soundfile
from bids_validator import validate
from conftest import RATE_HZ, tone_clip

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.design.bids import index_bids
from neuromusic.design.dataset import Dataset
from neuromusic.design.presentations import load_design
from neuromusic.design.timing import Placement
from neuromusic.encoding.rois import Rois, read_areas
from neuromusic.fmri.activations import rest_response
from neuromusic.fmri.bold import open_run, read_voxels
from neuromusic.fmri.bold_files import find_bold
from neuromusic.fmri.confounds import common_brain_mask, load_confounds
from neuromusic.fmri.export.formats import FORMATS, Regressors
from neuromusic.fmri.layout import lay_on_volumes
from neuromusic.fmri.simulation.voxels import Planted
from neuromusic.fmri.volumes import clip_volumes
from neuromusic.pipeline.experiment_lists import make_experiment_lists
from neuromusic.pipeline.export import export
from neuromusic.pipeline.rerun import repeated_call
from neuromusic.pipeline.simulate import simulate

TASK = "auditoryperception"
STEM = f"sub-01_ses-{TASK}_task-{TASK}_run-01"
FUNC = f"sub-01/ses-{TASK}/func"
DESCRIPTION = """
name = "ds000113"
[files]
tasks = ["auditoryperception"]
[sounds]
sound = "stim"
class = "genre"
[time]
n_volumes = 153
rest = "{rest}"
"""
PIECES = """
name = "pieces"
[files]
tasks = ["music"]
[sounds]
sound = "stim_file"
"""


@pytest.fixture(scope="module")
def short_sounds(shared, tmp_path_factory):
    """Two subjects of ds000113 with its 25 sounds of 6 s; descriptions zero.toml, silence.toml."""
    root = tmp_path_factory.mktemp("short")
    for label in ("01", "20"):
        shutil.copytree(shared / f"data/ds000113/sub-{label}", root / f"bids/sub-{label}")
    for path in (shared / "data/ds000113").glob("*.json"):
        shutil.copy(path, root / "bids")
    (root / "sounds").mkdir()
    events = [pd.read_csv(path, sep="\t") for path in (root / "bids").glob("sub-*/*/*/*events.tsv")]
    for number, name in enumerate(sorted({name for each in events for name in each["stim"]})):
        wave = tone_clip(number // 5, number, 6.0)
        soundfile.write(root / "sounds" / name, wave, RATE_HZ, subtype="PCM_16")
    for rest in ("zero", "silence"):
        (root / f"{rest}.toml").write_text(DESCRIPTION.format(rest=rest))
        make_experiment_lists(
            root / f"{rest}.toml", bids=root / "bids", clips=root / "sounds", out=root / rest
        )
    return root


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Two subjects and two runs of three pieces of 20 to 31 s, TR 1 s, without classes."""
    root = tmp_path_factory.mktemp("pieces")
    (root / "sounds").mkdir()
    lengths_s = {"a.wav": 20.0, "b.wav": 25.5, "c.wav": 31.2}
    for number, (name, length_s) in enumerate(lengths_s.items()):
        soundfile.write(root / "sounds" / name, tone_clip(number, 0, length_s), RATE_HZ)
    orders = {1: ["b.wav", "a.wav", "c.wav"], 2: ["c.wav", "b.wav", "a.wav"]}
    for subject in ("01", "02"):
        func = root / f"bids/sub-{subject}/func"
        func.mkdir(parents=True)
        for run, names in orders.items():
            onsets = np.cumsum([0, *(lengths_s[name] for name in names)])
            rows = [f"{t:g}\t{lengths_s[n]:g}\t{n}" for t, n in zip(onsets, names, strict=False)]
            stem = func / f"sub-{subject}_task-music_run-{run}"
            text = "\n".join(["onset\tduration\tstim_file", *rows])  # no newline at the end
            stem.with_name(f"{stem.name}_events.tsv").write_text(text)
            sidecar = {"RepetitionTime": 1.0, "TaskName": "music"}
            stem.with_name(f"{stem.name}_bold.json").write_text(json.dumps(sidecar))
    (root / "e.toml").write_text(PIECES)
    make_experiment_lists(
        root / "e.toml", bids=root / "bids", clips=root / "sounds", out=root / "lists"
    )
    return root


@pytest.fixture(scope="module")
def exported(short_sounds, sound_run):
    return export(
        sound_run, short_sounds / "zero", out=short_sounds / "out", formats=FORMATS,
        regressors=Regressors(components=2, stages=("A1",), nilearn=("all",)),
    )  # fmt: skip


def signals(path):
    with gzip.open(path, "rt") as file:
        return pd.read_csv(file, sep="\t", header=None).to_numpy()


# --- Short sounds with silence in between ---------------------------------------------------------


def test_each_subject_has_the_files_of_its_own_runs(exported, short_sounds):
    assert validate(exported) == {"error": set(), "warning": set()}
    found = {path.name for path in exported.rglob("sub-*_stim.tsv.gz")}
    assert len(found) == 8 + 4
    events = pd.read_csv(exported / FUNC / f"{STEM}_events.tsv", sep="\t")
    real = pd.read_csv(short_sounds / "bids" / FUNC / f"{STEM}_events.tsv", sep="\t")
    assert events["clip"].tolist() == real["stim"].tolist()
    np.testing.assert_allclose(events["onset"], real["onset"])
    answers = f"sub-01/ses-{TASK}/beh/{STEM}_desc-cortexz_beh.tsv"
    table = pd.read_csv(exported / answers, sep="\t")
    pd.testing.assert_frame_equal(table, events[list(table)])
    readme = (exported / "README.md").read_text()
    assert "each has files of its own" in readme
    assert "All subjects heard" not in readme
    assert signals(exported / FUNC / f"{STEM}_stim.tsv.gz").shape[0] == 153


def test_a_class_that_the_network_does_not_know_has_no_probability(exported, sound_run):
    events = pd.read_csv(exported / FUNC / f"{STEM}_events.tsv", sep="\t")
    is_known = events["genre"].isin(sound_run.classes)
    assert (events["genre_probability"].notna() == is_known).all()
    assert events["probability"].notna().all()
    assert 0 < is_known.sum() < len(events)
    notes = json.loads((exported / "spm/spm.json").read_text())["Notes"]
    assert any("no value in" in note for note in notes)


def test_conditions_are_the_classes_without_a_dummy(exported):
    mat = scipy.io.loadmat(exported / "spm" / f"{STEM}_conditions.mat", squeeze_me=True)
    genres = ["ambient", "country", "metal", "rocknroll", "symphonic"]
    assert mat["names"].tolist() == genres
    design = pd.read_csv(exported / "nilearn" / f"{STEM}_design.tsv", sep="\t", index_col=0)
    assert list(design)[:5] == genres
    assert design.index[1] == 2.0
    assert not list(exported.rglob("*dummy*"))
    sidecar = json.loads((exported / "activations/activations.json").read_text())
    assert (sidecar["RepetitionTime"], sidecar["DummyVolumes"]) == (2.0, [])


@pytest.mark.parametrize("rest", ["zero", "silence"])
def test_silence_is_what_the_description_says(short_sounds, sound_run, tmp_path, rest):
    out = export(sound_run, short_sounds / rest, out=tmp_path / "out")
    block = np.load(out / "activations" / f"{STEM}_stage-A1_activations.npy")
    table = pd.read_csv(out / "activations" / f"{STEM}_volumes.tsv", sep="\t", na_filter=False)
    events = pd.read_csv(short_sounds / "bids" / FUNC / f"{STEM}_events.tsv", sep="\t")
    end_s = events["onset"] + events["duration"]
    volume_s = np.arange(153) * 2.0
    silent = [not ((events["onset"] < t + 1.998) & (end_s > t + 0.002)).any() for t in volume_s]
    assert 40 < sum(silent) < 90
    expected = rest_response(sound_run, rest)["A1"]
    np.testing.assert_allclose(block[silent], np.tile(expected, (sum(silent), 1)), atol=1e-6)
    assert (np.abs(block[~np.array(silent)] - expected).max(1) > 0).all()
    assert (table.loc[silent, "clip"] == "n/a").all()
    assert (np.abs(expected).max() > 0) == (rest == "silence")
    text = json.loads((out / "activations/activations.json").read_text())["DelayPolicy"]
    assert ("response to silence" in text) == (rest == "silence")


def test_a_network_without_sound_has_no_response_to_silence(tiny_run):
    with pytest.raises(InputError, match=r'response to silence is unknown; set rest = "zero"'):
        rest_response(tiny_run, "silence")


# --- Time -----------------------------------------------------------------------------------------


def test_volumes_are_means_over_milliseconds():
    """Constant responses, against a plain loop; sounds before and after the images are cut off."""
    rng = np.random.default_rng(0)
    tr_ms, n_volumes = 1350, 40
    at_ms = np.full((n_volumes + 40) * tr_ms, 0.25)  # from 20 volumes before the first image
    first, rows, at = 20 * tr_ms, [], -9000
    while at < n_volumes * tr_ms:
        length, value = int(rng.integers(200, 7000)), float(rng.uniform(1, 2))
        at_ms[first + at : first + at + length] = value
        rows.append((at / 1000, length / 1000, value))
        at += length + int(rng.choice([0, rng.integers(1, 4000)]))
    trials = pd.DataFrame(rows, columns=["onset_s", "duration_s", "value"])
    trials["clip"] = [f"{row}.wav" for row in range(len(trials))]
    responses = {}
    for row in trials.itertuples():
        onset, tr_s = row.onset_s, tr_ms / 1000
        phase_s = round(onset - np.floor(onset / tr_s + 1e-6) * tr_s, 3)
        placement = Placement(tr_s, phase_s, row.duration_s)
        responses[row.clip, placement] = np.full((placement.n_volumes, 2), row.value)
    laid = lay_on_volumes(trials, responses, tr_ms / 1000, n_volumes, np.full(2, 0.25))
    expected = []
    for volume in range(n_volumes):
        total = 0.0
        for millisecond in range(tr_ms):
            total += at_ms[first + volume * tr_ms + millisecond]
        expected.append(total / tr_ms)
    # Onsets and shares are rounded to 1 ms.
    np.testing.assert_allclose(laid, np.tile(expected, (2, 1)).T, atol=2.5 / tr_ms)


def test_a_long_piece_is_heard_in_parts(sound_run, monkeypatch):
    """Few windows are in memory at once, and their number does not change the response."""
    wave = tone_clip(0, 0, 60.0).astype(np.float32)
    features = sound_run.features_of(wave)[0]
    placement = [Placement(1.0, 0.25, 60.0)]
    sizes = []
    network = sound_run.network
    whole = network.activations
    monkeypatch.setattr(network, "activations", lambda x: sizes.append(len(x)) or whole(x))
    [(p, stages)] = clip_volumes(network, features, sound_run.hop_frames, placement)
    monkeypatch.setattr("neuromusic.models.inference.BATCH", 4)
    [(again, others)] = clip_volumes(network, features, sound_run.hop_frames, placement)
    assert max(sizes[1:]) <= 4
    np.testing.assert_allclose(again, p, atol=1e-6)
    for name, block in stages.items():
        assert block.shape[0] == 61
        np.testing.assert_allclose(others[name], block, rtol=1e-4, atol=1e-4)


def test_memory_does_not_grow_with_the_length_of_a_piece(sound_run, monkeypatch):
    """NumPy's peak without the input and the result, for 60 s and 240 s."""
    monkeypatch.setattr("neuromusic.models.inference.BATCH", 8)
    network, peaks = sound_run.network, []
    rng = np.random.default_rng(0)
    for length_s in (60, 60, 240):  # the first call imports
        n_frames = round(length_s / network.spec.frame_s)
        features = rng.standard_normal((network.spec.n_rows, n_frames)).astype(np.float32)
        tracemalloc.start()
        [(_, stages)] = clip_volumes(
            network, features, sound_run.hop_frames, [Placement(1.0, 0.0, float(length_s))]
        )
        result = sum(block.nbytes for block in stages.values())
        peaks.append(tracemalloc.get_traced_memory()[1] - result)
        tracemalloc.stop()
    assert peaks[2] < 1.5 * peaks[1]


# --- Long pieces without classes ------------------------------------------------------------------


def test_an_experiment_without_classes_is_exported(pieces, sound_run, caplog):
    with caplog.at_level("WARNING", "neuromusic"):
        out = export(
            sound_run, pieces / "lists", out=pieces / "out", formats=FORMATS,
            regressors=Regressors(components=2, nilearn=("all",)),
        )  # fmt: skip
    told = [line for line in caplog.messages if "has no classes" in line]
    assert [line.rsplit("so ")[1].split(" ")[0] for line in told] == [
        "spm", "fsl", "afni", "nilearn's",
    ]  # fmt: skip
    assert len(caplog.messages) == len(told)
    assert validate(out) == {"error": set(), "warning": set()}
    stem = "task-music_run-01"  # both subjects heard the same
    assert "All subjects heard" in (out / "README.md").read_text()
    events = pd.read_csv(out / f"{stem}_events.tsv", sep="\t")
    assert events["clip"].tolist() == ["b.wav", "a.wav", "c.wav"]
    assert events[["trial_type", "genre", "genre_probability"]].isna().all(axis=None)
    assert events["predicted"].isin(sound_run.classes).all()
    assert signals(out / f"{stem}_stim.tsv.gz").shape[0] == 77  # 76.7 s
    design = pd.read_csv(out / "nilearn" / f"{stem}_design.tsv", sep="\t", index_col=0)
    assert {"A1_pc01", "constant"} <= set(design)
    assert (out / "afni" / f"{stem}_stage-A1_regressors.1D").is_file()
    assert (out / "hdf5/activations.h5").is_file()
    assert not list((out / "spm").glob("*conditions*"))


def test_runs_may_differ_in_their_tr(pieces, sound_run, tmp_path):
    bids = tmp_path / "bids"
    shutil.copytree(pieces / "bids", bids)
    for path in bids.rglob("*run-2_bold.json"):
        path.write_text(json.dumps({"RepetitionTime": 1.6, "TaskName": "music"}))
    lists = make_experiment_lists(
        pieces / "e.toml", bids=bids, clips=pieces / "sounds", out=tmp_path / "lists"
    )
    out = export(sound_run, lists, out=tmp_path / "out", formats=FORMATS)
    assert validate(out) == {"error": set(), "warning": set()}
    for run, tr_s in ((1, 1.0), (2, 1.6)):
        sidecar = json.loads((out / f"task-music_run-{run:02d}_stim.json").read_text())
        assert sidecar["SamplingFrequency"] == pytest.approx(1 / tr_s)
        assert sidecar["StartTime"] == pytest.approx(tr_s / 2)
    assert not (out / "stim.json").exists()
    sidecar = json.loads((out / "activations/activations.json").read_text())
    assert sidecar["RepetitionTime"] == {"task-music_run-01": 1.0, "task-music_run-02": 1.6}


# --- Simulation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["nifti", "cifti", "gifti"])
def test_every_form_of_image_is_read_back(short_sounds, sound_run, tmp_path, form):
    """The image, its areas, its confounds and its mask, by the readers of encodings."""
    dataset = Dataset(short_sounds / "bids", short_sounds / "zero.toml", short_sounds / "sounds")
    planted = Planted(voxels=4, noise_voxels=5, motion=2.0, images=form)
    out = simulate(sound_run, bids=dataset, subjects=1, planted=planted, out=tmp_path / "out")
    assert validate(out)["error"] == set()
    design = load_design(out, Dataset(out).described())
    assert len(design.runs) == 8
    found = find_bold(index_bids(out), "01", [TASK])
    assert list(found) == list(design.runs)
    truth = pd.read_csv(out / "derivatives/truth/truth.tsv", sep="\t")
    for files in found.values():
        run = open_run(files)
        assert (run.n_volumes, run.tr_s) == (153, 2.0)
        [atlas] = (out / "derivatives/truth").glob("areas.n*")
        areas = read_areas(Rois("all", atlas), run.space)
        for name, rows in truth.groupby("area"):
            np.testing.assert_array_equal(areas.voxels(name), rows["voxel"])
        confounds = load_confounds(files, ["motion"], run.n_volumes)
        assert np.flatnonzero(~confounds.kept).tolist() == [0, 1]
        load_confounds(files, ["compcor"], run.n_volumes)
        load_confounds(files, ["scrubbing"], run.n_volumes)
        series = read_voxels(files, truth["voxel"].to_numpy())[2:]
        fit = confounds.values[2:] - confounds.values[2:].mean(0)
        centred = series - series.mean(0)
        left = centred - fit @ np.linalg.lstsq(fit, centred, rcond=None)[0]
        noise = (truth["area"] == "noise").to_numpy()
        share = 1 - left[:, noise].var() / centred[:, noise].var()
        # drift 1, motion 2 and noise of sd sqrt(7/3), in units of the signal: 4 / (1 + 4 + 7/3)
        assert 0.4 < share < 0.8
        if form == "nifti":
            inside, _ = common_brain_mask([files], run.space)
            np.testing.assert_array_equal(np.flatnonzero(inside), np.sort(truth["voxel"]))


def test_the_command_takes_a_description_and_can_be_repeated(pieces, sound_run, tmp_path, runner):
    line = [
        "fmri", "simulate", sound_run.directory, "--bids", pieces / "bids", "--experiment",
        pieces / "e.toml", "--sounds", pieces / "sounds", "--voxels", 2, "--noise-voxels", 1,
        "--confounds", "--images", "gifti", "--out", tmp_path / "out",
    ]  # fmt: skip
    result = runner.invoke(cli, [str(word) for word in line])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "out").rglob("*_hemi-L_bold.func.gii"))) == 4
    assert len(list((tmp_path / "out").rglob("*_desc-confounds_timeseries.tsv"))) == 4
    record = json.loads((tmp_path / "out/provenance.json").read_text())
    function, arguments = repeated_call(tmp_path / "out", record)
    again = function(**arguments, out=tmp_path / "again")
    names = [path.relative_to(again) for path in again.rglob("sub-*/**/*.*")]
    assert len(names) > 16
    for name in names:
        assert (again / name).read_bytes() == (tmp_path / "out" / name).read_bytes(), name
    without = runner.invoke(cli, [str(word) for word in [*line[:3], *line[5:]]])
    assert without.exit_code == 2
    assert "--experiment and --sounds describe the dataset of --bids" in without.output


def test_without_confounds_nothing_is_added(pieces, sound_run, tmp_path):
    dataset = Dataset(pieces / "bids", pieces / "e.toml", pieces / "sounds")
    planted = Planted(stages=("A1",), voxels=3, noise_voxels=0, ceiling=(1.0, 1.0), drift=0.0)
    out = simulate(sound_run, bids=dataset, planted=planted, out=tmp_path / "out")
    assert not list(out.rglob("*desc-*"))
    assert json.loads((out / "sub-01/func/sub-01_task-music_run-01_bold.json").read_text()) == {
        "TaskName": "music", "RepetitionTime": 1.0,
    }  # fmt: skip
    with pytest.raises(InputError, match=r"planted\.images='gifty'.*did you mean 'gifti'"):
        simulate(sound_run, bids=dataset, planted=Planted(images="gifty"), out=tmp_path / "new")
