"""Several devices give the result of one: normalisation, dropout, trainings, kills, SLURM."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from faults import living
from helpers import TINY_TOML, neuromusic_anew, write_features
from torch import nn

from neuromusic.core.errors import InputError
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline.crossval import crossval
from neuromusic.pipeline.prepare import prepare_features
from neuromusic.pipeline.run import run
from neuromusic.training.config import make_config
from neuromusic.training.distributed import Share, WholeDropout, use_whole_batches
from neuromusic.training.fit import fit
from neuromusic.training.trained import load_network


@pytest.fixture(scope="module", autouse=True)
def loopback():
    """Let the processes communicate over the loopback interface only."""
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    yield
    os.environ.pop("GLOO_SOCKET_IFNAME")
    if before is not None:
        os.environ["GLOO_SOCKET_IFNAME"] = before


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("devices")
    write_features(root / "narrow.npz")
    arrays = dict(np.load(root / "narrow.npz"))
    arrays["features"] = np.repeat(arrays["features"], 2, axis=1)  # cnn4-gru needs 128 bands
    np.savez(root / "train.npz", **arrays)
    prepare_features(root / "train.npz", out=root / "prepared")
    (root / "tiny.toml").write_text(TINY_TOML)
    return root


def _problem() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3), nn.ReLU(), nn.BatchNorm2d(2))
    network[0].weight.data.uniform_(0.5, 2)
    network[0].bias.data.uniform_(-1, 1)
    return network, 50 + 3 * torch.randn(5, 3, 6, 7), torch.randn(5, 2, 4, 5)


def _one_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    share = Share(rank, 2)
    network, x, target = _problem()
    use_whole_batches(network, share)
    x = share.take(x).clone().requires_grad_()
    y = network(x)
    (y * share.take(target)).sum().backward()
    gradients = [p.grad for p in network.parameters()]
    torch.save((y, x.grad, gradients, network.state_dict()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_normalisation_over_uneven_shares_equals_torchs_over_the_whole_batch(tmp_path):
    mp.spawn(_one_rank, (str(tmp_path),), nprocs=2)
    network, x, target = _problem()
    x.requires_grad_()
    y = network(x)
    (y * target).sum().backward()
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for rank, (y_share, dx_share, _, state) in enumerate(parts):
        torch.testing.assert_close(y_share, y[rank::2], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(dx_share, x.grad[rank::2], rtol=1e-3, atol=1e-5)
        assert list(state) == list(network.state_dict())
        for value, expected in zip(state.values(), network.state_dict().values(), strict=True):
            torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-6)
    for index, parameter in enumerate(network.parameters()):
        summed = parts[0][2][index] + parts[1][2][index]
        torch.testing.assert_close(summed, parameter.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("layout", ["plain", "transposed", "channels last"])
def test_dropout_equals_the_share_of_torchs_dropout(layout):
    x = torch.randn(7, 4, 5, 6)
    if layout == "transposed":
        x = x.transpose(1, 3)
    elif layout == "channels last":
        x = x.to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    whole = nn.Dropout(0.3)(x)
    for rank in (0, 1, 2):
        dropout = WholeDropout(0.3, Share(rank, 3, total=7))
        share = x[rank::3].clone(memory_format=torch.preserve_format)
        torch.manual_seed(1)
        assert torch.equal(dropout(share), whole[rank::3])
        assert torch.equal(dropout.eval()(share), share)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cortex-z", "cnn4-gru"])
def test_two_processes_give_the_result_of_one(place, name):
    # 55 windows in batches of 16: the last batch has 23, so the shares are uneven. The settings
    # include augmentations and an averaged network.
    changes = ["data.windows_per_epoch=55", "data.validation_runs=[2]", "train.epochs=2",
               "data.window_s=2.5", f"model.name={name}", "train.accelerator=cpu",
               "train.clip_norm=2.0"]  # fmt: skip
    if name == "cnn4-gru":
        changes += ["model.options={}", "train.optimizer=sgd", "train.lr=0.01"]
    sets = [word for change in changes for word in ("--set", change)]
    common = ["train", "tiny.toml", "--prepared", "prepared", *sets]
    for devices in (1, 2):
        specific = ["--set", f"train.devices={devices}", "--out", f"{name}-{devices}"]
        result = neuromusic_anew(*common, *specific, cwd=place)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("wrote") == 1  # by the first process only
    one, two = (pd.read_csv(place / f"{name}-{n}" / "metrics.csv") for n in (1, 2))
    assert len(one) == 2
    np.testing.assert_allclose(two, one, atol=1e-4, rtol=0)
    files = [{path.name for path in (place / f"{name}-{n}").iterdir()} for n in (1, 2)]
    assert files[0] == files[1]
    load_network(place / f"{name}-2")


@pytest.mark.slow  # a minute and a half
def test_two_processes_killed_and_resumed_are_bit_identical(place):
    common = ["train", "tiny.toml", "--prepared", "prepared", "--set", "train.epochs=8",
              "--set", "train.devices=2", "--set", "train.accelerator=cpu"]  # fmt: skip
    whole = neuromusic_anew(*common, "--out", "whole", cwd=place)
    assert whole.returncode == 0, whole.stderr
    process = subprocess.Popen(
        [sys.executable, "-m", "neuromusic", *common, "--out", "killed"],
        cwd=place, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not (place / "killed" / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)  # both processes, which have their own session
    process.wait()
    assert not (place / "killed" / "model.safetensors").exists()
    resumed = neuromusic_anew(*common, "--out", "killed", "--resume", cwd=place)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("model.safetensors", "metrics.csv", "config.toml"):
        assert (place / "whole" / name).read_bytes() == (place / "killed" / name).read_bytes()
    again = neuromusic_anew(*common, "--out", "whole", cwd=place)
    assert (again.returncode, again.stdout.count("unchanged")) == (0, 1)
    other = neuromusic_anew(*common, "--out", "whole", "--set", "train.lr=0.1", cwd=place)
    assert other.returncode == 2
    assert "made with other settings (train.lr was" in other.stderr
    replaced = neuromusic_anew(
        *common, "--out", "whole", "--set", "train.lr=0.1", "--overwrite", cwd=place
    )
    assert replaced.returncode == 2
    assert "contains another training, which 2 devices cannot replace" in replaced.stderr


@pytest.mark.slow
@pytest.mark.parametrize("group", [True, False])
def test_two_processes_end_at_once_when_asked_to_stop(place, group):
    """Neither waits for the other, at any moment of a training of 300 epochs."""
    out = place / f"stopped-{group}"
    command = [sys.executable, "-m", "neuromusic", "train", "tiny.toml", "--prepared", "prepared",
               "--set", "train.epochs=300", "--set", "train.devices=2",
               "--set", "train.accelerator=cpu", "--out", str(out)]  # fmt: skip
    process = subprocess.Popen(command, cwd=place, stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    while not (out / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    assert len(living(process.pid)) == 2
    (os.killpg if group else os.kill)(process.pid, signal.SIGTERM)
    process.wait(30)
    end = time.monotonic() + 30
    while living(process.pid):
        assert time.monotonic() < end, "a process was left behind"
        time.sleep(0.05)
    assert not (out / "model.safetensors").exists()


def test_unsuitable_uses_of_several_devices_are_refused(place, tmp_path):
    def config(**train: int):
        tree = {"model": {"options": {"size": "tiny"}}, "train": {"batch_size": 4, **train}}
        return make_config(tree, "test")

    with pytest.raises(InputError, match="cannot share"):
        fit(config(devices=3, nodes=2), open_prepared(place / "prepared"), tmp_path / "run")
    for devices in ({"devices": 2}, {"nodes": 2}):
        with pytest.raises(InputError, match="one device"):
            run(config(**devices), workers=1)
        with pytest.raises(InputError, match="one device"):
            crossval(config(**devices), place / "prepared", out=tmp_path / "cv", folds=2)


def test_the_slurm_script_is_valid_shell_and_explains_its_arguments():
    script = Path(__file__).parents[2] / "experiments/slurm/train.sbatch"
    checkers = [["bash", "-n"], *([["shellcheck"]] if shutil.which("shellcheck") else [])]
    for command in checkers:
        checked = subprocess.run([*command, script], capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    result = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "usage" in result.stderr
