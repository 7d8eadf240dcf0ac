"""Directories that are whole or not there; a real process is killed for it."""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neuromusic.core import files, outputs, records
from neuromusic.core.errors import InputError

MADE = records.record("prepare", {"seed": 1}, {"a": "00"})


def start_writing(out, keep=False):
    """Start a process that makes the directory, and wait until it is half-way."""
    code = (
        "import time, pathlib\n"
        "from neuromusic.provenance import new_directory, record\n"
        "made = record('prepare', {'seed': 1}, {'a': '00'})\n"
        f"with new_directory(pathlib.Path({str(out)!r}), made, {keep}) as part:\n"
        "    (part / 'half').write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill_while_it_writes(out, keep=False, signal_number=signal.SIGKILL):
    process = start_writing(out, keep)
    process.send_signal(signal_number)
    process.wait()


def test_a_killed_process_leaves_nothing_at_the_name(tmp_path):
    out = tmp_path / "out"
    kill_while_it_writes(out)
    assert not out.exists()
    assert not records.is_current(out, MADE)
    assert len(list(tmp_path.glob(".out.partial-*"))) == 1
    with outputs.new_directory(out, MADE) as part:
        (part / "whole").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in out.iterdir()) == ["provenance.json", "whole"]


def test_an_earlier_output_outlives_a_killed_process_and_is_replaced_by_a_whole_one(tmp_path):
    out = tmp_path / "out"
    with outputs.new_directory(out, MADE) as part:
        (part / "first").write_text("first")
    kill_while_it_writes(out)
    assert records.is_current(out, MADE)
    assert sorted(path.name for path in out.iterdir()) == ["first", "provenance.json"]
    with outputs.new_directory(out, MADE) as part:
        (part / "second").write_text("second")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in out.iterdir()) == ["provenance.json", "second"]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(OSError), outputs.new_directory(tmp_path / "out", MADE):
        raise OSError
    assert list(tmp_path.iterdir()) == []


def test_what_holds_something_else_is_not_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    for out in ("mine", "mine/thesis.txt"):
        with pytest.raises(InputError), outputs.new_directory(tmp_path / out, MADE):
            pass
    with outputs.new_directory(tmp_path / "lists", records.record("lists", {}, {})):
        pass
    with pytest.raises(InputError, match="neuromusic lists"):
        outputs.check_target(tmp_path / "lists", "prepare")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_current_means_same_command_settings_and_inputs(tmp_path):
    out = tmp_path / "out"
    assert not records.is_current(out, MADE)
    with outputs.new_directory(out, MADE):
        pass
    assert records.is_current(out, records.record("prepare", {"seed": 1}, {"a": "00"}))
    assert not records.is_current(out, records.record("prepare", {"seed": 2}, {"a": "00"}))
    assert not records.is_current(out, records.record("prepare", {"seed": 1}, {"a": "01"}))


@pytest.mark.parametrize("record", [b"{}", b"[1]", b'{"a": 1}', b"half of a rec", b"\xff"])
def test_a_record_that_is_none_of_ours_protects_the_directory(tmp_path, record):
    (tmp_path / "provenance.json").write_bytes(record)
    assert not records.is_current(tmp_path, MADE)
    with pytest.raises(InputError, match="holds something else"):
        outputs.check_target(tmp_path, "prepare")


def test_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert files.sha256(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_two_processes_do_not_make_the_same(tmp_path):
    out = tmp_path / "out"
    for keep in (False, True):
        other = start_writing(out, keep)
        try:
            with (
                pytest.raises(InputError, match=f"out: is being written by process {other.pid} on"),
                outputs.new_directory(out, MADE, keep),
            ):
                pytest.fail("two at once")
            with outputs.new_directory(tmp_path / "beside", MADE):
                pass
        finally:
            other.kill()
            other.wait()
        with outputs.new_directory(out, MADE, keep):
            pass
        assert sorted(path.name for path in tmp_path.iterdir()) == ["beside", "out"]


def test_of_many_processes_that_lock_at_once_one_is_in_at_a_time(tmp_path):
    # Each adds one to a number without any other protection, and removes the lock's file.
    code = (
        "import pathlib, sys, time\n"
        "from neuromusic.errors import InputError\n"
        "from neuromusic.provenance import locked\n"
        "count = pathlib.Path('count')\n"
        "done = 0\n"
        "while done < 50:\n"
        "    try:\n"
        "        with locked(pathlib.Path('out')) as alone:\n"
        "            assert alone\n"
        "            number = int(count.read_text())\n"
        "            time.sleep(0.0005)\n"
        "            count.write_text(str(number + 1))\n"
        "            done += 1\n"
        "    except InputError:\n"
        "        pass\n"
    )
    (tmp_path / "count").write_text("0")
    many = [subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path) for _ in range(4)]
    assert [process.wait(120) for process in many] == [0] * 4
    assert (tmp_path / "count").read_text() == "200"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_kept_work_is_given_again_to_the_same_command_alone(tmp_path, how):
    out = tmp_path / "out"
    kill_while_it_writes(out, keep=True, signal_number=how)
    assert not out.exists()
    with pytest.raises(OSError), outputs.new_directory(out, MADE, keep=True) as part:
        assert (part / "half").read_text() == "half"
        plan = json.loads((part / "plan.json").read_text())
        assert set(plan) == {"command", "settings", "inputs", "code_version"}
        raise OSError("and again")
    with outputs.new_directory(out, MADE, keep=True) as part:
        assert (part / "half").read_text() == "half"
    assert sorted(path.name for path in out.iterdir()) == ["half", "provenance.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    kill_while_it_writes(out, keep=True)
    for other in (
        records.record("prepare", {"seed": 2}, {"a": "00"}),
        records.record("prepare", {"seed": 1}, {"a": "01"}),
    ):
        with outputs.new_directory(out, other, keep=True) as part:
            assert [path.name for path in part.iterdir()] == ["plan.json"]
        assert [path.name for path in out.iterdir()] == ["provenance.json"]


def test_work_is_not_kept_for_what_the_user_gave(tmp_path):
    with pytest.raises(InputError), outputs.new_directory(tmp_path / "out", MADE, keep=True):
        raise InputError("clip 3 is silent")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [False, True])
def test_a_full_disk_is_named_and_kept_work_stays(tmp_path, keep):
    code = (
        "import resource, sys, numpy, pathlib\n"
        "from neuromusic.errors import ResourceError\n"
        "from neuromusic.provenance import new_directory, record\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "made = record('prepare', {'seed': 1}, {'a': '00'})\n"
        "try:\n"
        f"    with new_directory(pathlib.Path('out'), made, {keep}) as part:\n"
        "        (part / 'small').write_text('small')\n"
        "        (part / 'large').write_bytes(bytes(20_000))\n"
        "except ResourceError as error:\n"
        "    print(error, getattr(error, '__notes__', []))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "File too large" in done.stdout and "MiB are free" in done.stdout
    assert ("the same command goes on" in done.stdout) == keep
    assert [path.name for path in tmp_path.iterdir()] == [".out.partial"] * keep


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    out = tmp_path / "out"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with outputs.new_directory(out, MADE) as part:
        (part / "years").write_text("of work")
    out.rename(tmp_path / f".out.partial-{gone.pid}-old")
    with pytest.raises(OSError), outputs.new_directory(out, MADE):
        raise OSError
    assert (out / "years").read_text() == "of work"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_every_file_is_recorded(tmp_path):
    with outputs.new_directory(tmp_path / "out", MADE) as part:
        (part / "sub").mkdir()
        (part / "sub" / "a.npy").write_bytes(b"abc")
        (part / ".bidsignore").write_bytes(b"")
    made = records.read_record(tmp_path / "out")
    assert made["outputs"] == {
        ".bidsignore": hashlib.sha256(b"").hexdigest(),
        "sub/a.npy": hashlib.sha256(b"abc").hexdigest(),
    }
    assert made["places"]["cwd"] == str(Path.cwd())


def test_a_record_is_known_wherever_it_was_made(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        made = records.record("prepare", {"seed": 1}, {}, places={"lists": name})
        records.write_record(tmp_path / name, made)
    texts = [(tmp_path / name / "provenance.json").read_text() for name in ("a", "b")]
    assert texts[0] != texts[1]
    assert records.record_hash(tmp_path / "a") == records.record_hash(tmp_path / "b")
    # A record without places, as earlier versions wrote it, is known by the hash of its file.
    del made["places"]
    records.write_record(tmp_path / "a", made)
    assert records.record_hash(tmp_path / "a") == files.sha256(tmp_path / "a" / "provenance.json")
