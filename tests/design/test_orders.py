"""Order files: the real ones, both MATLAB formats, new designs, and damaged files."""

from collections import Counter

import h5py
import numpy as np
import pytest
import scipy.io
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic.core.errors import InputError
from neuromusic.design.events import orders_from_bids
from neuromusic.design.orders import (
    EXPERIMENT,
    GENRES,
    Order,
    check_design,
    design_orders,
    dummy_clip,
    presentations,
    read_order,
    write_order,
)
from neuromusic.design.presentations import load_design


def cells(rows):
    out = np.empty((len(rows), len(rows[0])), dtype=object)
    for index, _ in np.ndenumerate(out):
        out[index] = rows[index[0]][index[1]]
    return out


GOOD = [["blues.00001_15s.wav", "rock.00002_15s.wav"], ["pop.00003_15s.wav", "jazz.00004_15s.wav"]]


def write_hdf5(path, name, rows):
    """Write a cell array as MATLAB 7.3 does: references, column by column, after a user block."""
    with h5py.File(path, "w", userblock_size=512) as file:
        table = file.create_dataset(name, (len(rows[0]), len(rows)), dtype=h5py.ref_dtype)
        table.attrs["MATLAB_class"] = np.bytes_("cell")
        for trial, row in enumerate(rows):
            for run, text in enumerate(row):
                codes = np.array([[ord(c)] for c in text], dtype=np.uint16)
                data = file.create_dataset(f"#refs#/{trial}_{run}", data=codes)
                data.attrs["MATLAB_class"] = np.bytes_("char")
                table[run, trial] = data.ref
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512, b" "))


def test_the_real_orders_are_as_published(shared):
    train = read_order(shared / "data/orders/ExpTrnOrder.mat", "train")
    test = read_order(shared / "data/orders/ExpValOrder.mat", "test")
    assert train.clips.shape == (12, 40)
    assert test.clips.shape == (6, 40)
    assert check_design(train) == check_design(test) == []
    assert len(set(train.clips.flat)) == 480
    assert len(set(test.clips.flat)) == 60
    assert test.clips[5, 39] == "reggae.00013_15s.wav"


def test_events_of_all_subjects_rebuild_the_real_orders(shared):
    (train, test), _ = orders_from_bids(shared / "data/ds003720")
    real = [
        read_order(shared / "data/orders" / f"Exp{name}Order.mat", split)
        for name, split in (("Trn", "train"), ("Val", "test"))
    ]
    assert (train.clips == real[0].clips).all()
    assert (test.clips == real[1].clips).all()


def test_dummies_match_the_real_events(shared):
    pair, _ = orders_from_bids(shared / "data/ds003720")
    orders = dict(zip(("train", "test"), pair, strict=True))
    for run, each in load_design(shared / "data/ds003720", EXPERIMENT).runs.items():
        assert each.split is not None
        dummies = each.trials.loc[each.trials["is_dummy"], "clip"].tolist()
        assert dummies == [dummy_clip(orders[each.split], run.run)]


def test_scipy_reads_a_written_order(tmp_path):
    order = Order("train", np.array(GOOD).T)
    write_order(order, tmp_path / "o.mat")
    table = scipy.io.loadmat(tmp_path / "o.mat")["TrnOrd"]
    assert [[cell.item() for cell in row] for row in table] == GOOD
    assert (read_order(tmp_path / "o.mat", "train").clips == order.clips).all()


def test_version_7_3_files_are_read(tmp_path):
    write_hdf5(tmp_path / "o.mat", "ValOrd", GOOD)
    assert (read_order(tmp_path / "o.mat", "test").clips == np.array(GOOD).T).all()


@pytest.mark.parametrize("version", ["5", "7.3"])
@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("../x.wav", "row 2, column 1: '../x.wav' is not a clip name"),
        ("/etc/blues.00001_15s.wav", "row 2, column 1"),
        ("polka.00001_15s.wav", "unknown genre 'polka'.*expected one of blues"),
        ("", "row 2, column 1"),
    ],
)
def test_an_entry_that_is_not_a_clip_name_is_refused_with_its_row(
    tmp_path, version, entry, message
):
    rows = [GOOD[0], [entry, GOOD[1][1]]]
    path = tmp_path / "o.mat"
    if version == "5":
        scipy.io.savemat(path, {"TrnOrd": cells(rows)})
    else:
        write_hdf5(path, "TrnOrd", rows)
    with pytest.raises(InputError, match=message) as caught:
        read_order(path, "train")
    assert str(path) in str(caught.value)


def truncate(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("version", ["5", "7.3"])
def test_a_truncated_order_file_is_refused(tmp_path, version, share):
    path = tmp_path / "o.mat"
    if version == "5":
        scipy.io.savemat(path, {"TrnOrd": cells(GOOD)})
    else:
        write_hdf5(path, "TrnOrd", GOOD)
    truncate(path, share)
    with pytest.raises(InputError, match=r"o\.mat: is not a readable MATLAB"):
        read_order(path, "train")


def test_version_7_3_files_without_an_order_are_refused(tmp_path):
    path = tmp_path / "o.mat"
    write_hdf5(path, "ValOrd", GOOD)
    with pytest.raises(InputError, match=r"o\.mat: has no variable TrnOrd; it contains ValOrd"):
        read_order(path, "train")
    with h5py.File(path, "w", userblock_size=512) as file:
        file["TrnOrd"] = np.ones((3, 3))
    with pytest.raises(InputError, match=r"o\.mat: TrnOrd is not a cell array"):
        read_order(path, "train")
    write_hdf5(path, "TrnOrd", GOOD)
    with h5py.File(path, "r+") as file:  # a number, [1.0], in place of the second name of row 1
        file["TrnOrd"][1, 0] = file.create_dataset("#refs#/number", data=np.ones((1, 1))).ref
    with pytest.raises(InputError, match=r"row 1, column 2: .* is not a clip name"):
        read_order(path, "train")


def test_files_without_an_order_are_refused(tmp_path):
    path = tmp_path / "o.mat"
    with pytest.raises(InputError, match="no such file"):
        read_order(path, "train")
    scipy.io.savemat(path, {"ValOrd": cells(GOOD)})
    with pytest.raises(InputError, match="no variable TrnOrd; it contains ValOrd"):
        read_order(path, "train")
    scipy.io.savemat(path, {"TrnOrd": np.ones((3, 3))})
    with pytest.raises(InputError, match="not a cell array"):
        read_order(path, "train")
    scipy.io.savemat(path, {"TrnOrd": cells([[1.0]])})
    with pytest.raises(InputError, match="row 1, column 1"):
        read_order(path, "train")
    path.write_text("hello")
    with pytest.raises(InputError, match=r"o\.mat: is not a readable MATLAB file"):
        read_order(path, "train")


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60), st.integers(1, 10), st.integers(0, 2**31))
def test_a_new_design_follows_the_published_rules(n_clips, n_genres, seed):
    clips = [f"{g}.{i:05d}_15s.wav" for g in GENRES[:n_genres] for i in range(n_clips)]
    train, test = design_orders(clips, seed)
    assert check_design(train) == check_design(test) == []
    assert not set(train.clips.flat) & set(test.clips.flat)
    assert set(Counter(train.clips.flat).values()) == {1}
    assert set(Counter(test.clips.flat).values()) == {4}
    n = test.n_trials // 4
    for run in test.clips:
        assert len(set(run[:n])) == n == n_genres
        assert (run.reshape(4, n) == run[:n]).all()
    for run in [*train.clips, *test.clips]:
        assert len(set(Counter(clip.split(".")[0] for clip in run).values())) == 1
    again = design_orders(clips[::-1], seed)
    assert (again[0].clips == train.clips).all()


def test_the_design_of_the_full_set_is_the_published_one():
    train, test = design_orders([f"{g}.{i:05d}_15s.wav" for g in GENRES for i in range(54)], 0)
    assert train.clips.shape == (12, 40)
    assert test.clips.shape == (6, 40)
    assert len(set(train.clips.flat)) == 480
    assert len(set(test.clips.flat)) == 60
    for run in train.clips:
        assert set(Counter(clip.split(".")[0] for clip in run).values()) == {4}


@pytest.mark.parametrize("clips", [[], ["pop.00001_15s.wav"], ["pop.00001_15s.wav", "x.wav"]])
def test_too_few_clips_and_other_files_are_refused(clips):
    with pytest.raises(InputError, match=r"clips: .*(at least 2|not a clip name)"):
        design_orders(clips, 0)


def test_differences_from_the_design_are_listed():
    twice = np.array([["blues.00001_15s.wav", "blues.00001_15s.wav"]])
    assert "presented 2 times" in check_design(Order("train", twice))[0]
    _, test = design_orders([f"{g}.{i:05d}_15s.wav" for g in GENRES for i in range(9)], 0)
    assert "run 1 is not balanced over genres" in " ".join(
        check_design(
            Order("train", np.array([["blues.00001_15s.wav"] * 2 + ["pop.00001_15s.wav"]]))
        )
    )
    swapped = test.clips.copy()
    swapped[0, [10, 11]] = swapped[0, [11, 10]]
    assert "run 1, trial 11" in check_design(Order("test", swapped))[0]


def test_presentations_are_on_the_time_grid():
    train, test = design_orders([f"{g}.{i:05d}_15s.wav" for g in GENRES for i in range(14)], 1)
    table = presentations(test)
    one = table[table["run"] == 1]
    assert list(one["volume"]) == list(range(0, 410, 10))
    assert list(one["repeat"]) == [0] + [r for r in (1, 2, 3, 4) for _ in range(10)]
    assert one["clip"].iloc[0] == one["clip"].iloc[-1]
    table = presentations(train)
    assert table.query("run == 1 and trial == 0")["clip"].item() == train.clips[-1, -1]
    assert table.query("run == 2 and trial == 0")["clip"].item() == train.clips[0, -1]


def test_the_representation_gives_split_size_and_unique_clips():
    order = Order("test", np.tile(["pop.00001_15s.wav", "rock.00001_15s.wav"], (3, 4)))
    assert repr(order) == "Order('test', 3 runs x 8 trials, 2 unique clips)"
