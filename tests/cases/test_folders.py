"""Folders as people have them: links, system folders, other files, one class only."""

import itertools
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers import neuromusic

from neuromusic.core.errors import InputError
from neuromusic.design.bids import index_bids
from neuromusic.design.lists import read_lists
from neuromusic.design.orders import EXPERIMENT, GENRES
from neuromusic.design.presentations import load_design
from neuromusic.fmri.bold_files import find_bold
from neuromusic.stimuli.corpora import Corpus


def write(path, number=0, seconds=1.0):
    """Write noise that depends on the number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(number).uniform(-0.3, 0.3, round(seconds * 22050))
    suffix = path.suffix[1:].upper()
    soundfile.write(path, wave, 22050, format={"AIF": "AIFF", "OGA": "OGG"}.get(suffix, suffix))
    return path


def write_tree(root, suffix=".wav", genres=("blues", "rock"), n=2):
    for index, genre in enumerate(genres):
        for number in range(n):
            write(root / genre / f"{genre}.{number:05d}{suffix}", 10 * index + number)
    return root


def list_folder(tmp_path, source, *options):
    """Run `lists` on a folder and return the process; the lists are in ``out``."""
    line = ["lists", f"--from-{options[0] if options else 'folder'}", source, "--clip-s", "0.5"]
    return neuromusic(*line, "--split", "1:0:1", *options[1:], "--out", "out", cwd=tmp_path)


def check_refused(done, *texts, out=None):
    """Assert that a command ended with one clear line and wrote nothing."""
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in lines[0]
    assert out is None or not list(out.parent.glob(f"*{out.name}*"))


# --- Links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "gtzan"])
@pytest.mark.parametrize("what", ["class", "file", "corpus", "chain", "annex"])
def test_links_are_followed(tmp_path, kind, what):
    store = write_tree(tmp_path / "store", genres=("blues", "rock", "pop"), n=4)
    tree = tmp_path / "tree"
    if what == "corpus":
        tree.symlink_to(store)
    else:
        shutil.copytree(store, tree)
        shutil.rmtree(tree / "pop")
    if what == "class":
        (tree / "pop").symlink_to("../store/pop")
    if what == "chain":
        (tmp_path / "one").symlink_to(store / "pop")
        (tree / "pop").symlink_to(tmp_path / "one")
    if what in ("file", "annex"):
        (tree / "pop").mkdir()
        objects = tree / ".git/annex/objects/a/b"
        objects.mkdir(parents=True)
        for number, path in enumerate(sorted((store / "pop").iterdir())):
            target = path
            if what == "annex":  # the content is in a hidden folder, under the name of its hash
                target = objects / f"SHA256E-s1--{number}.wav"
                path.rename(target)
            (tree / "pop" / path.name).symlink_to(os.path.relpath(target, tree / "pop"))
    done = list_folder(tmp_path, "tree", kind)
    assert done.returncode == 0, done.stderr
    table = read_lists(tmp_path / "out")
    assert table["genre"].value_counts().to_dict() == {"blues": 4, "pop": 4, "rock": 4}


@pytest.mark.parametrize(
    ("link", "target"),
    [("up", "."), ("blues/up", ".."), ("blues/self", "."), ("rock/far", "../.."), ("x", "../tree"),
     ("blues/again", "deep")],
)  # fmt: skip
def test_loops_end_and_are_reported(tmp_path, link, target):
    tree = write_tree(tmp_path / "tree")
    write(tree / "blues/deep/other.wav", 7)
    (tree / link).symlink_to(target)
    done = list_folder(tmp_path, "tree")
    assert done.returncode == 0, done.stderr
    assert len(read_lists(tmp_path / "out")) == 5
    assert f"tree/{link} (the same folder as " in done.stdout


@pytest.mark.parametrize(
    ("link", "target"), [("pop", "rock"), ("blues/more", "../rock"), ("pop", "../tree/rock")]
)
def test_a_folder_cannot_belong_to_two_classes(tmp_path, link, target):
    tree = write_tree(tmp_path / "tree")
    (tree / link).symlink_to(target)
    done = list_folder(tmp_path, "tree")
    check_refused(done, f"tree/{link}: is the same folder as tree/rock", out=tmp_path / "out")


def test_a_clip_that_is_found_twice_through_links_is_one_clip(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "clips").mkdir(exist_ok=True)
        (tmp_path / "clips" / name).symlink_to("../store")
    write_tree(tmp_path / "store", genres=GENRES)
    (tmp_path / "clips/rock.00000.wav").symlink_to("../store/rock/rock.00000.wav")
    for path in (tmp_path / "store").rglob("*.wav"):
        path.rename(path.with_name(f"{path.stem}_15s.wav"))
    (tmp_path / "clips/rock.00000.wav").unlink()
    (tmp_path / "clips/rock.00000_15s.wav").symlink_to("../store/rock/rock.00000_15s.wav")
    done = neuromusic("orders", "design", "--clips", "clips", "--out", "new", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "20 of 20 clips are used" in done.stdout


@pytest.mark.parametrize(
    "name", ["blues/blues.00009.wav", "jazz", "blues/more"], ids=["sound", "class", "part of one"]
)
@pytest.mark.parametrize("kind", ["folder", "gtzan"])
def test_a_broken_link_is_named(tmp_path, name, kind):
    tree = write_tree(tmp_path / "tree")
    (tree / name).symlink_to("/not/there")
    done = list_folder(tmp_path, "tree", kind)
    check_refused(done, f"tree/{name}: is a link to /not/there, which does not exist")
    done = neuromusic("stimuli", "validate", kind, "tree", "--least-s", "0.5", cwd=tmp_path)
    assert done.returncode == 1
    assert f"missing: tree/{name}: is a link to /not/there, which does not exist" in done.stdout
    assert not (tmp_path / "out").exists()


def test_a_link_to_itself_and_content_that_was_not_fetched(tmp_path):
    tree = write_tree(tmp_path / "tree")
    (tree / "blues/x.wav").symlink_to("x.wav")
    check_refused(list_folder(tmp_path, "tree"), "tree/blues/x.wav: is a link to x.wav")
    (tree / "blues/x.wav").unlink()
    (tree / "blues/x.wav").symlink_to("../.git/annex/objects/a/b/KEY.wav")
    check_refused(list_folder(tmp_path, "tree"), "fetch its content with 'datalad get'")


def test_broken_links_that_are_not_sounds_do_not_matter(tmp_path):
    tree = write_tree(tmp_path / "tree")
    (tree / "cover.jpg").symlink_to("nowhere.jpg")
    assert list_folder(tmp_path, "tree").returncode == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all files")
def test_a_folder_that_may_not_be_opened_is_named(tmp_path):
    tree = write_tree(tmp_path / "tree")
    (tree / "rock").chmod(0)
    done = list_folder(tmp_path, "tree")
    (tree / "rock").chmod(0o755)
    check_refused(done, "tree/rock: Permission denied")


# --- What is not a sound --------------------------------------------------------------------------

SYSTEM = [
    "@eaDir/blues.00000.wav/SYNOAUDIO_01.wav", "#recycle/blues/blues.00007.wav",
    ".git/annex/objects/x.wav", "__MACOSX/blues/x.wav", "blues/@eaDir/blues.00000.wav",
    "$RECYCLE.BIN/x.wav", "System Volume Information/x.wav", "lost+found/x.wav",
    ".ipynb_checkpoints/blues.wav", ".Trash-1000/files/x.wav", "@Recycle/x.wav", "#snapshot/x.wav",
]  # fmt: skip
SYSTEM_FILES = [".DS_Store", "Thumbs.db", "blues/._blues.00000.wav", "blues/.blues.wav",
                "rock/desktop.ini"]  # fmt: skip


@pytest.mark.parametrize("name", SYSTEM)
def test_system_folders_are_left_out_and_counted(tmp_path, caplog, name):
    caplog.set_level(logging.INFO, "neuromusic")
    tree = write_tree(tmp_path / "tree")
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_bytes(b"not a sound")
    folder = next(part for part in Path(name).parts if part != "blues")
    for corpus in (Corpus("folder", tree), Corpus("gtzan", tree)):
        caplog.clear()
        assert len(corpus.table()) == 4
        assert caplog.messages == [f"{tree}: left out: 1 in {folder}"]


@pytest.mark.parametrize("kind", ["folder", "gtzan"])
def test_commands_leave_out_system_folders(tmp_path, kind):
    tree = write_tree(tmp_path / "tree")
    for name in SYSTEM:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(b"not a sound")
    done = list_folder(tmp_path, "tree", kind)
    assert done.returncode == 0, done.stderr
    assert "2 in @eaDir" in done.stdout
    assert "1 in #recycle" in done.stdout
    assert len(read_lists(tmp_path / "out")) == 4
    done = neuromusic("stimuli", "validate", "folder", "tree", "--least-s", "0.5", cwd=tmp_path)
    assert "no problems" in done.stdout


def test_system_files_are_left_out_and_counted(tmp_path):
    tree = write_tree(tmp_path / "tree")
    for name in SYSTEM_FILES:
        (tree / name).write_bytes(b"\0\5\x16\7")
    done = list_folder(tmp_path, "tree")
    assert done.returncode == 0, done.stderr
    assert "tree: left out: 5 hidden or system files\n" in done.stdout


def test_other_files_are_counted_by_suffix_and_folder(tmp_path):
    tree = write_tree(tmp_path / "tree")
    for name in ("images/a.PNG", "images/b/c.png", "blues/x.jpg", "rock/y.jpg", "notes.txt",
                 "rock/LICENSE", "rock/01. A song"):  # fmt: skip
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    (tree / "images/@eaDir").mkdir()
    (tree / "images/@eaDir/x").touch()
    done = list_folder(tmp_path, "tree")
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if "left out: " in line]
    parts = set(line.removeprefix("tree: left out: ").split(", "))
    assert parts == {"2 .png in images", "2 .jpg in 2 folders", "notes.txt",
                     "2 without a suffix in rock", "1 in @eaDir"}  # fmt: skip
    assert "tree: no sounds in images" in done.stderr


@pytest.mark.parametrize("kind", ["folder", "gtzan"])
def test_a_folder_named_like_a_sound_is_not_a_sound(tmp_path, kind):
    tree = write_tree(tmp_path / "tree")
    (tree / "blues/blues.00000.mp3").mkdir()
    (tree / "blues/extra.wav").mkdir()
    write(tree / "blues/extra.wav/blues.00008.wav", 8)  # like any other folder, it may hold sounds
    done = list_folder(tmp_path, "tree", kind)
    assert done.returncode == 0, done.stderr
    assert len(read_lists(tmp_path / "out")) == 5


@pytest.mark.posix
def test_a_pipe_named_like_a_sound_is_refused_at_once(tmp_path):
    tree = write_tree(tmp_path / "tree")
    os.mkfifo(tree / "rock/x.wav")
    check_refused(list_folder(tmp_path, "tree"), "tree/rock/x.wav: is not a regular file")


def test_a_link_to_a_sound_counts_once_and_in_one_class_only(tmp_path):
    tree = write_tree(tmp_path / "tree")
    sound = next((tree / "rock").glob("*.wav"))
    (tree / "rock/again.wav").symlink_to(sound)
    done = list_folder(tmp_path, "tree")
    assert f"left out: tree/rock/again.wav (the same as tree/rock/{sound.name})" in done.stderr
    assert len(read_lists(tmp_path / "out")) == 4
    other = next(folder for folder in tree.iterdir() if folder.name != "rock")
    (other / "other.wav").symlink_to(sound)
    check_refused(list_folder(tmp_path, "tree"), f"tree/{other.name}/other.wav: is the same")


def test_sounds_outside_the_classes_are_named(tmp_path):
    tree = write_tree(tmp_path / "tree")
    write(tree / "loose.wav", 9)
    done = list_folder(tmp_path, "tree")
    assert "not in the folder of a class: loose.wav" in done.stderr
    assert len(read_lists(tmp_path / "out")) == 4


# --- Classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".aiff", ".AIF", ".oga", ".flac", ".WAV", ".mp3"])
@pytest.mark.parametrize("kind", ["folder", "gtzan"])
def test_classes_may_have_different_formats(tmp_path, kind, suffix):
    write_tree(tmp_path / "tree", genres=("blues",), n=4)
    for number in range(4):
        plain = write(tmp_path / "tree/rock" / f"rock.{number:05d}{suffix.lower()}", 20 + number)
        plain.rename(plain.with_suffix(suffix))
    done = list_folder(tmp_path, "tree", kind)
    assert done.returncode == 0, done.stderr
    assert "in 2 classes" in done.stdout
    assert len(read_lists(tmp_path / "out")) == 8


@pytest.mark.parametrize("start", ["Data", ".", "Data/genres_original"])
@pytest.mark.parametrize("kind", ["folder", "gtzan"])
def test_the_ten_classes_of_gtzan_as_kaggle_distributes_it(tmp_path, kind, start):
    data = tmp_path / "kaggle/Data"
    write_tree(data / "genres_original", genres=GENRES)
    for genre in GENRES:
        image = data / "images_original" / genre / f"{genre}00000.png"
        image.parent.mkdir(parents=True)
        image.touch()
    (data / "features_30_sec.csv").write_text("a,b\n")
    done = list_folder(tmp_path, Path("kaggle") / start, kind)
    assert done.returncode == 0, done.stderr
    assert "in 10 classes" in done.stdout
    assert set(read_lists(tmp_path / "out")["genre"]) == set(GENRES)
    if start != "Data/genres_original":
        assert "10 .png in " in done.stdout
        if kind == "folder":
            assert "the classes are the folders in kaggle/Data/genres_original" in done.stderr
    done = neuromusic(
        "stimuli", "validate", "folder", f"kaggle/{start}", "--least-s", "0.5", cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", ["folder", "gtzan"])
def test_one_class_is_refused(tmp_path, kind):
    write_tree(tmp_path / "tree", genres=("blues",))
    (tmp_path / "tree/rock").mkdir()
    for name in ("a.xyz", "b.xyz"):
        (tmp_path / "tree/rock" / name).touch()
    done = list_folder(tmp_path, "tree", kind)
    check_refused(done, "tree: has one class only, 'blues'", "2 .xyz in rock", out=tmp_path / "out")
    if kind == "folder":
        assert "folders without sounds: rock" in done.stderr
        done = neuromusic("stimuli", "validate", "folder", "tree", "--least-s", "0", cwd=tmp_path)
        assert done.returncode == 1
        assert "missing: tree: has one class only, 'blues'" in done.stdout


def test_a_folder_without_sounds_says_what_is_in_it(tmp_path):
    (tmp_path / "tree/blues").mkdir(parents=True)
    (tmp_path / "tree/blues/a.xyz").touch()
    done = list_folder(tmp_path, "tree")
    check_refused(done, "tree: has no sound files; left out: a.xyz in blues; expected class/file")


def test_a_corpus_with_folds_has_one_list(tmp_path):
    for index, genre in enumerate(("dog", "rain")):
        for fold in (1, 2):
            write(tmp_path / f"tree/{genre}/{fold}-{index}-A.wav", 10 * index + fold)
    line = ("lists", "--from-folder", "tree", "--folds", "--out", "out")
    done = neuromusic(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    tables = sorted(path.name for path in (tmp_path / "out").glob("*.t*"))
    assert tables == ["train.tsv", "train_list.txt"]
    assert "wrote out: 4 train clips in 2 classes, 2 folds as runs of train.tsv" in done.stdout
    assert set(read_lists(tmp_path / "out")["run"]) == {1, 2}


# --- The other commands ---------------------------------------------------------------------------


def write_dataset(root, bids, subject="A"):
    """Write BIDS files of one subject into ``root``: two runs with images, from real events."""
    shutil.copytree(bids / "sub-A", root / f"sub-{subject}")
    for path in sorted((root / f"sub-{subject}/func").iterdir()):
        path = path.rename(path.with_name(path.name.replace("sub-A", f"sub-{subject}")))
        path.with_name(path.name.replace("events.tsv", "bold.nii.gz")).touch()
    return root


def events_of(data):
    """Return the runs with events."""
    return list(load_design(data, EXPERIMENT).runs)


def images_of(data, subject="A"):
    """Return the runs with images."""
    return list(find_bold(index_bids(data), subject, EXPERIMENT.files.tasks))


def as_linked_dataset(tmp_path, bids, what):
    """Return a dataset in which a folder or all files of its subject are links."""
    real = write_dataset(tmp_path / "real", bids)
    linked = tmp_path / "linked"
    linked.mkdir()
    if what == "subject":
        (linked / "sub-A").symlink_to(real / "sub-A")
    elif what == "func":
        (linked / "sub-A").mkdir()
        (linked / "sub-A/func").symlink_to(real / "sub-A/func")
    elif what == "session":
        (linked / "sub-A").mkdir()
        (linked / "sub-A/ses-1").symlink_to(real / "sub-A")
    else:
        (linked / "sub-A/func").mkdir(parents=True)
        for path in (real / "sub-A/func").iterdir():
            (linked / "sub-A/func" / path.name).symlink_to(path)
    (linked / "sub-A.lnk").symlink_to("sub-A")  # a second link to the same subject
    return linked


@pytest.mark.parametrize("what", ["subject", "func", "session", "files"])
def test_links_in_a_dataset_are_followed(tmp_path, tiny_bids, what):
    linked = as_linked_dataset(tmp_path, tiny_bids, what)
    runs = events_of(tiny_bids)
    assert len(runs) == 5
    assert events_of(linked) == images_of(linked) == runs
    assert images_of(tmp_path) == runs  # each image once, though it is found twice
    done = neuromusic("orders", "from-bids", "linked", "--out", "orders", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("folder", [".git", "@eaDir", "__MACOSX", ".heudiconv"])
def test_system_folders_in_a_dataset_are_left_out(tmp_path, tiny_bids, folder):
    data = write_dataset(tmp_path / "data", tiny_bids)
    shutil.copytree(data / "sub-A", data / folder / "sub-A")
    shutil.copytree(data / "sub-A/func", data / "sub-A" / folder / "func")
    runs = events_of(tiny_bids)
    assert len(runs) == 5
    assert events_of(data) == images_of(data) == runs


@pytest.mark.parametrize("suffix", ["events.tsv", "bold.nii.gz"])
def test_content_of_a_dataset_that_was_not_fetched_is_named(tmp_path, tiny_bids, suffix):
    data = write_dataset(tmp_path / "data", tiny_bids)
    path = next((data / "sub-A/func").glob(f"*{suffix}"))
    path.unlink()
    path.symlink_to("../../.git/annex/objects/KEY")
    find = events_of if suffix == "events.tsv" else images_of
    with pytest.raises(InputError, match=rf"{suffix}: is a link to .*'datalad get'"):
        find(data)


def test_a_subject_whose_disk_is_not_mounted_is_named(tmp_path, tiny_bids):
    data = write_dataset(tmp_path / "data", tiny_bids)
    (data / "sub-B").symlink_to("/mnt/not-mounted/sub-B")
    with pytest.raises(InputError, match="sub-B: is a link to /mnt/not-mounted/sub-B"):
        events_of(data)
    with pytest.raises(InputError, match=r"no images of sub-B.*sub-B is a link to /mnt"):
        images_of(data, "B")
    assert len(images_of(data)) == 5  # images of another subject do not need it


@pytest.mark.parametrize("name", ["README", "CHANGES", "derivatives", "sourcedata/sub-B"])
def test_broken_links_beside_the_subjects_do_not_matter(tmp_path, tiny_bids, name):
    """DataLad may put every file into its annex, also a README."""
    data = write_dataset(tmp_path / "data", tiny_bids)
    (data / name).parent.mkdir(exist_ok=True)
    (data / name).symlink_to(".git/annex/objects/KEY")
    assert events_of(data) == images_of(data)
    assert len(events_of(data)) == 5


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("encode", "folder"),
        *itertools.product(["similar", "cut", "clips"], ["folder", "files", "system"]),
    ],
)
def test_every_command_that_takes_a_folder_follows_links(tmp_path, sound_run, command, what):
    real, linked = tmp_path / "real", tmp_path / "linked"
    names = {"cut": "{}.{:05d}.wav", "clips": "{}.{:05d}_15s.wav"}.get(command, "{}{}.wav")
    for index, genre in enumerate(GENRES):
        for number in range(3):
            write(real / "in" / names.format(genre, number), 10 * index + number, seconds=1.0)
    if what == "folder":
        linked.mkdir()
        (linked / "in").symlink_to(real / "in")
        (linked / "again").symlink_to(real / "in")
        (linked / "up").symlink_to(".")
    elif what == "files":
        linked.mkdir()
        for path in (real / "in").iterdir():
            (linked / path.name).symlink_to(path)
    else:
        shutil.copytree(real, linked)
        shutil.copytree(real / "in", linked / "#recycle")
        shutil.copytree(real / "in", linked / "in/.trash")
        for path in (real / "in").iterdir():
            (linked / "in/@eaDir" / path.name).mkdir(parents=True)
            (linked / "in" / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    done = run_on_folder(tmp_path, command, sound_run)
    assert done.returncode == 0, done.stderr
    if command == "similar":
        files = pd.read_csv(tmp_path / "out", sep="\t")["file"]
        assert len(files) == len({Path(file).name for file in files}) == 30


def run_on_folder(tmp_path, command, network):
    """Run a command on the folder ``linked``."""
    if command == "similar":
        line = ["similar", network.directory, "--clip", "real/in/rock0.wav", "--among", "linked",
                "-k", "99", "--index", "index.npz", "--out", "out"]  # fmt: skip
    elif command == "encode":
        rng = np.random.default_rng(0)
        names = sorted(path.stem for path in (tmp_path / "real/in").iterdir())
        table = pd.DataFrame({"sound": names, "a": rng.normal(size=len(names))})
        table.to_csv(tmp_path / "responses.tsv", sep="\t", index=False)
        line = ["encode", network.directory, "--sounds", "linked", "--responses", "responses.tsv",
                "--splits", "1", "--out", "out"]  # fmt: skip
    elif command == "cut":
        func = tmp_path / "bids/sub-A/func"
        func.mkdir(parents=True)
        rows = [f"{15 * i}\t15\t{genre}\t1\t0\t15" for i, genre in enumerate(GENRES)]
        text = "\n".join(["onset\tduration\tgenre\ttrack\tstart\tend", *rows, ""])
        (func / "sub-A_task-Test_run-01_events.tsv").write_text(text)
        for index, genre in enumerate(GENRES):
            write(tmp_path / f"real/in/{genre}.00001.wav", index, 15.0)
            for copy in tmp_path.glob(f"linked/in/{genre}.00001.wav"):
                write(copy, index, 15.0)
        line = ["stimuli", "cut", "--tracks", "linked", "--bids", "bids", "--out", "out"]
    else:
        line = ["orders", "design", "--clips", "linked", "--out", "out"]
    return neuromusic(*line, cwd=tmp_path)


def test_a_broken_link_matters_only_if_its_file_is_needed(tmp_path):
    write_tree(tmp_path / "linked", genres=GENRES)
    for path in (tmp_path / "linked").rglob("*.wav"):
        path.rename(path.with_name(f"{path.stem}_15s.wav"))
    done = neuromusic("orders", "design", "--clips", "linked", "--out", "orders", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    line = ["lists", "--train-order", "orders/ExpTrnOrder.mat", "--test-order",
            "orders/ExpValOrder.mat", "--clips", "linked", "--out", "out"]  # fmt: skip
    (tmp_path / "linked/rock.00077_15s.wav").symlink_to("nowhere")
    assert "lasts 1.00 s" in neuromusic(*line, cwd=tmp_path).stderr
    needed = tmp_path / "linked/blues/blues.00000_15s.wav"
    needed.unlink()
    needed.symlink_to("nowhere")
    check_refused(neuromusic(*line, cwd=tmp_path), "blues.00000_15s.wav: is a link to nowhere")


def test_verify_finds_outputs_through_links(tmp_path):
    write_tree(tmp_path / "tree")
    assert list_folder(tmp_path, "tree").returncode == 0
    (tmp_path / "results").mkdir()
    (tmp_path / "results/mine").symlink_to("../out")
    (tmp_path / "results/latest").symlink_to("mine")
    (tmp_path / "results/up").symlink_to("..")
    (tmp_path / "out/Thumbs.db").touch()
    done = neuromusic("verify", "results", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    n = len(json.loads((tmp_path / "out/provenance.json").read_text())["outputs"])
    assert done.stdout.count(f"{n} of {n} files as recorded") == 1
    with open(tmp_path / "out/train.tsv", "a") as file:
        file.write("\n")
    assert neuromusic("verify", "results", cwd=tmp_path).returncode == 1


def test_a_corpus_is_found_in_the_same_order_whatever_is_linked(tmp_path):
    """The split depends on the order of the files."""
    tree = write_tree(tmp_path / "tree", n=9)
    before = Corpus("folder", tree).table()
    (tree / "blues").rename(tmp_path / "elsewhere")
    (tree / "blues").symlink_to("../elsewhere")
    assert Corpus("folder", tree).table().equals(before)


@pytest.mark.parametrize("what", ["absent", "file", "broken link"])
def test_a_folder_that_is_not_one_is_refused(tmp_path, what):
    if what == "file":
        (tmp_path / "tree").touch()
    if what == "broken link":
        (tmp_path / "tree").symlink_to("nowhere")
    text = {"absent": "no such directory", "file": "is a file",
            "broken link": "is a link to nowhere"}[what]  # fmt: skip
    for kind in ("folder", "gtzan"):
        check_refused(list_folder(tmp_path, "tree", kind), f"tree: {text}")
