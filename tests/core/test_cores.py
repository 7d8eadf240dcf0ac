"""CPU quotas of containers, and the environment of threads."""

import os
import subprocess
import sys

import pytest

from neuromusic.core import cores


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),  # in a container
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/job/step\n", {"job/cpu.max": "300000 100000", "job/step/cpu.max": "max 100000"}, 3.0),
        ("0::/job/step\n", {"job/cpu.max": "300000 100000", "job/step/cpu.max": "1 1"}, 1.0),
        ("0::/job\n", {"other/cpu.max": "1000 100000"}, None),
        (
            "5:memory:/x\n4:cpu,cpuacct:/docker/a\n",
            {"cpu,cpuacct/docker/a/cpu.cfs_quota_us": "150000\n",
             "cpu,cpuacct/docker/a/cpu.cfs_period_us": "100000\n",
             "memory/x/cpu.cfs_quota_us": "1"},
            1.5,
        ),
        (
            "4:cpu:/docker/a\n",
            {"cpu/docker/a/cpu.cfs_quota_us": "-1\n", "cpu/docker/a/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
        ("0::/\n", {"cpu.max": "100 0"}, None),
        ("0::/../..\n", {"cpu.max": "200000 100000"}, 2.0),  # above the root of the namespace
        ("", {}, None),
    ],
)  # fmt: skip
def test_the_smallest_quota_of_a_cgroup_and_those_above_it_counts(tmp_path, own, files, expected):
    write(tmp_path / "fs", files)
    (tmp_path / "own").write_text(own)
    assert cores.cpu_quota(tmp_path / "fs", tmp_path / "own") == expected


def test_there_is_no_quota_without_cgroups(tmp_path):
    assert cores.cpu_quota(tmp_path / "none", tmp_path / "no_file") is None


def test_the_assigned_cores_are_those_of_the_system():
    if hasattr(os, "sched_getaffinity"):
        assert cores.assigned_cores() == len(os.sched_getaffinity(0))
    else:
        assert cores.assigned_cores() == os.cpu_count()


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.9, 1), (1000.0, None), (None, None)])
def test_a_quota_limits_the_cores_and_threads(monkeypatch, quota, expected):
    everything = cores.assigned_cores()
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert cores.available_cores() == min(expected or everything, everything)
    environment = {}
    cores.set_thread_environment(environment)
    if expected is not None and expected < everything:
        assert environment["OMP_NUM_THREADS"] == str(expected)
    else:
        assert "OMP_NUM_THREADS" not in environment
    assert environment["GOMP_SPINCOUNT"].isdigit()


@pytest.mark.parametrize(
    ("n_cores", "load", "said"),
    [(2, 0.1, ""), (2, 2.2, ""), (2, 3.04, "load average 3.0 on 2 cores"), (1, 9.0, "on 1 core,")],
)
def test_a_busy_machine_is_named(n_cores, load, said):
    text = cores.why_slow(n_cores, load)
    assert said in text and bool(text) == bool(said)


@pytest.mark.parametrize("given", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"])
def test_what_the_user_has_set_has_precedence(monkeypatch, given):
    monkeypatch.setattr(cores, "cpu_quota", lambda: 0.5)
    environment = {given: "7"}
    cores.set_thread_environment(environment)
    assert environment[given] == "7"
    if given != "OMP_NUM_THREADS":
        assert not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} - {given} & environment.keys()


def test_the_command_line_sets_it_before_torch_is_imported():
    code = (
        "import os, sys\n"
        "from neuromusic.cli.main import cli\n"
        "assert 'torch' not in sys.modules\n"
        "try:\n    cli(['settings', 'cortex'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print('spins', os.environ['GOMP_SPINCOUNT'])"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT",)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.splitlines()[-1] == f"spins {cores.SPIN_COUNT}"
