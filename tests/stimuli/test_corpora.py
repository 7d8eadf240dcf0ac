"""Corpora: the same tests for every layout on tiny files, then what each layout adds."""

import logging
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner
from helpers import TINY_TOML

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine
from neuromusic.design.lists import read_lists
from neuromusic.evaluation.crossval import fold_runs
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare
from neuromusic.stimuli.corpora import Corpus, fma, folder, gtzan
from neuromusic.training.config import make_config
from neuromusic.training.selection import select


def write(path, number, seconds=1.0, rate_hz=22050):
    """Write noise that depends on the number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(number).uniform(-0.3, 0.3, round(seconds * rate_hz))
    soundfile.write(path, wave, rate_hz)
    return path


def write_tracks(path, rows):
    """Write a tracks.csv with the three header lines of FMA; rows of (id, subset, split, genre)."""
    columns = pd.MultiIndex.from_tuples(
        [("album", "title"), ("set", "split"), ("set", "subset"), ("track", "genre_top")]
    )
    table = pd.DataFrame(
        [("An album, with a comma", split, subset, genre) for _, subset, split, genre in rows],
        columns=columns,
        index=pd.Index([number for number, *_ in rows], name="track_id"),
    )
    table.to_csv(path)
    assert path.read_text().splitlines()[2].startswith("track_id")


class Folder:
    """Arbitrary names of classes and files, with spaces."""

    names = ("Dog bark/1-7 a.ogg", "Dog bark/2-8.ogg", "rain/1-9.wav", "rain/2-7.flac")
    genres = ("Dog bark", "rain")
    absent = "hail"

    def make(self, root):
        (root / "hail").mkdir()

    def corpus(self, root):
        return Corpus("folder", root)


class Gtzan:
    names = (
        "blues/blues.00000.au",
        "blues.00001.au",
        "jazz/jazz.00007.wav",
        "rock.00099.wav",
    )
    genres = ("blues", "jazz", "rock")
    absent = "jazz/jazz.00008.wav"

    def make(self, root):
        pass

    def corpus(self, root):
        return Corpus("gtzan", root)


class Fma:
    names = ("000/000002.mp3", "000/000005.mp3", "099/099134.mp3", "155/155066.mp3")
    genres = ("Hip-Hop", "Rock")
    absent = "000/000140.mp3"

    def make(self, root):
        rows = [
            (2, "small", "training", "Hip-Hop"), (5, "small", "validation", "Hip-Hop"),
            (3, "medium", "training", "Rock"), (140, "small", "training", "Rock"),
            (99134, "small", "training", "Hip-Hop"), (155066, "small", "test", "Rock"),
        ]  # fmt: skip
        write_tracks(root / "tracks.csv", rows)

    def corpus(self, root):
        return Corpus("fma", root, root / "tracks.csv")


LAYOUTS = [Folder(), Gtzan(), Fma()]


@pytest.fixture(params=LAYOUTS, ids=lambda layout: type(layout).__name__)
def layout(request, tmp_path):
    request.param.make(tmp_path)
    for number, name in enumerate(request.param.names):
        write(tmp_path / name, number)
    return request.param


def test_every_layout_lists_the_files_that_exist(layout, tmp_path):
    files = layout.corpus(tmp_path).table()
    assert list(files)[:4] == ["genre", "track", "clip", "source"]
    assert sorted(files["source"]) == sorted(str(tmp_path / name) for name in layout.names)
    assert tuple(sorted(set(files["genre"]))) == layout.genres
    assert files["clip"].is_unique
    assert files["track"].is_unique


def test_every_layout_reports_problems(layout, tmp_path):
    def validate(least_s=0.9):
        problems = layout.corpus(tmp_path).validate(least_s)
        others = [p for p in problems if p.kind != "missing"]
        return problems, {(p.kind, p.file) for p in others}

    problems, others = validate()
    assert not others
    assert str(tmp_path / layout.absent) in {p.file for p in problems if p.kind == "missing"}
    short, corrupt, copy = (tmp_path / name for name in layout.names[:3])
    write(short, 9, seconds=0.5)
    corrupt.write_bytes(corrupt.read_bytes()[:20])
    copy.write_bytes((tmp_path / layout.names[3]).read_bytes())
    _, others = validate()
    # Of two equal files the later one is the copy.
    duplicates = {("duplicate", str(tmp_path / name)) for name in layout.names[2:]}
    assert others - duplicates == {("short", str(short)), ("corrupt", str(corrupt))}
    assert len(others & duplicates) == 1
    # Half of the samples are missing, but the header is intact.
    if short.suffix != ".mp3":
        whole = write(short, 9).read_bytes()
        short.write_bytes(whole[: len(whole) // 2])
        assert any(file == str(short) for _, file in validate()[1])


def test_every_layout_makes_lists(layout, tmp_path, tmp_path_factory, caplog):
    caplog.set_level(logging.INFO, "neuromusic")
    corpus = layout.corpus(tmp_path)
    files = corpus.table()
    split = None if "split" in files else "1:0:1"
    out = tmp_path_factory.mktemp("lists") / "out"  # not inside the corpus
    for _ in range(2):
        make_file_lists(corpus, split=split, clip_s=0.9, out=out, link="copy")
    assert "unchanged" in caplog.messages[-1]
    table = read_lists(out)
    faulty = files[files["fault"].notna()] if "fault" in files else files[:0]
    assert len(table) == len(files) - len(faulty)
    assert all((out / path).is_file() for path in table["path"])
    assert table[["run", "trial", "onset_s", "volume"]].isna().all(axis=None)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    for source in faulty["source"]:
        assert any(line.startswith(f"{source}: ") for line in warnings)


def test_a_corpus_without_a_split_is_not_listed_without_one(layout, tmp_path):
    corpus = layout.corpus(tmp_path)
    if "split" in corpus.table():
        pytest.skip("has its own split")
    with pytest.raises(InputError, match='give split="70:15:15"'):
        make_file_lists(corpus, split=None, clip_s=0.9, out=tmp_path / "lists")
    assert not (tmp_path / "lists").exists()


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: type(layout).__name__)
def test_every_layout_refuses_other_directories(layout, tmp_path):
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match=r"expected|such as"):
            layout.corpus(place).table()


def test_the_corrupt_track_of_gtzan_is_reported_and_left_out(tmp_path, caplog):
    corpus = Corpus("gtzan", tmp_path / "genres")
    options = {"split": "1:0:1", "clip_s": 0.9, "link": "copy"}
    paths = [write(tmp_path / f"genres/jazz/jazz.{n:05d}.wav", n) for n in (53, 54, 55)]
    paths[1].write_bytes(b"RIFF")
    write(tmp_path / "genres/rock.00001.wav", 1)
    table = read_lists(make_file_lists(corpus, out=tmp_path / "lists", **options))
    assert f"{paths[1]}: is corrupt in the distributed set; left out" in caplog.messages
    assert sorted(table["track"]) == ["jazz.00053", "jazz.00055", "rock.00001"]
    paths[2].write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"jazz\.00055\.wav: is not a readable sound file"):
        make_file_lists(corpus, out=tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_fma_keeps_its_published_split(tmp_path):
    Fma().make(tmp_path)
    for number, name in enumerate(Fma.names):
        write(tmp_path / name, number)
    files = Fma().corpus(tmp_path).table().set_index("track")
    assert files["split"].to_dict() == {
        "000002": "train", "000005": "valid", "099134": "train", "155066": "test",
    }  # fmt: skip
    assert files["fault"].notna().to_dict() == {
        "000002": False, "000005": False, "099134": True, "155066": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(2, "medium", "training", "Rock")], "has no clip of the subset 'small'"),
        ([("../2", "small", "training", "Rock")], "must be track numbers"),
        ([(-2, "small", "training", "Rock")], "must be track numbers"),
        ([(2, "small", "training", None)], "track 2: has no genre_top or no split"),
        ([(2, "small", "train", "Rock")], "track 2: has no genre_top or no split"),
        ([], "has no clip"),
    ],
)
def test_a_wrong_tracks_csv_is_refused(tmp_path, rows, message):
    write_tracks(tmp_path / "tracks.csv", rows)
    with pytest.raises(InputError, match=message):
        fma.table(tmp_path, tmp_path / "tracks.csv")
    for text in ("", "a,b\n1,2\n", "a,b\n1,2\n3,4\n5,6\n"):
        (tmp_path / "plain.csv").write_text(text)
        with pytest.raises(InputError, match=r"plain\.csv: "):
            fma.table(tmp_path, tmp_path / "plain.csv")


def test_the_number_of_files_and_known_faults_are_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Fma().make(tmp_path)
    for number, name in enumerate(Fma.names):
        write(tmp_path / name, number)
    done = command("lists --from-fma . --tracks tracks.csv --clip-s 0.9 --out lists")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == ".: has 4 of 8000 files"
    assert (
        lines[1] == "wrote lists: 1 train, 1 valid, 1 test clips in 2 classes, split as published"
    )
    warning = "warning: 099/099134.mp3: is corrupt in the distributed set; left out"
    assert warning in done.stderr.splitlines()


def test_files_of_the_same_name_in_two_classes_get_different_names(tmp_path):
    for number, name in enumerate(("cat/01.wav", "dog/01.wav", "dog/02.wav")):
        write(tmp_path / name, number)
    files = folder.table(tmp_path)
    assert files["clip"].tolist() == ["cat_01.wav", "dog_01.wav", "02.wav"]
    write(tmp_path / "dog/a/b.wav", 5)
    write(tmp_path / "dog/a_b.wav", 6)
    with pytest.raises(InputError, match=r"a_b\.wav: would have the same name"):
        folder.table(tmp_path)


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Two classes in two folds, prepared; each clip 3 s, half of it silence."""
    root = tmp_path_factory.mktemp("folds")
    for label, genre in enumerate(("dog bark", "rain")):
        for fold in (1, 2):
            for number in range(2):
                path = root / f"tree/{genre}/{fold}-{10 * label + number}-A.wav"
                write(path, 100 * fold + 10 * label + number, 3.0)
                wave, _ = soundfile.read(path)
                wave[len(wave) // 2 :] = 0
                soundfile.write(path, wave, 22050)
    lists = make_file_lists(
        Corpus("folder", root / "tree", folds=True), split=None, clip_s=2.9, out=root / "lists",
        link="copy",
    )  # fmt: skip
    prepare(lists, out=root / "prepared", machine=Machine(workers=1))
    return root


def test_a_fold_is_a_run_without_a_time_grid(folds):
    table = read_lists(folds / "lists")
    assert Counter(table["run"]) == {1: 4, 2: 4}
    assert set(table["split"]) == {"train"}
    assert table[["trial", "repeat", "onset_s", "volume"]].isna().all(axis=None)
    data = open_prepared(folds / "prepared")
    assert data.presentations is None
    assert fold_runs(data, 2) == [[1], [2]]
    tree = {"data": {"test_runs": [2], "validation_runs": 0}}
    chosen = select(data, make_config(tree, "test").data)
    assert set(data.rows["run"].iloc[chosen.test]) == {2}
    assert set(data.rows["run"].iloc[chosen.train]) == {1}
    assert len(chosen.valid) == 0


def test_a_file_without_a_fold_is_refused(tmp_path):
    write(tmp_path / "dog/1-1.wav", 1)
    write(tmp_path / "dog/bark.wav", 2)
    write(tmp_path / "rain/1-2.wav", 3)
    with pytest.raises(InputError, match=r"bark\.wav: has no fold"):
        folder.table(tmp_path, folds=True)


def command(line):
    """Run a command in this process, as `neuromusic` does."""
    return CliRunner().invoke(cli, line.split())


def test_folds_are_cross_validated_and_not_exported(folds, monkeypatch):
    monkeypatch.chdir(folds)
    (folds / "tiny.toml").write_text(TINY_TOML)
    done = command(
        "crossval tiny.toml --prepared prepared --folds 2 --out cv --set data.window_s=1.2 "
        "--set data.hop_s=0.3 --set data.validation_runs=0 --set data.windows_per_epoch=16 "
        "--set train.epochs=1"
    )
    assert done.exit_code == 0, done.output
    table = pd.read_csv("cv/predictions.tsv", sep="\t")
    assert len(table) == 8
    assert (table["fold"] == table["run"]).all()
    done = command("evaluate cv/fold-1")
    assert done.exit_code == 0, done.output
    assert "timeline: the set has no whole scanner run" in done.output
    # Of seven windows of 1.2 s, every 0.3 s, the last (1.8 to 3 s) holds none of the first 1.5 s.
    assert re.search(r"window .* 24\n", done.output), done.output
    refused = command("export cv/fold-1 --lists lists --out new")
    assert refused.exit_code == 2
    assert "has no scanner runs" in refused.output
    assert not (folds / "new").exists()


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ("stimuli validate folder tree --least-s 3", 0, "no problems"),
        ("stimuli validate folder tree --least-s 4", 1, "8 problems"),
        ("stimuli validate folder nowhere", 2, "nowhere: no such directory"),
        ("stimuli validate fma tree", 2, "fma needs --tracks"),
        ("stimuli validate gtzan tree", 2, "tree: has no track of GTZAN"),
        ("lists --from-folder tree --folds --clip-s 15 --out new", 2, "clip_s sets the shortest"),
        ("lists --from-folder tree --folds --split 1:1:1 --out new", 2, "excludes --split"),
        ("lists --from-gtzan tree --out new", 2, "has no track of GTZAN"),
        ("lists --from-fma tree --out new", 2, "--from-fma and --tracks go together"),
        ("lists --from-fma tree --tracks x.csv --out new", 2, "x.csv: no such file"),
        ("lists --from-fma tree --from-gtzan tree --out new", 2, "one of --from-folder"),
        ("lists --from-folder tree --folds --clip-s 3 --out listed", 0, "8 train"),
        ("lists --from-folder tree --folds --clip-s 3 --out listed", 0, "unchanged"),
    ],
)
def test_exit_codes_and_messages(folds, monkeypatch, line, code, message):
    monkeypatch.chdir(folds)
    done = command(line)
    assert done.exit_code == code, done.output
    assert message in " ".join(done.output.split())
    assert not (folds / "new").exists()


def test_esc10_is_listed_with_its_folds(shared, tmp_path):
    root = shared / "data/esc10"
    files = folder.table(root, folds=True)
    assert len(files) == 320
    assert set(Counter(zip(files["genre"], files["run"], strict=True)).values()) == {8}
    assert files["clip"].is_unique
    for path in files.groupby(["genre", "run"]).head(1)["source"]:
        link = tmp_path / "some" / Path(path).relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    some = Corpus("folder", tmp_path / "some", folds=True)
    lists = make_file_lists(some, split=None, clip_s=3.6, out=tmp_path / "lists", link="sym")
    assert len(read_lists(lists)) == 40
    with pytest.raises(InputError, match=r"4-164661-B\.ogg: lasts 3\.64 s"):
        make_file_lists(
            Corpus("folder", root, folds=True), split=None, clip_s=4.9, out=tmp_path / "new"
        )


def test_real_gtzan_tracks_are_found(shared):
    root = shared / "data/gtzan/genres"
    files = gtzan.table(root)
    assert Counter(files["genre"]) == dict.fromkeys(files["genre"], 8)
    problems = gtzan.validate(root, 15.0)
    assert Counter(problem.kind for problem in problems) == {"missing": 920}
