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


LISTED = "--train-order ExpTrnOrder.mat --test-order ExpValOrder.mat"


@pytest.mark.parametrize(
    ("line", "may_import"),
    [
        ("--help", set()),
        ("train --help", set()),
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
    path = tmp_path / "modules.json"
    result = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(sorted(HEAVY)), str(path), *line.split()],
        cwd=place, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode in (0, 1), result.stderr  # 1: there are leaks
    imported = set(json.loads(path.read_text()))
    assert imported <= may_import
    assert ("torch" in imported) == ("torch" in may_import)


def test_the_export_above_contains_activations(place):
    block = np.load(place / "exported/activations/task-Training_run-01_stage-A1_activations.npy")
    assert np.isfinite(block).all()
    assert len(block) == 10 * (len(GENRES) + 1)
