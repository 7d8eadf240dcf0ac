"""Descriptions that are written from three designs load as written, and agree with the data."""

import pytest
from designs import write_events, write_image, write_json, write_pieces, write_spaced

from neuromusic.core.errors import InputError
from neuromusic.design.experiment import load_experiment
from neuromusic.design.presentations import load_design
from neuromusic.design.whole_designs import with_timing, with_volumes
from neuromusic.pipeline.experiment import check_experiment, inspect_experiment


def inspected(bids, tmp_path):
    """Return the description as loaded from the file, and the notes."""
    result = inspect_experiment(bids, out=tmp_path / "experiment.toml")
    loaded = load_experiment(tmp_path / "experiment.toml")
    assert loaded == result.experiment
    return loaded, " ".join(result.notes)


def test_real_clips_in_training_and_test_runs(shared, tmp_path):
    bids = shared / "data" / "ds003720"
    experiment, _ = inspected(bids, tmp_path)
    assert experiment == load_experiment("ds003720")
    assert check_experiment(tmp_path / "experiment.toml", bids=bids).mismatches == []


def test_real_clips_with_silence(shared, tmp_path):
    bids = shared / "data" / "ds000113"
    experiment, notes = inspected(bids, tmp_path)
    assert experiment.files.tasks == experiment.files.sessions == ("auditoryperception",)
    assert (experiment.sounds.sound, experiment.sounds.class_) == ("stim", "genre")
    assert (experiment.time.tr_s, experiment.time.n_volumes) == (2.0, 153)
    assert experiment.encoding.split == "runs"
    assert "assumed, not read" in notes and "1018 of 3900" in notes
    result = check_experiment(experiment, bids=bids)
    assert (result.mismatches, len(result.agreements), result.n_runs) == ([], 20, 156)
    design = load_design(bids, experiment)
    assert len(design.runs) == 156
    assert any("sub-20: has 4 of 8 runs" in line for line in result.information)


def test_long_pieces_without_classes(tmp_path):
    bids = write_pieces(tmp_path / "bids")
    experiment, notes = inspected(bids, tmp_path)
    assert (experiment.sounds.sound, experiment.sounds.class_) == ("stim_file", "")
    assert (experiment.time.tr_s, experiment.time.n_volumes) == (1.0, None)
    assert (experiment.encoding.split, experiment.encoding.segment_s) == ("runs", 30.0)
    assert "there is no class" in notes and "last sound" in notes
    result = check_experiment(experiment, bids=bids)
    assert result.mismatches == [] and len(result.agreements) == 25
    design = with_volumes(with_timing(load_design(bids, experiment), {}))
    assert {run.n_volumes for run in design.runs.values()} == {2512}


def test_volumes_and_tr_are_those_of_images(tmp_path):
    bids = write_spaced(tmp_path / "bids", n_subjects=2)
    (bids / "task-listen_bold.json").unlink()
    for path in sorted(bids.rglob("*_events.tsv")):
        write_image(path.with_name(path.name.replace("events.tsv", "bold.nii.gz")), 60, 2.0)
    experiment, notes = inspected(bids, tmp_path)
    assert (experiment.time.tr_s, experiment.time.n_volumes) == (2.0, 60)
    assert "assumed" not in notes
    result = check_experiment(experiment, bids=bids)
    assert result.mismatches == []
    assert "3 images" in result.agreements[0]


def test_training_and_test_tasks(tmp_path):
    bids = tmp_path / "bids"
    for task, sounds in (("trainMusic", "ab"), ("testMusic", "cc"), ("rest", "")):
        for run in (1, 2):
            rows = [(3 * i, 3, f"{s}{run}.wav") for i, s in enumerate(sounds)] or [(0, 1, "n/a")]
            write_events(bids / "sub-1" / "func", f"sub-1_task-{task}_run-{run}", rows,
                         "onset duration stim_file")  # fmt: skip
    write_json(bids / "bold.json", RepetitionTime=1.5)
    experiment, notes = inspected(bids, tmp_path)
    assert experiment.encoding.train == ("trainMusic",)
    assert experiment.encoding.test == ("testMusic",)
    assert "Left out" in notes and "rest" in notes


def test_two_columns_that_could_name_the_sound(tmp_path):
    bids = tmp_path / "bids"
    rows = [(3 * i, 3, f"{i % 4}.wav", f"x{i % 3}.wav") for i in range(12)]
    write_events(bids / "sub-1" / "func", "sub-1_task-a", rows, "onset duration other stim_file")
    experiment, notes = inspected(bids, tmp_path)
    assert experiment.sounds.sound == "stim_file"
    assert "it could also be other" in notes
    assert "TR is not known" in notes
    assert any("TR is not known" in line for line in
               check_experiment(experiment, bids=bids).mismatches)  # fmt: skip


def test_a_group_and_different_sounds_in_each_run(tmp_path):
    bids = tmp_path / "bids"
    for run in (1, 2):
        rows = [(3 * i, 3, f"{run}{i}.wav", f"artist{i // 2}") for i in range(6)]
        write_events(bids / "sub-1" / "func", f"sub-1_task-a_run-{run}", rows,
                     "onset duration stim_file artist")  # fmt: skip
    experiment, _ = inspected(bids, tmp_path)
    assert (experiment.encoding.split, experiment.sounds.group) == ("groups", "artist")


def test_a_lead_in_that_repeats_the_last_sound(tmp_path):
    bids = tmp_path / "bids"
    for run, order in ((1, "dabcd"), (2, "bcdab")):
        rows = [(4 * i, 4, f"{sound}.wav") for i, sound in enumerate(order)]
        write_events(bids / "sub-1" / "func", f"sub-1_task-a_run-{run}", rows,
                     "onset duration stim_file")  # fmt: skip
    experiment, notes = inspected(bids, tmp_path)
    assert experiment.time.lead_in_s == 4 and "own last sound" in notes


def test_an_existing_file_is_not_overwritten(tmp_path):
    bids = write_spaced(tmp_path / "bids", 1, 1)
    out = tmp_path / "experiment.toml"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        inspect_experiment(bids, out=out)
    assert out.read_text() == "mine"
    inspect_experiment(bids, out=out, overwrite=True)
    assert load_experiment(out).name == "bids"


def test_events_without_a_sound(tmp_path):
    write_events(tmp_path / "b" / "sub-1" / "func", "sub-1_task-a", [(0, 1, 3)],
                 "onset duration response_time")  # fmt: skip
    with pytest.raises(InputError, match="no column of the events names a sound"):
        inspect_experiment(tmp_path / "b", out=tmp_path / "x.toml")
    assert not (tmp_path / "x.toml").exists()
