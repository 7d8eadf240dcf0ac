"""BIDS file names, compared with regular expressions."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from neuromusic.design.bids import BidsName, RunId, index_bids, parse_bids_name

NAME = re.compile(r"sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?(?:_[^_]+)*_[^_]+")


def test_entities_suffix_and_extension():
    name = parse_bids_name("x/sub-A_ses-2_task-Test_run-01_space-MNI_desc-preproc_bold.nii.gz")
    assert name.entities == {
        "sub": "A", "ses": "2", "task": "Test", "run": "01", "space": "MNI", "desc": "preproc"
    }  # fmt: skip
    assert (name.suffix, name.extension) == ("bold", ".nii.gz")
    assert (name.subject, name.run_id) == ("A", RunId("A", "2", "Test", 1))


PARTS = st.lists(
    st.sampled_from([
        "sub-A", "sub-", "ses-1", "task-Training", "task-Test", "task-Rest", "run-1", "run-02",
        "run-x", "hemi-L", "space-MNI", "preproc", "desc-a-b",
    ]),
    unique_by=lambda part: part.split("-")[0], max_size=6,
)  # fmt: skip
LAST = st.sampled_from(["events.tsv", "bold.nii.gz", "bold.func.gii", "bold.npy", "x"])


@given(PARTS, LAST)
def test_names_are_read_as_by_regular_expressions(parts, last):
    assume("ses-1" not in parts[2:])  # BIDS has the session second; other places are refused
    text = "_".join([*parts, last])
    name = parse_bids_name(text)
    assert (name is not None) == bool(NAME.fullmatch(text))
    has_run = bool(name and re.search("_task-[A-Za-z]+_", text) and "_run-x_" not in text)
    assert bool(name and name.run_id) == has_run
    if name:
        assert str(name) == text or "sub-_" in text


def test_a_name_is_built_from_its_entities():
    name = BidsName({"sub": "A", "task": "Training", "run": "12"}, "bold", ".json")
    assert str(name) == "sub-A_task-Training_run-12_bold.json"
    assert parse_bids_name(str(name)) == name


@pytest.mark.parametrize(
    "text",
    ["", "events.tsv", "task-Test_run-1_bold.nii", "sub-_task-Test_bold.nii", "sub-A_sub-B_x.nii",
     "sub-A_task-Test_ses-1_bold.nii", "sub-é_task-Test_bold.nii"],
)  # fmt: skip
def test_other_names_are_refused(text):
    assert parse_bids_name(text) is None


# --- Datasets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "sub-A_ses-2_task-Test_acq-x_run-01", "sub-A_ses-2_task-Test_run-1_acq-x",
        "sub-A_ses-2_acq-x_task-Test_run-001",
    ],
)  # fmt: skip
def test_entities_in_any_order_are_the_same_run(name):
    run = RunId("A", "2", "Test", 1, (("acq", "x"),))
    assert parse_bids_name(f"{name}_events.tsv").run_id == run
    assert run.stem == "sub-A_ses-2_task-Test_acq-x_run-01"


def test_the_closest_metadata_has_precedence(tmp_path):
    folder = tmp_path / "sub-A" / "func"
    folder.mkdir(parents=True)
    image = folder / "sub-A_task-x_run-1_bold.nii.gz"
    image.touch()
    contents = {
        tmp_path / "bold.json": '{"RepetitionTime": 1, "FlipAngle": 1}',
        tmp_path / "task-x_bold.json": '{"RepetitionTime": 2}',
        tmp_path / "task-y_bold.json": '{"RepetitionTime": 9}',
        folder / "sub-A_task-x_bold.json": '{"RepetitionTime": 3}',
        folder / "sub-A_task-x_run-1_bold.json": '{"RepetitionTime": null}',
    }
    for path, text in contents.items():
        path.write_text(text)
    index = index_bids(tmp_path)
    assert index.metadata(image, "bold", "RepetitionTime")[0] == 3
    assert index.metadata(image, "bold", "FlipAngle") == (1, tmp_path / "bold.json")
    assert index.metadata(image, "bold", "EchoTime") is None


def test_links_to_nothing_are_remembered(tmp_path):
    folder = tmp_path / "sub-A" / "func"
    folder.mkdir(parents=True)
    link = folder / "sub-A_task-x_bold.nii.gz"
    link.symlink_to("../.git/annex/objects/x")
    index = index_bids(tmp_path)
    assert index.broken == [link] and index.files == []
