"""Damaged files for the readers of experiments/fuzz, and the fuzzer itself."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuromusic.core.errors import InputError

FUZZ = Path(__file__).parents[2] / "experiments/fuzz"
SPEC = importlib.util.spec_from_file_location("targets", FUZZ / "targets.py")
targets = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(targets)


@pytest.mark.parametrize("target", targets.READERS)
def test_seeds_are_read_and_damaged_seeds_are_read_or_refused(target, tmp_path):
    path = tmp_path / "input"
    rng = np.random.default_rng(0)
    n_read = n_refused = 0
    for seed in targets.SEEDS[target]():
        for content in (seed, *targets.damaged(seed, rng)):
            path.write_bytes(content)
            try:
                targets.READERS[target](path)
                n_read += 1
            except InputError as error:
                n_refused += 1
                assert str(path) in str(error)
                assert str(error).isprintable()
    # Both happen; otherwise the seeds would test nothing.
    assert n_refused > 10
    assert n_read > 0


@pytest.mark.slow
@pytest.mark.parametrize("target", targets.READERS)
def test_the_fuzzer_finds_nothing(target, tmp_path):
    pytest.importorskip("atheris", reason="atheris is not installed: the extra fuzz, on Linux")
    done = subprocess.run(
        [sys.executable, FUZZ / "fuzz.py", target, "--runs", "5000", "--keep", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["inputs"] >= 5000
    assert numbers["slowest_ms"] < 1000
    assert numbers["peak_mb"] - numbers["base_mb"] < 512


@pytest.mark.slow
def test_the_fuzzer_finds_the_faults_of_a_bad_reader(tmp_path):
    """It names the faults and keeps the inputs."""
    pytest.importorskip("atheris", reason="atheris is not installed: the extra fuzz, on Linux")
    broken = tmp_path / "experiments/fuzz"
    broken.mkdir(parents=True)
    (tmp_path / "tests").symlink_to(FUZZ.parents[1] / "tests")
    for name in ("fuzz.py", "targets.py"):
        text = (FUZZ / name).read_text()
        body = (
            "    from neuromusic.design.experiment import load_experiment\n\n"
            '    _read_trials(path, load_experiment("ds003720"))'
        )
        assert text.count(body) == (name == "targets.py")
        text = text.replace(
            body,
            '    import os\n\n    content = path.read_bytes()\n    if b"nan" in content:\n'
            '        raise KeyError("nan")\n    if b"inf" in content:\n        os.abort()',
        )
        (broken / name).write_text(text)
    done = subprocess.run(
        [sys.executable, broken / "fuzz.py", "events", "--runs", "3000", "--keep",
         tmp_path / "kept"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    faults = json.loads(done.stdout)["faults"]
    assert any(fault.startswith("KeyError in targets.py") for fault in faults)
    assert any(fault.startswith("the process ended") for fault in faults)
    kept = [path.read_bytes() for path in (tmp_path / "kept").glob("events-*")]
    assert any(b"nan" in content for content in kept)
    assert any(b"inf" in content for content in kept)
