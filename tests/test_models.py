"""One test over every network of the registry."""

import numpy as np
import pytest
import torch

from neuromusic.config import Config
from neuromusic.errors import InputError
from neuromusic.models import InputSpec, build_model, model_names
from neuromusic.models.table import model_rows, receptive_fields, stage_rows
from neuromusic.rundir import save_weights
from neuromusic.store import PreparedSet

COARSE = InputSpec(n_mels=128, n_frames=129, frame_s=0.07755, n_classes=10)
FINE = InputSpec(n_mels=128, n_frames=430, frame_s=512 / 22050, n_classes=10)


def windows(n, spec=COARSE, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, spec.n_mels, spec.n_frames, generator=rng)


@pytest.mark.parametrize("name", model_names())
def test_every_network(name, tmp_path):
    state = torch.get_rng_state()
    network = build_model(name, COARSE, seed=0)
    assert torch.equal(torch.get_rng_state(), state)
    x, y = windows(8), torch.arange(8)

    logits = network(x)
    assert logits.shape == (8, 10)
    torch.nn.functional.cross_entropy(logits, y).backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key

    for seed, equal in ((0, True), (1, False)):
        twin = build_model(name, COARSE, seed)
        pairs = zip(twin.parameters(), network.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs if a.ndim > 1) is equal

    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(network(x), y)
        if loss < 0.05:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05, "eight windows are not learnt by heart"

    network.eval()
    with torch.no_grad():
        many = network(x)
        torch.testing.assert_close(network(x[3:4]), many[3:4], atol=1e-4, rtol=1e-4)
        active = network.activations(x)
        assert list(active) == [stage.name for stage in network.stages]
        for stage in network.stages:
            time = active[stage.name].shape[-1]
            assert time > 1
            assert stage.centre + (time - 1) * stage.pool < COARSE.n_frames

    config = Config.model_validate({"model": {"name": name}})
    data = PreparedSet(tmp_path, np.zeros((0, 128, 1), np.float16), None, {"classes": []}, None)
    save_weights(tmp_path / "w.safetensors", network, config, data)
    import safetensors.torch

    other = build_model(name, COARSE, seed=5).eval()
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "w.safetensors"))
    with torch.no_grad():
        assert torch.equal(other(x), network(x))


@pytest.mark.parametrize("spec", [COARSE, FINE], ids=["78 ms", "23 ms"])
def test_the_stages_of_cortex_z_have_about_the_same_times(spec):
    network = build_model("cortex-z", spec, seed=0).eval()
    periods = [stage.pool * spec.frame_s for stage in network.stages]
    np.testing.assert_allclose(periods, [0.155, 0.155, 0.31, 0.62, 0.62], rtol=0.12)
    assert periods[-1] < 1.5


@pytest.mark.parametrize("name", ["cortex-z", "cnn4-gru"])
def test_the_gru_runs_over_time(name):
    network = build_model(name, COARSE, seed=0).eval()
    x = windows(1)
    with torch.no_grad():
        forward = network.activations(x)["GRU"]
        # A change at the end is heard at the beginning, through the backward direction alone.
        x[..., -20:] = 3.0
        changed = network.activations(x)["GRU"]
    half = forward.shape[1] // 2
    assert torch.equal(forward[:, :half, 0], changed[:, :half, 0])
    assert not torch.equal(forward[:, half:, 0], changed[:, half:, 0])


@pytest.mark.parametrize("spec", [COARSE, FINE], ids=["78 ms", "23 ms"])
@pytest.mark.parametrize("name", model_names())
def test_a_click_moves_the_frame_that_is_centred_on_it(name, spec):
    """The time axis of every stage is where `Stage.centre` and `Stage.pool` say."""
    network = build_model(name, spec, seed=0).eval()
    quiet = torch.zeros(1, spec.n_mels, spec.n_frames)
    for stage, (_, field) in zip(network.stages, receptive_fields(network), strict=False):
        target = 3 if stage.pool < 40 else 1
        at = round(stage.centre + target * stage.pool)
        click = quiet.clone()
        click[..., at] = 50.0
        with torch.no_grad():
            a, b = (network.activations(x)[stage.name] for x in (quiet, click))
        moved = (a - b).abs().flatten(0, -2).sum(0).nonzero().flatten()
        frames = stage.centre + moved * stage.pool
        assert (frames - at).abs().max() <= (field + stage.pool) / 2
        assert target in moved


def test_receptive_fields_of_known_layers():
    # conv 3 (1 + 2), pool 2 (+ 1, jump 2), conv 3 (+ 2 * 2), pool 2 (+ 2): 10.
    assert receptive_fields(build_model("cnn4", FINE, seed=0))[:2] == [(4, 4), (10, 10)]


def test_tables():
    assert [row["name"] for row in model_rows()] == model_names()
    assert [row["stage"] for row in stage_rows("cortex-z")] == ["A1", "belt", "PB", "T2T3", "GRU"]


def test_unknown_names_and_short_windows_are_told():
    with pytest.raises(InputError, match="unknown model 'cortex'; known: cnn4"):
        build_model("cortex", COARSE, 0)
    with pytest.raises(InputError, match=r"unknown option 'width'.*did you mean 'widths'"):
        build_model("cortex-z", COARSE, 0, width=3)
    for name in model_names():
        with pytest.raises(InputError, match=r"set data\.window_s"):
            build_model(name, InputSpec(128, 5, 0.07755, 10), 0)
