"""Names and links that point outside their directory, and manipulated tables, are refused."""

import json
import os
import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import soundfile
from helpers import write_features

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_file_name, write_text
from neuromusic.design.lists import read_lists
from neuromusic.features.precomputed import read_log_mel
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline.augment import augment
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.stimuli import audio
from neuromusic.stimuli.corpora import Corpus
from neuromusic.training.trained import load_network


@pytest.mark.parametrize(
    "name",
    ["../x", "..", ".", "", " ", "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb", "\x1b[31m",
     "x" * 256, "中" * 86, None, 3.5],
)  # fmt: skip
def test_a_name_that_is_unsafe_in_a_directory_is_refused(name):
    with pytest.raises(InputError, match=r"here: .* is not a plain name") as caught:
        check_file_name(name, "here")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["a b.wav", "中文 歌.wav", "x" * 255, "..a", "a..b", ".hidden"])
def test_a_plain_name_is_accepted(name):
    assert check_file_name(name, "here") == name


@pytest.fixture
def lists(small_clips, tmp_path):
    """Lists of two classes with three clips each, as hard links."""
    return make_lists(small_clips, tmp_path, "hard")


def make_lists(small_clips, root, link):
    for genre in ("blues", "rock"):
        (root / "tree" / genre).mkdir(parents=True)
        for path in small_clips.glob(f"{genre}.*"):
            shutil.copy(path, root / "tree" / genre)
    corpus = Corpus("folder", root / "tree")
    return make_file_lists(corpus, split="2:0:1", link=link, out=root / "lists")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("path", "../../x.wav", "points outside"), ("path", "/etc/x.wav", "points outside"),
     ("path", "blues/../../x.wav", "points outside"), ("clip", "../x.wav", "is not a plain name"),
     ("genre", "../../blues", "is not a plain name"), ("run", "one", "is not a whole number")],
)  # fmt: skip
def test_a_list_that_points_outside_its_directory_is_refused(lists, column, value, message):
    table = pd.read_csv(lists / "train.tsv", sep="\t", dtype=str, keep_default_na=False)
    table.loc[1, column] = value
    table.to_csv(lists / "train.tsv", sep="\t", index=False)
    for read in (read_lists, augment):
        with pytest.raises(InputError, match=message):
            read(lists)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b'a\tb\n"', b"split\n1\t2\t3\n", b""])
def test_a_list_that_is_not_a_table_is_refused(lists, content):
    (lists / "train.tsv").write_bytes(content)
    with pytest.raises(InputError, match=r"train\.tsv: "):
        read_lists(lists)


def test_a_row_with_more_cells_than_the_header_is_refused(lists):
    path = lists / "train.tsv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{row}\tmore" for row in rows)]))
    with pytest.raises(InputError, match=r"train\.tsv: .*more cells than the header"):
        read_lists(lists)


def test_links_out_of_a_list_are_followed_only_if_the_list_was_made_of_links(
    small_clips, tmp_path, lists
):
    for root in (tmp_path, tmp_path / "sym"):
        root.mkdir(exist_ok=True)
    linked = make_lists(small_clips, tmp_path / "sym", "sym")
    assert len(read_lists(linked)) == 6
    path = lists / read_lists(lists)["path"][0]
    secret = tmp_path / "private.wav"
    shutil.copy(path, secret)
    path.unlink()
    path.symlink_to(secret)
    with pytest.raises(InputError, match="is a link that points outside"):
        read_lists(lists)


def test_variants_are_not_written_through_a_link(lists, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(lists / "blues", outside)
    before = sorted(outside.iterdir())
    shutil.rmtree(lists / "blues")
    (lists / "blues").symlink_to(outside)
    with pytest.raises(InputError, match="is a link that points outside"):
        augment(lists)
    assert sorted(outside.iterdir()) == before


def test_a_file_is_not_written_through_a_link_with_its_temporary_name(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".a.json.partial").symlink_to(victim)
    write_text(tmp_path / "a.json", "theirs")
    assert victim.read_text() == "mine"
    assert (tmp_path / "a.json").read_text() == "theirs"


@pytest.mark.parametrize("name", ["figures", ".evaluation.json.partial", "metrics.csv"])
def test_a_network_with_a_link_out_of_its_directory_is_refused(run, tmp_path, name):
    (tmp_path / "victim").mkdir()
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="is a link that points outside"):
        load_network(run)


def test_links_within_the_directory_of_a_network_are_accepted(run):
    (run / "latest").symlink_to(run / "config.toml")
    assert load_network(run).classes


def change_rows(prepared, column, row, value):
    path = prepared / "rows.tsv"
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table.loc[row, column] = value
    table.to_csv(path, sep="\t", index=False)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [("clip", "../../x.wav", "is not a plain name"), ("genre", "../../x", "row 3: genre"),
     ("frames", "100000", "row 3: frames"), ("frames", "-1", "row 3: frames"),
     ("frames", "x", "row 3: frames"), ("row", "0", "row 3: row")],
)  # fmt: skip
def test_manipulated_rows_of_a_prepared_set_are_refused(prepared, column, value, message):
    change_rows(prepared, column, 2, value)
    with pytest.raises(InputError, match=message):
        open_prepared(prepared)


@pytest.mark.parametrize(
    ("key", "value"),
    [("classes", ["../../x"]), ("classes", "blues"), ("frame_s", -1.0), ("frame_s", "1"),
     ("n_bands", None), ("front_end", []), ("front_end", {})],
)  # fmt: skip
def test_a_manipulated_description_of_a_prepared_set_is_refused(prepared, key, value):
    meta = json.loads((prepared / "prepared.json").read_text())
    (prepared / "prepared.json").write_text(json.dumps(meta | {key: value}))
    with pytest.raises(InputError, match=r"prepared\.json"):
        open_prepared(prepared)


def test_features_of_clips_with_paths_as_names_are_refused(tmp_path):
    path = write_features(tmp_path / "a.npz")
    content = dict(np.load(path))
    for key in ("clip", "genre"):
        names = content[key].astype("<U40")
        names[3] = "../../x"
        np.savez(path, **(content | {key: names}))
        with pytest.raises(InputError, match=rf"{key}: '\.\./\.\./x' is not a plain name"):
            read_log_mel(path)


def test_linked_files_of_a_folder_stay_in_the_directory_of_their_class(tmp_path, small_clips):
    """A file name cannot contain a separator, and leading dots do not lead upwards."""
    for name in ("x/a..wav", "..x/b.wav", "y z/..blues.wav", "y z/a b 中文.wav"):
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(next(small_clips.iterdir()), tmp_path / "tree" / name)
    out = make_file_lists(
        Corpus("folder", tmp_path / "tree"), split="2:0:0", out=tmp_path / "lists"
    )
    assert read_lists(out)["clip"].tolist() == ["a..wav", "a b 中文.wav"]
    for path in read_lists(out)["path"]:
        assert (out / path).resolve().is_relative_to(out.resolve())
        assert (out / path).is_file()


def test_a_table_of_tracks_cannot_link_a_file_outside_the_lists(tmp_path, small_clips, monkeypatch):
    """tracks.csv of FMA contains a genre, which becomes the name of a directory."""
    source = str(next(small_clips.iterdir()))
    row = {"genre": "../../x", "track": "000002", "clip": "000002.mp3", "source": source}
    for names in (row, row | {"genre": "rock", "clip": "../../x.mp3"}):
        table = pd.DataFrame([names | {"split": "train"}])
        monkeypatch.setattr(Corpus, "table", lambda _, table=table: table)
        with pytest.raises(InputError, match="is not a plain name"):
            make_file_lists(
                Corpus("folder", small_clips), split=None, clip_s=1.0, link="copy",
                out=tmp_path / "a/b/lists",
            )  # fmt: skip
    assert not (tmp_path / "a").exists()


def test_a_path_of_250_characters_is_read(tmp_path):
    """Long names of files and directories with spaces and Chinese characters."""
    deep = tmp_path
    while len(str(deep / "短い 歌.wav")) < 240:
        deep = deep / ("目录 dir" + "x" * 20)
    deep.mkdir(parents=True)
    path = deep / ("短い 歌" + "y" * max(0, 250 - len(str(deep / "短い 歌.wav"))) + ".wav")
    assert len(str(path)) >= 250
    soundfile.write(path, 0.1 * np.ones(22050), 22050, format="WAV")
    assert len(audio.read(path)) == 22050
    path.write_bytes(b"no sound")
    with pytest.raises(InputError) as caught:
        audio.read(path)
    assert str(path) in str(caught.value)


def test_a_message_is_one_printable_line():
    error = InputError("a\x1b[31m\nb\u202e: " + "x" * 100_000)
    assert str(error).isprintable()
    assert len(str(error)) < 30_000
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_weights_of_another_program_are_refused(run):
    safetensors.numpy.save_file({"x": np.zeros(3)}, run / "model.safetensors")
    with pytest.raises(InputError, match="is not a readable file of weights"):
        load_network(run)


def test_a_prepared_set_on_disk_is_never_changed(prepared):
    """Its memory maps are copy-on-write."""
    before = os.stat(prepared / "features.npy").st_mtime_ns
    data = open_prepared(prepared)
    data.features[0, 0, 0] = 7
    del data
    assert os.stat(prepared / "features.npy").st_mtime_ns == before
