"""Events and images of a BIDS dataset, compared with an order."""

import json
import shutil
import time

import nibabel
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic.core.errors import InputError
from neuromusic.design.event_rows import read_run_events
from neuromusic.design.events import check_dataset, orders_from_bids
from neuromusic.design.orders import EXPERIMENT, GENRES, read_order

SOUNDS = EXPERIMENT.sounds
NAME = "sub-001/func/sub-001_task-Test_run-02_events.tsv"


@pytest.fixture
def orders(shared):
    folder = shared / "data/orders"
    return {
        "train": read_order(folder / "ExpTrnOrder.mat", "train"),
        "test": read_order(folder / "ExpValOrder.mat", "test"),
    }


@pytest.fixture
def bids(shared, tmp_path):
    """A writable copy of one subject."""
    shutil.copytree(shared / "data/ds003720/sub-001", tmp_path / "bids/sub-001")
    for path in (tmp_path / "bids").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return tmp_path / "bids"


def test_real_events_agree_in_five_subjects_and_18_runs(orders, shared):
    agreeing, mismatches = check_dataset(orders, shared / "data/ds003720")
    assert mismatches == []
    assert len(agreeing) == 5
    assert all("18 of 18 runs agree" in line for line in agreeing)


def test_a_changed_row_is_a_mismatch(orders, bids):
    path = bids / NAME
    rows = path.read_text().splitlines()
    rows[8] = rows[8].replace("105\t", "106\t", 1)
    rows[11] = "150\t15\t'rock'\t99\t0\t15"
    path.write_text("\n".join(rows))
    _, mismatches = check_dataset(orders, bids)
    assert len(mismatches) == 2
    assert "sub-001 task-Test run-02 trial 7: onset 106 s; expected 105 s" in mismatches
    assert any("run-02 trial 10: events rock.00099_15s.wav; order file" in f for f in mismatches)


def test_missing_runs_missing_rows_and_another_tr_are_mismatches(orders, bids):
    (bids / NAME).unlink()
    other = bids / NAME.replace("run-02", "run-03")
    other.write_text("\n".join(other.read_text().splitlines()[:-1]))
    sidecar = bids / NAME.replace("run-02_events.tsv", "run-04_bold.json")
    header = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**header, "RepetitionTime": 2.0, "NumberOfVolumes": 400}))
    _, mismatches = check_dataset(orders, bids)
    assert "sub-001 task-Test run-02: has no events.tsv" in mismatches
    assert any("run-03: 40 rows; expected 41" in f for f in mismatches)
    assert any(
        "run-04" in f and "has a TR of 2.0 s; expected a TR of 1.5 s" in f for f in mismatches
    )
    assert any("run-04" in f and "has 400 volumes; expected 410 volumes" in f for f in mismatches)
    assert len(mismatches) == 4


@pytest.mark.parametrize(("n_vol", "agrees"), [(410, True), (409, False)])
def test_the_number_of_volumes_of_an_image_is_compared(orders, bids, n_vol, agrees):
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2, n_vol), np.int16), np.eye(4))
    image.header.set_zooms((2, 2, 2, 1.5))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, bids / NAME.replace("events.tsv", "bold.nii.gz"))
    agreeing, mismatches = check_dataset(orders, bids)
    assert "number of volumes in 1" in agreeing[0]
    assert (mismatches == []) is agrees
    if not agrees:
        assert "has 409 volumes; expected 410 volumes" in mismatches[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0\t15\t'polka'\t1\t0\t15", "row 2: unknown genre 'polka'"),
        ("0\t15\t'pop'\tx\t0\t15", "row 2: expected numbers"),
        ("0\t15\t'pop'\t1\t20\t15", "row 2: start 20.0 and end 15.0"),
    ],
)
def test_bad_rows_are_refused_with_their_number(tmp_path, row, message):
    path = tmp_path / "e.tsv"
    path.write_text(f"onset\tduration\tgenre\ttrack\tstart\tend\n0\t15\t'pop'\t1\t0\t15\n{row}\n")
    with pytest.raises(InputError, match=message):
        read_run_events(path, SOUNDS)


def test_quotes_crlf_and_a_short_clip_are_read(tmp_path):
    path = tmp_path / "e.tsv"
    text = "onset\tduration\tgenre\ttrack\tstart\tend\r\n480\t15\t'pop'\t49\t9.59\t24.58"
    path.write_bytes(text.encode())
    [row] = read_run_events(path, SOUNDS).rows
    assert row.clip == "pop.00049_15s.wav"
    assert row.end_s - row.start_s == pytest.approx(14.99)


HEADER = "onset\tduration\tgenre\ttrack\tstart\tend\n"
SECONDS = st.floats(0, 80_000, allow_nan=False).map(lambda x: round(x, 3))
ROWS = st.tuples(
    st.floats(-1e6, 1e6), SECONDS, st.sampled_from(GENRES), st.integers(0, 99_999), SECONDS,
    st.floats(0.5, 1000),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=8), st.sampled_from(["", "'", '"']), st.booleans())
def test_valid_rows_are_read_as_python_reads_them(tmp_path_factory, rows, quote, crlf):
    path = tmp_path_factory.mktemp("events") / "事件 e.tsv"
    lines = [
        f"{onset!r}\t{duration!r}\t{quote}{genre}{quote}\t{track}\t{start!r}\t{start + more!r}"
        for onset, duration, genre, track, start, more in rows
    ]
    text = HEADER + "".join(f"{line}\n" for line in lines)
    path.write_bytes(text.replace("\n", "\r\n" if crlf else "\n").encode())
    read = {row.row: row for row in read_run_events(path, SOUNDS).rows}
    in_file = [read[number] for number in range(1, len(rows) + 1)]
    assert [row.onset_s for row in in_file] == [row[0] for row in rows]
    assert [row.end_s for row in in_file] == [row[4] + row[5] for row in rows]
    assert [row.group for row in in_file] == [f"{row[2]}.{row[3]:05d}" for row in rows]


FIELDS = st.one_of(
    st.text(max_size=12), st.sampled_from(["n/a", "nan", "inf", "-inf", "1e999", "NA", "1_5", "-0",
    "0x10", "１５", "'", '"', "99999999999999999999", "15", "pop", "'pop'", "1.5", "\x00", "#"]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(FIELDS, max_size=8), max_size=4))
def test_other_rows_are_refused_or_read_correctly(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("events") / "e.tsv"
    text = HEADER + "\n".join("\t".join(row) for row in rows)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        table = pd.DataFrame(read_run_events(path, SOUNDS).rows)
    except InputError as error:
        assert str(path) in str(error)
        assert str(error).isprintable()
    else:
        assert table["class_"].isin(GENRES).all()
        assert table["clip"].str.fullmatch(r"[a-z]+\.[0-9]{5}_[0-9]+s\.wav").all()
        assert np.isfinite(table[["onset_s", "start_s", "end_s"]]).all(None)
        assert (table["duration_s"].isna() | np.isfinite(table["duration_s"])).all()


@pytest.mark.parametrize(
    ("row", "message"),
    [("0\t15\t'pop'\t1\t0\t15\t7", "more cells|saw 7"), ("0\t15\t'pop'", "expected numbers"),
     ("0\t15\t'pop'\t-1\t0\t15", "track '-1'"), ("0\t15\t'pop'\t123456\t0\t15", "track '123456'"),
     ("0\t1_5\t'pop'\t1\t0\t15", "expected numbers"), ("0\t15\t'pop'\t1\t0\tinf", "end inf"),
     ("0\t15\t'pop'\t1\t0\t1e9", "are not within a track"),
     ("0\t15\t'po\x1b[31mp'\t1\t0\t15", "unknown genre")],
)  # fmt: skip
def test_rows_that_pandas_or_python_would_accept_are_refused(tmp_path, row, message):
    """With one cell too many, pandas moves all columns by one; Python reads 1_5 as 15."""
    path = tmp_path / "e.tsv"
    for text in (f"{HEADER}{row}\n", f"{HEADER}0\t15\t'pop'\t1\t0\t15\n{row}\n"):
        path.write_text(text)
        with pytest.raises(InputError, match=message) as caught:
            read_run_events(path, SOUNDS)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(("rows", "message"), [(0, "has no rows"), (1, "has one row")])
def test_a_run_without_trials_is_refused(bids, rows, message):
    for path in bids.rglob("*_events.tsv"):
        path.write_text("".join(path.read_text().splitlines(keepends=True)[: 1 + rows]))
    with pytest.raises(InputError, match=message):
        orders_from_bids(bids)


@pytest.mark.slow
def test_ninety_thousand_rows_are_read(tmp_path):
    """Far more than a run has; a million are refused, see test_size_limits.py."""
    path = tmp_path / "e.tsv"
    path.write_text(HEADER + "0\t15\t'pop'\t1\t0\t15\n" * 90_000)
    began = time.process_time()
    assert len(read_run_events(path, SOUNDS).rows) == 90_000
    assert time.process_time() - began < 10


@pytest.mark.parametrize("text", ["[1, 2]", "3", "[" * 100_000, "{", '{"RepetitionTime": "x"}'])
def test_a_sidecar_that_is_not_a_json_object_is_refused(orders, bids, text):
    sidecar = bids / NAME.replace("events.tsv", "bold.json")
    sidecar.write_text(text)
    if text.endswith("}"):
        _, mismatches = check_dataset(orders, bids)
        assert any("has a TR of x s; expected a TR of 1.5 s" in mismatch for mismatch in mismatches)
    else:
        with pytest.raises(InputError, match=r"run-02_bold\.json: is not a (readable )?JSON"):
            check_dataset(orders, bids)
