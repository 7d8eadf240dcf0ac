"""Names of files as people have them: accents, bytes that are not UTF-8, tabs, emoji."""

import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers import neuromusic

from neuromusic.core.errors import InputError
from neuromusic.core.folders import nfc
from neuromusic.core.parallel import Machine
from neuromusic.design.artists import read_artists
from neuromusic.design.leaks import DropLeaks
from neuromusic.design.lists import link_or_copy, read_lists
from neuromusic.encoding.sound_responses import find_sounds, read_responses
from neuromusic.evaluation.answers import read_decoding
from neuromusic.features.precomputed import read_log_mel
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare
from neuromusic.stimuli import clips
from neuromusic.stimuli.corpora import Corpus

FORMS = ("NFC", "NFD")
NOT_UTF8 = os.fsdecode(b"Bj\xf6rk.wav")


def write(path, number=0, seconds=1.0):
    """Write noise that depends on the number, whatever the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(number).uniform(-0.3, 0.3, round(seconds * 22050))
    with open(path, "wb") as file:
        soundfile.write(file, wave, 22050, format="WAV")
    return path


def check_refused(done, *texts):
    """Assert that a command ended with one clear line."""
    assert done.returncode == 2, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in lines[0]


def form_of(text, form):
    return unicodedata.normalize(form, text)


# --- NFC and NFD ----------------------------------------------------------------------------------


@pytest.fixture(params=FORMS)
def on_disk(request):
    """The form in which names are on disk."""
    return request.param


@pytest.fixture(params=FORMS)
def in_table(request):
    """The form in which names are in a table."""
    return request.param


def test_lists_have_names_in_nfc_and_lead_to_the_files(tmp_path, on_disk):
    for index, name in enumerate(("Café/Été_1", "Café/Été_2", "Ångström/Ωmega", "Ångström/한글")):
        write(tmp_path / "tree" / form_of(f"{name}.wav", on_disk), index)
    corpus = Corpus("folder", tmp_path / "tree")
    out = make_file_lists(corpus, split="1:0:1", clip_s=0.5, out=tmp_path / "lists")
    table = read_lists(out)
    for column in ("genre", "track", "clip", "path"):
        assert all(unicodedata.is_normalized("NFC", name) for name in table[column])
    assert all((out / path).is_file() for path in table["path"])
    assert all(Path(source).is_file() for source in corpus.table()["source"])
    data = prepare(out, out=tmp_path / "prepared", machine=Machine(workers=1))
    assert data.meta.classes == [form_of("Café", "NFC"), form_of("Ångström", "NFC")]


def test_lists_that_another_system_renamed_are_read(tmp_path):
    """A copy from macOS may have its files in NFD, and an editor may have changed the table."""
    for index, name in enumerate(("Café/é", "Thé/à")):
        write(tmp_path / "tree" / f"{name}.wav", index)
    corpus = Corpus("folder", tmp_path / "tree")
    out = make_file_lists(corpus, split="1:0:0", clip_s=0.5, out=tmp_path / "lists")
    before = read_lists(out)
    for genre in ("Café", "Thé"):
        folder = (out / genre).rename(out / form_of(genre, "NFD"))
        for path in folder.iterdir():
            path.rename(folder / form_of(path.name, "NFD"))
    after = read_lists(out)
    assert all((out / path).is_file() for path in after["path"])
    assert after.drop(columns="path").equals(before.drop(columns="path"))
    table = (out / "train.tsv").read_text("utf-8")
    (out / "train.tsv").write_text(form_of(table, "NFD"), "utf-8")
    assert read_lists(out).equals(after)


def test_the_split_does_not_depend_on_the_form_on_disk(tmp_path):
    splits = []
    for form in FORMS:
        for number, name in enumerate("aéezÉñ"):
            for genre in ("x", "é"):
                write(tmp_path / form / form_of(f"{genre}/{name}.wav", form), number)
        out = make_file_lists(
            Corpus("folder", tmp_path / form), split="1:1:1", clip_s=0.5, out=tmp_path / f"l{form}"
        )
        splits.append(read_lists(out))
    assert splits[0].equals(splits[1])


def test_clips_and_tracks_are_found_in_both_forms(tmp_path, on_disk, in_table):
    write(tmp_path / "in" / form_of("Café.00001.wav", on_disk))
    key = nfc(form_of("Café.00001", in_table))
    path = clips.find_tracks(tmp_path / "in")[key]
    assert path.is_file()
    assert clips.find_clips(tmp_path / "in") == {f"{key}.wav": path}


@pytest.mark.parametrize("kind", [".tsv", ".npz"])
@pytest.mark.parametrize("suffix", ["", ".wav"])
def test_sounds_of_responses_are_found_in_both_forms(tmp_path, on_disk, in_table, kind, suffix):
    names = [f"Café_{number:02d}" for number in range(20)]
    for number, name in enumerate(names):
        write(tmp_path / "in" / form_of(f"{name}.wav", on_disk), number)
    listed = [form_of(name, in_table) + suffix for name in names]
    path = tmp_path / f"responses{kind}"
    if kind == ".tsv":
        table = pd.DataFrame({"sound": listed, "a": np.arange(20.0)})
        table.to_csv(path, sep="\t", index=False)
    else:
        np.savez(path, responses=np.arange(20.0)[:, None], sounds=np.array(listed))
    responses = read_responses(path)
    assert responses.sounds == [nfc(name) for name in listed]
    files = find_sounds(responses.sounds, tmp_path / "in", path)
    assert [nfc(file.stem) for file in files] == names
    assert all(file.is_file() for file in files)


def test_a_sound_that_a_table_names_twice_in_two_forms_is_refused(tmp_path):
    names = [f"s{number}" for number in range(20)] + ["é", form_of("é", "NFD")]
    table = pd.DataFrame({"sound": names, "a": np.arange(22.0)})
    table.to_csv(tmp_path / "r.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="contains the sound 'é' twice"):
        read_responses(tmp_path / "r.tsv")


@pytest.mark.parametrize("name", ["x.WAV", "x.Wav"])
@pytest.mark.parametrize("listed", ["x", "x.wav", "x.WAV"])
def test_the_case_of_a_suffix_does_not_matter(tmp_path, name, listed):
    write(tmp_path / "in" / name)
    assert find_sounds([listed], tmp_path / "in", tmp_path) == [tmp_path / "in" / name]


def test_artists_are_matched_in_both_forms(tmp_path, on_disk, in_table):
    names = ["é1", "é2", "ü1", "ü2"]
    for index, name in enumerate(names):
        write(tmp_path / "tree" / form_of(f"{name[0]}/{name}.wav", on_disk), index)
    rows = "".join(f"{name}\tartist {name}\t\n" for name in names)
    path = tmp_path / "artists.tsv"
    path.write_text(form_of("track\tartist_group\tfault\n" + rows, in_table), "utf-8")
    out = make_file_lists(
        Corpus("folder", tmp_path / "tree"), split="1:0:1", clip_s=0.5, out=tmp_path / "lists",
        drop_leaks=DropLeaks("artist", path),
    )  # fmt: skip
    assert len(read_lists(out)) == 4
    repeated = path.read_text("utf-8") + form_of("é1\tx\t\n", "NFC") + form_of("é1\tx\t\n", "NFD")
    path.write_text(repeated, "utf-8")
    with pytest.raises(InputError, match="is already in row"):
        read_artists(path)


def test_genres_of_other_tables_are_matched_in_both_forms(tmp_path, in_table):
    text = form_of("subject\ty_true\ty_pred\nA\tcafé\tthé\n", in_table)
    (tmp_path / "decoding.tsv").write_text(text, "utf-8")
    assert read_decoding(tmp_path / "decoding.tsv", ["café", "thé"])["answer"].tolist() == ["thé"]
    names = np.array([form_of("café", in_table)])
    np.savez(tmp_path / "f.npz", features=np.zeros((1, 2, 3)), clip=names, genre=names, frame_s=0.1)
    part = read_log_mel(tmp_path / "f.npz")
    assert list(part.clip) == list(part.genre) == ["café"]


@pytest.mark.parametrize("what", ["file", "class"])
def test_names_that_differ_only_in_their_form_are_refused(tmp_path, what):
    for index, form in enumerate(FORMS):
        name = "Café/{}.wav".format("abc"[index]) if what == "class" else "dog/Café.wav"
        write(tmp_path / "tree" / form_of(name, form), index)
    write(tmp_path / "tree/rain/x.wav", 9)
    for line in (
        ("lists", "--from-folder", "tree", "--clip-s", "0.5", "--out", "out"),
        ("stimuli", "validate", "folder", "tree", "--least-s", "0.5"),
        ("orders", "design", "--clips", "tree", "--out", "out"),
    ):
        done = neuromusic(*line, cwd=tmp_path)
        check_refused(done, r"'Caf\xe9", r"'Cafe\u0301", "Unicode normalisation")
    assert not (tmp_path / "out").exists()


def test_classes_that_differ_only_in_case_are_named(tmp_path):
    for index, name in enumerate(("Rock/a.wav", "rock/b.wav", "pop/c.wav")):
        write(tmp_path / "tree" / name, index)
    line = ("lists", "--from-folder", "tree", "--clip-s", "0.5", "--out", "out")
    done = neuromusic(*line, cwd=tmp_path)
    assert done.returncode == 0
    assert "warning: tree: the classes Rock and rock differ only in case" in done.stderr


@pytest.mark.parametrize("link", ["hard", "sym", "copy"])
def test_a_clip_is_never_written_over_another(tmp_path, link):
    """As happens on a disk that does not distinguish upper and lower case."""
    first, second = write(tmp_path / "a.wav", 1), write(tmp_path / "b.wav", 2)
    link_or_copy(first, tmp_path / "out/x.wav", link)
    with pytest.raises(InputError, match=r"b\.wav: has the same name, x\.wav"):
        link_or_copy(second, tmp_path / "out/x.wav", link)
    assert (tmp_path / "out/x.wav").read_bytes() == first.read_bytes()


# --- Names that cannot be used --------------------------------------------------------------------


@pytest.fixture(scope="module")
def sounds(tmp_path_factory, sound_run):
    """A directory with a trained network (run), clips of two genres, responses and events."""
    root = tmp_path_factory.mktemp("names")
    (root / "run").symlink_to(sound_run.directory)
    for number in range(20):
        genre = ("blues", "rock")[number // 10]
        write(root / "clips" / genre / f"{genre}.{number % 10:05d}_15s.wav", number)
    stems = sorted(path.stem for path in (root / "clips").rglob("*.wav"))
    table = pd.DataFrame({"sound": stems, "a": np.random.default_rng(0).normal(size=len(stems))})
    table.to_csv(root / "responses.tsv", sep="\t", index=False)
    func = root / "bids/sub-A/func"
    func.mkdir(parents=True)
    (func / "sub-A_task-Test_run-01_events.tsv").write_text(
        "onset\tduration\tgenre\ttrack\tstart\tend\n0\t15\trock\t1\t0\t15\n"
    )
    return root


FOLDER_COMMANDS = {
    "folder": "lists --from-folder clips --clip-s 0.5 --out out",
    "gtzan": "lists --from-gtzan clips --clip-s 0.5 --out out",
    "validate": "stimuli validate folder clips --least-s 0.5",
    "validate gtzan": "stimuli validate gtzan clips --least-s 0.5",
    "cut": "stimuli cut --tracks clips --bids bids --out out",
    "design": "orders design --clips clips --out out",
    "similar": "similar run --clip clips/rock/rock.00000_15s.wav --among clips --index i.npz",
    "encode": "encode run --sounds clips --responses responses.tsv --splits 1 --out out",
}
BAD = {
    NOT_UTF8: r"clips/rock/Bj\xf6rk.wav: its name is not valid UTF-8; rename it",
    os.fsdecode(b"\xff\xfe/x.wav"): r"clips/rock/\xff\xfe/x.wav: its name is not valid UTF-8",
    "a\tb.wav": r"a\tb.wav': its name contains a tab",
    "a\nb.wav": r"a\nb.wav': its name contains a tab, a line break",
    "a\u2028b.wav": r"a\u2028b.wav': its name contains a tab, a line break",
    "\x1b[31m.wav": r"\x1b[31m.wav': its name contains a tab",
}


@pytest.mark.parametrize(
    ("command", "name"),
    [*((command, NOT_UTF8) for command in FOLDER_COMMANDS),
     *((command, "a\nb.wav") for command in ("validate", "design", "similar")),
     *(("folder", name) for name in list(BAD)[1:])],
    ids=ascii,
)  # fmt: skip
def test_a_name_that_cannot_be_used_is_refused_by_every_command(sounds, command, name):
    path = write(sounds / "clips/rock" / name, 99)
    before = {each.name for each in sounds.iterdir()}
    try:
        done = neuromusic(*FOLDER_COMMANDS[command].split(), cwd=sounds)
    finally:
        path.unlink()
        if path.parent.name != "rock":
            path.parent.rmdir()
    check_refused(done, BAD[name])
    assert {each.name for each in sounds.iterdir()} == before


ARGUMENTS = [
    "predict run NAME", "predict run clips/rock/rock.00000_15s.wav NAME", "predict NAME x.wav",
    "similar run --clip NAME --among clips", "lists --from-folder NAME --out out",
    "stimuli validate folder NAME", "stimuli cut --tracks NAME --bids bids --out out",
    "encode run --sounds clips --responses NAME --out out", "verify NAME", "leaks NAME",
    "lists --from-folder clips --clip-s 0.5 --out NAME", "orders from-bids NAME --out out",
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "name"),
    [*((line, NOT_UTF8) for line in ARGUMENTS), (ARGUMENTS[0], "a\tb.wav"),
     (ARGUMENTS[1], "a\nb.wav"), (ARGUMENTS[3], "a\rb.wav")],
    ids=ascii,
)  # fmt: skip
def test_an_argument_that_cannot_be_used_is_refused(sounds, line, name):
    write(sounds / name, 1)
    before = {each.name for each in sounds.iterdir()}
    line = [word.replace("NAME", name) for word in line.split()]
    try:
        done = neuromusic(*line, cwd=sounds)
    finally:
        (sounds / name).unlink()
    reason = r"Bj\xf6rk.wav: its name is not valid UTF-8; rename it"
    check_refused(done, reason if name == NOT_UTF8 else "its name contains a tab, a line break")
    assert {each.name for each in sounds.iterdir()} == before - {name}


def test_a_file_that_is_not_a_sound_may_have_any_name(tmp_path):
    for index, name in enumerate(("dog/a.wav", "rain/b.wav")):
        write(tmp_path / "tree" / name, index)
    (tmp_path / "tree" / os.fsdecode(b"dog/\xf6.txt")).touch()
    line = ("lists", "--from-folder", "tree", "--clip-s", "0.5", "--out", "out")
    done = neuromusic(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (tmp_path / "out" / os.fsdecode(b"\xf6.txt")).touch()
    done = neuromusic("verify", "out", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert r"\xf6.txt" in done.stdout


ODD = [
    "a b", " a", "a ", "-rf", "--out", "a.", "a..", "100%", "%s %d", "#1", "it's", '"quoted"',
    "a,b", "a;b", "[a]", "{a}", "*", "?", "$HOME", "~", "&", "(1)", "a|b", "😀", "👩‍🚀", "नमस्ते",
    "می‌خواهم", "歌　手", "a\u00a0b", "NA", "nan", "None", "1.0", "001", "true", "con",
    "x" * 240, "日" * 80,
]  # fmt: skip


def test_odd_but_legitimate_names_come_through_unchanged(tmp_path):
    for index, name in enumerate(ODD):
        write(tmp_path / "tree" / ("-a b#%" if index % 2 else '"NA"') / f"{name}.wav", index)
        write(tmp_path / "tree" / name[:80] / f"{index}.wav", 100 + index)
    corpus = Corpus("folder", tmp_path / "tree")
    out = make_file_lists(corpus, split="1:0:0", clip_s=0.5, out=tmp_path / "lists")
    table = read_lists(out)
    assert set(table["clip"]) >= {f"{name}.wav" for name in ODD}
    assert set(table["genre"]) == {"-a b#%", '"NA"', *(name[:80] for name in ODD)}
    assert all((out / path).is_file() for path in table["path"])


def test_odd_names_from_sound_to_prediction(tmp_path, sound_run):
    odd = [name for name in ODD if not name.startswith("x" * 9)]
    for index, name in enumerate(odd):
        write(tmp_path / "in" / f"{name}.wav", index, 3.0)
    files = sorted(f"in/{path.name}" for path in (tmp_path / "in").iterdir())
    done = neuromusic("predict", sound_run.directory, *files, "--out", "p.tsv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "p.tsv", sep="\t", keep_default_na=False, dtype={"file": str})
    assert table["file"].tolist() == files
    done = neuromusic(
        "predict", sound_run.directory, "--", "-rf.wav", "--out.wav", cwd=tmp_path / "in"
    )
    assert done.returncode == 0, done.stderr


ODD_CLASSES = [("NA", "None"), ("1", "01"), ("nan", "n"), ("-a", '"b"')]


@pytest.mark.parametrize(
    "genres", ODD_CLASSES[:1] + [pytest.param(o, marks=pytest.mark.slow) for o in ODD_CLASSES[1:]]
)
def test_classes_with_odd_names_are_trained_and_scored(tmp_path, genres):
    for index, genre in enumerate(genres):
        for number in range(3):
            write(tmp_path / "tree" / genre / f"{genre} #{number}%.wav", 10 * index + number, 3.0)
    (tmp_path / "x.toml").write_text(
        "[data]\nwindow_s = 1.2\nhop_s = 0.5\nwindows_per_epoch = 16\nvalidation_runs = 0\n"
        '[model]\nname = "cortex-z"\n[model.options]\nsize = "tiny"\n'
        "[train]\nepochs = 1\nbatch_size = 8\n"
    )
    for line in (
        "lists --from-folder tree --split 2:0:1 --clip-s 2 --out lists",
        "prepare lists --out prepared --workers 1",
        "train x.toml --prepared prepared --out run",
        "evaluate run",
        "compare run run --out compared",
    ):
        done = neuromusic(*line.split(), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    table = pd.read_csv(
        tmp_path / "run/predictions.tsv", sep="\t", dtype=str, keep_default_na=False
    )
    assert set(table["genre"]) == set(genres)
    assert set(table["predicted"]) <= set(genres)


def test_a_name_that_becomes_too_long_is_refused(tmp_path):
    write(tmp_path / "tree/dog" / ("a" * 200) / f"{'b' * 200}.wav", 1)
    write(tmp_path / "tree/rain/x.wav", 2)
    line = ("lists", "--from-folder", "tree", "--clip-s", "0.5", "--out", "out")
    check_refused(neuromusic(*line, cwd=tmp_path), "at most 255 bytes")
    assert not list(tmp_path.glob("*out*"))
    shutil.rmtree(tmp_path / "tree/dog")
    write(tmp_path / "tree/dog/a\u202eb.wav", 1)  # shown as if it ended in another suffix
    check_refused(neuromusic(*line, cwd=tmp_path), "is not a plain name")
