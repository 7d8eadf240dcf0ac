"""What other systems lack or write differently: names, paths, line ends, processes."""

import ast
import errno
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
import pytest

from neuromusic.core import files, outputs, records
from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.folders import windows_fault
from neuromusic.design.event_rows import clip_of_source
from neuromusic.features import writer
from neuromusic.stimuli.variants import variant_file_name

PACKAGE = Path(files.__file__).parents[1]
ROOT = PACKAGE.parent


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("a:b.wav", "contains :"), ("what?.wav", "contains ?"), ("<a>|b", "contains < > |"),
        ("CON", "is the name of a device"), ("nul.wav", "is the name of a device"),
        ("Com1.tar.gz", "is the name of a device"), ("lpt9", "is the name of a device"),
        ("aux .txt", "is the name of a device"), ("clip.", "ends with a dot"),
        ("clip ", "ends with a space"),
        ("console.wav", ""), ("com10", ""), ("reggae.00013_15s.wav", ""), ("a.b c.wav", ""),
        (".bidsignore", ""),
    ],
)  # fmt: skip
def test_names_that_windows_does_not_allow_are_found(name, fault):
    assert windows_fault(name) == fault
    if sys.version_info >= (3, 13) and os.name == "nt":  # Python's own opinion
        assert os.path.isreserved(name) is bool(fault)


def test_on_windows_such_a_name_is_refused(monkeypatch):
    assert files.check_file_name("nul.wav", "row 3: clip") == "nul.wav"
    monkeypatch.setattr(files.os, "name", "nt")
    with pytest.raises(InputError, match=r"row 3: clip: 'nul\.wav' is the name of a device, which"):
        files.check_file_name("nul.wav", "row 3: clip")
    assert files.check_file_name("jazz.wav", "row 3: clip") == "jazz.wav"


def test_the_files_of_the_project_have_names_for_every_system():
    tree = (PACKAGE, ROOT / "tests", ROOT / "docs", ROOT / "experiments", ROOT / "orders")
    paths = [path.relative_to(ROOT) for folder in tree for path in folder.rglob("*")]
    assert len(paths) > 300
    assert not [path for path in paths if any(map(windows_fault, path.parts))]
    assert len({str(path).lower() for path in paths}) == len(paths)  # macOS and Windows


def test_written_names_are_allowed_everywhere(tiny_run):
    paths = list(tiny_run.directory.rglob("*"))
    assert len(paths) > 5
    assert not [path for path in paths if windows_fault(path.name)]


# --- Paths ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [r"C:\sounds\rock\a.wav", "C:/sounds/rock/a.wav", r"\\server\share\a.wav", r"rock\a.wav",
     "/sounds/a.wav", "a.wav"],
)  # fmt: skip
def test_a_path_in_events_names_its_file_whatever_the_system(source):
    assert clip_of_source(source) == "a.wav" == PureWindowsPath(source).name


@pytest.mark.parametrize("name", [r"..\secret", r"C:\x", r"a\b", "/x", "a/b", ".."])
def test_names_with_separators_of_any_system_are_refused(name):
    with pytest.raises(InputError, match="is not a plain name"):
        files.check_file_name(name, "here")


def test_variants_of_a_listed_path_have_forward_slashes():
    name = variant_file_name("rock/Train_run-01-01_rock.00000_15s.wav", 3)
    assert "\\" not in name
    assert PureWindowsPath(name).parent == PureWindowsPath("rock")


def test_a_place_recorded_on_windows_is_found_in_a_copy_of_the_project(tmp_path):
    """Records have forward slashes; the drive is left out, and the rest is tried below."""
    (tmp_path / "study/prepared").mkdir(parents=True)
    (tmp_path / "study/runs/a").mkdir(parents=True)
    recorded = PureWindowsPath(r"D:\lab\study\prepared").as_posix()
    candidates = records.places_of(Path(recorded), tmp_path / "study/runs/a")
    assert tmp_path / "study/prepared" in candidates
    assert PureWindowsPath("/lab/study").anchor  # also without a drive it is a root, to be removed


def test_inputs_and_places_are_recorded_with_forward_slashes(tmp_path, monkeypatch):
    class Windows(PurePosixPath):
        def as_posix(self):
            return str(self).replace("\\", "/")

    (tmp_path / "a").write_text("a")
    monkeypatch.setattr(records, "sha256", lambda path: "0" * 64)
    assert list(records.hash_inputs([Windows(r"C:\lists\train.tsv")])) == ["C:/lists/train.tsv"]
    assert records._named_inputs(
        {"inputs": {"/p/lists/train.tsv": "0"}, "places": {"lists": "/p/lists", "cwd": "/p"}}
    ) == {"lists/train.tsv": ["0"]}


def test_a_misspelt_name_is_found_whatever_its_case():
    assert did_you_mean("Cortex-s", ["cortex-s", "cnn4"]) == "; did you mean 'cortex-s'?"


# --- Line ends and encodings ----------------------------------------------------------------------


def test_text_is_written_with_the_same_bytes_on_all_systems():
    """Windows would end lines with CR and LF, and read and write in its own code page."""
    faults = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and (why := _unportable(node)):
                faults.append(f"{path.relative_to(PACKAGE)}:{node.lineno}: {why}")
    assert not faults


def _unportable(call):
    """Return what a call that reads or writes text lacks."""
    given = {keyword.arg for keyword in call.keywords}
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    is_method = isinstance(call.func, ast.Attribute)
    if name == "to_csv" and None not in given and "lineterminator" not in given:
        return "to_csv without lineterminator"
    if name == "write_text" and is_method and "newline" not in given:
        return "write_text without newline"
    n_before = {"write_text": 2, "read_text": 1}.get(name, 0)
    if is_method and len(call.args) < n_before and "encoding" not in given:
        return f"{name} without encoding"
    if name == "open" and not is_method:
        mode = next((arg.value for arg in call.args[1:2] if isinstance(arg, ast.Constant)), "r")
        if "b" not in mode and "encoding" not in given:
            return "open without encoding"
        if "b" not in mode and set(mode) & set("wax") and "newline" not in given:
            return "open without newline"
    return ""


# --- What a system may lack -----------------------------------------------------------------------

WITHOUT = """
import errno, os, select, signal, sys
for module, names in ((os, ("register_at_fork", "sched_getaffinity", "getloadavg", "fork")),
                      (signal, ("pthread_sigmask",)), (select, ("poll",)),
                      (errno, ("EREMOTEIO",))):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
from neuromusic.core import cache, cores, outputs, parallel, progress, system
from neuromusic.cli.main import cli
assert cores.available_cores() >= 1 and cores.why_slow(1) == ""
cli(["--help"])
"""


@pytest.mark.posix
def test_the_core_and_the_commands_are_imported_without_what_windows_lacks():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_space_is_reserved_by_writing_if_the_system_cannot_do_it(tmp_path, monkeypatch):
    expected = writer.new_array(tmp_path / "a.npy", np.float16, (3, 700_001))
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    found = writer.new_array(tmp_path / "b.npy", np.float16, (3, 700_001))
    assert found.shape == expected.shape and not found.any()
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    about = (tmp_path / "b.npy").stat()
    assert getattr(about, "st_blocks", 0) * 512 >= about.st_size or os.name == "nt"


def test_on_windows_no_process_is_asked_whether_it_is_alive(monkeypatch):
    """os.kill(pid, 0) would interrupt it there."""
    monkeypatch.setattr(outputs, "CAN_ASK", False)
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("a signal was sent"))
    assert outputs.is_alive(os.getppid())
    assert not outputs.is_alive(os.getpid())


def test_an_unreachable_disk_is_known_by_the_errors_that_the_system_has():
    assert errno.EIO in files.UNREACHABLE
    assert files.is_unreachable(OSError(errno.ETIMEDOUT, "timed out"))
    assert not files.is_unreachable(OSError(errno.ENOENT, "no such file"))
