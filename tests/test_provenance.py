"""Directories that are whole or not there; a real process is killed for it."""

import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from neuromusic import provenance
from neuromusic.errors import InputError

MADE = provenance.record("prepare", {"seed": 1}, {"a": "00"})


def kill_while_it_writes(out):
    """Start a process that makes the directory, and kill it half-way."""
    code = (
        "import time, pathlib\n"
        "from neuromusic.provenance import new_directory, record\n"
        f"with new_directory(pathlib.Path({str(out)!r}), record('prepare', {{}}, {{}})) as part:\n"
        "    (part / 'half').write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGKILL)
    process.wait()


def test_a_killed_process_leaves_nothing_at_the_name(tmp_path):
    out = tmp_path / "out"
    kill_while_it_writes(out)
    assert not out.exists()
    assert not provenance.is_current(out, MADE)
    assert len(list(tmp_path.iterdir())) == 1
    with provenance.new_directory(out, MADE) as part:
        (part / "whole").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in out.iterdir()) == ["provenance.json", "whole"]


def test_an_earlier_output_outlives_a_killed_process_and_is_replaced_by_a_whole_one(tmp_path):
    out = tmp_path / "out"
    with provenance.new_directory(out, MADE) as part:
        (part / "first").write_text("first")
    kill_while_it_writes(out)
    assert provenance.is_current(out, MADE)
    assert sorted(path.name for path in out.iterdir()) == ["first", "provenance.json"]
    with provenance.new_directory(out, MADE) as part:
        (part / "second").write_text("second")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in out.iterdir()) == ["provenance.json", "second"]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(OSError), provenance.new_directory(tmp_path / "out", MADE):
        raise OSError
    assert list(tmp_path.iterdir()) == []


def test_what_holds_something_else_is_not_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    for out in ("mine", "mine/thesis.txt"):
        with pytest.raises(InputError), provenance.new_directory(tmp_path / out, MADE):
            pass
    with provenance.new_directory(tmp_path / "lists", provenance.record("lists", {}, {})):
        pass
    with pytest.raises(InputError, match="neuromusic lists"):
        provenance.check_target(tmp_path / "lists", "prepare")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_current_means_same_command_settings_and_inputs(tmp_path):
    out = tmp_path / "out"
    assert not provenance.is_current(out, MADE)
    with provenance.new_directory(out, MADE):
        pass
    assert provenance.is_current(out, provenance.record("prepare", {"seed": 1}, {"a": "00"}))
    assert not provenance.is_current(out, provenance.record("prepare", {"seed": 2}, {"a": "00"}))
    assert not provenance.is_current(out, provenance.record("prepare", {"seed": 1}, {"a": "01"}))


@pytest.mark.parametrize("record", [b"{}", b"[1]", b'{"a": 1}', b"half of a rec", b"\xff"])
def test_a_record_that_is_none_of_ours_protects_the_directory(tmp_path, record):
    (tmp_path / "provenance.json").write_bytes(record)
    assert not provenance.is_current(tmp_path, MADE)
    with pytest.raises(InputError, match="holds something else"):
        provenance.check_target(tmp_path, "prepare")


def test_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert provenance.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_a_living_process_keeps_its_directory(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        theirs = tmp_path / f".out.partial-{other.pid}"
        theirs.mkdir()
        with provenance.new_directory(tmp_path / "out", MADE):
            pass
        assert theirs.is_dir()
    finally:
        other.kill()
        other.wait()
    while True:
        try:
            os.kill(other.pid, 0)
            time.sleep(0.01)
        except ProcessLookupError:
            break
    with provenance.new_directory(tmp_path / "out", MADE):
        pass
    assert not theirs.exists()


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    out = tmp_path / "out"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with provenance.new_directory(out, MADE) as part:
        (part / "years").write_text("of work")
    out.rename(tmp_path / f".out.partial-{gone.pid}-old")
    with pytest.raises(OSError), provenance.new_directory(out, MADE):
        raise OSError
    assert (out / "years").read_text() == "of work"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_every_file_is_recorded(tmp_path):
    with provenance.new_directory(tmp_path / "out", MADE) as part:
        (part / "sub").mkdir()
        (part / "sub" / "a.npy").write_bytes(b"abc")
        (part / ".bidsignore").write_bytes(b"")
    made = provenance.read_record(tmp_path / "out")
    assert made["outputs"] == {
        ".bidsignore": hashlib.sha256(b"").hexdigest(),
        "sub/a.npy": hashlib.sha256(b"abc").hexdigest(),
    }
    assert made["places"]["cwd"] == os.getcwd()


def test_a_record_is_known_wherever_it_was_made(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        made = provenance.record("prepare", {"seed": 1}, {}, places={"lists": name})
        provenance.write_record(tmp_path / name, made)
    texts = [(tmp_path / name / "provenance.json").read_text() for name in ("a", "b")]
    assert texts[0] != texts[1]
    assert provenance.record_hash(tmp_path / "a") == provenance.record_hash(tmp_path / "b")
    # A record without places, as earlier versions wrote it, is known by the hash of its file.
    del made["places"]
    provenance.write_record(tmp_path / "a", made)
    assert provenance.record_hash(tmp_path / "a") == provenance.sha256(
        tmp_path / "a" / "provenance.json"
    )
