"""Real designs from end to end, by the commands: inspect, check, lists, export, simulate, encode.

The first half has the size of the dataset it stands for: 16 pieces of 89 to 225 s, two runs, 25
subjects. In the second half pieces are short, so that networks and images are computed quickly.
"""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import RATE_HZ, tone_clip
from designs import write_events, write_image, write_json, write_pieces

from neuromusic.cli.main import cli

LENGTHS_S = np.linspace(89, 225, 16).round()


@pytest.fixture
def command(runner):
    """A function that runs a command and returns its exit code and output."""

    def run(*line, code=0):
        result = runner.invoke(cli, [str(word) for word in line])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert result.exit_code == code, result.output
        return result.output

    return run


# --- As large as in reality -----------------------------------------------------------------------


def plain(bids):
    return "no mismatch in 50 runs"


def images_of_more_volumes(bids):
    """Each image has five volumes after the last sound."""
    for path in bids.rglob("*_events.tsv"):
        write_image(path.with_name(path.name.replace("events.tsv", "bold.nii.gz")), 2517, 1.0)
    return "no mismatch in 50 runs"


def another_task_at_rest(bids):
    for number in range(1, 26):
        stem = f"sub-{number:02d}_task-rest"
        func = bids / f"sub-{number:02d}/func"
        write_image(func / f"{stem}_bold.nii.gz", 300, 1.0)
        write_json(func / f"{stem}_bold.json", RepetitionTime=2.0, TaskName="rest")
        write_events(func, stem, [(0, 300, "n/a", "rest")], "onset duration stim_file trial_type")
    return "no mismatch in 50 runs"


def change(bids, of_table):
    for path in bids.rglob("*_events.tsv"):
        table = of_table(pd.read_csv(path, sep="\t"))
        path.write_text(table.to_csv(sep="\t", index=False, na_rep="n/a").rstrip("\n"))


def more_columns(bids):
    change(bids, lambda table: table.assign(
        trial_type="music", response_time=np.linspace(0.4, 0.9, len(table)), value=3,
        stim_file="music/set 1/" + table["stim_file"].str.rpartition("/")[2],
    ))  # fmt: skip
    return "no mismatch in 50 runs"


def durations_not_given(bids):
    change(bids, lambda table: table.assign(duration="n/a"))
    return "no mismatch in 50 runs"


def runs_that_are_missing(bids):
    for number in (3, 17):
        for path in (bids / f"sub-{number:02d}/func").glob("*run-2*"):
            path.unlink()
    text = "\n".join(["participant_id\tage", *(f"sub-{n:02d}\t{20 + n}" for n in range(1, 26))])
    (bids / "participants.tsv").write_text(text)
    return "no mismatch in 48 runs"


def derivatives_and_source_data(bids):
    """Copies of events, and images in two spaces, inside the dataset."""
    shutil.copytree(bids / "sub-02", bids / "sourcedata/sub-02")
    for path in sorted(bids.glob("sub-*/func/*_events.tsv")):
        func = bids / "derivatives/fmriprep" / path.parent.relative_to(bids)
        for space in ("MNI152NLin2009cAsym", "T1w"):
            stem = path.name.replace("_events.tsv", f"_space-{space}_desc-preproc_bold")
            write_image(func / f"{stem}.nii.gz", 2512, 1.0)
            write_json(func / f"{stem}.json", RepetitionTime=1.0, SkullStripped=False)
    (bids / "derivatives/fmriprep/sub-01/func/sub-01_task-music_run-1_events.tsv").write_text("x")
    link = bids / "sourcedata/sub-03_task-music_run-1_events.tsv"
    link.symlink_to("../.git/annex/objects/x")
    return "no mismatch in 50 runs"


def the_tr_of_images_only(bids):
    for path in bids.rglob("*.json"):
        path.unlink()
    images_of_more_volumes(bids)
    return "no mismatch in 50 runs"


VARIANTS = {
    each.__name__: each
    for each in (
        plain, images_of_more_volumes, another_task_at_rest, more_columns, durations_not_given,
        runs_that_are_missing, derivatives_and_source_data, the_tr_of_images_only,
    )
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_description_of_inspect_agrees_untouched(tmp_path, command, variant):
    bids = write_pieces(tmp_path / "bids")
    expected = VARIANTS[variant](bids)
    said = command("experiment", "inspect", bids, "--out", tmp_path / "e.toml")
    assert "16 different sounds." in said
    assert "there is no class" in said
    text = (tmp_path / "e.toml").read_text()
    assert 'sound = "stim_file"' in text and 'class = ""' in text and "tr_s = 1.0" in text
    assert re.search(r'tasks = \[\s*"music",\s*\]', text)
    assert ("segment_s = 30.0" in text) == (variant != "durations_not_given")
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    for number, length_s in enumerate(LENGTHS_S, start=1):
        path = sounds / f"piece{number:02d}.wav"
        soundfile.write(path, np.full(round(length_s * 1000), 0.1), 1000)
    checked = command(
        "experiment", "check", tmp_path / "e.toml", "--bids", bids, "--sounds", sounds
    )
    assert expected in checked
    assert "sounds: 16 of 16 found, as long as played" in checked
    drawn = command("experiment", "show", tmp_path / "e.toml", "--bids", bids, "--out",
                    tmp_path / "design.svg")  # fmt: skip
    assert re.search(r"^sounds +16$", drawn, re.M)


def test_without_a_tr_there_is_one_line(tmp_path, command):
    bids = write_pieces(tmp_path / "bids")
    for path in bids.rglob("*.json"):
        path.unlink()
    said = command("experiment", "inspect", bids, "--out", tmp_path / "e.toml")
    assert "Add tr_s = ... (seconds)." in said
    checked = command("experiment", "check", tmp_path / "e.toml", "--bids", bids, code=1)
    [line] = [line for line in checked.splitlines() if line.startswith("mismatch: ")]
    assert "sub-01 task-music run-01 and 49 other runs: the TR is not known; give" in line
    text = (tmp_path / "e.toml").read_text().replace("[time]\n", "[time]\ntr_s = 1.0\n")
    (tmp_path / "e.toml").write_text(text)
    assert "no mismatch" in command("experiment", "check", tmp_path / "e.toml", "--bids", bids)


def test_the_real_short_sounds_agree(shared, tmp_path, command):
    bids = shared / "data/ds000113"
    command("experiment", "inspect", bids, "--out", tmp_path / "e.toml")
    checked = command("experiment", "check", tmp_path / "e.toml", "--bids", bids)
    assert "no mismatch in 156 runs" in checked


# --- From events to scores ------------------------------------------------------------------------

PIECES_S = {"a.wav": 20.0, "b.mp3": 62.0, "c.flac": 26.0, "d.wav": 22.5, "e.mp3": 28.0,
            "f.flac": 31.2}  # fmt: skip


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    """Two subjects and two runs of six pieces in BIDS's folder of stimuli, in three formats."""
    root = tmp_path_factory.mktemp("pieces")
    bids, rng = root / "bids", np.random.default_rng(5)
    (bids / "stimuli/music").mkdir(parents=True)
    for number, (name, length_s) in enumerate(PIECES_S.items()):
        wave = np.concatenate([tone_clip(number, part, length_s / 4) for part in range(4)])
        soundfile.write(bids / "stimuli/music" / name, wave, RATE_HZ)
    for subject in ("01", "02"):
        func = bids / f"sub-{subject}/func"
        for run in (1, 2):
            names = rng.permutation(list(PIECES_S))
            onsets = np.cumsum([0, *(PIECES_S[name] for name in names)]).round(3)
            rows = [(onset, PIECES_S[name], f"stimuli/music/{name}")
                    for onset, name in zip(onsets, names, strict=False)]  # fmt: skip
            stem = f"sub-{subject}_task-music_run-{run}"
            write_events(func, stem, rows, "onset duration stim_file", end="")
            write_json(func / f"{stem}_bold.json", RepetitionTime=1.0, TaskName="music")
    return root


@pytest.fixture(scope="module")
def simulated(pieces, sound_run, runner):
    """The description of `inspect`, and images that were simulated with it."""
    lines = [
        ["experiment", "inspect", pieces / "bids", "--out", pieces / "e.toml"],
        ["fmri", "simulate", sound_run.directory, "--bids", pieces / "bids", "--experiment",
         pieces / "e.toml", "--sounds", pieces / "bids/stimuli", "--stages", "A1,T2T3",
         "--voxels", 12, "--noise-voxels", 12, "--ceiling", 0.9, "--confounds", 0.2,
         "--out", pieces / "simulated"],
    ]  # fmt: skip
    for line in lines:
        result = runner.invoke(cli, [str(word) for word in line])
        assert result.exit_code == 0, result.output
    return pieces / "simulated"


@pytest.mark.slow
def test_lists_and_export_of_each_subject(pieces, simulated, sound_run, command, tmp_path):
    command("lists", "--experiment", pieces / "e.toml", "--bids", pieces / "bids", "--clips",
            pieces / "bids/stimuli", "--out", tmp_path / "lists")  # fmt: skip
    command("export", sound_run.directory, "--lists", tmp_path / "lists", "--out", tmp_path / "out")
    n_volumes = int(np.ceil(sum(PIECES_S.values())))
    for subject in ("01", "02"):
        for run in (1, 2):
            stem = f"sub-{subject}_task-music_run-{run:02d}"
            block = np.load(tmp_path / f"out/activations/{stem}_stage-A1_activations.npy")
            assert len(block) == n_volumes
            assert np.isfinite(block).all()
            table = pd.read_csv(tmp_path / f"out/activations/{stem}_volumes.tsv", sep="\t")
            played = pd.read_csv(
                pieces / f"bids/sub-{subject}/func/sub-{subject}_task-music_run-{run}_events.tsv",
                sep="\t",
            )  # fmt: skip
            names = [Path(name).name for name in played["stim_file"]]
            assert list(dict.fromkeys(table["clip"])) == names


def test_one_of_two_runs_may_be_left_out(pieces, simulated, sound_run, command, tmp_path):
    """The other one is enough to fit, with the description that `inspect` has written."""
    command("encode", sound_run.directory, "--bids", simulated, "--experiment", pieces / "e.toml",
            "--sounds", pieces / "bids/stimuli", "--roi", "whole", "--out", tmp_path / "encoded",
            "--dry-run")  # fmt: skip
    for path in (simulated / "sub-02/func").glob("*run-02*"):
        path.rename(tmp_path / path.name)
    try:
        said = command(
            "encode", sound_run.directory, "--bids", simulated, "--sounds",
            pieces / "bids/stimuli", "--roi", "whole", "--out", tmp_path / "encoded", "--dry-run",
            code=2,
        )  # fmt: skip
    finally:
        for path in tmp_path.glob("sub-02*"):
            path.rename(simulated / "sub-02/func" / path.name)
    assert "sub-02 has 1 runs that can be used; 2 are needed" in said


@pytest.mark.slow
def test_the_truth_is_recovered_if_a_run_is_left_out(
    pieces, simulated, sound_run, command, tmp_path
):
    """Six pieces are too few to leave pieces out; `encoding/test_folds.py` has more sounds."""
    text = (pieces / "e.toml").read_text()
    assert 'split = "runs"' in text and "segment_s = 20.0" in text
    command(
        "encode", sound_run.directory, "--bids", simulated, "--experiment", pieces / "e.toml",
        "--sounds", pieces / "bids/stimuli", "--roi", "all", "--atlas",
        simulated / "derivatives/truth/areas.nii.gz", "--components", 10, "--subjects", "01",
        "--out", tmp_path / "encoded",
    )  # fmt: skip
    areas = pd.read_csv(tmp_path / "encoded/areas.tsv", sep="\t")
    trained = areas[(areas["network"] == "trained") & (areas["clips"] == "all")]
    # b.mp3 has three segments of 20 s. The first of each run is not in a steady state.
    assert set(trained["n_clips"]) == {5 + 3 - 2}
    r = trained.pivot_table(index="area", columns="stage", values="r").mean(axis=1)
    assert r["A1"] > 0.25 and r["T2T3"] > 0.5, r
    assert abs(r["noise"]) < 0.06


# --- Examples of the help -------------------------------------------------------------------------

WRITTEN = """
name = "pieces"
[files]
tasks = ["music"]
[sounds]
sound = "stim_file"
[encoding]
split = "sounds"
segment_s = 20.0
"""


def examples(runner, *words):
    """Return the examples in the help of a command that use a description or a dataset."""
    text = runner.invoke(cli, [*words, "--help"]).output
    block = re.search(r"Examples?:\n(.*?)\n\n", text, re.S)[1].replace("\\\n", " ")
    lines = [shlex.split(line)[1:] for line in block.splitlines()]
    return [line for line in lines if "experiment.toml" in line or "--bids" in line]


@pytest.mark.parametrize(
    "words",
    [("experiment", "inspect"), ("experiment", "check"), ("experiment", "show"), ("lists",),
     ("fmri", "simulate"), ("encode",)],
)  # fmt: skip
def test_examples_of_the_help_work(pieces, simulated, sound_run, runner, tmp_path, words,
                                   monkeypatch):  # fmt: skip
    """Literally, in a folder with what they name, and with a description that was written."""
    monkeypatch.chdir(tmp_path)
    for name in ("BIDS", "ds000113"):
        shutil.copytree(simulated, name)
        Path(name, "experiment.toml").unlink()
    for name in ("SOUNDS", "sounds"):
        Path(name).symlink_to(pieces / "bids/stimuli")
    Path("runs").mkdir()
    Path("runs/a").symlink_to(sound_run.directory)
    if words != ("experiment", "inspect"):
        Path("experiment.toml").write_text(WRITTEN)
    found = [line for line in examples(runner, *words) if "ds003720" not in line]
    assert found
    for line in found:
        more = ["--dry-run"] if words[0] in ("encode", "fmri") else []
        result = runner.invoke(cli, [*line, *more])
        assert result.exit_code == 0, (line, result.output, result.exception)
    if words == ("experiment", "check"):
        assert json.loads(Path("BIDS/sub-01/func/sub-01_task-music_run-01_bold.json").read_text())
