"""Export in all formats: all units, missing clips, the same bytes, options, errors."""

import hashlib
import json

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
import scipy.io
from click.testing import CliRunner
from exports import (
    MISSING,
    TEST,
    TRAINING,
    export_everything,
    onsets_of,
    presentations,
    stage_rows,
    training_rows,
)
from pages import blocks_of

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.design.orders import GENRES, read_order
from neuromusic.fmri.export.formats import WRITERS, Regressors
from neuromusic.pipeline.export import export

pytest_plugins = ("export_fixtures",)

# --- All units ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "stem"), [("train", TRAINING), ("test", TEST)])
def test_all_formats_have_the_same_activations(exported, split, stem):
    out = exported / "out"
    npz = np.load(out / "npz" / f"{stem}_activations.npz", allow_pickle=False)
    mat = scipy.io.loadmat(out / "mat" / f"{stem}_activations.mat", squeeze_me=True)
    table = pd.read_csv(out / "activations" / f"{stem}_volumes.tsv", sep="\t")
    trials = presentations(exported, split, 1)
    with h5py.File(out / "hdf5" / "activations.h5") as file:
        group = file[stem]
        assert group["A1"].chunks[0] == 10
        assert "normalised" in file.attrs["delay_policy"]
        for stage in ("A1", "belt", "PB", "T2T3", "GRU"):
            block = stage_rows(exported, stem, stage)
            for stored in (npz[stage], mat[stage], group[stage][()]):
                np.testing.assert_array_equal(stored, block)
                assert stored.dtype == np.float32
        for name in ("volume", "onset_s", "trial", "repeat", "dummy"):
            for stored in (npz[name], mat[name], group[name][()]):
                np.testing.assert_array_equal(stored, table[name])
        clips = np.repeat(trials["clip"].to_numpy(), 10).tolist()
        assert clips == npz["clip"].tolist() == mat["clip"].tolist()
        assert clips == group["clip"].asstr()[()].tolist()


def test_octave_loads_all_units(exported, octave):
    code = f"""
    a = load('mat/{TEST}_activations.mat'); b = load('activations/activations.mat');
    assert(isequal(a.belt, b.runs(end).belt) && isequal(a.clip, b.runs(end).clip));
    printf('%s %d %d %s %d', class(a.belt), size(a.belt), a.clip{{11}}, sum(a.dummy));
    """
    units = stage_rows(exported, TEST, "belt").shape[1]
    first = presentations(exported, "test", 1)["clip"].iloc[1]
    assert octave(code, exported / "out") == f"single 410 {units} {first} 10"


@pytest.fixture
def as_in_the_pages(exported, tmp_path):
    """A directory with the export, under the name that the pages give it."""
    (tmp_path / "derivatives").mkdir()
    (tmp_path / "derivatives/neuromusic").symlink_to(exported / "out")
    return tmp_path


def test_the_matlab_code_of_the_pages_runs(as_in_the_pages, octave):
    for page, folder in (("matlab_and_spm.md", "."), ("export.md", "derivatives/neuromusic")):
        code = [block.code for block in blocks_of(f"docs/how-to/{page}", "matlab")]
        assert code
        octave("\n".join(code), as_in_the_pages / folder)
    order = read_order(as_in_the_pages / "my_order.mat", "train")
    assert order.clips[1].tolist() == ["jazz.00001_15s.wav", "blues.00001_15s.wav"]


def test_the_python_code_of_the_export_page_runs(as_in_the_pages, exported, monkeypatch):
    """The fixture has two training runs of 210 volumes, the page twelve."""
    monkeypatch.chdir(exported / "out")
    rng = np.random.default_rng(0)
    head = np.pad(np.full((6, 6, 6), 100.0), 3)[..., None]  # air around it
    images = {
        n: nibabel.Nifti1Image(head + rng.random((12, 12, 12, n)), np.eye(4)) for n in (210, 410)
    }
    mask = as_in_the_pages / "mask.nii"
    nibabel.save(nibabel.Nifti1Image((head[..., 0] > 0).astype(np.int8), np.eye(4)), mask)
    names = {"images": [images[210]] * 2, "image": images[410]}
    for block in blocks_of("docs/how-to/export.md", "python"):
        code = block.code.replace("range(1, 13)", "range(1, 3)").replace("mask.nii", str(mask))
        code = code.replace('"jazz-rock_z.nii"', repr(str(as_in_the_pages / "z.nii")))
        exec(compile(code, str(block), "exec"), names)
    assert np.isfinite(nibabel.load(as_in_the_pages / "z.nii").get_fdata()).all()
    assert names["x"].shape == (200, stage_rows(exported, TRAINING, "belt").shape[1])
    assert names["signals"].shape[0] == 410


def test_all_units_can_be_regressors(exported, tmp_path):
    export(
        exported / "run", exported / "lists", out=tmp_path / "out", formats=["fsl"],
        regressors=Regressors("all", ("GRU",)),
    )  # fmt: skip
    block, train = stage_rows(exported, TEST, "GRU"), training_rows(exported, "GRU")
    files = sorted((tmp_path / "out" / "fsl" / TEST).glob("GRU_unit*.txt"))
    assert len(files) == (train.std(axis=0) > 0).sum() > 0
    for path in files[:3]:
        unit = int(path.stem[-4:]) - 1
        expected = (block[:, unit] - train[:, unit].mean()) / train[:, unit].std(ddof=1)
        np.testing.assert_allclose(np.loadtxt(path)[:, 2], expected, atol=1e-4)


# --- Missing clips --------------------------------------------------------------------------------


@pytest.fixture
def affected(exported):
    """The stem and the presentations of the training run with the missing clip."""
    in_first = presentations(exported, "train", 1)["clip"].eq(MISSING).any()
    run = 1 if in_first else 2
    return f"task-Training_run-{run:02d}", presentations(exported, "train", run)


def test_missing_clips_are_named(without_a_clip, affected):
    out, messages = without_a_clip
    stem, _ = affected
    assert f"1 clips are missing; their volumes are NaN: {MISSING}" in messages
    assert any(line.startswith(f"{stem}: no regressors of") for line in messages)
    for name in ("spm", "afni", "fsl", "nilearn"):
        sidecar = json.loads((out / name / f"{name}.json").read_text())
        assert sidecar["MissingClips"][stem] == [MISSING]
        assert any(line.startswith(f"{stem}: no regressors") for line in sidecar["Notes"])
        assert not any(line.startswith(TEST) for line in sidecar["Notes"])


def test_regressors_without_a_value_are_left_out(without_a_clip, affected):
    out, _ = without_a_clip
    stem, _ = affected
    assert not (out / "spm" / f"{stem}_stage-A1_regressors.mat").exists()
    assert (out / "spm" / f"{TEST}_stage-A1_regressors.mat").exists()
    assert not (out / "afni" / "task-Training_stage-A1_regressors.1D").exists()
    assert not (out / "afni" / "task-Training_jazz_times-probability.1D").exists()
    assert (out / "afni" / "task-Training_rock_times-probability.1D").exists()
    design = pd.read_csv(out / "nilearn" / f"{stem}_design.tsv", sep="\t", index_col=0)
    assert set(GENRES) <= set(design)
    assert not [name for name in design if "pc0" in name or name == "probability"]
    assert np.isfinite(design.to_numpy()).all()


def test_the_genre_of_a_missing_clip_is_complete(without_a_clip, affected):
    out, _ = without_a_clip
    stem, trials = affected
    content = scipy.io.loadmat(out / "spm" / f"{stem}_conditions.mat", simplify_cells=True)
    names = content["names"].tolist()
    assert content["onsets"][names.index("jazz")].tolist() == onsets_of(trials)["jazz"]
    assert np.size(content["pmod"][names.index("jazz")]["name"]) == 0
    assert np.size(content["pmod"][names.index("rock")]["name"]) == 1


def test_a_missing_clip_has_no_values(without_a_clip, affected):
    out, _ = without_a_clip
    stem, trials = affected
    is_missing = trials["clip"].eq(MISSING) & trials["trial"].gt(0)
    trial = int(trials.loc[is_missing, "trial"].iloc[0])
    events = pd.read_csv(out / f"{stem}_events.tsv", sep="\t")
    assert events.loc[trial, ["predicted", "probability", "genre_probability"]].isna().all()
    assert events.loc[trial, "genre"] == "jazz"
    block = np.load(out / "npz" / f"{stem}_activations.npz")["A1"]
    assert np.isnan(block[10 * trial : 10 * trial + 10]).all()


# --- Repetition and options -----------------------------------------------------------------------


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_call_gives_the_same_bytes(exported):
    export_everything(exported, exported / "again")
    first, second = digests(exported / "out"), digests(exported / "again")
    assert {path.split("/")[0] for path in first if "/" in path} == {
        *WRITERS,
        "activations",
        "sub-cortexz",
    }
    assert first == second


def test_regressors_can_be_chosen_on_the_command_line(exported, tmp_path):
    """Several formats at once, one stage, a component as modulator."""
    line = (
        f"export {exported / 'run'} --lists {exported / 'lists'} --out {tmp_path / 'out'} "
        "--format spm,fsl --format afni --stages GRU --components 2 --modulator GRU_pc01 "
        "--hrf glover"
    )
    result = CliRunner().invoke(cli, line.split())
    assert result.exit_code == 0, result.output
    assert "docs/how-to/export.md" in result.output
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir() if path.is_dir()} == {
        "spm", "fsl", "afni", "activations", "sub-cortexz",
    }  # fmt: skip
    content = scipy.io.loadmat(out / "spm" / f"{TRAINING}_conditions.mat", simplify_cells=True)
    assert {pmod["name"] for pmod in content["pmod"][:10]} == {"GRU_pc01"}
    component = np.loadtxt(out / "fsl" / TRAINING / "GRU_pc01.txt")[:, 2]
    trial = int(content["onsets"][0][0] // 15)
    mean = component[10 * trial : 10 * trial + 10].mean()
    assert content["pmod"][0]["param"][0] == pytest.approx(mean, abs=1e-5)
    assert json.loads((out / "spm" / "spm.json").read_text())["DelayPolicy"].count("glover") == 1


# --- Errors ---------------------------------------------------------------------------------------


def invoke_export(exported, out, *options):
    return CliRunner().invoke(
        cli,
        ["export", str(exported / "run"), "--lists", str(exported / "lists"), "--out", str(out),
         *options],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--format smp", "did you mean 'spm'"),
        ("--format spm --stages A2", "it has A1, belt, PB, T2T3, GRU"),
        ("--format spm --modulator A1_pc11", "such as A1_pc01"),
        ("--format spm --modulator loudness", "expected probability"),
        ("--format spm --components 0", "expected a whole number from 1, or all"),
        ("--format nilearn --nilearn-regressors all --components all", "which no design can fit"),
        ("--format nilearn --nilearn-regressors all --components 60", "which no design can fit"),
        ("--format nilearn --nilearn-regressors A1,A3", "'A3' is unknown; expected all, probab"),
        ("--format nilearn --stages A1 --nilearn-regressors belt", "expected all, probability, A1"),
        ("--format spm --slice-time-ref 1.5", "1.5 is not in the range 0<=x<=1"),
    ],
)
def test_an_impossible_export_is_refused_with_a_clear_message(exported, tmp_path, options, message):
    result = invoke_export(exported, tmp_path / "new", *options.split())
    assert result.exit_code == 2
    assert message in result.output.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formats": ["smp"]}, r"formats: 'smp' is unknown.*did you mean 'spm'"),
        ({"binning": "sum"}, r"binning='sum'.*mean or lanczos"),
        ({"regressors": Regressors(components=0)}, r"regressors.components=0: expected a number"),
        ({"regressors": Regressors(hrf="fir")}, r"regressors.hrf='fir': expected spm or glover"),
        ({"regressors": Regressors(stages=("A2",))}, r"regressors.stages: .*no stage 'A2'"),
        (
            {"regressors": Regressors(slice_time_ref=-0.5)},
            r"slice_time_ref=-0.5: expected a number",
        ),
        (
            {"regressors": Regressors(nilearn=("belts",))},
            r"'belts' is unknown.*did you mean 'belt'",
        ),
    ],
)
def test_errors_name_the_parameter(exported, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        export(exported / "run", exported / "lists", out=tmp_path / "new", **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_nilearn_is_named_with_its_extra(exported, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = invoke_export(exported, tmp_path / "new", "--format", "nilearn")
    assert result.exit_code == 2
    assert 'pip install "neuromusic[fmri]"' in result.output
