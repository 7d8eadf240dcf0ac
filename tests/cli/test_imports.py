"""What a command imports to do its work, in real processes on tiny inputs."""

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
# Runs a command and writes which of some modules it has imported by its end.
WATCHED = """
import atexit, json, sys
heavy, note = json.loads(sys.argv[1]), sys.argv[2]
del sys.argv[1:3]
def write():
    with open(note, "w") as file:
        json.dump([name for name in heavy if name in sys.modules], file)
atexit.register(write)
from neuromusic.cli.main import cli
cli()
"""
NETWORK = {"torch", "torchaudio"}  # leaks: torchaudio knows the faults of GTZAN
LIGHTNING = NETWORK | {"pytorch_lightning", "torchvision", "librosa", "matplotlib"}  # it has these
FIGURES = NETWORK | {"matplotlib"}
HEARING = NETWORK | {"numba"}  # log-mel


@pytest.fixture(scope="module")
def place(tiny_run, sound_run, small_clips, tmp_path_factory):
    """Orders and clips; lists of what the first run heard; a run that hears sound."""
    root = tmp_path_factory.mktemp("start")
    names = sorted(path.name for path in small_clips.iterdir())
    for order in orders.design_orders(names, 0):
        orders.write_order(order, root / ORDER_FILES[order.split])
    pair = (root / ORDER_FILES["train"], root / ORDER_FILES["test"])
    make_lists(*pair, small_clips, root / "listed", False, "sym", [].append)
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
        ("predict sound clips/blues.00000_15s.wav", HEARING),
        ("similar sound --clip clips/blues.00000_15s.wav --among clips --index index.npz", HEARING),
        ("evaluate sound", FIGURES),
    ],
)  # fmt: skip
def test_a_command_imports_what_it_needs(place, tmp_path, line, may_import):
    note = tmp_path / "modules.json"
    result = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(sorted(HEAVY)), str(note), *line.split()],
        cwd=place, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert result.returncode in (0, 1), result.stderr  # 1: leaks are found
    imported = set(json.loads(note.read_text()))
    assert imported <= may_import
    assert ("torch" in imported) == ("torch" in may_import)


def test_the_run_heard_what_it_was_given(place):
    """The export above is no empty shell."""
    block = np.load(place / "exported" / "task-Training_run-01_stage-A1_activations.npy")
    assert np.isfinite(block).all()
    assert len(block) == 10 * (len(GENRES) + 1)
