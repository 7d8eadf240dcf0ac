"""Output directories are complete or absent, even if a process is killed while it writes."""

import errno
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from neuromusic.core import outputs, plan, records
from neuromusic.core.errors import DryRun, InputError, ResourceError
from neuromusic.core.outputs import Step


def make_step(out, command="prepare", seed=1, input_hash="00", **options):
    return Step(command, out, {"seed": seed}, {"a": input_hash}, **options)


def start_writing(out, keep=False):
    """Start a process that makes the directory, and wait until it has written half of it."""
    code = (
        "import time, pathlib\n"
        "from neuromusic.core.outputs import Step\n"
        f"step = Step('prepare', pathlib.Path({str(out)!r}), {{'seed': 1}}, {{'a': '00'}})\n"
        f"with step.directory({keep}) as part:\n"
        "    (part / 'half').write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill_while_writing(out, keep=False, signal_number=signal.SIGKILL):
    process = start_writing(out, keep)
    process.send_signal(signal_number)
    process.wait()


def names(directory):
    return sorted(path.name for path in directory.iterdir())


# --- Complete or absent ---------------------------------------------------------------------------


def test_a_killed_process_leaves_no_directory_at_the_final_place(tmp_path):
    out = tmp_path / "out"
    kill_while_writing(out)
    assert not out.exists()
    assert not make_step(out).is_done()
    assert len(list(tmp_path.glob(".out.partial-*"))) == 1
    with make_step(out).directory() as part:
        (part / "whole").write_text("whole")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["provenance.json", "whole"]


def test_an_earlier_output_survives_a_killed_process_and_is_replaced_by_a_complete_one(tmp_path):
    out = tmp_path / "out"
    with make_step(out).directory() as part:
        (part / "first").write_text("first")
    kill_while_writing(out)
    assert make_step(out).is_done()
    assert names(out) == ["first", "provenance.json"]
    with make_step(out).directory() as part:
        (part / "second").write_text("second")
    assert names(tmp_path) == ["out"]
    assert names(out) == ["provenance.json", "second"]


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(OSError), make_step(tmp_path / "out").directory():
        raise OSError
    assert names(tmp_path) == []


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    out = tmp_path / "out"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with make_step(out).directory() as part:
        (part / "years").write_text("of work")
    out.rename(tmp_path / f".out.partial-{dead.pid}-old")
    with pytest.raises(OSError), make_step(out).directory():
        raise OSError
    assert (out / "years").read_text() == "of work"
    assert names(tmp_path) == ["out"]


# --- Targets --------------------------------------------------------------------------------------


def test_a_directory_that_contains_something_else_is_not_touched(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    for out in ("mine", "mine/thesis.txt"):
        with pytest.raises(InputError):
            make_step(tmp_path / out)
    with make_step(tmp_path / "lists", "lists").directory():
        pass
    with pytest.raises(InputError, match="neuromusic lists"):
        outputs.check_target(tmp_path / "lists", "prepare")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


def test_a_directory_that_fills_up_while_the_inputs_are_hashed_is_not_touched(tmp_path):
    step = make_step(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match="contains something else"), step.directory():
        pytest.fail("it was yielded")
    assert names(tmp_path / "out") == ["thesis.txt"]


@pytest.mark.parametrize("record", [b"{}", b"[1]", b'{"a": 1}', b"half of a rec", b"\xff"])
def test_a_record_that_is_not_ours_protects_the_directory(tmp_path, record):
    (tmp_path / "provenance.json").write_bytes(record)
    assert not records.is_current(tmp_path, records.record("prepare", {}, {}))
    with pytest.raises(InputError, match="contains something else"):
        outputs.check_target(tmp_path, "prepare")


# --- Records --------------------------------------------------------------------------------------


def test_a_step_is_done_if_command_settings_and_inputs_are_the_same(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    out = tmp_path / "out"
    assert not make_step(out).is_done()
    with make_step(out).directory():
        pass
    assert not make_step(out, seed=2, overwrite=True).is_done()
    assert not make_step(out, input_hash="01", overwrite=True).is_done()
    assert not caplog.records
    assert make_step(out).is_done()
    assert "out is up to date" in caplog.text
    assert make_step(out, overwrite=True).is_done()


@pytest.mark.parametrize(
    ("then", "now", "message"),
    [
        ({"a": 1}, {"a": 2}, r"made with other settings \(a was 1, now 2\):"),
        ({"a": {"b": [1]}}, {"a": {"b": [1, 2]}}, r"\(a\.b was \[1\], now \[1, 2\]\):"),
        ({"a": None}, {"a": "x"}, r"\(a was not set, now x\):"),
        ({"a": True}, {}, r"\(a was true, now not set\):"),
        (dict.fromkeys("abcdefgh", 1), dict.fromkeys("abcdefgh", 2), r"now 2 and 3 more\):"),
    ],
)
def test_other_settings_are_named(tmp_path, then, now, message):
    with Step("prepare", tmp_path / "out", then, {}).directory() as part:
        (part / "old").touch()
    with pytest.raises(InputError, match=message) as caught:
        Step("prepare", tmp_path / "out", now, {})
    assert str(caught.value).endswith(
        ": choose another out, or replace it with overwrite=True (--overwrite)"
    )
    with Step("prepare", tmp_path / "out", now, {}, overwrite=True).directory() as part:
        (part / "new").touch()
    assert names(tmp_path / "out") == ["new", "provenance.json"]


def test_other_inputs_and_versions_are_named(tmp_path, monkeypatch):
    out, clips = tmp_path / "out", tmp_path / "clips"
    places = {"clips": clips}
    inputs = {str(clips / "blues" / "1.wav"): "00", str(clips / "2.wav"): "01"}
    with Step("prepare", out, {}, inputs, places).directory():
        pass
    changed = {str(clips / "blues" / "1.wav"): "02", str(clips / "3.wav"): "01"}
    with pytest.raises(InputError) as caught:
        Step("prepare", out, {}, changed, places)
    assert (
        "made from other inputs (clips/2.wav is gone, clips/3.wav is new, clips/blues/1.wav has "
        "changed): choose"
    ) in str(caught.value)
    monkeypatch.setattr(records, "__version__", "99.0")
    with pytest.raises(InputError, match=r"made by version .*, not 99\.0: choose another out"):
        Step("prepare", out, {}, inputs, places)


def test_places_do_not_matter(tmp_path, monkeypatch):
    """The same files, in another directory or named relative to another one, are the same."""
    first, second = tmp_path / "first", tmp_path / "second/deeper"
    for root in (first, second):
        (root / "clips/blues").mkdir(parents=True)
    inputs = {str(first / "clips/blues/1.wav"): "00", str(first / "order.mat"): "01"}
    with Step("lists", tmp_path / "out", {}, inputs, {"clips": first / "clips"}).directory():
        pass
    monkeypatch.chdir(second)
    places = {"clips": Path("clips"), "order": Path("other.mat")}
    inputs = {"clips/blues/1.wav": "00", "other.mat": "01"}
    with pytest.raises(InputError, match=r"order is new"):  # the first record has no such place
        Step("lists", tmp_path / "out", {}, inputs, places)
    moved = {"clips": Path("clips")}
    inputs = {"clips/blues/1.wav": "00", str(tmp_path / "first/order.mat"): "01"}
    assert Step("lists", tmp_path / "out", {}, inputs, moved).is_done()
    inputs = {"clips/rock/1.wav": "00", str(tmp_path / "first/order.mat"): "01"}
    with pytest.raises(InputError, match=r"clips/blues/1\.wav is gone, clips/rock/1\.wav is new"):
        Step("lists", tmp_path / "out", {}, inputs, moved)


def test_an_output_that_lost_files_is_not_up_to_date(tmp_path):
    out = tmp_path / "out"
    with make_step(out).directory() as part:
        (part / "a.npy").touch()
    (out / "a.npy").unlink()
    with pytest.raises(InputError, match=r"out: lacks files that it had \(a\.npy\)"):
        make_step(out)
    assert not make_step(out, overwrite=True).is_done()


def test_the_disk_is_checked_and_a_dry_run_ends_before_anything_is_written(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    (tmp_path / "input").write_bytes(bytes(5000))
    step = make_step(tmp_path / "out", work=plan.Work("all", 1, 2 * free))
    message = r"out: needs about .*, but the disk has only .* free"
    with pytest.raises(ResourceError, match=message), step.directory():
        pytest.fail("it was yielded")
    work = plan.Work("sums of 3 numbers", 200, 1_500_000)
    step = Step("prepare", tmp_path / "out", {}, {str(tmp_path / "input"): "00"}, work=work)
    with pytest.raises(DryRun) as caught, plan.dry_run(), step.directory():
        pytest.fail("it was yielded")
    assert not plan.is_dry_run()
    lines = str(caught.value).splitlines()
    assert lines[1:5] == [
        f"would read     {tmp_path / 'input'} (5 kB)",
        "would compute  sums of 3 numbers",
        f"would write    {tmp_path / 'out'}",
        "time           about 3 min",
    ]
    assert lines[5].startswith("disk           about 1.5 MB (") and lines[5].endswith(" free)")
    assert names(tmp_path) == ["input"]


def test_every_file_is_recorded(tmp_path):
    step = make_step(tmp_path / "out")
    with step.directory() as part:
        (part / "sub").mkdir()
        (part / "sub" / "a.npy").write_bytes(b"abc")
        (part / ".bidsignore").write_bytes(b"")
        (part / "large").write_bytes(b"large")
        step.hashes["large"] = "known"
    record = records.read_record(tmp_path / "out")
    assert record["outputs"] == {
        ".bidsignore": hashlib.sha256(b"").hexdigest(),
        "large": "known",
        "sub/a.npy": hashlib.sha256(b"abc").hexdigest(),
    }
    assert record["places"]["cwd"] == str(Path.cwd())


def test_the_function_and_the_places_of_a_step_are_recorded(tmp_path):
    places = {"lists": tmp_path / "lists"}
    step = Step("export", tmp_path / "out", {}, {}, places, device="cuda", function="export")
    with step.directory():
        pass
    record = records.read_record(tmp_path / "out")
    assert record["function"] == "export"
    assert record["device"] == "cuda"
    assert record["places"] == {"cwd": str(Path.cwd()), "lists": str(tmp_path / "lists")}


# --- Work that is kept ----------------------------------------------------------------------------


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_kept_work_is_given_only_to_an_equal_step(tmp_path, signal_number):
    out = tmp_path / "out"
    kill_while_writing(out, keep=True, signal_number=signal_number)
    assert not out.exists()
    with pytest.raises(OSError), make_step(out).directory(keep=True) as part:
        assert (part / "half").read_text() == "half"
        kept = json.loads((part / "plan.json").read_text())
        assert kept["settings"] == {"seed": 1}
        raise OSError("and again")
    with make_step(out).directory(keep=True) as part:
        assert (part / "half").read_text() == "half"
    assert names(out) == ["half", "provenance.json"]
    assert names(tmp_path) == ["out"]
    kill_while_writing(out, keep=True)
    for options in ({"seed": 2}, {"input_hash": "01"}):
        with make_step(out, **options, overwrite=True).directory(keep=True) as part:
            assert names(part) == ["plan.json"]
        assert names(out) == ["provenance.json"]


def test_work_is_not_kept_if_the_input_is_wrong(tmp_path):
    with pytest.raises(InputError), make_step(tmp_path / "out").directory(keep=True):
        raise InputError("clip 3 is silent")
    assert names(tmp_path) == []


@pytest.mark.posix
@pytest.mark.parametrize("keep", [False, True])
def test_a_full_disk_is_reported_and_kept_work_stays(tmp_path, keep):
    code = (
        "import pathlib, resource\n"
        "from neuromusic.core.errors import ResourceError\n"
        "from neuromusic.core.outputs import Step\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "step = Step('prepare', pathlib.Path('out'), {'seed': 1}, {'a': '00'})\n"
        "try:\n"
        f"    with step.directory({keep}) as part:\n"
        "        (part / 'small').write_text('small')\n"
        "        (part / 'large').write_bytes(bytes(20_000))\n"
        "except ResourceError as error:\n"
        "    print(error, getattr(error, '__notes__', []))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "File too large" in done.stdout and "MiB free" in done.stdout
    assert ("the same command continues it" in done.stdout) == keep
    assert names(tmp_path) == [".out.partial"] * keep


def test_a_note_says_what_is_kept_unless_the_input_is_wrong(tmp_path):
    marker = tmp_path / "last.ckpt"
    for error, has_marker, has_note in (
        (OSError(), False, False),
        (OSError(), True, True),
        (ResourceError("full"), True, True),
        (InputError("wrong"), True, False),
    ):
        marker.touch() if has_marker else marker.unlink(missing_ok=True)
        with (
            pytest.raises(type(error)) as caught,
            outputs.add_resume_note(tmp_path, marker, "resume it"),
        ):
            raise error
        assert getattr(caught.value, "__notes__", []) == ["resume it"] * has_note


# --- Locks ----------------------------------------------------------------------------------------


def test_two_processes_cannot_write_the_same_directory(tmp_path):
    out = tmp_path / "out"
    for keep in (False, True):
        other = start_writing(out, keep)
        try:
            with (
                pytest.raises(InputError, match=f"out: is being written by process {other.pid} on"),
                make_step(out).directory(keep),
            ):
                pytest.fail("two at once")
            with make_step(tmp_path / "beside").directory():
                pass
        finally:
            other.kill()
            other.wait()
        with make_step(out).directory(keep):
            pass
        assert names(tmp_path) == ["beside", "out"]


def test_only_one_of_many_processes_holds_the_lock_at_a_time(tmp_path):
    """Each adds one to a number, without other protection, and removes the lock file."""
    code = (
        "import pathlib, time\n"
        "from neuromusic.core.errors import InputError\n"
        "from neuromusic.core.outputs import locked\n"
        "count = pathlib.Path('count')\n"
        "done = 0\n"
        "while done < 50:\n"
        "    try:\n"
        "        with locked(pathlib.Path('out')) as exclusive:\n"
        "            assert exclusive\n"
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
    assert names(tmp_path) == ["count"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch, caplog, number):
    fcntl = pytest.importorskip("fcntl")

    def flock(file, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with outputs.locked(tmp_path / "out") as exclusive:
        assert not exclusive
    assert "do not start a second process" in caplog.text
    assert caplog.records[0].levelname == "WARNING"
    assert names(tmp_path) == []
    with make_step(tmp_path / "out").directory():
        pass
    assert names(tmp_path) == ["out"]


def test_a_path_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="part of its path is a file"),
        outputs.locked(tmp_path / "file" / "out"),
    ):
        pytest.fail("it was locked")
    (tmp_path / ".out.lock").mkdir()
    with (
        pytest.raises(ResourceError, match=r"out: cannot be written \(Is a directory\)"),
        outputs.locked(tmp_path / "out"),
    ):
        pytest.fail("it was locked")


def test_errors_in_locked_code_do_not_leave_the_lock_file(tmp_path):
    with pytest.raises(KeyError), outputs.locked(tmp_path / "out"):
        assert names(tmp_path) == [".out.lock"]
        raise KeyError
    assert names(tmp_path) == []
