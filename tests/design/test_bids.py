"""BIDS file names, compared with regular expressions."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from neuromusic.design.bids import BidsName, parse_bids_name

EVENTS = re.compile(r"sub-([A-Za-z0-9]+)_task-(Training|Test)_run-(\d+)_events\.tsv")
BOLD = re.compile(
    r"sub-([A-Za-z0-9]+)_(?:ses-[A-Za-z0-9]+_)?task-(Training|Test)_"
    r"(?:.*_)?run-(\d+)_(?:.*_)?bold(\.nii|\.nii\.gz|\.func\.gii|\.npy)"
)


def test_entities_suffix_and_extension():
    name = parse_bids_name("x/sub-A_ses-2_task-Test_run-01_space-MNI_desc-preproc_bold.nii.gz")
    assert name.entities == {
        "sub": "A", "ses": "2", "task": "Test", "run": "01", "space": "MNI", "desc": "preproc"
    }  # fmt: skip
    assert (name.suffix, name.extension) == ("bold", ".nii.gz")
    assert (name.subject, name.scanner_run) == ("A", ("test", 1))


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
    run = name and name.scanner_run
    is_bold = bool(run and name.suffix == "bold" and name.extension != ".tsv")
    is_events = bool(run and (name.suffix, name.extension) == ("events", ".tsv"))
    is_plain = bool(name and list(name.entities) == ["sub", "task", "run"])
    assert is_bold == bool(BOLD.fullmatch(text))
    assert (is_events and is_plain) == bool(EVENTS.fullmatch(text))
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
