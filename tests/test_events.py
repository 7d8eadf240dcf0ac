"""The events and images of a dataset against an order."""

import json
import shutil

import nibabel
import numpy as np
import pytest

from neuromusic.errors import InputError
from neuromusic.events import check_dataset, read_events
from neuromusic.orders import read_order

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
    agreeing, faults = check_dataset(orders, shared / "data/ds003720")
    assert faults == []
    assert len(agreeing) == 5
    assert all("18 of 18 runs agree" in line for line in agreeing)


def test_a_changed_row_is_named(orders, bids):
    path = bids / NAME
    rows = path.read_text().splitlines()
    rows[8] = rows[8].replace("105\t", "106\t", 1)
    rows[11] = "150\t15\t'rock'\t99\t0\t15"
    path.write_text("\n".join(rows))
    _, faults = check_dataset(orders, bids)
    assert len(faults) == 2
    assert "sub-001 task-Test run-02 trial 7: onset 106 s; expected 105 s" in faults
    assert any("run-02 trial 10: events rock.00099_15s.wav; order file" in f for f in faults)


def test_missing_runs_rows_and_another_tr_are_named(orders, bids):
    (bids / NAME).unlink()
    other = bids / NAME.replace("run-02", "run-03")
    other.write_text("\n".join(other.read_text().splitlines()[:-1]))
    sidecar = bids / NAME.replace("run-02_events.tsv", "run-04_bold.json")
    header = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**header, "RepetitionTime": 2.0, "NumberOfVolumes": 400}))
    _, faults = check_dataset(orders, bids)
    assert "sub-001 task-Test run-02: has no events.tsv" in faults
    assert any("run-03: 40 rows; expected 41" in f for f in faults)
    assert any("run-04" in f and "has TR 2.0; expected 1.5" in f for f in faults)
    assert any("run-04" in f and "has volumes 400; expected 410" in f for f in faults)
    assert len(faults) == 4


@pytest.mark.parametrize(("n_vol", "agrees"), [(410, True), (409, False)])
def test_volumes_of_an_image_are_compared(orders, bids, n_vol, agrees):
    image = nibabel.Nifti1Image(np.zeros((2, 2, 2, n_vol), np.int16), np.eye(4))
    image.header.set_zooms((2, 2, 2, 1.5))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, bids / NAME.replace("events.tsv", "bold.nii.gz"))
    agreeing, faults = check_dataset(orders, bids)
    assert "number of volumes in 1" in agreeing[0]
    assert (faults == []) is agrees
    if not agrees:
        assert "has volumes 409; expected 410" in faults[0]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0\t15\t'polka'\t1\t0\t15", "row 2: unknown genre 'polka'"),
        ("0\t15\t'pop'\tx\t0\t15", "row 2: expected numbers"),
        ("0\t15\t'pop'\t1\t20\t15", "row 2: start 20.0 and end 15.0"),
    ],
)
def test_bad_rows_are_named(tmp_path, row, message):
    path = tmp_path / "e.tsv"
    path.write_text(f"onset\tduration\tgenre\ttrack\tstart\tend\n0\t15\t'pop'\t1\t0\t15\n{row}\n")
    with pytest.raises(InputError, match=message):
        read_events(path)


def test_quotes_crlf_and_a_short_clip(tmp_path):
    path = tmp_path / "e.tsv"
    text = "onset\tduration\tgenre\ttrack\tstart\tend\r\n480\t15\t'pop'\t49\t9.59\t24.58"
    path.write_bytes(text.encode())
    row = read_events(path).iloc[0]
    assert row["clip"] == "pop.00049_15s.wav"
    assert row["end_s"] - row["start_s"] == pytest.approx(14.99)
