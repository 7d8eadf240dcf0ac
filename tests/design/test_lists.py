"""Stimulus lists, splits by track, and cutting clips."""

import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic.core.errors import InputError
from neuromusic.design import events, lists, splits
from neuromusic.design.orders import design_orders, read_order
from neuromusic.stimuli import clips
from neuromusic.stimuli.corpora import folder


def test_fades_are_quarter_sines():
    out = clips.fade(np.ones(5 * 22050))
    n = 2 * 22050
    np.testing.assert_allclose(out[:n], np.sin(np.linspace(0, np.pi / 2, n, endpoint=False)))
    np.testing.assert_allclose(out[-n:], out[:n][::-1])
    assert (out[n:-n] == 1).all()


def test_rms_is_set_as_far_as_the_peak_allows():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(22050)
    out, limited = clips.set_rms(noise, 0.1321)
    assert np.sqrt(np.mean(out**2)) == pytest.approx(0.1321)
    assert not limited
    click = np.zeros(22050)
    click[100] = 0.5
    out, limited = clips.set_rms(click, 0.1321)
    assert limited
    assert np.abs(out).max() <= 1


def test_cutting_takes_the_seconds_that_the_events_name(tmp_path):
    t = np.arange(30 * 22050) / 22050
    path = tmp_path / "pop.00049.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * (100 + 20 * t) * t), 22050, subtype="FLOAT")
    whole, _ = soundfile.read(path)
    clip = clips.cut_clip(path, 9.59, 24.58)
    # 14.99 s are 330 529.5 samples.
    assert len(clip) in (330_529, 330_530)
    first = round(9.59 * 22050) + 2 * 22050
    middle = slice(2 * 22050, -2 * 22050)
    np.testing.assert_allclose(clip[middle], whole[first : first + len(clip[middle])], atol=1e-6)
    with pytest.raises(InputError, match=r"pop\.00049\.wav: lasts 30\.00 s.*ends at 31 s"):
        clips.cut_clip(path, 16, 31)


def test_the_real_events_cut_every_clip_of_the_orders_once(shared):
    cuts, _ = events.cut_list(shared / "data/ds003720")
    orders = [
        read_order(shared / "data/orders" / f"Exp{name}Order.mat", split)
        for name, split in (("Trn", "train"), ("Val", "test"))
    ]
    assert len(cuts) == 540
    assert set(cuts["clip"]) == {clip for order in orders for clip in order.clips.flat}
    assert (cuts["end_s"] - cuts["start_s"]).between(14.985, 15.005).all()


@pytest.mark.parametrize(
    ("split", "run", "trial", "name"),
    [
        ("test", 6, 40, "Test_run-06-40_reggae.00013_15s.wav"),
        ("train", 12, 1, "Train_run-12-01_reggae.00013_15s.wav"),
    ],
)
def test_presentation_names_are_those_of_the_original_files(split, run, trial, name):
    assert lists.presentation_name(split, run, trial, "reggae.00013_15s.wav") == name


def test_lists_of_the_real_orders_have_all_presentations(shared, tmp_path):
    tables = {
        split: lists.list_order(read_order(shared / "data/orders" / name, split))
        for split, name in (("train", "ExpTrnOrder.mat"), ("test", "ExpValOrder.mat"))
    }
    lists.write_lists(tmp_path, tables)
    train_lines = (tmp_path / "train_list.txt").read_text().splitlines()
    test_lines = (tmp_path / "test_list.txt").read_text().splitlines()
    assert len(train_lines) == len(set(train_lines)) == 4800
    assert len(test_lines) == len(set(test_lines)) == 240
    assert test_lines[-1] == "reggae/Test_run-06-40_reggae.00013_15s.wav"
    table = pd.read_csv(tmp_path / "train.tsv", sep="\t")
    assert list(table) == list(lists.LIST_COLUMNS)
    assert len(table) == 12 * 41
    dummy = table.query("run == 1 and trial == 0").iloc[0]
    last = table.query("run == 12 and trial == 40").iloc[0]
    assert dummy["path"] == last["path"]
    assert dummy["path"].split("/")[1].startswith("Train_run-12-40_")


def test_a_test_dummy_has_the_path_of_its_own_run():
    _, test = design_orders([f"{g}.{i:05d}_15s.wav" for g in ("pop", "rock") for i in range(20)], 0)
    table = lists.list_order(test)
    for _, run in table.groupby("run"):
        assert run["path"].iloc[0] == run["path"].iloc[-1]


def make_tree(folder, counts, cuts=1):
    for genre, count in counts.items():
        (folder / genre).mkdir(parents=True)
        for number in range(count):
            for cut in range(cuts):
                (folder / genre / f"{genre}.{number:05d}_{cut}.wav").touch()


@pytest.mark.parametrize(
    ("split", "expected"),
    [((70, 15, 15), (14, 3, 3)), ((75, 0, 25), (15, 0, 5)), ((0, 0, 1), (0, 0, 20))],
)
def test_a_folder_is_split_by_track_in_every_class(tmp_path, split, expected):
    make_tree(tmp_path, {"blues": 20, "my sounds": 20}, cuts=2)
    table = splits.split_tracks(folder.table(tmp_path), split, seed=13)
    assert len(table) == 80
    tracks = table.groupby("track")["split"].nunique()
    assert (tracks == 1).all()
    for _, rows in table.groupby("genre"):
        counts = rows.drop_duplicates("track")["split"].value_counts()
        assert tuple(counts.get(s, 0) for s in ("train", "valid", "test")) == expected
    again = splits.split_tracks(folder.table(tmp_path), split, seed=13)
    pd.testing.assert_frame_equal(table, again)
    if min(split[0], split[2]) > 0:
        other = splits.split_tracks(folder.table(tmp_path), split, seed=14)
        assert (table["split"] != other["split"]).any()


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.integers(0, 9)] * 3).filter(any), st.integers(1, 12), st.integers(0, 99))
def test_every_part_is_within_one_track_of_its_proportion(parts, n_tracks, seed):
    with tempfile.TemporaryDirectory() as directory:
        make_tree(Path(directory), {"blues": n_tracks, "rock": 1})
        table = splits.split_tracks(folder.table(Path(directory)), parts, seed)
    table = table[table["genre"] == "blues"]
    assert len(table) == n_tracks
    for name, part in zip(("train", "valid", "test"), parts, strict=True):
        count = (table["split"] == name).sum()
        assert abs(count - n_tracks * part / sum(parts)) < 1
        assert part or not count


@pytest.mark.parametrize("link", ["hard", "sym", "copy"])
def test_a_clip_is_linked_or_copied(tmp_path, link):
    source = tmp_path / "a.wav"
    source.write_bytes(b"sound")
    target = tmp_path / "x" / "b.wav"
    assert lists.link_or_copy(source, target, link) == link
    assert target.read_bytes() == b"sound"
    assert target.is_symlink() is (link == "sym")
    assert (target.stat().st_ino == source.stat().st_ino) is (link != "copy")


@pytest.mark.parametrize("entry", ["../secret.wav", "pop/../../secret.wav", "/secret.wav"])
def test_a_path_outside_the_directory_is_refused(tmp_path, entry):
    order, test = design_orders(
        [f"{g}.{i:05d}_15s.wav" for g in ("pop", "rock") for i in range(9)], 0
    )
    table = lists.list_order(order)
    table.loc[3, "path"] = entry
    lists.write_lists(tmp_path, {"train": table, "test": lists.list_order(test)})
    message = rf"train\.tsv, row 4: {re.escape(repr(entry))} points outside"
    with pytest.raises(InputError, match=message):
        lists.read_lists(tmp_path)


def test_two_clips_with_the_same_name_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "blues.00001_15s.wav").touch()
    with pytest.raises(InputError, match="has the same name"):
        clips.find_clips(tmp_path)
