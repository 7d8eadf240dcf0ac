"""What `neuromusic --system` shows, in real processes: versions, devices, nothing personal."""

import os
import platform
import re
import subprocess
import sys
from importlib import metadata

import pytest

from neuromusic.core.system import without_paths


def system(tmp_path, **environment):
    """Run the command as a user whose home directory and variables contain secrets."""
    home = tmp_path / "home/ada-lovelace"
    home.mkdir(parents=True, exist_ok=True)
    secrets = {"HOME": str(home), "API_TOKEN": "t0p-secret", "USER": "ada-lovelace"}
    done = subprocess.run(
        [sys.executable, "-m", "neuromusic", "--system"], cwd=home, timeout=120, check=False,
        capture_output=True, text=True, env=os.environ | secrets | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for secret in ("ada-lovelace", "t0p-secret", str(tmp_path), platform.node()):
        assert secret not in done.stdout
    return dict(re.split(r" {2,}", line, maxsplit=1) for line in done.stdout.splitlines())


def test_versions_devices_and_machine_are_shown(tmp_path):
    shown = system(tmp_path, OMP_NUM_THREADS="1")
    for name in ("torch", "numpy", "filelock"):
        assert shown[name] == metadata.version(name)
    assert shown["python"].startswith(platform.python_version())
    assert shown["OMP_NUM_THREADS"] == "1"
    assert shown["torch works"].startswith("yes: ")
    assert "1 threads" in shown["torch works"]
    assert "devices" in shown or "device 0" in shown
    assert re.match(r"[\d.]+ GiB|unknown", shown["memory"])
    assert "pytest" not in shown


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise OSError('/home/ada-lovelace/lib/libtorch.so: undefined symbol')",
         "no: OSError: libtorch.so: undefined symbol"),
        ("import os; os._exit(3)", "no: exit code 3"),
        ("print('hello')", "no: AttributeError: module 'torch' has no attribute 'cuda'"),
    ],
)  # fmt: skip
def test_a_damaged_torch_is_reported_and_the_rest_is_shown(tmp_path, code, reason):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    shown = system(tmp_path, PYTHONPATH=path, OMP_NUM_THREADS="/home/ada-lovelace")
    assert shown["torch works"].startswith(reason)
    assert shown["OMP_NUM_THREADS"] == "set"
    assert shown["numpy"] == metadata.version("numpy")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/ada/env/lib/libc10.so: no such file", "libc10.so: no such file"),
        (r"Error loading 'C:\Users\Ada L\env\c10.dll' or one", "Error loading 'c10.dll' or one"),
        (r"\\server\ada\c10.dll is missing", "c10.dll is missing"),
        ("CUDA 13/12 and 3 / 4", "CUDA 13/12 and 3 / 4"),
        ("no path", "no path"),
    ],
)
def test_only_the_last_part_of_a_path_remains(text, expected):
    assert without_paths(text) == expected
