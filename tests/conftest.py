"""Fixtures that several tests share."""

import os
import shutil
import signal
import tomllib

# One thread a process: the tests run side by side, and what they train is small. Before torch is
# imported, and for the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from helpers import TINY_TOML, write_events, write_features
from hypothesis import settings

from neuromusic.design.orders import GENRES
from neuromusic.pipeline import prepare
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.train import make_run
from neuromusic.stimuli.corpora.folder import table
from neuromusic.training.config import make_config
from neuromusic.training.trained import load_network

RATE_HZ = 22_050

# What a script starts in the background is deaf to Ctrl-C, and so would be all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine makes single examples slow; how long all tests may take is for .ci/run to say.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real data; the test is skipped where it is missing."""
    path = Path(os.environ.get("NEUROMUSIC_SHARED", Path(__file__).parents[2] / "shared"))
    if not (path / "data").is_dir():
        pytest.skip("the real data is not here; NEUROMUSIC_SHARED names its folder")
    return path


def tone_clip(genre: int, number: int, seconds: float = 15.0) -> np.ndarray:
    """Pulsed tones whose pitch and tempo go with the genre, in noise; cheap and learnable."""
    rng = np.random.default_rng([genre, number])
    t = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    hz = 110 * 2 ** (genre / 3) * rng.uniform(0.97, 1.03)
    pulse = np.mod(t * (1 + genre / 2), 1) < 0.5
    wave = pulse * (np.sin(2 * np.pi * hz * t) + 0.5 * np.sin(4 * np.pi * hz * t))
    wave = wave + 0.1 * rng.standard_normal(len(t))
    return wave * 0.1321 / np.sqrt(np.mean(wave**2))


@pytest.fixture(scope="session")
def small_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of ten genres x three 15-s clips."""
    folder = tmp_path_factory.mktemp("clips")
    for index, genre in enumerate(GENRES):
        for number in range(3):
            path = folder / f"{genre}.{number:05d}_15s.wav"
            soundfile.write(path, tone_clip(index, number), RATE_HZ, subtype="PCM_16")
    return folder


@pytest.fixture(scope="session")
def runner() -> CliRunner:
    """Run a command in this process, where a start of its own would test nothing more."""
    return CliRunner()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A tiny cortex-z, hardly trained on ready-made log-mel of three runs of ten clips."""
    root = tmp_path_factory.mktemp("simulate")
    train, test = write_features(root / "train.npz"), write_features(root / "t.npz", 2, 1, 50)
    prepare.make_prepared_features(train, test, root / "prepared", lambda text: None)
    tree = tomllib.loads(TINY_TOML)
    tree["train"]["epochs"] = 1
    config = make_config(tree, "tiny.toml")
    make_run(config, root / "prepared", root / "run", False, lambda text: None)
    return load_network(root / "run")


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    """A copy of that run's directory, to be spoiled."""
    return Path(shutil.copytree(tiny_run.directory, tmp_path / "run"))


@pytest.fixture
def prepared(tiny_run, tmp_path) -> Path:
    """A copy of its prepared set, to be spoiled."""
    return Path(shutil.copytree(tiny_run.prepared, tmp_path / "prepared"))


@pytest.fixture(scope="session")
def sound_run(small_clips, tmp_path_factory):
    """A tiny cortex-z, hardly trained on the sound of thirty clips."""
    root = tmp_path_factory.mktemp("sound")
    tree = root / "tree"
    for path in small_clips.iterdir():
        (tree / path.name.split(".")[0]).mkdir(parents=True, exist_ok=True)
        (tree / path.name.split(".")[0] / path.name).symlink_to(path)
    say = [].append
    lists = make_file_lists(table(tree), "2:0:1", 0, 15.0, root / "lists", "sym", say)
    prepare.make_prepared(lists, root / "prepared", 0, 1, say)
    settings = tomllib.loads(TINY_TOML)
    settings["train"]["epochs"] = 1
    config = make_config(settings, "tiny.toml")
    make_run(config, root / "prepared", root / "run", False, say)
    return load_network(root / "run")


@pytest.fixture(scope="session")
def tiny_bids(tiny_run, tmp_path_factory):
    """Events of three training runs of ten trials and two test runs of ten clips, four times."""
    return write_events(tiny_run.prepared, tmp_path_factory.mktemp("events"))
