"""Leaks: counted by hand, found on the real orders and in sounds, and dropped."""

import logging
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import soundfile

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine
from neuromusic.design import leaks
from neuromusic.design.artists import gtzan_faults
from neuromusic.design.leaks import DropLeaks
from neuromusic.design.lists import list_order, read_lists, write_lists
from neuromusic.design.orders import Order, design_orders, presentations, read_order, write_order
from neuromusic.design.splits import HeldOutRuns
from neuromusic.pipeline.leaks import find_leaks
from neuromusic.pipeline.lists import make_file_lists, make_lists
from neuromusic.pipeline.prepare import prepare
from neuromusic.stimuli.corpora import Corpus
from neuromusic.training.config import Data
from neuromusic.training.selection import select

GENRES = ("blues", "rock")


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    """Orders of two genres x nine clips, eight training runs of one clip per genre; no sounds."""
    root = tmp_path_factory.mktemp("leaks")
    names = [f"{genre}.{number:05d}_15s.wav" for genre in GENRES for number in range(9)]
    train, test = design_orders(names, 0)
    write_order(train, root / "trn.mat")
    write_order(test, root / "val.mat")
    (root / "none").mkdir()
    return root


def tables(orders):
    return {
        split: presentations(read_order(orders / name, split))
        for split, name in (("train", "trn.mat"), ("test", "val.mat"))
    }


@pytest.fixture(scope="module")
def artists(orders):
    """Each test track has the artist of one training track, which for blues is a known fault."""
    both = tables(orders)
    lines = ["track\tartist_group\tfault"]
    tested = dict(both["test"][["genre", "track"]].drop_duplicates().to_numpy())
    taken = dict.fromkeys(GENRES, True)
    for row in both["train"].query("trial > 0").itertuples():
        group = f"of-{tested[row.genre]}" if taken.pop(row.genre, False) else f"of-{row.track}"
        fault = "distorted" if group == f"of-{tested['blues']}" else ""
        lines.append(f"{row.track}\t{group}\t{fault}")
    lines += [f"{track}\tof-{track}\t" for track in tested.values()]
    (orders / "artists.tsv").write_text("\n".join(lines) + "\n")
    return orders / "artists.tsv"


def lists(orders, name, *more):
    arguments = (
        "lists", "--train-order", orders / "trn.mat", "--test-order", orders / "val.mat",
        "--clips", orders / "none", "--allow-missing", "--out", orders / name, *more,
    )  # fmt: skip
    return [str(argument) for argument in arguments]


def test_counts_on_a_small_split(orders, artists, runner):
    assert runner.invoke(cli, lists(orders, "rd")).exit_code == 0
    result = runner.invoke(
        cli, ["leaks", str(orders / "rd"), "--artists", str(artists), "--out", f"{orders}/s.tsv"]
    )
    assert result.exit_code == 1, result.output
    lines = [line.split() for line in result.output.splitlines()]
    n = len(tables(orders)["train"].query("trial > 0"))
    assert ["artists", "2", "of", str(n), "2", "of", "2"] in lines
    assert ["replicas", "1", "of", str(n), "1", "of", "2"] in lines
    assert ["clips", "0", "of", str(n), "0", "of", "2"] in lines
    assert "training and test share replicas, artists" in result.output
    pairs = pd.read_csv(orders / "s.tsv", sep="\t")
    assert pairs["kind"].tolist() == ["replicas", "artists", "artists"]
    assert (pairs["clip"].str[:5] == pairs["other_clip"].str[:5]).all()


def test_lists_without_leaks_exit_with_0(orders, runner):
    assert runner.invoke(cli, lists(orders, "rd")).exit_code == 0
    tracks = sorted(set(pd.concat(tables(orders).values())["track"]))
    table = orders / "separate.tsv"
    table.write_text("track\tartist_group\tfault\n" + "".join(f"{t}\t{t}\t\n" for t in tracks))
    result = runner.invoke(cli, ["leaks", str(orders / "rd"), "--artists", str(table)])
    assert result.exit_code == 0, result.output
    assert result.output.count("share nothing that is known") == 2


def test_the_real_orders_share_what_the_design_document_says(shared, tmp_path, runner):
    """And what plain sets of artists show."""
    orders, table = shared / "data/orders", shared / "data/gtzan/artists.tsv"
    (tmp_path / "none").mkdir()
    arguments = [
        "lists", "--train-order", orders / "ExpTrnOrder.mat",
        "--test-order", orders / "ExpValOrder.mat", "--clips", tmp_path / "none",
        "--allow-missing", "--out", tmp_path / "rd",
    ]  # fmt: skip
    assert runner.invoke(cli, [*map(str, arguments)]).exit_code == 0
    result = runner.invoke(cli, ["leaks", str(tmp_path / "rd"), "--artists", str(table)])
    assert result.exit_code == 1
    lines = [line.split() for line in result.output.splitlines()]
    assert ["artists", "177", "of", "480", "44", "of", "60"] in lines
    assert ["tracks", "0", "of", "480", "0", "of", "60"] in lines
    group = pd.read_csv(table, sep="\t", index_col="track")["artist_group"]
    played = read_lists(tmp_path / "rd")
    train = played[played["split"] == "train"]
    last = {group[t] for t in train.query("run == 12 and trial > 0")["track"]}
    others = set(train.query("run < 12 and trial > 0")["track"])
    n = sum(group[track] in last for track in others)
    assert ["artists", str(n), "of", "440", "21", "of", "40"] in lines
    # The runs that a training holds out, as its settings name them.
    (tmp_path / "t.toml").write_text("[data]\nvalidation_runs = [3, 7]\ntest_runs = [1, 12]\n")
    arguments = ["leaks", tmp_path / "rd", "--artists", table, "--settings", tmp_path / "t.toml"]
    result = runner.invoke(cli, [*map(str, arguments), "--out", str(tmp_path / "pairs.tsv")])
    assert result.exit_code == 1
    pairs = pd.read_csv(tmp_path / "pairs.tsv", sep="\t")
    assert set(zip(pairs["side"], pairs["other_side"], strict=True)) == {
        ("training", "run 1, 12"), ("other runs", "run 3, 7")
    }  # fmt: skip
    once = train.query("trial > 0").assign(artist=train["track"].map(group))
    for held, left_out in (((3, 7), (1, 3, 7, 12)), ((1, 12), (1, 12))):
        known = set(once.loc[~once["run"].isin(left_out), "artist"])
        n = once.loc[once["run"].isin(held), "artist"].isin(known).sum()
        found = pairs[pairs["other_side"] == f"run {held[0]}, {held[1]}"]
        assert found.loc[found["kind"] == "artists", "other_clip"].nunique() == n > 0


def test_torchaudio_leaves_out_the_replicas_that_sturm_found():
    """jazz 33 and 51 are the same recording; exactly one of them is left out."""
    faults = gtzan_faults()
    assert len(faults) == 70
    assert len(faults & {"jazz.00033", "jazz.00051"}) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("track\tartist\n", r"no column artist_group, fault"),
        ("track\tartist_group\tfault\nblues.00001\t\t\n", r"a\.tsv, row 2: has no artist_group"),
        ("track\tartist_group\tfault\na\tx\t\nb\ty\t\na\tx\t\n", r"row 4: a is already in row 2"),
        (
            "track\tartist_group\tfault\nblues.00001\tx\t\n",
            r"has no row for the track .* and \d+ others",
        ),
        ("", "is not a readable table"),
    ],
)
def test_a_bad_artist_table_is_refused_with_its_row(orders, tmp_path, runner, text, message):
    (tmp_path / "a.tsv").write_text(text)
    runner.invoke(cli, lists(orders, "rd"))
    result = runner.invoke(cli, ["leaks", str(orders / "rd"), "--artists", str(tmp_path / "a.tsv")])
    assert result.exit_code == 2
    with pytest.raises(InputError, match=message):
        find_leaks(orders / "rd", artists=tmp_path / "a.tsv")


def test_lists_with_only_one_side_are_refused(tmp_path):
    order = Order("train", presentations(design_orders(
        [f"{g}.{i:05d}_15s.wav" for g in GENRES for i in range(2)], 0)[0]
    ).query("trial > 0")["clip"].to_numpy()[None])  # fmt: skip
    write_lists(tmp_path, {"train": list_order(order)})
    with pytest.raises(InputError, match="has only one side"):
        find_leaks(tmp_path, held_out=HeldOutRuns(0))
    with pytest.raises(InputError, match="leave none to train on"):
        find_leaks(tmp_path)


def test_shared_pairs_match_nested_loops():
    left = pd.DataFrame({"clip": list("abcd"), "track": list("1123"), "artist": list("xxyz"),
                         "fault": [False, True, False, False]})  # fmt: skip
    right = pd.DataFrame({"clip": list("aefg"), "track": list("1245"), "artist": list("xyyw"),
                          "fault": [False, False, True, False]})  # fmt: skip
    expected = set()
    for a in left.itertuples():
        for b in right.itertuples():
            same = {
                "clips": a.clip == b.clip,
                "tracks": a.track == b.track,
                "artists": a.artist == b.artist,
                "replicas": a.artist == b.artist and (a.fault or b.fault),
            }
            expected |= {(kind, a.clip, b.clip) for kind, is_same in same.items() if is_same}
    pairs = leaks.shared_pairs(left, right)
    assert {(p.kind, p.clip, p.other) for p in pairs.itertuples()} == expected
    assert len(pairs) == len(expected)


# --- Lists without leaks --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "dropped", "left"),
    [("track", 0, "share replicas, artists"), ("replica", 1, "share artists"),
     ("artist", 2, "share nothing that is known")],
)  # fmt: skip
def test_lists_without_leaks_keep_the_time_grid(orders, artists, runner, level, dropped, left):
    more = ("--drop-leaks", level, "--artists", artists)
    result = runner.invoke(cli, lists(orders, f"rd_{level}", *more))
    assert result.exit_code == 0, result.output
    n = len(tables(orders)["train"].query("trial > 0"))
    assert f"sharing a {level} with the test: {dropped} of {n} training clips" in result.output
    clean = pd.read_csv(orders / f"rd_{level}/train.tsv", sep="\t", na_values="n/a")
    assert clean["clip"].tolist() == tables(orders)["train"]["clip"].tolist()
    assert clean[clean["trial"] > 0]["dropped"].notna().sum() == dropped
    check = ["leaks", str(orders / f"rd_{level}"), "--artists", str(artists)]
    result = runner.invoke(cli, [*check, "--validation-runs", "0"])
    assert f"training and test {left}" in result.output
    assert result.exit_code == (level != "artist")


def test_a_dropped_clip_has_features_but_is_not_trained_on(small_clips, tmp_path):
    here = tmp_path / "clips"
    here.mkdir()
    for genre in GENRES:
        for path in small_clips.glob(f"{genre}.*"):
            (here / path.name).symlink_to(path)
    train, test = design_orders(sorted(path.name for path in here.iterdir()), 0)
    write_order(train, tmp_path / "trn.mat")
    write_order(test, tmp_path / "val.mat")
    drop, like = str(train.clips[0, 1])[:-8], str(test.clips[0, 0])[:-8]
    every = sorted({str(clip)[:-8] for clip in [*train.clips.flat, *test.clips.flat]})
    lines = [f"{t}\t{like if t == drop else t}\t\n" for t in every]
    (tmp_path / "a.tsv").write_text("track\tartist_group\tfault\n" + "".join(lines))
    lists = make_lists(
        train_order=tmp_path / "trn.mat", test_order=tmp_path / "val.mat", clips=here,
        out=tmp_path / "rd", drop_leaks=DropLeaks("artist", tmp_path / "a.tsv"),
    )  # fmt: skip
    lines = (lists / "train_list.txt").read_text().splitlines()
    assert not any(drop in line for line in lines)
    assert len(lines) == 10 * (train.clips.size - 1)
    data = prepare(lists, out=tmp_path / "prepared", machine=Machine(workers=2))
    rows = data.rows[data.rows["track"] == drop]
    assert rows[["split", "variant"]].to_numpy().tolist() == [["dropped", 0]]
    assert np.abs(data.row_features(int(rows["row"].iloc[0]))).max() > 0
    trained = data.rows.iloc[select(data, Data(validation_runs=0)).train]
    assert set(trained["track"]) == {str(clip)[:-8] for clip in train.clips.flat} - {drop}
    assert set(data.presentations["clip"]) == {*train.clips.flat, *test.clips.flat}


def test_files_of_artists_in_the_test_are_left_out(tmp_path, small_clips, caplog):
    """Training files of artists in the validation too. Tracks are named by numbers, as in FMA."""
    caplog.set_level(logging.INFO, "neuromusic")
    sound = next(small_clips.iterdir())
    artists = {}
    for number in range(24):
        genre, name = ("blues", "rock")[number // 12], f"{number:06d}"
        (tmp_path / "tree" / genre).mkdir(parents=True, exist_ok=True)
        os.link(sound, tmp_path / f"tree/{genre}/{name}.wav")
        artists[name] = f"{genre}-{number % 5}"
    lines = [f"{name}\t{artist}\t\n" for name, artist in artists.items()]
    (tmp_path / "a.tsv").write_text("track\tartist_group\tfault\n" + "".join(lines))
    out = make_file_lists(
        Corpus("folder", tmp_path / "tree"), out=tmp_path / "rd", split="8:2:2", seed=3,
        drop_leaks=DropLeaks("artist", tmp_path / "a.tsv"),
    )  # fmt: skip
    table = read_lists(out)
    kept = table[table["dropped"].isna()]
    artist = kept["track"].map(artists)
    assert (artist.groupby(artist).apply(lambda a: kept.loc[a.index, "split"].nunique()) == 1).all()
    assert (table["split"] == "test").sum() == (kept["split"] == "test").sum() == 4
    assert table["path"].isna().equals(table["dropped"].notna())
    assert len(list((out / "blues").iterdir())) == (kept["genre"] == "blues").sum() < 12
    assert "training clips (blues" in caplog.text
    comparisons = find_leaks(out, artists=tmp_path / "a.tsv", held_out=HeldOutRuns(0))
    assert all(comparison.pairs.empty for comparison in comparisons)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--drop-leaks", "artist"), "needs --artists"),
        (("--artists", "a.tsv"), "--artists needs --drop-leaks"),
        (("--drop-leaks", "artist", "--artists", "a.tsv"), "a.tsv: no such file"),
    ],
)
def test_incomplete_options_are_refused(orders, runner, more, message):
    result = runner.invoke(cli, lists(orders, "half", *more))
    assert result.exit_code == 2
    assert message in result.output
    assert not (orders / "half").exists()


def test_dropping_all_training_clips_is_refused(orders, tmp_path):
    tracks = sorted(set(pd.concat(tables(orders).values())["track"]))
    text = "track\tartist_group\tfault\n" + "".join(f"{t}\tone\t\n" for t in tracks)
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputError, match="leaves no training clip"):
        leaks.mark_dropped(tables(orders), DropLeaks("artist", tmp_path / "a.tsv"))


@pytest.mark.parametrize("level", ["replica", "artist"])
def test_levels_beyond_the_track_need_an_artist_table(level):
    with pytest.raises(InputError, match="needs artists"):
        DropLeaks(level)
    assert DropLeaks("track").artists is None


# --- Copies of sounds -----------------------------------------------------------------------------


def test_exact_and_near_copies_are_found(small_clips, tmp_path, runner):
    """One training clip has the samples of a test clip; another is its MP3, quieter and later."""
    here = tmp_path / "clips"
    here.mkdir()
    for path in small_clips.iterdir():
        if path.name.split(".")[0] in GENRES:
            shutil.copy(path, here)
    train, test = design_orders(sorted(path.name for path in here.iterdir()), 0)
    write_order(train, tmp_path / "trn.mat")
    write_order(test, tmp_path / "val.mat")
    played = str(test.clips[0, 0])
    exact, near = (str(clip) for clip in train.clips[0, :2])
    wave, rate_hz = soundfile.read(here / played)
    soundfile.write(here / exact, wave, rate_hz, subtype="PCM_24")
    soft = np.concatenate([np.zeros(rate_hz), 0.2 * wave])
    soundfile.write(tmp_path / "near.mp3", soft, rate_hz, format="MP3")
    soundfile.write(here / near, soundfile.read(tmp_path / "near.mp3")[0], rate_hz)
    arguments = ("lists", "--train-order", tmp_path / "trn.mat", "--test-order",
                 tmp_path / "val.mat", "--clips", here, "--out", tmp_path / "rd")  # fmt: skip
    assert runner.invoke(cli, [*map(str, arguments)]).exit_code == 0
    check = ["leaks", str(tmp_path / "rd"), "--validation-runs", "0", "--audio"]
    result = runner.invoke(cli, [*check, "--out", str(tmp_path / "s.tsv")])
    assert result.exit_code == 1, result.output
    pairs = pd.read_csv(tmp_path / "s.tsv", sep="\t")
    found = pairs[["kind", "clip", "other_clip"]].to_numpy().tolist()
    assert found == [["copies", exact, played], ["near copies", near, played]]
    assert "share copies, near copies" in result.output
    assert "-1.0" in pairs["shared"].iloc[1]
    (here / exact).unlink()
    arguments = [*map(str, arguments[:-1]), str(tmp_path / "some"), "--allow-missing"]
    assert runner.invoke(cli, arguments).exit_code == 0
    result = runner.invoke(cli, ["leaks", str(tmp_path / "some"), *check[2:]])
    assert "warning: 1 clips are missing" in result.output
    assert "share near copies" in result.output


def test_audio_without_any_sound_is_refused(orders, runner):
    runner.invoke(cli, lists(orders, "rd"))
    result = runner.invoke(cli, ["leaks", str(orders / "rd"), "--audio"])
    assert result.exit_code == 2
    assert "has no sound of any clip" in result.output
