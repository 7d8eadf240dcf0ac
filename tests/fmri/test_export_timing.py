"""When images and signals are: slice_time_ref in every format, and StartTime of the signals.

Each program's model, sampled at the time at which that program samples it, must be the regressor
that nilearn makes for the times of the images.
"""

import json

import numpy as np
import pandas as pd
import pytest
import scipy.io
from click.testing import CliRunner
from exports import TEST, TRAINING, stage_rows

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.fmri import volumes
from neuromusic.fmri.export.formats import Regressors
from neuromusic.fmri.export.spm import microtime_onset
from neuromusic.fmri.hrf import hrf
from neuromusic.pipeline.export import export

pytest_plugins = ("export_fixtures",)

PROGRAMS = ("spm", "fsl", "afni", "nilearn")
REFERENCES = (0.0, 0.25, 0.5, 1.0)


def nilearn_regressor(onsets_s, durations_s, values, times_s, name="spm"):
    from nilearn.glm.first_level import compute_regressor

    events = np.array([onsets_s, durations_s, values])
    return compute_regressor(events, name, times_s, oversampling=250)[0][:, 0]


@pytest.fixture(scope="module", params=REFERENCES)
def timed(request, exported, tmp_path_factory):
    """The programs' files for images of one reference: (reference, directory)."""
    out = tmp_path_factory.mktemp("timed") / "out"
    regressors = Regressors(
        components=2, stages=("A1",), slice_time_ref=request.param, nilearn=("all",)
    )
    export(
        exported / "run", exported / "lists", out=out, formats=PROGRAMS, regressors=regressors
    )  # fmt: skip
    return request.param, out


# --- The response ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["spm", "glover"])
@pytest.mark.parametrize("reference", REFERENCES)
def test_the_convolution_is_that_of_nilearn_at_the_times_of_the_images(name, reference):
    values = np.random.default_rng(0).normal(size=100)
    onsets = 1.5 * np.arange(100)
    got = volumes.convolved(values[:, None], hrf(name, 1.5, reference))[:, 0]
    times = onsets + 1.5 * reference
    expected = nilearn_regressor(onsets, np.full(100, 1.5), values, times, name)
    np.testing.assert_allclose(got, expected, atol=5e-3)
    assert hrf(name, 1.5, reference).sum() == pytest.approx(1, abs=1e-4)


def test_at_the_end_of_a_volume_the_response_is_one_volume_further():
    np.testing.assert_allclose(hrf("spm", 1.5, 1)[:-1], hrf("spm", 1.5)[1:], atol=1e-12)


def test_a_reference_outside_the_volume_is_refused():
    with pytest.raises(InputError, match=r"slice_time_ref=1.5: expected a number from 0 to 1"):
        hrf("spm", 1.5, slice_time_ref=1.5)


# --- The programs ---------------------------------------------------------------------------------


def test_nilearn_has_the_times_of_the_images(timed):
    from nilearn.glm.first_level import make_first_level_design_matrix

    reference, out = timed
    design = pd.read_csv(out / "nilearn" / f"{TEST}_design.tsv", sep="\t", index_col=0)
    np.testing.assert_allclose(design.index, 1.5 * (np.arange(410) + reference))
    content = scipy.io.loadmat(out / "spm" / f"{TEST}_conditions.mat", simplify_cells=True)
    rows = [
        (onset, 15.0, name)
        for name, onsets in zip(content["names"], content["onsets"], strict=True)
        for onset in np.atleast_1d(onsets)
    ]
    events = pd.DataFrame(rows, columns=["onset", "duration", "trial_type"])
    expected = make_first_level_design_matrix(
        1.5 * (np.arange(410) + reference), events, "spm", "cosine", 1 / 256
    )
    np.testing.assert_allclose(design[list(expected)], expected, atol=1e-6)


def test_regressors_are_convolved_for_the_times_of_the_images(timed, exported):
    reference, out = timed
    fsl = np.loadtxt(out / "fsl" / TEST / "A1_pc01.txt")
    component = fsl[:, 2]
    onsets = 1.5 * np.arange(410)
    expected = nilearn_regressor(onsets, np.full(410, 1.5), component, onsets + 1.5 * reference)
    spm = scipy.io.loadmat(out / "spm" / f"{TEST}_stage-A1_regressors.mat")["R"][:, 0]
    np.testing.assert_allclose(spm, expected, atol=5e-3)  # of a deviation of 1
    afni = np.loadtxt(out / "afni" / f"{TEST}_stage-A1_regressors.1D")[:, 0]
    np.testing.assert_allclose(afni, spm, atol=1e-6)
    design = pd.read_csv(out / "nilearn" / f"{TEST}_design.tsv", sep="\t")
    np.testing.assert_allclose(design["A1_pc01"], spm, atol=1e-6)
    assert len(stage_rows(exported, TEST, "A1")) == 410


def test_the_model_of_each_program_is_that_of_nilearn(timed):
    """FEAT samples in the middle of a volume, 3dDeconvolve at its onset, SPM at its bin t0."""
    reference, out = timed
    design = pd.read_csv(out / "nilearn" / f"{TEST}_design.tsv", sep="\t", index_col=0)
    volume_s = 1.5 * np.arange(410)
    fsl = np.loadtxt(out / "fsl" / TEST / "jazz.txt")
    afni = (out / "afni" / "task-Test_jazz_times.1D").read_text().split()
    content = scipy.io.loadmat(out / "spm" / f"{TEST}_conditions.mat", simplify_cells=True)
    spm = content["onsets"][content["names"].tolist().index("jazz")]
    sidecar = json.loads((out / "spm/spm.json").read_text())
    share = (sidecar["MicrotimeOnset"] - 1) / sidecar["MicrotimeResolution"]
    samples = {
        "fsl": (fsl[:, 0], volume_s + 0.75),
        "afni": (np.array(afni, float), volume_s),
        "spm": (spm, volume_s + 1.5 * share),
    }
    for name, (onsets, times) in samples.items():
        ones = np.ones(len(onsets))
        got = nilearn_regressor(onsets, 15 * ones, ones, times)
        # SPM has no bin at the end of a volume: the last one is 0.09 s earlier.
        tolerance = 0.04 if name == "spm" and reference == 1 else 0.02
        np.testing.assert_allclose(got, design["jazz"], atol=tolerance, err_msg=name)


def test_afni_has_no_time_below_0(timed):
    """3dDeconvolve ignores times below 0, and with them the dummy."""
    _, out = timed
    rows = (out / "afni" / "task-Training_dummy_times.1D").read_text().splitlines()
    assert rows == ["0 *", "0 *"]


def test_sidecars_have_the_reference_and_the_cutoff(timed):
    reference, out = timed
    sidecars = {name: json.loads((out / name / f"{name}.json").read_text()) for name in PROGRAMS}
    for sidecar in sidecars.values():
        assert sidecar["SliceTimeRef"] == reference
        assert sidecar["HighPassHz"] == 1 / 256
    assert sidecars["fsl"]["OnsetShift"] == pytest.approx(1.5 * (0.5 - reference))
    assert sidecars["afni"]["OnsetShift"] == pytest.approx(-1.5 * reference)
    # As many polynomials as nilearn has cosines: 2 x 315 s and 2 x 615 s / 256 s.
    assert sidecars["afni"]["Polort"] == {"task-Training": 2, "task-Test": 4}
    drifts = pd.read_csv(out / "nilearn" / f"{TRAINING}_design.tsv", sep="\t").filter(like="drift")
    assert drifts.shape[1] == 2


def test_microtime_bins():
    assert [microtime_onset(share) for share in (0, 0.25, 0.5, 1)] == [1, 5, 9, 16]


def test_the_option_gives_the_same_files_and_they_can_be_made_again(exported, tmp_path):
    out = tmp_path / "out"
    line = (
        f"export {exported / 'run'} --lists {exported / 'lists'} --out {out} --format nilearn,fsl "
        "--stages A1 --components 2 --slice-time-ref 0.5 --nilearn-regressors probability,A1"
    )
    result = CliRunner().invoke(cli, line.split())
    assert result.exit_code == 0, result.output
    record = json.loads((out / "provenance.json").read_text())["settings"]["regressors"]
    assert (record["slice_time_ref"], record["nilearn"]) == (0.5, ["probability", "A1"])
    assert np.loadtxt(out / "fsl" / TEST / "dummy.txt")[0] == 0
    again = CliRunner().invoke(cli, ["verify", str(out), "--rerun"])
    assert again.exit_code == 0, again.output
    assert "are identical" in again.output


# --- Signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("binning", volumes.BINNINGS)
def test_interpolation_from_the_start_time_recovers_a_slow_signal(exported, binning):
    """A sine of 40 s in frames of 50 ms becomes volumes, which a reader interpolates."""
    sidecar = json.loads((exported / "out" / "stim.json").read_text())
    assert sidecar["StartTime"] == 0.75
    frame_s = (np.arange(20 * 300) + 0.5) / 20
    weights = volumes.BINNINGS[binning](frame_s, 200, 1.5)
    values = weights @ np.sin(2 * np.pi * frame_s / 40) / weights.sum(1)
    rows_s = sidecar["StartTime"] + np.arange(200) / sidecar["SamplingFrequency"]
    times = np.linspace(10, 290, 999)
    true = np.sin(2 * np.pi * times / 40)
    assert np.abs(np.interp(times, rows_s, values) - true).max() < 0.02
    assert np.abs(np.interp(times, rows_s - 0.75, values) - true).max() > 0.1
    # A reader that holds a value is right on average if it begins at the onset of the volume.
    held = values[np.floor(times / 1.5).astype(int)]
    assert abs(np.mean((held - true) * np.cos(2 * np.pi * times / 40))) < 0.005
