"""Tests of every registered network, and of the properties of particular ones."""

import math

import numpy as np
import pytest
import torch

from neuromusic.core.errors import InputError
from neuromusic.features.meta import SetMeta
from neuromusic.features.prepared import PreparedSet
from neuromusic.models.network import InputSpec
from neuromusic.models.receptive_field import trace
from neuromusic.models.registry import create_model, list_models, model_entry
from neuromusic.models.summary import SPECS, multiply_adds, stage_rows
from neuromusic.stimuli.audio import RATE_HZ
from neuromusic.training.config import Config
from neuromusic.training.trained import save_weights

COARSE = InputSpec(n_bands=128, n_frames=129, frame_s=0.07755, n_classes=10)
FINE = InputSpec(n_bands=128, n_frames=430, frame_s=512 / 22050, n_classes=10)
# The fewest bands and frames that a network accepts, so that all are fast.
LEAST = {"alexnet": (64, 64), "baseline-1d": (64, 64), "cnn3-gru": (64, 32), "cnn4": (64, 64),
         "cnn4-gru": (128, 32), "cnn4-gru-dense2": (128, 32), "cel": (64, 64), "cel2": (64, 64),
         "cel3": (64, 64)}  # fmt: skip
LEAST_WAVE = {"samplecnn": 3**10}
LARGE = ("alexnet", "densenet121", "googlenet", "resnet34", "resnet50", "samplecnn", "vgg13",
         "vgg16", "vgg19")  # fmt: skip
CORTEX = ["cortex-z", "cortex-r", "cortex-rt", "cortex-s"]


def spec_of(name):
    if model_entry(name).input == "wave":
        return InputSpec(1, LEAST_WAVE.get(name, 28_000), 1 / RATE_HZ, 8)
    n_bands, n_frames = (64, 64) if name in CORTEX else LEAST.get(name, (32, 32))
    return InputSpec(n_bands, n_frames, COARSE.frame_s, 8)


def windows(n, spec=COARSE, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, spec.n_rows, spec.n_frames, generator=rng)


def without_dropout(network):
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return network


def memorise(network, x, y):
    """Return the loss after at most 60 steps on the same windows."""
    n_parameters = sum(p.numel() for p in network.parameters())
    # A linear readout is convex, so it can take larger steps.
    lr = 5e-4 if n_parameters > 5e6 else 1e-2 if n_parameters < 1e4 else 1e-3
    optimizer = torch.optim.Adam(network.parameters(), lr)
    for step in range(60):
        loss = torch.nn.functional.cross_entropy(network(x), y)
        if step == 0:
            loss.backward()
            for key, parameter in network.named_parameters():
                assert parameter.grad is not None, key
                assert parameter.grad.abs().sum() > 0, key
        elif loss < 0.1:
            break
        else:
            optimizer.zero_grad()
            loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in list_models()],
)
def test_every_network(name, tmp_path):
    spec = spec_of(name)
    state = torch.get_rng_state()
    network = without_dropout(create_model(name, spec, seed=0))
    assert torch.equal(torch.get_rng_state(), state)
    copy, other = create_model(name, spec, seed=0), create_model(name, spec, seed=1)
    for (key, a), b, c in zip(
        network.named_parameters(), copy.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(a, b), key
        assert a.ndim == 1 or not torch.equal(a, c), key

    x, y = windows(8, spec), torch.arange(8)
    assert network(x).shape == (8, 8)
    assert memorise(network, x, y) < 0.1

    network.eval()
    with torch.no_grad():
        logits = network(x)
        torch.testing.assert_close(network(x[3:4]), logits[3:4], atol=1e-3, rtol=1e-3)
        active = network.activations(x)
    assert list(active) == [stage.name for stage in network.stages]
    for stage in network.stages:
        assert stage.name.isalnum(), "it becomes part of a file name and a MATLAB field"
        time = active[stage.name].shape[-1]
        assert network.geometry(stage.name).size[1] == time
        # An even kernel that keeps the length is padded on the right.
        assert stage.centre > -1
        assert stage.centre + (time - 1) * stage.pool < spec.n_frames + stage.pool

    config = Config.model_validate({"model": {"name": name}})
    meta = SetMeta("features", {"name": "logmel"}, 0.1, 1, 128, [])
    data = PreparedSet(tmp_path, np.zeros((0, 128, 1), np.float16), None, meta, None)
    save_weights(tmp_path / "w.safetensors", network, config, data)
    import safetensors.torch

    copy.eval().load_state_dict(safetensors.torch.load_file(tmp_path / "w.safetensors"))
    with torch.no_grad():
        assert torch.equal(copy(x), network(x))


@pytest.mark.parametrize("name", list_models())
def test_receptive_fields_agree_with_the_gradient(name):
    """The positions and receptive fields of a stage's frames agree with the gradient."""
    spec = spec_of(name)
    network = create_model(name, spec, seed=0).double().eval()
    x = windows(1, spec).double().requires_grad_()
    active = network.activations(x)
    for stage in network.stages:
        frames = active[stage.name].flatten(0, -2)  # (units, time)
        index = frames.shape[-1] // 2
        (gradient,) = torch.autograd.grad(frames[:, index].sum(), x, retain_graph=True)
        seen = gradient[0].abs().sum(0).nonzero().flatten()
        centre = stage.centre + index * stage.pool
        reach = (network.geometry(stage.name).field[1] - 1) / 2
        assert centre - reach - 1e-6 <= seen.min()
        assert seen.max() <= centre + reach + 1e-6
        if math.isfinite(reach) and 2 * reach < spec.n_frames / 4:
            # A max-pool passes on one of its frames, so the ends may be missing, but not by much.
            assert seen.max() - seen.min() > reach or reach == 0
            assert abs((seen.max() + seen.min()) / 2 - centre) <= reach / 2 + stage.pool


@pytest.mark.parametrize("size", ["tiny", "large"])
@pytest.mark.parametrize("name", CORTEX)
def test_the_cortical_family_has_one_time_axis(name, size):
    for spec in (COARSE, FINE):
        network = create_model(name, spec, seed=0, size=size).eval()
        assert [s.name for s in network.stages] == ["A1", "belt", "PB", "T2T3", "GRU"]
        assert [s.brodmann for s in network.stages] == [(41,), (42,), (22,), (21, 20), ()]
        periods = [stage.pool * spec.frame_s for stage in network.stages]
        np.testing.assert_allclose(periods, [0.155, 0.155, 0.31, 0.62, 0.62], rtol=0.12)
        assert periods[-1] < 1.5


def test_channels_of_a_front_end_enter_a_cortical_network():
    spec = InputSpec(n_bands=19, n_frames=60, frame_s=0.1, n_classes=10, n_channels=30)
    network = create_model("cortex-z", spec, seed=0)
    assert network(windows(2, spec)).shape == (2, 10)
    assert network.areas["A1"][0].in_channels == 30


def test_activity_advances_by_one_area_per_step_in_cortex_rt():
    network = create_model("cortex-rt", COARSE, seed=0, steps=4).eval()
    assert [len(area.norms) for area in network.areas.values()] == [4, 3, 2, 1]
    with pytest.raises(InputError, match="at least 4"):
        create_model("cortex-rt", COARSE, seed=0, steps=3)
    # T2/T3 in the last step depends on PB in the step before, not on PB in the last step.
    x = windows(1)
    with torch.no_grad():
        before = network.activations(x)
        network.areas["PB"].norms[1].bias += 1.0
        after = network.activations(x)
    assert not torch.equal(before["PB"], after["PB"])
    assert torch.equal(before["T2T3"], after["T2T3"])


@pytest.mark.parametrize("name", [*CORTEX, "cnn4-gru", "cnn3-gru"])
def test_the_gru_runs_over_time(name):
    network = create_model(name, COARSE, seed=0).eval()
    x = windows(1)
    with torch.no_grad():
        forward = network.activations(x)["GRU"]
        # A change at the end reaches the beginning only through the backward direction.
        x[..., -20:] = 3.0
        changed = network.activations(x)["GRU"]
    half = forward.shape[1] // 2
    assert torch.equal(forward[:, :half, 0], changed[:, :half, 0])
    assert not torch.equal(forward[:, half:, 0], changed[:, half:, 0])


def test_receptive_fields_of_known_layers():
    # conv 3 (1 + 2), pool 2 (+ 1, jump 2), conv 3 (+ 2 * 2), pool 2 (+ 2): 10.
    network = create_model("cnn4", FINE, seed=0)
    assert network.geometry("conv1").field == (4, 4)
    assert network.geometry("conv2").field == (10, 10)
    # Published: 195 and 212 input pixels of AlexNet and VGG16 (Araujo, Norris and Sim 2019,
    # table 1).
    assert create_model("alexnet", FINE, seed=0).geometry("conv5").field == (195, 195)
    vgg = create_model("vgg16", FINE, seed=0)
    assert trace([*vgg.path("block4"), *vgg.blocks["block5"][:-1]], 128, 430).field == (196, 196)
    assert vgg.geometry("block5").field == (212, 212)


@pytest.mark.parametrize(
    "name", ["cnn5-1d", "resnet34", "googlenet", "mlp", "cnn2d", "cnn4-gru", "cortex-r", "cortex-s"]
)
def test_multiply_adds_are_those_that_torch_counts(name):
    from torch.utils.flop_counter import FlopCounterMode

    network = create_model(name, COARSE, seed=0).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(windows(1))
    assert multiply_adds(network) == counter.get_total_flops() // 2


def test_the_parameters_are_those_of_torchvision():
    import torchvision

    # One input channel instead of three, ten classes instead of a thousand.
    fewer = {"resnet34": 512, "resnet50": 2048, "densenet121": 1024, "googlenet": 1024}
    for name, width in fewer.items():
        options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
        theirs = getattr(torchvision.models, name)(**options)
        ours = create_model(name, FINE, seed=0)
        n_ours, n_theirs = (sum(p.numel() for p in net.parameters()) for net in (ours, theirs))
        assert n_theirs - n_ours == 990 * (width + 1) + 2 * 64 * 49, name


def test_another_activation_replaces_every_relu():
    for name in ("googlenet", "cortex-r", "cel"):
        network = create_model(name, COARSE, seed=0, activation="elu")
        kinds = [type(module) for module in network.modules()]
        assert torch.nn.ELU in kinds
        assert torch.nn.ReLU not in kinds


def test_the_tables_add_up():
    rows = stage_rows("cortex-s")
    assert [row["stage"] for row in rows] == ["A1", "belt", "PB", "T2T3", "GRU", "readout"]
    network = create_model("cortex-s", SPECS["bands"], seed=0)
    total = sum(int(row["parameters"].replace(",", "")) for row in rows)
    assert total == sum(p.numel() for p in network.parameters())
    adds = sum(float(row["multiply-adds"].replace(",", "").split()[0]) for row in rows)
    assert adds == pytest.approx(multiply_adds(network) / 1e6, abs=0.5)
    assert stage_rows("mixnet")[-2]["stage"] == "mel3"


def test_unknown_names_and_short_windows_are_refused():
    with pytest.raises(InputError, match="unknown model 'cortex'; known: alexnet"):
        create_model("cortex", COARSE, 0)
    with pytest.raises(InputError, match=r"unknown option 'sise'.*did you mean 'size'"):
        create_model("cortex-z", COARSE, 0, sise=3)
    with pytest.raises(InputError, match="'huge' is not one of tiny, base, large"):
        create_model("cortex-z", COARSE, 0, size="huge")
    for name in [*CORTEX, "cnn4", "cnn4-gru", "vgg11", "senet"]:
        with pytest.raises(InputError, match=r"set data\.window_s"):
            create_model(name, InputSpec(128, 5, 0.07755, 10), 0)


def test_relu_after_the_pool_equals_relu_before_it():
    # The predecessors' networks have ReLU before the pool; after it there is less to compute.
    spec = InputSpec(n_bands=128, n_frames=65, frame_s=0.023, n_classes=10)
    ours = create_model("cnn4", spec, seed=0).blocks["conv1"]
    conv, norm, pool, relu = ours
    x = torch.randn(4, 1, 128, 65, generator=torch.Generator().manual_seed(0))
    gradients = []
    for block in (ours, torch.nn.Sequential(conv, norm, relu, pool)):
        y = block(x)
        gradients.append(torch.autograd.grad((y * y.detach().cos()).sum(), conv.weight)[0])
        gradients.append(y)
    assert torch.equal(gradients[0], gradients[2])
    assert torch.equal(gradients[1], gradients[3])
