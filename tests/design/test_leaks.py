"""What a split shares: counted by hand, found again on the real orders, dropped."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import soundfile

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.design import leaks, splits
from neuromusic.design import lists as design_lists
from neuromusic.design.artists import gtzan_faults
from neuromusic.design.orders import Order, design_orders, presentations, read_order, write_order
from neuromusic.evaluation.scores import clean_text, evaluate
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline import crossval, prepare
from neuromusic.pipeline.leaks import report
from neuromusic.pipeline.lists import make_file_lists, make_lists
from neuromusic.stimuli.corpora import folder
from neuromusic.training.config import Data
from neuromusic.training.selection import select

GENRES = ("blues", "rock")


def quiet(text):
    pass


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    """Orders of two genres x nine clips, eight training runs of one clip a genre; no sounds."""
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


def test_nothing_shared_exits_with_0(orders, runner):
    assert runner.invoke(cli, lists(orders, "rd")).exit_code == 0
    tracks = sorted(set(pd.concat(tables(orders).values())["track"]))
    own = orders / "own.tsv"
    own.write_text("track\tartist_group\tfault\n" + "".join(f"{t}\t{t}\t\n" for t in tracks))
    result = runner.invoke(cli, ["leaks", str(orders / "rd"), "--artists", str(own)])
    assert result.exit_code == 0, result.output
    assert result.output.count("share nothing that is known") == 2


def test_the_real_orders(shared, tmp_path, runner):
    """The numbers of the design document; and they are those of plain sets."""
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
    played = design_lists.read_lists(tmp_path / "rd")
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


def test_torchaudio_knows_the_replicas_that_sturm_found():
    """jazz 33 and 51 are one recording; exactly one of them is left out."""
    faults = gtzan_faults()
    assert len(faults) == 70
    assert len(faults & {"jazz.00033", "jazz.00051"}) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("track\tartist\n", r"no column artist_group, fault"),
        ("track\tartist_group\tfault\nblues.00001\t\t\n", r"a\.tsv, row 2: has no artist_group"),
        ("track\tartist_group\tfault\na\tx\t\nb\ty\t\na\tx\t\n", r"row 4: a is in row 2 already"),
        ("track\tartist_group\tfault\nblues.00001\tx\t\n", r"lacks the track .* and \d+ others"),
        ("", "is no readable table"),
    ],
)
def test_a_bad_artist_table_is_named(orders, tmp_path, runner, text, said):
    (tmp_path / "a.tsv").write_text(text)
    runner.invoke(cli, lists(orders, "rd"))
    result = runner.invoke(cli, ["leaks", str(orders / "rd"), "--artists", str(tmp_path / "a.tsv")])
    assert result.exit_code == 2
    with pytest.raises(InputError, match=said):
        report(orders / "rd", tmp_path / "a.tsv", splits.Held(), False, None, quiet)


def test_one_side_alone_is_refused(tmp_path):
    order = Order("train", presentations(design_orders(
        [f"{g}.{i:05d}_15s.wav" for g in GENRES for i in range(2)], 0)[0]
    ).query("trial > 0")["clip"].to_numpy()[None])  # fmt: skip
    design_lists.write_lists(tmp_path, {"train": design_lists.list_order(order)})
    with pytest.raises(InputError, match="has one side only"):
        report(tmp_path, None, splits.Held(0), False, None, quiet)
    with pytest.raises(InputError, match="leave none to train on"):
        report(tmp_path, None, splits.Held(), False, None, quiet)


def test_every_pair_of_one_clip_track_or_artist():
    """Against two nested loops."""
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


# --- Clean lists --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "dropped", "left"),
    [("track", 0, "share replicas, artists"), ("replica", 1, "share artists"),
     ("artist", 2, "share nothing that is known")],
)  # fmt: skip
def test_clean_lists_have_the_grid_and_not_the_leak(orders, artists, runner, level, dropped, left):
    more = ("--drop-leaks", level, "--artists", artists)
    result = runner.invoke(cli, lists(orders, f"rd_{level}", *more))
    assert result.exit_code == 0, result.output
    n = len(tables(orders)["train"].query("trial > 0"))
    assert f"--drop-leaks {level}: {dropped} of {n} training clips are dropped" in result.output
    clean = pd.read_csv(orders / f"rd_{level}/train.tsv", sep="\t", na_values="n/a")
    assert clean["clip"].tolist() == tables(orders)["train"]["clip"].tolist()
    assert clean[clean["trial"] > 0]["dropped"].notna().sum() == dropped
    check = ["leaks", str(orders / f"rd_{level}"), "--artists", str(artists)]
    result = runner.invoke(cli, [*check, "--validation-runs", "0"])
    assert f"training and test {left}" in result.output
    assert result.exit_code == (level != "artist")


def test_a_dropped_clip_is_played_and_not_trained_on(small_clips, tmp_path):
    """Its rows, its plain list, its variants; and what was played has its features."""
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
    made = make_lists(
        tmp_path / "trn.mat", tmp_path / "val.mat", here, tmp_path / "rd", False, "hard", quiet,
        "artist", tmp_path / "a.tsv",
    )  # fmt: skip
    assert drop not in (made / "train_list.txt").read_text()
    assert len((made / "train_list.txt").read_text().splitlines()) == 10 * (train.clips.size - 1)
    data = open_prepared(prepare.make_prepared(made, tmp_path / "prepared", 0, 2, quiet))
    rows = data.rows[data.rows["track"] == drop]
    assert rows[["split", "variant"]].to_numpy().tolist() == [["dropped", 0]]
    assert np.abs(data.row_features(int(rows["row"].iloc[0]))).max() > 0
    trained = data.rows.iloc[select(data, Data(validation_runs=0)).train]
    assert set(trained["track"]) == {str(clip)[:-8] for clip in train.clips.flat} - {drop}
    assert set(data.presentations["clip"]) == {*train.clips.flat, *test.clips.flat}


def test_files_of_a_set_are_left_out(tmp_path, small_clips):
    """Training and validation files of a test artist, and training files of a validation artist.

    Tracks have numbers for names, as those of FMA.
    """
    (tmp_path / "tree/blues").mkdir(parents=True)
    sound = next(small_clips.iterdir())
    for number in range(12):
        (tmp_path / f"tree/blues/{number:06d}.wav").symlink_to(sound)
    names = [f"{number:06d}" for number in range(12)]
    lines = [f"{name}\t{i % 5}\t\n" for i, name in enumerate(names)]
    (tmp_path / "a.tsv").write_text("track\tartist_group\tfault\n" + "".join(lines))
    said = []
    files = folder.table(tmp_path / "tree")
    out = make_file_lists(
        files, "8:2:2", 3, 15.0, tmp_path / "rd", "hard", said.append, {}, "artist",
        tmp_path / "a.tsv",
    )  # fmt: skip
    table = design_lists.read_lists(out)
    kept = table[table["dropped"].isna()]
    artist = kept["track"].map({name: i % 5 for i, name in enumerate(names)})
    assert (artist.groupby(artist).apply(lambda a: kept.loc[a.index, "split"].nunique()) == 1).all()
    assert (table["split"] == "test").sum() == (kept["split"] == "test").sum() == 2
    assert table["path"].isna().equals(table["dropped"].notna())
    assert len(list((out / "blues").iterdir())) == len(kept) < 12
    assert any("training clips are dropped (blues" in text for text in said)
    assert not report(out, tmp_path / "a.tsv", splits.Held(0), False, None, quiet)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--drop-leaks", "artist"), "needs --artists"),
        (("--artists", "a.tsv"), "goes with --drop-leaks"),
        (("--drop-leaks", "artist", "--artists", "a.tsv"), "a.tsv: no such file"),
    ],
)
def test_half_a_request_is_refused(orders, runner, more, said):
    result = runner.invoke(cli, lists(orders, "half", *more))
    assert result.exit_code == 2
    assert said in result.output
    assert not (orders / "half").exists()


def test_a_training_set_that_shares_all_is_refused(orders, tmp_path):
    tracks = sorted(set(pd.concat(tables(orders).values())["track"]))
    text = "track\tartist_group\tfault\n" + "".join(f"{t}\tone\t\n" for t in tracks)
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(InputError, match="leaves no training clip"):
        leaks.mark_dropped(tables(orders), "artist", tmp_path / "a.tsv")


def test_copies_are_heard(small_clips, tmp_path, runner):
    """A training clip that is the test clip's file, one that is its MP3, softer and later."""
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


def test_audio_needs_sound(orders, runner):
    runner.invoke(cli, lists(orders, "rd"))
    result = runner.invoke(cli, ["leaks", str(orders / "rd"), "--audio"])
    assert result.exit_code == 2
    assert "has no sound of any clip" in result.output


# --- Scores on unheard artists ------------------------------------------------------------------


def test_the_clean_part_is_scored_beside_the_whole(tiny_run, tmp_path, runner):
    """Against scikit-learn on clips picked by hand, and scipy's interval over artists."""
    data = open_prepared(tiny_run.prepared)
    clips = data.rows.drop_duplicates("clip")
    test, train = clips[clips["split"] == "test"], clips[clips["split"] == "train"]
    shared = test["track"].iloc[::4].tolist()
    group = dict(zip(shared, train["track"], strict=False))
    pair = test["track"].iloc[[1, 2]].tolist()  # two clean tracks of one artist
    group[pair[1]] = pair[0]
    lines = [f"{t}\t{group.get(t, t)}\t\n" for t in clips["track"]]
    (tmp_path / "a.tsv").write_text("track\tartist_group\tfault\n" + "".join(lines))
    run = tmp_path / "run"
    shutil.copytree(tiny_run.directory, run)
    result = runner.invoke(cli, ["evaluate", str(run), "--artists", str(tmp_path / "a.tsv")])
    assert result.exit_code == 0, result.output
    scores = json.loads((run / "evaluation.json").read_text())
    clean, table = scores["clean"], pd.read_csv(run / "predictions.tsv", sep="\t")
    assert table["track"].equals(table["clip"].str[:-8])
    hit = table["genre"] == table["predicted"]
    is_clean = ~table["track"].isin(shared)
    assert clean["accuracy"] == pytest.approx(hit[is_clean].mean())
    assert clean["shared"]["accuracy"] == pytest.approx(hit[~is_clean].mean())
    assert clean["whole"]["accuracy"] == scores["clip"]["accuracy"]
    assert clean["whole"]["cross_entropy"] == pytest.approx(scores["clip"]["cross_entropy"])
    assert (clean["n"], clean["n_artists"]) == (is_clean.sum(), is_clean.sum() - 1)
    assert clean["trained"]["n"] == len(train)
    assert clean["validation"] == {"n": 10, "shared": 0}
    assert scores["clip"]["interval_over"] == "artists"
    assert scores["clip"]["accuracy_ci95"] == clean["whole"]["accuracy_ci95"]
    assert table["shares"].notna().equals(~is_clean)
    assert set(table["shares"].dropna()) == {"artists"}
    assert clean["shared_by"] == {
        "clips": 0, "tracks": 0, "replicas": 0, "artists": len(shared)
    }  # fmt: skip
    artist = table["track"].map(lambda t: group.get(t, t))[is_clean]
    good, size = hit[is_clean].groupby(artist).sum(), hit[is_clean].groupby(artist).size()
    theirs = scipy.stats.bootstrap(
        (good.to_numpy(), size.to_numpy()), lambda g, n, axis: g.sum(axis) / n.sum(axis),
        paired=True, method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    assert clean["accuracy_ci95"] == pytest.approx(list(theirs), abs=0.06)
    assert "intervals over artists" in result.output


def test_no_clean_clip_is_said(tiny_run, tmp_path):
    data = open_prepared(tiny_run.prepared)
    tracks = sorted(set(data.rows["track"]))
    text = "track\tartist_group\tfault\n" + "".join(f"{t}\tone\t\n" for t in tracks)
    (tmp_path / "a.tsv").write_text(text)
    scores, _, _ = evaluate(tiny_run, data, tmp_path / "a.tsv")
    clean = scores["clean"]
    assert clean["validation"] == {"n": 10, "shared": 10}
    assert (clean["n"], clean["n_artists"]) == (0, 0)
    assert "accuracy" not in clean
    assert clean["shared"]["n"] == clean["whole"]["n"] == 20
    (line,) = (x for x in clean_text(clean).splitlines() if x.startswith("clean"))
    assert line.split() == ["clean", "-", "-", "0", "0"]


def test_folds_are_told_apart_by_what_their_own_training_heard(tiny_run, tmp_path):
    """Two clips of run 1 and one of run 3 share an artist; the rest are on their own."""
    data = open_prepared(tiny_run.prepared)
    clips = data.rows[data.rows["split"] == "train"].drop_duplicates("clip")
    group = {t: t for t in data.rows["track"]}
    first, third = (clips.loc[clips["run"] == run, "track"].tolist() for run in (1, 3))
    group |= {first[1]: first[0], third[0]: first[0]}
    text = "".join(f"{t}\t{g}\t\n" for t, g in group.items())
    (tmp_path / "a.tsv").write_text("track\tartist_group\tfault\n" + text)
    config = tiny_run.config.model_copy(
        update={"data": tiny_run.config.data.model_copy(update={"validation_runs": 0})}
    )
    scores = crossval.make_crossval(
        config, tiny_run.prepared, 3, tmp_path / "cv", quiet, tmp_path / "a.tsv"
    )
    table = pd.read_csv(tmp_path / "cv/predictions.tsv", sep="\t")
    shared = table["track"].isin([*first[:2], third[0]])
    assert table["shares"].notna().equals(shared)
    hit = table["genre"] == table["predicted"]
    clean = scores["clean"]
    assert (clean["n"], clean["n_artists"], clean["shared"]["n_artists"]) == (27, 27, 1)
    assert clean["accuracy"] == pytest.approx(hit[~shared].mean())
    assert clean["shared"]["accuracy"] == pytest.approx(hit[shared].mean())
    assert [fold["n_clean"] for fold in clean["folds"]] == [8, 10, 9]
    assert [fold["n_trained"] for fold in clean["folds"]] == [20, 20, 20]
    for number, fold in enumerate(clean["folds"], start=1):
        mine = (table["fold"] == number) & ~shared
        assert fold["accuracy_clean"] == pytest.approx(hit[mine].mean())
    assert (scores["clip"]["interval_over"], scores["clip"]["n"]) == ("artists", 30)
    assert (tmp_path / "cv/reliability.png").stat().st_size > 5000
