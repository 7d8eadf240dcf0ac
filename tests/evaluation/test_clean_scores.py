"""Scores of clips whose artist is not in the training, by hand."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from conftest import tiny_settings

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.evaluation.reports import clean_report
from neuromusic.evaluation.scores import score_network
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline.crossval import crossval
from neuromusic.stats.intervals import accuracy_ci95
from neuromusic.training.config import Config
from neuromusic.training.selection import select
from neuromusic.training.trained import load_network


def test_clips_of_new_artists_are_also_scored_separately(tiny_run, tmp_path, runner):
    """Against clips and artists picked by hand."""
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
    expected = accuracy_ci95(hit[is_clean], artist.to_numpy())
    assert clean["accuracy_ci95"] == pytest.approx(expected)
    over_clips = accuracy_ci95(hit[is_clean], np.arange(is_clean.sum()))
    assert clean["accuracy_ci95"] != pytest.approx(over_clips)
    assert "intervals over artists" in result.output


def test_a_test_without_new_artists_has_no_clean_accuracy(tiny_run, tmp_path):
    data = open_prepared(tiny_run.prepared)
    tracks = sorted(set(data.rows["track"]))
    text = "track\tartist_group\tfault\n" + "".join(f"{t}\tone\t\n" for t in tracks)
    (tmp_path / "a.tsv").write_text(text)
    scores = score_network(tiny_run, data, tmp_path / "a.tsv").scores
    clean = scores["clean"]
    assert clean["validation"] == {"n": 10, "shared": 10}
    assert (clean["n"], clean["n_artists"]) == (0, 0)
    assert "accuracy" not in clean
    assert clean["shared"]["n"] == clean["whole"]["n"] == 20
    (line,) = (x for x in clean_report(clean).splitlines() if x.startswith("clean"))
    assert line.split() == ["clean", "-", "-", "0", "0"]


def test_each_fold_is_compared_with_its_own_training_clips(tiny_run, tmp_path):
    """Two clips of run 1 and one of run 3 share an artist; every other clip has its own."""
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
    scores = crossval(
        config, tiny_run.prepared, out=tmp_path / "cv", folds=3, artists=tmp_path / "a.tsv"
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
        in_fold = (table["fold"] == number) & ~shared
        assert fold["accuracy_clean"] == pytest.approx(hit[in_fold].mean())
    assert (scores["clip"]["interval_over"], scores["clip"]["n"]) == ("artists", 30)
    assert (tmp_path / "cv/reliability.png").stat().st_size > 5000


def test_a_genre_by_one_artist_is_named_before_the_training(tiny_run, tmp_path, caplog):
    rows = open_prepared(tiny_run.prepared).rows.drop_duplicates("track")
    artist = rows["track"].where(rows["genre"] != "jazz", "one")
    text = "".join(f"{t}\t{a}\t\n" for t, a in zip(rows["track"], artist, strict=True))
    (tmp_path / "a.tsv").write_text("track\tartist_group\tfault\n" + text)
    with pytest.raises(InputError):  # the target is a folder with something else
        crossval(
            tiny_run.config, tiny_run.prepared, out=tmp_path, folds=3, artists=tmp_path / "a.tsv"
        )
    assert "all clips of jazz are by one artist" in caplog.text


def test_folds_of_artists_have_every_artist_on_one_side(tiny_run, tmp_path, runner):
    data = open_prepared(tiny_run.prepared)
    clips = data.rows[data.rows["split"] == "train"].drop_duplicates("clip")
    # Three artists per genre, with a track each; one artist has tracks in two genres.
    group = {track: f"artist-{number}" for number, track in enumerate(clips["track"])}
    group[clips["track"].iloc[1]] = group[clips["track"].iloc[0]]
    others = data.rows.loc[data.rows["split"] == "test", "track"].unique()
    lines = [f"{t}\t{group.get(t, t)}\t\n" for t in [*clips["track"], *others]]
    table = tmp_path / "a.tsv"
    table.write_text("track\tartist_group\tfault\n" + "".join(lines))
    out = tmp_path / "cv"
    scores = crossval(
        tiny_settings() | {"data": {"window_s": 5.0, "hop_s": 2.5, "validation_runs": 0}},
        data, out=out, folds=3, group="artist", artists=table,
    )  # fmt: skip
    assert scores["clip"]["n"] == scores["clean"]["n"] == len(clips)
    assert scores["clip"]["interval_over"] == "artists"
    assert scores["clean"]["shared"]["n"] == 0
    predictions = pd.read_csv(out / "predictions.tsv", sep="\t")
    assert sorted(predictions["clip"]) == sorted(clips["clip"])
    assert predictions.groupby("artist")["fold"].nunique().max() == 1
    # Stratified: 30 clips of 10 genres in 3 folds.
    assert predictions.groupby("fold").size().between(9, 11).all()
    assert predictions.groupby(["fold", "genre"]).size().max() <= 2
    for fold in (1, 2, 3):
        trained = load_network(out / f"fold-{fold}")
        selection = select(data, trained.config.data)
        on = {group[t] for t in data.rows["track"].iloc[selection.train]}
        left_out = {group[t] for t in data.rows["track"].iloc[selection.test]}
        assert left_out and not on & left_out
        assert len(selection.train) + len(selection.test) == len(clips)
    leaks = runner.invoke(
        cli, ["leaks", str(data.directory), "--settings", str(out / "fold-1/config.toml")]
    )
    assert leaks.exit_code == 2 and "data.test_tracks" in leaks.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"group": "artist"}, "needs an artist table"),
        ({"group": "genre"}, "expected run or artist"),
        ({"group": "artist", "folds": 31}, "are by 30 artists"),
    ],
)
def test_wrong_folds_are_refused_before_the_training(tiny_run, tmp_path, arguments, message):
    tracks = sorted(set(open_prepared(tiny_run.prepared).rows["track"]))
    text = "track\tartist_group\tfault\n" + "".join(f"{t}\t{t}\t\n" for t in tracks)
    (tmp_path / "a.tsv").write_text(text)
    if "folds" in arguments:
        arguments = {**arguments, "artists": tmp_path / "a.tsv"}
    with pytest.raises(InputError, match=message):
        crossval(tiny_settings(), tiny_run.prepared, out=tmp_path / "cv", **arguments)
    assert not (tmp_path / "cv").exists()
    missing = {"data": {"test_tracks": ["nobody"]}}
    with pytest.raises(InputError, match="no track 'nobody' in the training clips"):
        select(open_prepared(tiny_run.prepared), Config.model_validate(missing).data)
