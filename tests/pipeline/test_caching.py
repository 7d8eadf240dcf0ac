"""Activations from a cache: the same bytes as without one, in every command, whatever happens."""

import functools
import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import commands
import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, tone_clip
from designs import write_events
from helpers import TINY, neuromusic

import neuromusic as nm
from neuromusic.cli.main import cli
from neuromusic.core.cache import entries
from neuromusic.core.parallel import Machine

N_SOUNDS = 20
DESCRIPTION = """
name = "listening"
files.tasks = ["listen"]
sounds.sound = "stim_file"
time.tr_s = 1.0
"""
NET = """
import torch
from torch import nn

from neuromusic import External


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 400, 160), nn.ReLU())
    return External(net, {"conv": "2"}, rate_hz=16_000, name="my-net")
"""
BENCHMARK = """
protocol = "ours"
splits = 2
[networks.run]
[networks.mine]
source = "my_net.py"
[datasets.loud]
description = "loud.toml"
"""
SOUNDS = ("--sounds", "sounds", "--responses")
LINES = {
    "images": ("encode", "--bids", "images", "--experiment", "experiment.toml", "--sounds",
               "sounds", "--roi", "all", "--atlas", "images/derivatives/truth/areas.nii.gz",
               "--components", "4"),
    "sounds": ("encode", *SOUNDS, "responses.tsv", "--splits", "2"),
    "timed": ("encode", *SOUNDS, "timed.npz", "--lags-s", "0", "0.1", "--components", "4"),
    "export": ("export", "--lists", "lists", "--format", "npz"),
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Sounds, a network that was trained on some, a network file, events, images, responses."""
    root = tmp_path_factory.mktemp("caching")
    for number in range(6):
        path = root / f"classes/{'ab'[number % 2]}/c{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone_clip(number % 2, number, 3.0), RATE_HZ)
    lists = nm.make_file_lists(
        nm.Corpus("folder", root / "classes"), out=root / "l", split="1:0:0", clip_s=2, link="copy"
    )
    data = nm.prepare(lists, out=root / "prepared", machine=Machine(workers=1))
    tree = {
        "data": {"window_s": 2.0, "hop_s": 0.5, "windows_per_epoch": 16, "validation_runs": 0},
        "model": {"options": TINY},
        "train": {"epochs": 1, "batch_size": 8},
    }
    network = nm.train(tree, data, out=root / "run")
    (root / "my_net.py").write_text(NET)
    (root / "sounds").mkdir()
    rng = np.random.default_rng(0)
    for number in range(N_SOUNDS):
        wave = rng.uniform(0.2, 1) * tone_clip(number % 10, number, 2.5)
        soundfile.write(root / f"sounds/s{number:02d}.wav", wave, RATE_HZ, subtype="PCM_16")
    names = [f"s{number:02d}" for number in range(N_SOUNDS)]
    lines = [f"{name}\t{rng.normal()}\n" for name in names]
    (root / "responses.tsv").write_text("".join(["sound\tarea\n", *lines]))
    values = rng.normal(size=(N_SOUNDS, 40, 1))
    np.savez(root / "timed.npz", responses=values, sounds=names, rate_hz=20.0)
    (root / "loud.toml").write_text('sounds = "sounds"\nresponses = "responses.tsv"\n')
    (root / "benchmark.toml").write_text(BENCHMARK)
    (root / "experiment.toml").write_text(DESCRIPTION)
    for run in (1, 2):
        rows = [(4 * k, 2.5, f"s{n:02d}.wav") for k, n in enumerate(rng.permutation(N_SOUNDS))]
        stem = f"sub-01_task-listen_run-{run}"
        write_events(root / "bids/sub-01/func", stem, rows, "onset duration stim_file")
    nm.make_experiment_lists(
        root / "experiment.toml", bids=root / "bids", clips=root / "sounds", out=root / "lists"
    )
    dataset = nm.Dataset(root / "bids", root / "experiment.toml", root / "sounds")
    planted = nm.Planted(stages=("A1",), voxels=4, noise_voxels=4)
    nm.simulate(network, out=root / "images", bids=dataset, planted=planted)
    return root


def written(out: Path) -> dict[str, str]:
    """Return file -> SHA-256 for all files in a folder; records without places."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.name == "provenance.json":
            record = json.loads(content)
            del record["places"]
            content = json.dumps(record).encode()
        found[str(path.relative_to(out))] = hashlib.sha256(content).hexdigest()
    return found


def counts(result) -> tuple[int, int]:
    """Return how many entries of the cache a command has found and stored."""
    assert result.returncode == 0, result.stderr
    [numbers] = re.findall(r"(\d+) found, (\d+) stored", result.stdout + result.stderr)
    return int(numbers[0]), int(numbers[1])


def compare_three(place: Path, line: tuple[str, ...], run) -> tuple[int, int]:
    """Run a command without a cache and twice with one; return what the first of these counts."""
    out, cache = str(place / "out"), str(place / "cache")
    made = []
    for more in ((), ("--cache", cache), ("--cache", cache)):
        result = run(*line, *more, "--out", out)
        assert result.returncode == 0, result.stderr
        made.append((written(place / "out"), result))
        shutil.rmtree(out)
    (without, _), (cold, first), (warm, second) = made
    assert len(without) > 3
    assert without == cold == warm
    n_found, n_stored = counts(first)
    assert n_stored >= N_SOUNDS
    assert counts(second) == (n_found + n_stored, 0)
    return n_found, n_stored


@pytest.fixture
def in_process(project, monkeypatch, runner):
    """Run a command in this process: what encodings import takes longer than they do."""
    monkeypatch.chdir(project)

    def run(*line: object) -> subprocess.CompletedProcess[str]:
        result = runner.invoke(cli, list(map(str, line)))
        return subprocess.CompletedProcess(line, result.exit_code, result.stdout, result.stderr)

    return run


@pytest.mark.parametrize("kind", ["sounds", pytest.param("timed", marks=pytest.mark.slow)])
def test_encodings_are_the_same_without_a_cache_and_with_an_empty_or_full_one(
    in_process, tmp_path, kind
):
    n_found, n_stored = compare_three(tmp_path, ("encode", "run", *LINES[kind][1:]), in_process)
    assert (n_found, n_stored) == (0, 2 * N_SOUNDS)  # also with random weights


@pytest.mark.slow
def test_an_encoding_of_images_is_the_same_and_shares_entries_with_an_export(
    in_process, project, tmp_path
):
    with nm.caching(tmp_path / "cache") as cache:
        nm.export(project / "run", project / "lists", out=tmp_path / "exported")
    assert (cache.n_found, cache.n_stored) == (0, N_SOUNDS)
    n_found, n_stored = compare_three(tmp_path, ("encode", "run", *LINES["images"][1:]), in_process)
    assert (n_found, n_stored) == (N_SOUNDS, 2 * N_SOUNDS)  # also random and permuted weights


@pytest.mark.slow
@pytest.mark.parametrize("network", ["run", "my_net.py"])
def test_exports_are_the_same_in_processes_of_their_own(project, tmp_path, network):
    line = ("export", "--network", network, *LINES["export"][1:])
    compare_three(tmp_path, line, functools.partial(neuromusic, cwd=project))


def test_similar_finds_the_same_with_a_cache_and_needs_no_new_entry_for_another_stage(
    project, tmp_path
):
    def search(name: str, *more: object):
        return neuromusic(
            "similar", "run", "--clip", "sounds/s01.wav", "--among", "sounds", "--index",
            tmp_path / name, *more, cwd=project,
        )  # fmt: skip

    plain = search("plain")
    cold, warm = (search(name, "--cache", tmp_path / "cache") for name in ("cold", "warm"))
    assert plain.returncode == 0
    assert plain.stdout == cold.stdout == warm.stdout
    indices = [(tmp_path / name).read_bytes() for name in ("plain", "cold", "warm")]
    assert indices[0] == indices[1] == indices[2]
    assert (counts(cold), counts(warm)) == ((0, N_SOUNDS), (N_SOUNDS, 0))
    assert counts(search("A1", "--stage", "A1", "--cache", tmp_path / "cache")) == (N_SOUNDS, 0)


@pytest.mark.slow
def test_a_benchmark_shares_its_cache_with_encode(in_process, project, tmp_path):
    plain = in_process("benchmark", "benchmark.toml", "--out", tmp_path / "plain")
    assert plain.returncode == 0, plain.stderr
    cache = ("--cache", tmp_path / "cache")
    encoded = in_process("encode", "run", *LINES["sounds"][1:], *cache, "--out", tmp_path / "one")
    assert counts(encoded) == (0, 2 * N_SOUNDS)  # also with random weights
    began_s = time.time()
    cached = neuromusic(
        "benchmark", "benchmark.toml", "--out", tmp_path / "cached", "--workers", "2", *cache,
        cwd=project,
    )  # fmt: skip
    assert cached.returncode == 0, cached.stderr
    assert written(tmp_path / "plain") == written(tmp_path / "cached")
    found = list(entries(tmp_path / "cache"))
    assert len(found) == 4 * N_SOUNDS  # those of my_net.py are new, all others were used
    assert min(entry.used_s for entry in found) > began_s


@pytest.fixture
def copied(project, tmp_path):
    """A copy of what `export` and `similar` need, to be changed."""
    for name in ("run", "sounds"):
        shutil.copytree(project / name, tmp_path / name)
    shutil.copy(project / "my_net.py", tmp_path)
    return tmp_path


def stored(place: Path, network: object, **options: object) -> int:
    """Search with a cache, and return how many entries this stores."""
    with nm.caching(place / "cache") as cache, tempfile.TemporaryDirectory() as folder:
        nm.similar(
            network, place / "sounds/s00.wav", among=place / "sounds",
            index=Path(folder, "index.npz"), **options,
        )  # fmt: skip
    return cache.n_stored


def test_a_changed_sound_or_network_is_computed_again(copied):
    assert stored(copied, copied / "run") == N_SOUNDS
    assert stored(copied, copied / "run") == 0
    path = copied / "sounds/s03.wav"
    wave, rate_hz = soundfile.read(path)
    soundfile.write(path, wave * 0.999, rate_hz)
    assert stored(copied, copied / "run") == 1
    shutil.move(copied / "run", copied / "moved")
    assert stored(copied, copied / "moved") == 0  # its place does not count
    network = nm.load_network(copied / "moved")
    assert stored(copied, network.control("random")) == N_SOUNDS
    assert stored(copied, network.control("random")) == 0
    next(network.network.parameters()).data[0] += 1e-3
    assert stored(copied, network) == N_SOUNDS
    assert stored(copied, nm.load_network(copied / "moved", channel="left")) == N_SOUNDS


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("400, 160", "400, 80"),  # the weights stay the same
        ("nn.ReLU()", "nn.ELU()"),
        ("rate_hz=16_000", "rate_hz=22_050"),
        ("import torch\n", "import torch\n# a comment\n"),
    ],
)
def test_a_changed_network_file_is_computed_again(copied, old, new):
    file = copied / "my_net.py"
    assert stored(copied, file) == N_SOUNDS + 1  # and the number of its units
    assert stored(copied, file) == 0
    file.write_text(file.read_text().replace(old, new))
    assert stored(copied, file) == N_SOUNDS + 1


def test_a_network_whose_code_may_change_without_notice_is_not_stored(copied, caplog):
    file = copied / "my_net.py"
    (copied / "helper.py").write_text("hop = 160\n")
    text = file.read_text()
    beside = text.replace("import torch\n", "import torch\nfrom helper import hop\n", 1)
    for changed, reason in (
        (beside.replace("400, 160", "400, hop"), "imports helper"),
        (text.replace("nn.ReLU()", "eval('nn.ReLU()')"), "calls eval"),
    ):
        file.write_text(changed)
        caplog.clear()
        assert stored(copied, file) == 0
        [warning] = [each for each in caplog.messages if "does not store" in each]
        assert reason in warning
    import torch

    class Mine(torch.nn.Module):
        def forward(self, x):
            return x.reshape(len(x), 1, -1)

    external = nm.External(Mine(), {"all": ""}, rate_hz=16_000)
    assert stored(copied, external) == 0
    assert "is not in an installed package" in caplog.text


def test_two_processes_fill_one_cache_at_once(project, tmp_path):
    line = ["export", "run", "--lists", "lists", "--cache", str(tmp_path / "cache"), "--out"]
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    processes = [
        commands.begin(project, [*line, str(folder / "out")], folder) for folder in folders
    ]
    for process, folder in zip(processes, folders, strict=True):
        assert process.wait(300) == 0, (folder / "stderr.txt").read_text()
    made = [written(folder / "out") for folder in folders]
    assert made[0] == made[1] == made[2]
    found = list(entries(tmp_path / "cache"))
    assert len(found) == N_SOUNDS
    assert not [entry.path for entry in found if entry.path.name.startswith(".")]


@pytest.fixture
def small_disk(tmp_path):
    """A file system with space for some of the entries."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("fault", ["full", "not writable", "damaged"])
def test_a_full_or_damaged_cache_does_not_change_the_result(project, tmp_path, fault, request):
    cache, out = tmp_path / "cache", tmp_path / "out"
    line = ["export", "run", "--lists", "lists", "--out", str(out)]
    plain = neuromusic(*line, cwd=project)
    assert plain.returncode == 0, plain.stderr
    expected = written(out)
    shutil.rmtree(out)
    damaged = []
    if fault == "damaged":
        assert neuromusic(*line, "--cache", cache, cwd=project).returncode == 0
        shutil.rmtree(out)
        damaged = [entry.path for entry in entries(cache)][:2]
        damaged[0].write_bytes(damaged[0].read_bytes()[:-99])
        content = bytearray(damaged[1].read_bytes())
        middle = len(content) // 2
        content[middle : middle + 300] = bytes(300)
        damaged[1].write_bytes(content)
    elif fault == "not writable":
        cache = Path("/proc/cache")  # nobody can make a directory there
    else:
        cache = request.getfixturevalue("small_disk")
    result = neuromusic(*line, "--cache", cache, cwd=project)
    assert result.returncode == 0, result.stderr
    assert written(out) == expected
    warnings = [text for text in result.stderr.splitlines() if text.startswith("warning: ")]
    assert len(warnings) == max(1, len(damaged))
    assert all(str(cache) in text for text in warnings)
    assert not list(cache.rglob(".*"))
    if fault == "full":
        assert 0 < len(list(entries(cache))) < N_SOUNDS
