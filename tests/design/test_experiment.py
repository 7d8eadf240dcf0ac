"""Descriptions are compared with events, images and sounds; bad input of each kind."""

import os

import numpy as np
import pytest
import soundfile
from designs import write_events, write_image, write_json, write_pieces, write_spaced

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.design.bids import index_bids
from neuromusic.design.experiment import Experiment, load_experiment
from neuromusic.design.presentations import load_design
from neuromusic.pipeline.experiment import check_experiment, show_experiment

COLUMNS = "onset duration stim_file"
ROWS = [(0, 5, "a.wav"), (5, 5, "b.wav"), (10, 5, "c.wav"), (15, 5, "d.wav")]


def described(tmp_path, **changes):
    """Return a description of one task with column stim_file; sections can be changed."""
    tree = {
        "name": "test", "files": {"tasks": ["listen"]}, "sounds": {"sound": "stim_file"},
        "time": {"tr_s": 1.0, "n_volumes": 20},
    } | changes  # fmt: skip
    return Experiment.model_validate(tree)


def dataset(tmp_path, rows=ROWS, stem="sub-1_task-listen_run-1", n_volumes=20, **options):
    bids = tmp_path / "bids"
    folder = bids / "sub-1" / "func"
    write_events(folder, stem, rows, options.pop("columns", COLUMNS), **options)
    if n_volumes:
        write_image(folder / f"{stem}_bold.nii.gz", n_volumes, 1.0)
    return bids


def check(tmp_path, bids, **changes):
    return check_experiment(described(tmp_path, **changes), bids=bids)


def test_agreement(tmp_path):
    result = check(tmp_path, dataset(tmp_path))
    assert result.mismatches == []
    assert result.information == ["sounds were not compared; give their folder with --sounds"]
    assert result.agreements == [
        "sub-1: 1 run, 4 presentations of 4 sounds, TR 1 s, 20 volumes, 1 image: as described"
    ]


def test_unsorted_events_are_sorted(tmp_path):
    rows = [ROWS[1], ROWS[0], ROWS[3], ROWS[2]]
    bids = dataset(tmp_path, rows)
    result = check(tmp_path, bids)
    assert result.mismatches == []
    assert any("was sorted" in line for line in result.information)
    (run,) = load_design(bids, described(tmp_path)).runs.values()
    assert list(run.trials["clip"]) == ["a.wav", "b.wav", "c.wav", "d.wav"]
    assert [row.row for row in run.events.rows] == [2, 1, 4, 3]


def test_a_missing_lead_in_is_no_dummy(tmp_path):
    bids = dataset(tmp_path)
    experiment = described(tmp_path, time={"tr_s": 1.0, "lead_in_s": 5.0, "trials": 4})
    (run,) = load_design(bids, experiment).runs.values()
    assert not run.trials["is_dummy"].any()
    assert check_experiment(experiment, bids=bids).mismatches == []


def test_negative_onsets_precede_the_first_image(tmp_path):
    rows = [(onset - 5, duration, sound) for onset, duration, sound in ROWS]
    result = check(tmp_path, dataset(tmp_path, rows))
    assert result.mismatches == []
    assert any("1 sound before the first image" in line for line in result.information)


@pytest.mark.parametrize(
    "stem",
    [
        "sub-1_ses-01_task-listen_run-1", "sub-1_task-listen_acq-a_run-1",
        "sub-1_task-listen_dir-AP_run-01", "sub-1_task-listen_run-1_acq-a", "sub-1_task-listen",
    ],
)  # fmt: skip
def test_names_in_any_order(tmp_path, stem):
    assert check(tmp_path, dataset(tmp_path, stem=stem)).mismatches == []


def test_run_numbers_may_restart_in_each_session(tmp_path):
    for session in ("a", "b"):
        bids = dataset(tmp_path, stem=f"sub-1_ses-{session}_task-listen_run-1")
    result = check(tmp_path, bids)
    assert result.mismatches == [] and "2 runs" in result.agreements[0]


def test_events_and_json_at_the_top(tmp_path):
    bids = tmp_path / "bids"
    write_events(bids, "task-listen", ROWS, COLUMNS)
    write_json(bids / "task-listen_bold.json", RepetitionTime=1.0)
    for run in (1, 2):
        write_image(bids / "sub-1" / "func" / f"sub-1_task-listen_run-{run}_bold.nii.gz", 20, 9.0)
    result = check(tmp_path, bids)
    assert result.mismatches == [] and "2 runs" in result.agreements[0]


def test_surplus_volumes_are_information_and_missing_ones_a_mismatch(tmp_path):
    result = check(tmp_path, dataset(tmp_path, n_volumes=23))
    assert result.mismatches == []
    assert any("3 surplus volumes" in line for line in result.information)
    (line,) = check(tmp_path, dataset(tmp_path, n_volumes=19)).mismatches
    assert "has 19 volumes; expected 20" in line


def test_events_longer_than_the_images(tmp_path):
    (line,) = check(tmp_path, dataset(tmp_path, n_volumes=15), time={"tr_s": 1.0}).mismatches
    assert "row 4: d.wav ends at 20 s" in line and "ends at 15 s" in line


def test_the_tr_of_the_json_comes_before_that_of_the_header(tmp_path):
    bids = dataset(tmp_path)
    sidecar = bids / "sub-1" / "func" / "sub-1_task-listen_run-1_bold.json"
    write_json(sidecar, RepetitionTime=1.5)
    (line,) = check(tmp_path, bids).mismatches
    assert line == (
        f"{sidecar.name}: has a TR of 1.5 s; expected 1 s, which is time.tr_s of the description; "
        "correct the wrong one"
    )
    assert check(tmp_path, bids, time={"tr_s": 1.5}).mismatches == []


def test_a_subject_whose_runs_differ_in_tr(tmp_path):
    for run, tr_s in ((1, 1.0), (2, 1.0), (3, 2.0)):
        bids = dataset(tmp_path, stem=f"sub-1_task-listen_run-{run}", n_volumes=None)
        write_json(bids / "sub-1" / "func" / f"sub-1_task-listen_run-{run}_bold.json",
                   RepetitionTime=tr_s)  # fmt: skip
    (line,) = check(tmp_path, bids, time={}).mismatches
    assert line.startswith("sub-1 task-listen run-03: has a TR of 2 s; the other runs")


def test_overlapping_sounds(tmp_path):
    rows = [ROWS[0], (3, 5, "b.wav"), *ROWS[2:]]
    (line,) = check(tmp_path, dataset(tmp_path, rows)).mismatches
    assert "row 2: begins at 3 s, before row 1 ends (5 s)" in line


def test_dummies_that_are_not_described_are_noticed(tmp_path):
    """The first sound of the test run is a dummy: it is played once more than the others."""
    rows = [(5 * index, 5, f"{name}.wav") for index, name in enumerate("babab")]
    bids = dataset(tmp_path, rows, stem="sub-1_task-test_run-1", n_volumes=25)
    dataset(tmp_path, stem="sub-1_task-train_run-1")
    parts = {
        "files": {"tasks": ["train", "test"]},
        "encoding": {"split": "tasks", "train": ["train"], "test": ["test"]},
    }
    notes = check(tmp_path, bids, **parts, time={"tr_s": 1.0}).information
    assert sum("played 2, 3 times" in note and "time.lead_in_s" in note for note in notes) == 1
    notes = check(tmp_path, bids, **parts, time={"tr_s": 1.0, "lead_in_s": 5.0}).information
    assert not any("times" in note for note in notes)


def test_a_run_without_events(tmp_path):
    bids = dataset(tmp_path)
    write_image(bids / "sub-1" / "func" / "sub-1_task-listen_run-2_bold.nii.gz", 20, 1.0)
    (line,) = check(tmp_path, bids).mismatches
    assert line == (
        "sub-1 task-listen run-02: has images but no events; add its events.tsv beside "
        "sub-1_task-listen_run-2_bold.nii.gz"
    )


def test_a_run_without_image(tmp_path):
    dataset(tmp_path)
    bids = dataset(tmp_path, stem="sub-1_task-listen_run-2", n_volumes=None)
    (line,) = check(tmp_path, bids).mismatches
    assert line.startswith("sub-1 task-listen run-02: has events but no image; add it")


def test_a_class_only_in_the_test_set(tmp_path):
    bids = tmp_path / "bids"
    for task, names in (("train", "aab"), ("test", "abc")):
        rows = [(i, 1, f"{task}{i}.wav", name) for i, name in enumerate(names)]
        write_events(bids / "sub-1" / "func", f"sub-1_task-{task}", rows, f"{COLUMNS} genre")
    experiment = described(
        tmp_path, files={"tasks": ["train", "test"]}, time={"tr_s": 1.0},
        sounds={"sound": "stim_file", "class": "genre"},
        encoding={"split": "tasks", "train": ["train"], "test": ["test"]},
    )  # fmt: skip
    (line,) = check_experiment(experiment, bids=bids).mismatches
    assert "only the test runs have the classes c" in line


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("x", 5, "b.wav"), "row 2: expected numbers"),
        ((5, -1, "b.wav"), "row 2: duration -1 s"),
        ((5, 5, "../.."), "row 2"),
    ],
)
def test_a_bad_row_is_named_and_other_subjects_are_compared(tmp_path, row, message):
    bids = dataset(tmp_path, [ROWS[0], row, *ROWS[2:]])
    write_events(bids / "sub-2" / "func", "sub-2_task-listen_run-1", ROWS, COLUMNS)
    result = check(tmp_path, bids)
    (line,) = result.mismatches
    assert message in line and "sub-1_task-listen_run-1_events.tsv" in line
    assert [line.partition(":")[0] for line in result.agreements] == ["sub-2"]


def test_images_that_are_not_fetched(tmp_path):
    bids = dataset(tmp_path, n_volumes=None)
    link = bids / "sub-1" / "func" / "sub-1_task-listen_run-1_bold.nii.gz"
    os.symlink("../../.git/annex/objects/x/y", link)
    result = check(tmp_path, bids)
    assert result.mismatches == []
    assert any("datalad get" in line for line in result.information)


def test_a_damaged_image(tmp_path):
    bids = dataset(tmp_path)
    (bids / "sub-1" / "func" / "sub-1_task-listen_run-1_bold.nii.gz").write_bytes(b"x")
    (line,) = check(tmp_path, bids).mismatches
    assert "sub-1_task-listen_run-1_bold.nii.gz" in line


def test_other_trials_and_durations_than_described(tmp_path):
    rows = [*ROWS[:3], (15, 4, "d.wav")]
    time = {"tr_s": 1.0, "duration_s": 5.0, "trials": 3}
    trials, duration = check(tmp_path, dataset(tmp_path, rows), time=time).mismatches
    assert "has 4 trials; time.trials is 3" in trials
    assert "row 4: d.wav is played for 4 s" in duration


def test_sounds(tmp_path):
    sounds = tmp_path / "sounds" / "deeper"
    sounds.mkdir(parents=True)
    for name, seconds in (("a.wav", 5), ("b.flac", 5), ("c.wav", 3), ("extra.wav", 5)):
        soundfile.write(sounds / name, np.full(8000 * seconds, 0.1), 8000)
    bids = dataset(tmp_path)
    result = check_experiment(described(tmp_path), bids=bids, sounds=tmp_path / "sounds")
    short, missing = sorted(result.mismatches)
    assert short.startswith("c.wav: the file is 3.000 s long; played for 5 s")
    assert missing == (
        "d.wav: has no sound file (first played in sub-1_task-listen_run-1_events.tsv, row 4); add "
        "it to the folder of the sounds, or correct its name in the events"
    )
    assert "sounds: 2 of 4 found, as long as played" in result.agreements
    assert any("1 sound is not played: extra.wav" in line for line in result.information)


def test_no_events_at_all(tmp_path):
    (tmp_path / "bids").mkdir()
    with pytest.raises(InputError, match="has no events"):
        check_experiment(described(tmp_path), bids=tmp_path / "bids")


def test_exit_codes(tmp_path, runner):
    def exit_code(*arguments):
        return runner.invoke(cli, ["experiment", *map(str, arguments)]).exit_code

    bids, out = write_spaced(tmp_path / "bids"), tmp_path / "e.toml"
    assert exit_code("inspect", bids, "--out", out) == 0
    assert exit_code("check", out, "--bids", bids) == 0
    write_json(bids / "sub-01" / "func" / "sub-01_task-listen_run-01_bold.json", RepetitionTime=9)
    assert exit_code("check", out, "--bids", bids) == 1
    assert exit_code("check", tmp_path / "none.toml", "--bids", bids) == 2
    assert exit_code("show", out, "--bids", bids, "--out", tmp_path / "x.svg") == 0


# --- Pictures -------------------------------------------------------------------------------------


def test_counts_of_a_picture(tmp_path):
    bids = write_pieces(tmp_path / "bids", 3, 4)
    experiment = described(tmp_path, files={"tasks": ["music"]}, time={"tr_s": 1.0})
    counts = show_experiment(experiment, bids=bids, out=tmp_path / "x.png", subject="sub-02")
    counts = counts.set_index("what")["n"]
    assert (tmp_path / "x.png").stat().st_size > 10_000
    assert (counts["runs"], counts["sounds"], counts["classes"]) == (6, 4, 0)
    assert counts["volumes per run"] == 628 and counts["silence after a sound (s)"] == 0
    show_experiment(experiment, bids=bids, out=tmp_path / "x.png", subject="02")  # the same picture
    with pytest.raises(InputError, match="exists, and its content differs"):
        show_experiment(experiment, bids=bids, out=tmp_path / "x.png")
    with pytest.raises(InputError, match="no events of sub-9"):
        show_experiment(experiment, bids=bids, out=tmp_path / "y.png", subject="9")
    with pytest.raises(InputError, match=r"ends with \.png"):
        show_experiment(experiment, bids=bids, out=tmp_path / "y.gif")


def test_presets_are_found_by_name():
    assert load_experiment("ds003720").encoding.train == ("Training",)
    with pytest.raises(InputError, match="did you mean 'ds003720'"):
        load_experiment("ds00372")


def test_two_files_of_one_run(tmp_path):
    bids = dataset(tmp_path, stem="sub-1_task-listen_run-1")
    write_events(bids / "sub-1" / "func", "sub-1_task-listen_run-01", ROWS, COLUMNS)
    with pytest.raises(InputError, match="same run"):
        load_design(index_bids(bids), described(tmp_path))
