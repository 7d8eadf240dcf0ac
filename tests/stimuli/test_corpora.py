"""Sets of sound files: one test over all layouts, tiny real files; then each layout's own ways."""

import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import soundfile
from click.testing import CliRunner
from helpers import TINY_TOML

from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.design.lists import read_lists
from neuromusic.evaluation.crossval import fold_runs
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline import prepare
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.stimuli.corpora import fma, folder, gtzan
from neuromusic.training.config import make_config
from neuromusic.training.selection import select


def quiet(text):
    pass


def write(path, number, seconds=1.0, rate_hz=22050):
    """Write noise that no other number gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(number).uniform(-0.3, 0.3, round(seconds * rate_hz))
    soundfile.write(path, wave, rate_hz)
    return path


def write_tracks(path, rows):
    """Write a tracks.csv with FMA's header of three lines; rows of (id, subset, split, genre)."""
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
    """Any names of classes and files, blanks included."""

    names = ("Dog bark/1-7 a.ogg", "Dog bark/2-8.ogg", "rain/1-9.wav", "rain/2-7.flac")
    genres = ("Dog bark", "rain")
    absent = "hail"

    def make(self, root):
        (root / "hail").mkdir()

    def table(self, root):
        return folder.table(root)

    def validate(self, root, least_s):
        return folder.validate(root, least_s)


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

    def table(self, root):
        return gtzan.table(root)

    def validate(self, root, least_s):
        return gtzan.validate(root, least_s)


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

    def table(self, root):
        return fma.table(root, root / "tracks.csv")

    def validate(self, root, least_s):
        return fma.validate(root, root / "tracks.csv", least_s)


LAYOUTS = [Folder(), Gtzan(), Fma()]


@pytest.fixture(params=LAYOUTS, ids=lambda layout: type(layout).__name__)
def layout(request, tmp_path):
    request.param.make(tmp_path)
    for number, name in enumerate(request.param.names):
        write(tmp_path / name, number)
    return request.param


def test_every_layout_lists_what_is_there(layout, tmp_path):
    files = layout.table(tmp_path)
    assert list(files)[:4] == ["genre", "track", "clip", "source"]
    assert sorted(files["source"]) == sorted(str(tmp_path / name) for name in layout.names)
    assert tuple(sorted(set(files["genre"]))) == layout.genres
    assert files["clip"].is_unique
    assert files["track"].is_unique


def test_every_layout_names_what_is_wrong(layout, tmp_path):
    def found(least_s=0.9):
        problems = layout.validate(tmp_path, least_s)
        others = [p for p in problems if p.kind != "missing"]
        return problems, {(p.kind, p.file) for p in others}

    problems, others = found()
    assert not others
    assert str(tmp_path / layout.absent) in {p.file for p in problems if p.kind == "missing"}
    short, corrupt, copy = (tmp_path / name for name in layout.names[:3])
    write(short, 9, seconds=0.5)
    corrupt.write_bytes(corrupt.read_bytes()[:20])
    copy.write_bytes((tmp_path / layout.names[3]).read_bytes())
    _, others = found()
    # Of two equal files the later one is the copy.
    twins = {("duplicate", str(tmp_path / name)) for name in layout.names[2:]}
    assert others - twins == {("short", str(short)), ("corrupt", str(corrupt))}
    assert len(others & twins) == 1
    # Half of the samples are gone though the header is whole.
    if short.suffix != ".mp3":
        whole = write(short, 9).read_bytes()
        short.write_bytes(whole[: len(whole) // 2])
        assert any(file == str(short) for _, file in found()[1])


def test_every_layout_makes_lists(layout, tmp_path):
    said = []
    files = layout.table(tmp_path)
    split = None if "split" in files else "1:0:1"
    out = tmp_path / "lists"
    for _ in range(2):
        make_file_lists(files, split, 0, 0.9, out, "copy", said.append)
    assert "unchanged" in said[-1]
    table = read_lists(out)
    known = files[files["fault"].notna()] if "fault" in files else files[:0]
    assert len(table) == len(files) - len(known)
    assert all((out / path).is_file() for path in table["path"])
    assert table[["run", "trial", "onset_s", "volume"]].isna().all(axis=None)
    for source in known["source"]:
        assert any(line.startswith(f"warning: {source}: ") for line in said)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: type(layout).__name__)
def test_every_layout_refuses_what_it_is_not(layout, tmp_path):
    for place in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match=r"expected|such as"):
            layout.table(place)


def test_the_corrupt_track_of_gtzan_is_named_and_left_out(tmp_path):
    def make_lists(name, say):
        files = gtzan.table(tmp_path / "genres")
        return make_file_lists(files, "1:0:1", 0, 0.9, tmp_path / name, "copy", say)

    paths = [write(tmp_path / f"genres/jazz/jazz.{n:05d}.wav", n) for n in (53, 54, 55)]
    paths[1].write_bytes(b"RIFF")
    said = []
    table = read_lists(make_lists("lists", said.append))
    assert said[0] == f"warning: {paths[1]}: is corrupt in the distributed set; left out"
    assert sorted(table["track"]) == ["jazz.00053", "jazz.00055"]
    paths[2].write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"jazz\.00055\.wav: is no readable sound file"):
        make_lists("new", said.append)
    assert not (tmp_path / "new").exists()


def test_fma_keeps_its_split(tmp_path):
    Fma().make(tmp_path)
    for number, name in enumerate(Fma.names):
        write(tmp_path / name, number)
    files = Fma().table(tmp_path).set_index("track")
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
        ([("../2", "small", "training", "Rock")], "holds other things than numbers"),
        ([(-2, "small", "training", "Rock")], "holds other things than numbers"),
        ([(2, "small", "training", None)], "track 2: lacks its genre_top or its split"),
        ([(2, "small", "train", "Rock")], "track 2: lacks its genre_top or its split"),
        ([], "has no clip"),
    ],
)
def test_a_wrong_tracks_csv_is_named(tmp_path, rows, message):
    write_tracks(tmp_path / "tracks.csv", rows)
    with pytest.raises(InputError, match=message):
        fma.table(tmp_path, tmp_path / "tracks.csv")
    for text in ("", "a,b\n1,2\n", "a,b\n1,2\n3,4\n5,6\n"):
        (tmp_path / "plain.csv").write_text(text)
        with pytest.raises(InputError, match=r"plain\.csv: "):
            fma.table(tmp_path, tmp_path / "plain.csv")


def test_how_much_of_a_set_is_there_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Fma().make(tmp_path)
    for number, name in enumerate(Fma.names):
        write(tmp_path / name, number)
    done = command("lists --from-fma . --tracks tracks.csv --clip-s 0.9 --out lists")
    assert done.exit_code == 0, done.output
    said = done.stdout.splitlines()
    assert said[0] == ".: has 4 of 8000 files"
    assert said[1] == "warning: 099/099134.mp3: is corrupt in the distributed set; left out"
    assert said[2] == "wrote lists: 1 train, 1 valid, 1 test clips in 2 classes, split as published"


def test_files_of_one_name_in_two_classes_stay_two(tmp_path):
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
        folder.table(root / "tree", folds=True), None, 0, 2.9, root / "lists", "copy", quiet
    )
    prepare.make_prepared(lists, root / "prepared", 0, 1, quiet)
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


def test_a_file_without_a_fold_is_named(tmp_path):
    write(tmp_path / "dog/1-1.wav", 1)
    write(tmp_path / "dog/bark.wav", 2)
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
    assert "timeline.png: the set has no whole scanner run" in done.output
    # Of seven windows of 1.2 s, every 0.3 s, the last (1.8 to 3 s) holds none of the first 1.5 s.
    assert re.search(r"window .* 24\n", done.output), done.output
    refused = command("export cv/fold-1 --lists lists --out new")
    assert refused.exit_code == 2
    assert "has no scanner runs to export to" in refused.output
    assert not (folds / "new").exists()


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("stimuli validate folder tree --least-s 3", 0, "no problems"),
        ("stimuli validate folder tree --least-s 4", 1, "8 problems"),
        ("stimuli validate folder nowhere", 2, "nowhere: no such directory"),
        ("stimuli validate fma tree", 2, "fma and --tracks go together"),
        ("stimuli validate gtzan tree", 2, "tree: has no track of GTZAN"),
        ("lists --from-folder tree --folds --clip-s 15 --out new", 2, "--clip-s sets the shortest"),
        ("lists --from-folder tree --folds --split 1:1:1 --out new", 2, "goes without --split"),
        ("lists --from-gtzan tree --out new", 2, "has no track of GTZAN"),
        ("lists --from-fma tree --out new", 2, "--from-fma and --tracks go together"),
        ("lists --from-fma tree --tracks x.csv --out new", 2, "x.csv: no such file"),
        ("lists --from-fma tree --from-gtzan tree --out new", 2, "one of --from-folder"),
        ("lists --from-folder tree --folds --clip-s 3 --out listed", 0, "8 train"),
        ("lists --from-folder tree --folds --clip-s 3 --out listed", 0, "unchanged"),
    ],
)
def test_exit_codes(folds, monkeypatch, line, code, said):
    monkeypatch.chdir(folds)
    done = command(line)
    assert done.exit_code == code, done.output
    assert said in " ".join(done.output.split())
    assert not (folds / "new").exists()


def test_the_real_esc10(shared, tmp_path):
    root = shared / "data/esc10"
    files = folder.table(root, folds=True)
    assert len(files) == 320
    assert set(Counter(zip(files["genre"], files["run"], strict=True)).values()) == {8}
    assert files["clip"].is_unique
    some = files.groupby(["genre", "run"]).head(1)
    lists = make_file_lists(some, None, 0, 3.6, tmp_path / "lists", "sym", quiet)
    assert len(read_lists(lists)) == 40
    with pytest.raises(InputError, match=r"4-164661-B\.ogg: lasts 3\.64 s"):
        make_file_lists(files, None, 0, 4.9, tmp_path / "new", "sym", quiet)


def test_the_real_gtzan(shared):
    root = shared / "data/gtzan/genres"
    files = gtzan.table(root)
    assert Counter(files["genre"]) == dict.fromkeys(files["genre"], 8)
    problems = gtzan.validate(root, 15.0)
    assert Counter(problem.kind for problem in problems) == {"missing": 920}
