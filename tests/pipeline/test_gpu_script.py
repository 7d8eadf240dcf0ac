"""The benchmark for a GPU, in its small form on a CPU, as a process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"
ROWS = {
    "agreement": 4, "determinism": 1, "training": 3, "preparation": 2, "windows": 6, "export": 2,
    "encoding": 4, "compile": 1,
}  # fmt: skip
COLUMNS = {"measurement", "name", "value", "unit", "baseline", "ratio", "target", "met"}
HARDWARE = {"cores", "processor", "gpu", "gpu_memory_mib", "driver", "cuda", "cudnn", "torch"}

# Measurements that fail in three ways, and one that succeeds after them.
FAILING = """
import os, sys, time
sys.path.insert(0, {benchmarks!r})
import gpu
from gpu_measurements import Row, time_row

def fails(job):
    yield Row("before the error", 1.0, "s")
    raise ValueError("no such kernel")

def hangs(job):
    yield Row("before the end", 2.0, "s")
    time.sleep(600)

def dies(job):
    os._exit(3)
    yield

def succeeds(job):
    yield time_row("ours", 2.0, 8.0, most=1.0)

gpu.PRELOADED = []
gpu.MEASUREMENTS = {{
    "fails": (fails, 60), "hangs": (hangs, 1), "dies": (dies, 60), "succeeds": (succeeds, 60),
}}
if __name__ == "__main__":
    gpu.main()
"""


def run(script: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, script, "--small", "--device", "cpu", "--out", out]
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent, check=False)


@pytest.mark.slow
def test_every_measurement_gives_its_rows_without_an_error(tmp_path):
    result = run(BENCHMARKS / "gpu.py", tmp_path / "gpu.json")
    content = json.loads((tmp_path / "gpu.json").read_text())
    errors = {name: outcome["error"] for name, outcome in content["measurements"].items()}
    assert errors == dict.fromkeys(ROWS)
    assert result.returncode == 0, result.stderr
    names = [row["measurement"] for row in content["rows"]]
    assert {name: names.count(name) for name in ROWS} == ROWS
    for row in content["rows"]:
        assert set(row) == COLUMNS
        assert row["value"] >= 0
        assert row["name"] in result.stdout
        if row["measurement"] in ("agreement", "determinism"):
            assert row["met"]
    assert set(content["hardware"]) > HARDWARE
    assert content["small"] and content["device"] == "cpu"
    for outcome in content["measurements"].values():
        assert 0 < outcome["seconds"] < outcome["limit_s"]
        assert outcome["torch_peak_mb"] > 0
        assert outcome["card_peak_mb"] is None


@pytest.mark.slow
def test_a_failed_measurement_keeps_its_rows_and_the_next_ones_run(tmp_path):
    script = tmp_path / "failing.py"
    script.write_text(FAILING.format(benchmarks=str(BENCHMARKS)))
    result = run(script, tmp_path / "gpu.json")
    assert result.returncode == 1
    content = json.loads((tmp_path / "gpu.json").read_text())
    errors = {name: outcome["error"] for name, outcome in content["measurements"].items()}
    assert "ValueError: no such kernel" in errors["fails"]
    assert errors["hangs"] == "killed after 3 s"  # three times the limit in the small form
    assert errors["dies"] == "the process ended without a result"
    assert errors["succeeds"] is None
    names = [row["name"] for row in content["rows"]]
    assert names == ["before the error", "before the end", "ours"]
    assert content["rows"][-1]["ratio"] == 4.0
    assert "ERROR in fails" in result.stdout
