"""The probe: hop, centre and extent against the receptive fields of known networks."""

import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from neuromusic.core.errors import InputError
from neuromusic.features.frontends.mel import MelSpec
from neuromusic.models.external import External
from neuromusic.models.network import InputSpec
from neuromusic.models.probe import probe, takes_one_length
from neuromusic.models.probe_runs import Runs
from neuromusic.models.receptive_field import trace
from neuromusic.models.registry import create_model, list_models, model_entry
from neuromusic.stimuli.audio import RATE_HZ

# They need many samples, or many multiply-adds, for an input longer than their receptive fields, or
# are much like one that is not listed.
SLOW = ("samplecnn", "mixnet", "resnet34", "resnet50", "googlenet", "densenet121", "vgg13", "vgg16",
        "vgg19", "cortex-s", "alexnet", "vgg11", "cnn3-gru", "cnn4-gru-dense2", "cel2", "cel3",
        "cortex-rt", "mlp2", "mlp2-1024", "mlp2-4x256", "cel2-wave", "cel3-wave")  # fmt: skip
FEWEST_BANDS = {"cnn4-gru": 128, "cnn4-gru-dense2": 128, "cnn3-gru": 64, "cnn4": 64, "alexnet": 64,
                "cel": 64, "cel2": 64, "cel3": 64}  # fmt: skip


class Tapped(nn.Module):
    """One of our networks with a module per stage whose output it is."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.stage = nn.ModuleDict({stage.name: nn.Identity() for stage in network.stages})

    def forward(self, x):
        x = x if x.ndim == 3 else x[:, None]
        for name, active in self.network.activations(x).items():
            self.stage[name](active)


def external_of(name):
    """Return one of our networks as an External; those of dense layers take a certain length."""
    is_wave = model_entry(name).input == "wave"
    spec = MelSpec(n_mels=FEWEST_BANDS.get(name, 32))
    frame_s = 1 / RATE_HZ if is_wave else spec.frame_s
    n_frames = (3**10 if name == "samplecnn" else 28_000) if is_wave else 64
    sizes = InputSpec(1 if is_wave else spec.n_mels, n_frames, frame_s, 8)
    network = create_model(name, sizes, seed=0)
    return network, External(
        Tapped(network),
        stages={stage.name: f"stage.{stage.name}" for stage in network.stages},
        rate_hz=RATE_HZ if is_wave else None,
        front_end=None if is_wave else spec,
        context_s=n_frames * frame_s if name.startswith("mlp") else None,
        name=name,
    )


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in list_models()],
)
def test_the_probe_agrees_with_the_receptive_field(name):
    network, external = external_of(name)
    measured = probe(external)
    assert takes_one_length(external) == name.startswith("mlp")
    for stage in network.stages:
        timing, extent = measured[stage.name], network.geometry(stage.name).field[1]
        assert timing.hop == stage.pool, stage
        assert abs(timing.centre - stage.centre) <= 1, stage
        assert timing.extent == extent or abs(timing.extent - extent) <= 1, stage
        if math.isinf(extent):
            assert timing.uses_future


layer = st.tuples(
    st.sampled_from(["conv", "max", "average"]), st.integers(1, 9), st.integers(1, 4),
    st.integers(1, 3), st.booleans(),
)  # fmt: skip


def stack(layers):
    """Return modules from (batch, samples); each layer is followed by a ReLU."""
    modules, n_in = [nn.Unflatten(1, (1, -1))], 1
    for kind, kernel, stride, dilation, padded in layers:
        if kind == "conv":
            padding = (kernel - 1) * dilation // 2 if padded else 0
            modules.append(nn.Conv1d(n_in, 4, kernel, stride, padding, dilation))
            n_in = 4
        else:
            pool = nn.MaxPool1d if kind == "max" else nn.AvgPool1d
            modules.append(pool(kernel, stride, kernel // 2 if padded else 0))
        modules.append(nn.ReLU(inplace=True))
    return nn.Sequential(*modules)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(layer, min_size=1, max_size=4))
def test_the_probe_agrees_with_arithmetic_on_random_stacks(layers):
    torch.manual_seed(0)
    net = stack(layers)
    expected = trace(list(net)[1:], 1, 2**16)
    measured = probe(External(net, {"all": ""}, rate_hz=16_000))["all"]
    assert measured.hop == expected.jump[1]
    assert measured.centre == pytest.approx(expected.centre[1])
    if expected.jump[1] == 1 or all(kernel >= stride for _, kernel, stride, _, _ in layers):
        assert measured.extent == expected.field[1]  # otherwise a stride may skip the ends


class NoGradients(nn.Module):
    """A convolution whose result passes through numpy."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(1, 8, 301, 100), nn.ReLU(), nn.MaxPool1d(2))

    def forward(self, wave):
        return torch.from_numpy(self.conv(wave[:, None]).detach().numpy().copy())


def test_a_network_without_gradients_is_measured_by_replacing_its_input():
    torch.manual_seed(0)
    timing = probe(External(NoGradients(), {"all": ""}, rate_hz=16_000))["all"]
    assert (timing.hop, timing.centre, timing.extent) == (200, 200, 401)


class Causal(nn.Module):
    """A convolution padded on the left, and a GRU that runs forwards."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 400, 160)
        self.gru = nn.GRU(8, 4, batch_first=True)

    def forward(self, wave):
        x = self.conv(nn.functional.pad(wave, (240, 0))[:, None])
        return self.gru(x.transpose(1, 2))


def test_a_causal_network_depends_on_nothing_that_follows():
    external = External(
        Causal(), {"conv": "conv", "gru": "gru"}, rate_hz=16_000, time_axis={"gru": 1}
    )
    timings = probe(external)
    conv, gru = timings["conv"], timings["gru"]
    assert (conv.hop, conv.extent, conv.last, conv.centre) == (160, 400, 159, -40.5)
    assert (gru.hop, gru.extent, gru.last) == (160, math.inf, 159)


class Upsampled(nn.Module):
    def forward(self, wave):
        return nn.functional.interpolate(wave[:, None], scale_factor=2)


def test_a_hop_may_be_less_than_a_sample():
    assert probe(External(Upsampled(), {"all": ""}, rate_hz=16_000))["all"].hop == 0.5


def test_a_readout_for_one_length_does_not_prevent_measuring():
    net = nn.Sequential(
        nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 20, 10), nn.Flatten(), nn.Linear(4 * 98, 3)
    )
    external = External(net, {"conv": "1"}, rate_hz=1000, context_s=1.0)
    assert probe(external)["conv"].hop == 10
    assert not takes_one_length(external)
    with pytest.raises(InputError, match="set context_s to it"):
        probe(External(net, {"out": "3"}, rate_hz=1000))


def test_an_axis_that_is_not_time_is_refused():
    net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 20, 10))
    with pytest.raises(InputError, match=r"stage conv: axis 1 .* axis -1 has one that grows"):
        probe(External(net, {"conv": "1"}, rate_hz=1000, time_axis={"conv": 1}))


def test_the_measurement_is_kept_and_changes_nothing():
    net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 20, 10), nn.BatchNorm1d(4))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    external = External(net, {"norm": "2"}, rate_hz=1000)
    assert probe(external) is probe(external)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert all(p.requires_grad for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())
    assert np.isfinite(probe(external)["norm"].extent_s)


def test_inference_mode_of_the_caller_does_not_matter():
    """Without gradients the probe replaces parts of the input: a minute instead of a second."""
    net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 4, 400, 160), nn.ReLU())
    network = External(net, {"conv": "2"}, rate_hz=16_000)
    replacing = mock.patch.object(Runs, "_by_replacing", side_effect=AssertionError)
    with torch.inference_mode(), replacing:
        timing = probe(network)["conv"]
    assert (timing.hop, timing.centre, timing.extent) == (160, 199.5, 400)
