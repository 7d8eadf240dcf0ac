"""TensorBoard and Weights & Biases files, read with the trackers' own readers."""

import json
import socket
import struct
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from helpers import TINY, TINY_TOML, write_features
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

from neuromusic.core.errors import InputError, need_package
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.train import fit_tracked
from neuromusic.training.config import make_config


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("tracking")
    train = write_features(root / "train.npz")
    prepare_features(train, out=root / "prepared")
    (root / "tiny.toml").write_text(TINY_TOML)
    return root


def settings(**track):
    tree = {
        "data": {"window_s": 5.0, "windows_per_epoch": 32},
        "model": {"options": TINY},
        "train": {"epochs": 3, "batch_size": 16},
        "track": track,
    }
    return make_config(tree, "test")


def test_tensorboard_contains_each_epoch_once_after_an_interruption(place):
    data = open_prepared(place / "prepared")
    config = settings(tensorboard=True)

    def stop(row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_tracked(config, data, place / "run", False, False, stop)
    assert fit_tracked(config, data, place / "run", True, False, lambda row: None)
    metrics = pd.read_csv(place / "run" / "metrics.csv")
    board = EventAccumulator(str(place / "run" / "tensorboard")).Reload()
    names = {"loss/train": "train_loss", "accuracy/valid": "valid_accuracy", "lr": "lr"}
    for tag, column in names.items():
        events = board.Scalars(tag)
        assert [event.step for event in events] == [1, 2, 3]
        np.testing.assert_allclose([event.value for event in events], metrics[column], rtol=1e-6)
    shown = ["confusion of the validation clips", "learning curves"]
    assert sorted(board.Tags()["images"]) == shown
    assert "epochs = 3" in str(board.Tensors("settings/text_summary")[0])
    # A finished training is not written again.
    before = sorted((place / "run" / "tensorboard").iterdir())
    assert not fit_tracked(config, data, place / "run", True, False, lambda row: None)
    assert sorted((place / "run" / "tensorboard").iterdir()) == before


def wandb_records(path):
    """Yield the records of a .wandb file: LevelDB's log format after a header of seven bytes."""
    content, at, record = path.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while at < len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768  # the rest of the block is too short for a header
            continue
        _, length, kind = struct.unpack_from("<IHB", content, at)
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a complete record or its last part
            yield Record.FromString(record)
            record = b""


def wandb_history(directory):
    """Return what an offline W&B run has logged: one dictionary per record."""
    (path,) = directory.glob("wandb/offline-run-*/*.wandb")
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
        for items in (record.history.item for record in wandb_records(path))
        if items
    ]


@pytest.mark.slow
def test_weights_and_biases_offline_sends_nothing(place, tmp_path):
    """Any request would go through the proxy, which is this test."""
    requests = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(600)

        def accept_requests():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                requests.append(connection.recv(200))
                connection.close()

        threading.Thread(target=accept_requests, daemon=True).start()
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        home = tmp_path / "home"
        home.mkdir()
        environment = {
            "PATH": "/usr/bin:/bin", "HOME": str(home), "HTTP_PROXY": proxy, "HTTPS_PROXY": proxy,
            "http_proxy": proxy, "https_proxy": proxy, "OMP_NUM_THREADS": "1",
            "PYTHONPATH": ":".join(sys.path),
        }  # fmt: skip
        result = subprocess.run(
            [sys.executable, "-m", "neuromusic", "train", "tiny.toml", "--prepared", "prepared",
             "--out", "offline", "--set", "track.wandb=offline"],
            cwd=place, env=environment, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        server.close()
    assert requests == []
    written = [path for path in home.rglob("*") if path.is_file() and "wandb" in str(path)]
    assert written == []
    rows = wandb_history(place / "offline")
    metrics = pd.read_csv(place / "offline" / "metrics.csv")
    losses = [row["valid_loss"] for row in rows if "valid_loss" in row]
    np.testing.assert_allclose(losses, metrics["valid_loss"], rtol=1e-6)
    pictures = {key for row in rows for key in row if key.startswith(("confusion", "learning"))}
    assert any(key.startswith("confusion of the validation clips") for key in pictures)
    assert any(key.startswith("learning curves") for key in pictures)


def test_the_settings_are_written_next_to_the_weights(place):
    data = open_prepared(place / "prepared")
    config = settings()
    assert fit_tracked(config, data, place / "plain", False, False, lambda row: None)
    written = json.loads((place / "plain" / "config.json").read_text())
    assert written == config.model_dump(mode="json")
    assert not (place / "plain" / "tensorboard").exists()
    assert not (place / "plain" / "wandb").exists()


def test_the_error_for_a_missing_package_names_its_extra():
    with pytest.raises(InputError, match=r'pip install "neuromusic\[track\]"'):
        need_package("no_such_package", "track")
