"""`watch` beside a real training."""

import json
import re
import subprocess
import sys

import pandas as pd
import pytest
from conftest import tiny_settings
from helpers import neuromusic

import neuromusic as nm


def test_a_finished_training_is_drawn_once(run, tmp_path):
    result = neuromusic("watch", run, "--once", cwd=tmp_path)
    assert result.returncode == 0
    last = pd.read_csv(run / "metrics.csv").iloc[-1]
    assert f"epoch 1 of 1, training loss {last['train_loss']:.3f}" in result.stdout
    assert "finished" in result.stdout
    assert re.search(r"loss \(. training, o validation\)", result.stdout)


@pytest.mark.slow
def test_lines_follow_a_training_until_it_ends(prepared, tmp_path):
    settings = tiny_settings()
    settings["train"]["epochs"] = 3
    code = (
        "import json, sys, neuromusic as nm\n"
        "nm.train(json.loads(sys.argv[1]), sys.argv[2], out=sys.argv[3])"
    )
    training = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(settings), str(prepared), str(tmp_path / "out")]
    )
    try:
        while not (tmp_path / "out/metrics.csv").exists():
            assert training.poll() in (None, 0)
        result = neuromusic("watch", "out", cwd=tmp_path)
    finally:
        training.wait(120)
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1].startswith("out: epoch 3 of 3, ")
    assert nm.load_network(tmp_path / "out").config.train.epochs == 3


def test_a_directory_without_a_training_is_refused(tmp_path):
    result = neuromusic("watch", ".", cwd=tmp_path)
    assert result.returncode == 2
    assert "has no metrics.csv" in result.stderr
