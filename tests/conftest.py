"""Fixtures that several tests share."""

import os
import shutil
import signal
import tomllib

# One thread per process: tests run in parallel, and their networks are small. This must be set
# before torch is imported, and it is inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from helpers import TINY_TOML, write_events, write_features
from hypothesis import settings

from neuromusic.core.parallel import Machine
from neuromusic.design.orders import GENRES
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare, prepare_features
from neuromusic.pipeline.train import train
from neuromusic.stimuli.corpora import Corpus

RATE_HZ = 22_050

# Processes that a script starts in the background ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine makes single examples slow; .ci/run limits how long all tests may take.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of what only POSIX has, if this is not such a system."""
    if hasattr(os, "fork"):
        return
    for item in items:
        if item.get_closest_marker("posix"):
            item.add_marker(pytest.mark.skip(reason="needs forks, signals or files of POSIX"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the real data; the test is skipped if it is missing."""
    path = Path(os.environ.get("NEUROMUSIC_SHARED", Path(__file__).parents[2] / "shared"))
    if not (path / "data").is_dir():
        pytest.skip("the real data is missing; NEUROMUSIC_SHARED can name its folder")
    return path


def tone_clip(genre: int, number: int, seconds: float = 15.0) -> np.ndarray:
    """Pulsed tones in noise; pitch and tempo depend on the genre. Cheap, and can be learned."""
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
    """Runs a command in this process, for tests that do not need a separate one."""
    return CliRunner()


def tiny_settings() -> dict:
    """Settings of the smallest training: one epoch."""
    tree = tomllib.loads(TINY_TOML)
    tree["train"]["epochs"] = 1
    return tree


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A tiny cortex-z, trained for one epoch on precomputed log-mel of three runs of ten clips."""
    root = tmp_path_factory.mktemp("simulate")
    features, test = write_features(root / "train.npz"), write_features(root / "t.npz", 2, 1, 50)
    prepared = prepare_features(features, test=test, out=root / "prepared")
    return train(tiny_settings(), prepared, out=root / "run")


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    """A copy of that network's directory, for a test to damage."""
    return Path(shutil.copytree(tiny_run.directory, tmp_path / "run"))


@pytest.fixture
def prepared(tiny_run, tmp_path) -> Path:
    """A copy of its prepared set, for a test to damage."""
    return Path(shutil.copytree(tiny_run.prepared, tmp_path / "prepared"))


@pytest.fixture(scope="session")
def sound_run(small_clips, tmp_path_factory):
    """A tiny cortex-z, trained for one epoch on the sound of thirty clips."""
    root = tmp_path_factory.mktemp("sound")
    tree = root / "tree"
    for path in small_clips.iterdir():
        (tree / path.name.split(".")[0]).mkdir(parents=True, exist_ok=True)
        (tree / path.name.split(".")[0] / path.name).symlink_to(path)
    corpus = Corpus("folder", tree)
    lists = make_file_lists(corpus, split="2:0:1", out=root / "lists", link="sym")
    prepared = prepare(lists, out=root / "prepared", machine=Machine(workers=1))
    return train(tiny_settings(), prepared, out=root / "run")


@pytest.fixture(scope="session")
def tiny_bids(tiny_run, tmp_path_factory):
    """Events of three training runs of ten trials and two test runs of ten clips, four times."""
    return write_events(tiny_run.prepared, tmp_path_factory.mktemp("events"))
