"""Presentations of three designs as tables: one row per playing of a sound."""

import numpy as np
import pytest
from designs import write_events, write_json, write_pieces, write_spaced

from neuromusic.core.errors import InputError
from neuromusic.design.bids import RunId
from neuromusic.design.experiment import Experiment, load_experiment
from neuromusic.design.presentations import COLUMNS, load_design
from neuromusic.design.whole_designs import shared_runs, with_timing, with_volumes


def described(task, sound="stim_file", **sections):
    tree = {"name": "test", "files": {"tasks": [task]}, "sounds": {"sound": sound}} | sections
    return Experiment.model_validate(tree)


def test_real_training_and_test_runs(shared):
    design = load_design(shared / "data" / "ds003720", load_experiment("ds003720"))
    table = design.table()
    assert tuple(table.columns) == COLUMNS
    first = table[table["subject"] == "001"]
    heard = first[~first["is_dummy"]]
    assert len(first) == 18 * 41 and first["is_dummy"].sum() == 18
    assert heard[heard["split"] == "test"].groupby("clip").size().unique().tolist() == [4]
    assert heard["trial"].min() == 1 and first[first["is_dummy"]]["trial"].eq(0).all()
    assert heard.groupby(["split", "run"])["repeat"].max()["test"].eq(4).all()
    shared_table = shared_runs(design)
    assert all(run.subject == "" for run in shared_table) and len(shared_table) == 18


def test_each_subject_hears_an_order_of_its_own(tmp_path):
    design = load_design(write_spaced(tmp_path / "b"), described("listen", "stim"))
    assert shared_runs(design) is design.runs
    assert len(design.clips) == 8
    assert design.table().groupby(["subject", "run"])["clip"].nunique().eq(8).all()
    assert {run.tr_s for run in design.runs.values()} == {2.0}


def test_sessions_are_chosen(tmp_path):
    for session in ("a", "b"):
        write_spaced(tmp_path / "b", 1, 2, session)
    every = load_design(tmp_path / "b", described("listen", "stim"))
    assert [(run.session, run.run) for run in every.runs] == [
        ("a", 1),
        ("a", 2),
        ("b", 1),
        ("b", 2),
    ]
    one = load_design(
        tmp_path / "b", described("listen", "stim", files={"tasks": ["listen"], "sessions": ["b"]})
    )
    assert [run.session for run in one.runs] == ["b", "b"]


def test_pieces_end_a_run_and_subjects_are_chosen(tmp_path):
    bids = write_pieces(tmp_path / "b", 3, 4)
    design = load_design(bids, described("music"), subjects=["02"])
    assert design.subjects == ["02"]
    (first, _) = with_volumes(with_timing(design, {})).runs.values()
    assert first.id == RunId("02", "", "music", 1)
    assert (first.tr_s, first.n_volumes) == (1.0, 628)
    with pytest.raises(InputError, match="its subjects are 01, 02, 03"):
        load_design(bids, described("music"), subjects=["04"])


def test_durations_come_from_sounds_if_events_have_none(tmp_path):
    rows = [(0, "n/a", "a.wav"), (4, 0, "b.wav"), (9, 2, "c.wav")]
    write_events(tmp_path / "sub-1" / "func", "sub-1_task-x", rows, "onset duration stim_file")
    write_json(tmp_path / "bold.json", RepetitionTime=1.0)
    design = load_design(tmp_path, described("x"))
    (run,) = with_timing(design, {"a.wav": 3.5, "b.wav": 4.5, "c.wav": 9.0}).runs.values()
    np.testing.assert_array_equal(run.trials["duration_s"], [3.5, 4.5, 2.0])
    with pytest.raises(InputError, match=r"the duration of b\.wav is not known"):
        with_timing(design, {"a.wav": 3.5})
    with pytest.raises(InputError, match="must not overlap"):
        with_timing(design, {"a.wav": 4.5, "b.wav": 4.5})


def test_the_tr_must_be_known(tmp_path):
    write_events(tmp_path / "sub-1" / "func", "sub-1_task-x", [(0, 3, "a.wav")],
                 "onset duration stim_file")  # fmt: skip
    design = load_design(tmp_path, described("x"))
    with pytest.raises(InputError, match="the TR is not known"):
        with_timing(design, {})
    (run,) = with_timing(design, {}, tr_s=2.0).runs.values()
    assert run.tr_s == 2.0


def test_sounds_of_the_same_name_in_two_folders(tmp_path):
    rows = [(0, 3, "x/a.wav"), (3, 3, "y/a.wav")]
    write_events(tmp_path / "sub-1" / "func", "sub-1_task-x", rows, "onset duration stim_file")
    with pytest.raises(InputError, match=r"row 2: y/a\.wav has the same file name as x/a\.wav"):
        load_design(tmp_path, described("x"))
