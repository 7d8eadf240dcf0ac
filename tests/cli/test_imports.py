"""Which heavy packages each command imports, in real processes on tiny inputs."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers import TINY_TOML, write_features

from neuromusic.design import lists, orders
from neuromusic.design.orders import GENRES, ORDER_FILES
from neuromusic.pipeline.lists import make_lists

HEAVY = {
    "torch", "torchaudio", "torchvision", "pytorch_lightning", "librosa", "matplotlib", "nilearn",
    "sklearn", "numba", "optuna", "wandb", "tensorboard",
}  # fmt: skip
# Runs a command and, at its end, writes which of the given modules it has imported.
WATCHED = """
import atexit, json, sys
names, path = json.loads(sys.argv[1]), sys.argv[2]
del sys.argv[1:3]
def write():
    with open(path, "w") as file:
        json.dump([name for name in names if name in sys.modules], file)
atexit.register(write)
from neuromusic.cli.main import cli
cli()
"""
LESS_HEAVY = {"numpy", "scipy", "pandas", "pydantic", "rich", "jinja2", "yaml", "nibabel"}
NETWORK = {"torch", "torchaudio"}  # leaks: torchaudio has the list of GTZAN's faults
# Lightning imports the rest.
LIGHTNING = NETWORK | {"pytorch_lightning", "torchvision", "librosa", "matplotlib"}
FIGURES = NETWORK | {"matplotlib"}
SOUND = NETWORK | {"numba"}  # log-mel


@pytest.fixture(scope="module")
def place(tiny_run, sound_run, small_clips, tmp_path_factory):
    """Orders, clips and lists; one network trained on log-mel, and one on sound."""
    root = tmp_path_factory.mktemp("start")
    names = sorted(path.name for path in small_clips.iterdir())
    for order in orders.design_orders(names, 0):
        orders.write_order(order, root / ORDER_FILES[order.split])
    make_lists(
        train_order=root / ORDER_FILES["train"], test_order=root / ORDER_FILES["test"],
        clips=small_clips, out=root / "listed", link="sym",
    )  # fmt: skip
    table = pd.read_csv(tiny_run.prepared / "presentations.tsv", sep="\t").assign(path=None)
    (root / "played").mkdir()
    lists.write_lists(root / "played", {"train": table[table["split"] == "train"]})
    artists = [f"{name.removesuffix('_15s.wav')}\t{name}\t\n" for name in names]
    (root / "artists.tsv").write_text("track\tartist_group\tfault\n" + "".join(artists))
    write_features(root / "features.npz", 2)
    (root / "tiny.toml").write_text(TINY_TOML)
    for name, path in {
        "clips": small_clips, "tree": sound_run.directory.parent / "tree",
        "features": tiny_run.directory, "sound": sound_run.directory, "prepared": tiny_run.prepared,
    }.items():  # fmt: skip
        (root / name).symlink_to(path)
    return root


def imported_by(line, names, tmp_path, place=None):
    """Run a command in a new process; return which of the modules ``names`` it imported."""
    path = tmp_path / "modules.json"
    result = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(sorted(names)), str(path), *line.split()],
        cwd=place or tmp_path, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode in (0, 1), result.stderr  # 1: there are leaks
    return set(json.loads(path.read_text()))


LISTED = "--train-order ExpTrnOrder.mat --test-order ExpValOrder.mat"


@pytest.mark.parametrize(
    ("line", "may_import"),
    [
        ("models", set()),
        (f"orders check {LISTED}", set()),
        ("orders design --clips clips --out designed", set()),
        (f"lists {LISTED} --clips clips --link sym --out lists --drop-leaks artist "
         "--artists artists.tsv", set()),
        ("leaks listed --validation-runs 0", NETWORK),
        ("stimuli validate folder tree", set()),
        ("prepare --features features.npz --out again", NETWORK),
        ("models cortex-z", NETWORK),
        pytest.param("train tiny.toml --prepared prepared --out trained", LIGHTNING,
                     marks=pytest.mark.slow),
        ("export features --lists played --out exported --format hdf5,npz,fsl", NETWORK),
        pytest.param("predict sound clips/blues.00000_15s.wav", SOUND, marks=pytest.mark.slow),
        pytest.param("similar sound --clip clips/blues.00000_15s.wav --among clips --index i.npz",
                     SOUND, marks=pytest.mark.slow),
        pytest.param("evaluate sound", FIGURES, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_command_imports_what_it_needs(place, tmp_path, line, may_import):
    imported = imported_by(line, HEAVY, tmp_path, place)
    assert imported <= may_import
    assert ("torch" in imported) == ("torch" in may_import)


@pytest.mark.parametrize("line", ["--help", "train --help"])
def test_help_imports_little_more_than_click(tmp_path, line):
    """What is imported makes a start slow; `start.py` among the benchmarks measures seconds."""
    assert not imported_by(line, HEAVY | LESS_HEAVY, tmp_path)


def test_the_export_above_contains_activations(place):
    block = np.load(place / "exported/activations/task-Training_run-01_stage-A1_activations.npy")
    assert np.isfinite(block).all()
    assert len(block) == 10 * (len(GENRES) + 1)
