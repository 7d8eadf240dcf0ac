"""Simulated datasets against the BIDS validator, nibabel, nilearn and the planted truth."""

import json
import shutil
import subprocess

import nibabel
import numpy as np
import pandas as pd
import pytest
from helpers import neuromusic
from scipy import fft, signal, stats

from neuromusic.core.errors import InputError
from neuromusic.design.bids import RunId
from neuromusic.design.events import check_dataset, orders_from_bids
from neuromusic.design.orders import EXPERIMENT, design_orders, presentations
from neuromusic.design.presentations import load_design
from neuromusic.design.timing import all_placements, placements
from neuromusic.encoding.rois import Rois, read_areas
from neuromusic.fmri.activations import clip_responses
from neuromusic.fmri.simulation.sessions import events_bytes
from neuromusic.fmri.simulation.voxels import Planted, autocorrelated, slow_drift
from neuromusic.fmri.voxel_space import open_space
from neuromusic.pipeline.simulate import simulate

EV = 0.3
PLANTED = Planted(voxels=60, noise_voxels=100, ceiling=(EV, EV), drift=0.0)


@pytest.fixture(scope="module")
def simulated(tiny_run, tiny_bids, tmp_path_factory):
    out = tmp_path_factory.mktemp("planted") / "simulated"
    return simulate(tiny_run, bids=tiny_bids, planted=PLANTED, seed=7, out=out)


def truth(directory):
    return pd.read_csv(directory / "derivatives/truth/truth.tsv", sep="\t")


def volumes(directory, task, number):
    """Return the voxels of the truth (n_vol, n_voxels), the dummy left out."""
    [path] = directory.glob(f"sub-*/func/*_task-{task}_run-{number:02d}_bold.nii.gz")
    table = truth(directory)
    data = np.asarray(nibabel.load(path).dataobj).astype(float)
    return data[table["i"], table["j"], table["k"]].T[10:]


def repeats(directory):
    """Return the test runs as (4, n_vol, n_voxels), every run about its own mean."""
    runs = [volumes(directory, "Test", number) for number in (1, 2)]
    return np.concatenate([(x - x.mean(0)).reshape(4, 100, -1) for x in runs], axis=1)


def test_the_bids_validator_finds_no_error(simulated):
    program = shutil.which("bids-validator-deno")
    if program is None:
        pytest.skip("bids-validator-deno is not on the path")
    for directory in (simulated, simulated / "derivatives/truth"):
        result = subprocess.run(
            [program, str(directory), "--format", "json"], capture_output=True, text=True
        )
        issues = json.loads(result.stdout)["issues"]["issues"]
        faults = [issue for issue in issues if issue["severity"] == "error"]
        if directory != simulated:  # the file names of the truth are not in BIDS
            faults = [issue for issue in faults if issue["code"] != "NOT_INCLUDED"]
        assert faults == []


def test_images_have_the_grid_of_the_experiment(simulated):
    table = truth(simulated)
    for task, n_vol in (("Training", 110), ("Test", 410)):
        image = nibabel.load(simulated / f"sub-A/func/sub-A_task-{task}_run-01_bold.nii.gz")
        assert image.shape[3] == n_vol
        assert image.header.get_zooms()[3] == 1.5
        assert image.header.get_xyzt_units() == ("mm", "sec")
        assert image.header["sform_code"] == 4
        data = np.asarray(image.dataobj)
        assert (data.std(3) > 0).sum() == len(table) == 4 * 60 + 100
        assert data[table["i"], table["j"], table["k"]].mean() == pytest.approx(1000, rel=0.01)


def test_the_truth_lies_on_the_grid_of_the_images(simulated):
    image = simulated / "sub-A/func/sub-A_task-Test_run-01_bold.nii.gz"
    atlas = simulated / "derivatives/truth/areas.nii.gz"
    table = truth(simulated)
    space = open_space([image])
    areas = read_areas(Rois("all", atlas), space)
    assert areas.names == ["A1", "belt", "PB", "T2T3", "noise"]
    for name, rows in table.groupby("area"):
        np.testing.assert_array_equal(areas.voxels(name), rows["voxel"])
    auditory = read_areas(Rois("auditory", atlas), space)
    assert (auditory.label > 0).sum() == 4 * 60
    whole = read_areas(Rois("whole"), space)
    assert (whole.label > 0).sum() == len(table)


def test_events_are_copied_from_the_dataset(simulated, tiny_bids):
    for run in load_design(tiny_bids, EXPERIMENT).runs.values():
        copy = simulated / run.events.path.relative_to(tiny_bids)
        assert copy.read_bytes() == run.events.path.read_bytes()
    pair, _ = orders_from_bids(simulated)
    orders = dict(zip(("train", "test"), pair, strict=True))
    assert check_dataset(orders, simulated)[1] == []


def test_events_are_written_as_in_ds003720(shared, tmp_path):
    """From the trials of a real run; only the place of a clip in its track is unknown."""
    design = load_design(shared / "data/ds003720", EXPERIMENT, ["001"])
    run = design.runs[RunId("001", "", "Training", 1)]
    lines = events_bytes(run.trials).split(b"\r\n")
    expected = run.events.path.read_bytes().split(b"\r\n")
    assert lines[0] == expected[0]
    assert [line.split(b"\t")[:4] for line in lines] == [x.split(b"\t")[:4] for x in expected]
    (tmp_path / run.events.path.name).write_bytes(b"\r\n".join(lines))
    [again] = load_design(tmp_path, EXPERIMENT).runs.values()
    assert list(again.trials["clip"]) == list(run.trials["clip"])


def test_the_repeats_have_the_planted_variance(simulated):
    """Signal power after Sahani & Linden 2003, NIPS 15; by numpy alone."""
    x = repeats(simulated)
    n = len(x)
    power_of_mean, mean_power = x.mean(0).var(0, ddof=1), x.var(1, ddof=1).mean(0)
    ev = (n * power_of_mean - mean_power) / (n - 1) / mean_power
    table = truth(simulated)
    for area, voxels in table.groupby("area")["voxel"]:
        measured = ev[voxels]
        low, high = stats.t.interval(
            0.999, len(measured) - 1, measured.mean(), stats.sem(measured)
        )  # voxels of one stage share their sound, but not their noise
        assert low < (0 if area == "noise" else EV) < high
    np.testing.assert_allclose(table.loc[table["area"] != "noise", "ev"], EV)
    assert (table.loc[table["area"] == "noise", ["ev", "ceiling_r"]] == 0).all(axis=None)


def test_a_perfect_model_reaches_the_ceiling(tiny_run, tiny_bids, simulated, tmp_path):
    """The same voxels without noise are the perfect model: same seed, explainable variance 1."""
    clean = Planted(voxels=60, noise_voxels=0, ceiling=(1.0, 1.0), drift=0.0)
    simulate(tiny_run, bids=tiny_bids, planted=clean, seed=7, out=tmp_path / "c")
    table = truth(simulated)
    with_signal = table["area"] != "noise"
    model, mean = repeats(tmp_path / "c").mean(0), repeats(simulated).mean(0)[:, with_signal]
    r = [np.corrcoef(model[:, v], mean[:, v])[0, 1] for v in range(model.shape[1])]
    assert np.mean(r) == pytest.approx(table.loc[with_signal, "ceiling_r"].mean(), abs=0.01)
    assert table["ceiling_r"].iat[0] == pytest.approx(np.sqrt(4 * EV / (1 + 3 * EV)), abs=1e-6)


@pytest.mark.parametrize("name", ["spm", "glover"])
def test_without_noise_a_voxel_is_a_convolved_sum_of_units(tiny_run, tiny_bids, tmp_path, name):
    """Each voxel is a linear sum of the units of its stage, convolved by scipy with nilearn's HRF.

    The drive is constant within a volume, so a finely sampled convolution gives nilearn's own
    kernel, summed over each volume.
    """
    glm = pytest.importorskip("nilearn.glm.first_level")
    planted = Planted(name, ("A1", "T2T3"), 8, 0, (1.0, 1.0), 0.0)
    out = tmp_path / "out"
    simulate(tiny_run, bids=tiny_bids, planted=planted, out=out)
    runs = load_design(tiny_bids, EXPERIMENT).runs.values()
    trials = {(run.split, run.id.run): run.trials for run in runs}
    responses = clip_responses(tiny_run, all_placements((each, 1.5) for each in trials.values()))
    clips = responses.clips
    shape = glm.spm_hrf if name == "spm" else glm.glover_hrf
    fine = shape(1.5, oversampling=50)
    image = volumes(out, "Test", 1)
    for index, stage in enumerate(("A1", "T2T3")):
        block = responses.stages[stage]
        train = np.concatenate(
            [block[[clips.index(c) for c in t["clip"][1:]]] for k, t in trials.items()
             if k[0] == "train"]
        )  # fmt: skip
        block = block - train.mean(axis=(0, 1))
        played = np.concatenate([block[clips.index(c)] for c in trials["test", 1]["clip"]])
        steps = np.repeat(played, 50, axis=0)
        units = signal.convolve(steps, fine[:, None])[: len(steps)]
        units = units[np.maximum(np.arange(410) * 50 - 1, 0)][10:]
        voxels = image[:, index * 8 : index * 8 + 8]
        design = np.column_stack([units, np.ones(len(units))])
        residual = voxels - design @ np.linalg.lstsq(design, voxels, rcond=None)[0]
        assert residual.std() < 0.4  # images contain whole numbers, with a rounding error of 0.29
        assert voxels.std() > 5


def test_the_drift_is_slow_and_has_unit_deviation():
    rng = np.random.default_rng(0)
    drift = slow_drift(410, 1.5, 50, rng)
    np.testing.assert_allclose(drift.std(axis=0), 1)
    power = fft.dct(drift, axis=0, norm="ortho")[1:] ** 2
    period_s = 2 * 410 * 1.5 / np.arange(1, 410)
    assert power[period_s < 128].sum() < 0.01 * power.sum()
    assert slow_drift(20, 1.5, 3, rng).std() == pytest.approx(1)


@pytest.mark.parametrize("ar", [0.0, 0.3, 0.8])
def test_noise_is_stationary_with_the_given_autocorrelation(ar):
    noise = autocorrelated(200, 4000, ar, np.random.default_rng(0))
    np.testing.assert_allclose(noise.var(axis=1), 1, atol=0.12)
    for lag in (1, 2):
        r = np.mean(noise[lag:] * noise[:-lag])
        assert r == pytest.approx(ar**lag, abs=0.01)
    between = np.corrcoef(noise[:, :50].T)[np.triu_indices(50, 1)]
    assert abs(between.mean()) < 0.03


def contents(directory):
    return {
        path.relative_to(directory): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_the_seed_determines_every_byte(tiny_run, tiny_bids, tmp_path):
    planted = Planted(stages=("A1",), voxels=2, noise_voxels=1, ceiling=(0.1, 0.5))

    def make(name, seed):
        out = tmp_path / name
        return contents(simulate(tiny_run, bids=tiny_bids, planted=planted, seed=seed, out=out))

    first, again, other = make("a", 1), make("b", 1), make("c", 2)
    assert first == again
    images = [path for path in first if path.name.endswith("bold.nii.gz")]
    assert len(images) == 5
    assert all(first[path] != other[path] for path in images)
    assert len({first[path] for path in images}) == 5


def test_without_events_the_order_is_that_of_the_prepared_set(tiny_run, tmp_path):
    line = f"fmri simulate {tiny_run.directory} --subjects 2 --voxels 2 --ceiling 0.1:0.5 --out new"
    result = neuromusic(*line.split(), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 subjects, 6 runs of 110 volumes" in result.stdout
    shown = pd.read_csv(tiny_run.prepared / "presentations.tsv", sep="\t")
    for run in load_design(tmp_path / "new", EXPERIMENT).runs.values():
        expected = shown[(shown["split"] == run.split) & (shown["run"] == run.id.run)]
        assert list(run.trials["class"]) == list(expected["genre"])
        assert [first for first, _ in placements(run.trials, 1.5)] == list(expected["volume"])
        for column in ("trial", "repeat", "clip"):
            assert list(run.trials[column]) == list(expected[column])
    table = truth(tmp_path / "new")
    ev = table.loc[table["area"] != "noise", "ev"]
    assert ev.between(0.1, 0.5).all()
    assert ev.nunique() == 2 * 4 * 2


def test_errors_name_the_input(tiny_run, tiny_bids, tmp_path):
    def attempt(planted=PLANTED, events=tiny_bids, subjects=None):
        simulate(tiny_run, bids=events, subjects=subjects, planted=planted, out=tmp_path / "new")

    with pytest.raises(InputError, match=r"has no stage 'bell'.*did you mean 'belt'"):
        attempt(Planted(stages=("bell",)))
    with pytest.raises(InputError, match=r"subjects=2: .* has only 1"):
        attempt(subjects=2)
    order, _ = design_orders([f"{g}.{n:05d}_15s.wav" for g in ("pop", "rock") for n in (7, 98)], 0)
    folder = tmp_path / "other/sub-1/func"
    folder.mkdir(parents=True)
    path = folder / "sub-1_task-Training_run-01_events.tsv"
    path.write_bytes(events_bytes(presentations(order)))
    with pytest.raises(InputError, match=r"prepared.*(does not contain|contains none of)"):
        attempt(events=tmp_path / "other")
    assert not (tmp_path / "new").exists()
    result = neuromusic(
        *f"fmri simulate {tiny_run.directory} --ceiling 0.5:0.1 --out new".split(), cwd=tmp_path
    )
    assert result.returncode == 2
    assert "expected a number from 0.01 to 1" in result.stderr
