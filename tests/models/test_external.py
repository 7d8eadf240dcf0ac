"""Networks from outside: settings, hooks, hearing, loading, controls and the list of modules."""

import re
import sys

import numpy as np
import pytest
import soxr
import torch
from torch import nn

from neuromusic.core.errors import InputError
from neuromusic.features.frontends.mel import MelSpec, log_mel
from neuromusic.models.controls import permuted, reinitialised
from neuromusic.models.external import External
from neuromusic.models.hearing import activations_of
from neuromusic.models.hooks import outputs_of
from neuromusic.models.listing import describe
from neuromusic.models.loading import is_external, load_external, load_weights

RATE_HZ = 16_000


class Net(nn.Module):
    """Two convolutions, a GRU whose output is a tuple, and a readout of the whole sound."""

    def __init__(self):
        super().__init__()
        self.a = nn.Sequential(nn.Conv1d(1, 8, 400, 160), nn.ReLU(inplace=True))
        self.b = nn.Sequential(nn.Conv1d(8, 16, 5, 2, padding=2), nn.BatchNorm1d(16), nn.ReLU())
        self.gru = nn.GRU(16, 7, batch_first=True, bidirectional=True)
        self.out = nn.Linear(14, 3)

    def forward(self, wave):
        b = self.b(self.a(wave[:, None]))
        return self.out(self.gru(b.transpose(1, 2))[0].mean(1))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval()


def noise(seconds, seed=0):
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE_HZ)).astype(np.float32)


# --- Settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give either rate_hz"),
        ({"rate_hz": 16_000, "front_end": "logmel"}, "give either rate_hz"),
        ({"rate_hz": 16}, "rate_hz: is 16"),
        ({"front_end": "logmell"}, "did you mean 'logmel'"),
        ({"rate_hz": RATE_HZ, "stages": {"A1": "gri"}}, "did you mean 'gru'"),
        ({"rate_hz": RATE_HZ, "time_axis": {"A2": 1}}, "time_axis: unknown stage 'A2'"),
        ({"rate_hz": RATE_HZ, "context_s": 0.0}, "context_s: is 0.0"),
        ({"rate_hz": RATE_HZ, "stamp": "middle"}, "stamp: is 'middle'"),
        ({"rate_hz": RATE_HZ, "time_axis": {"A1": None}}, "set context_s"),
    ],
)
def test_impossible_settings_are_refused(net, settings, message):
    with pytest.raises(InputError, match=re.escape(message)):
        External(net, **{"stages": {"A1": "a"}, **settings})


def test_hooks_are_removed_after_a_call_and_after_an_error(net):
    def hooks():
        return sum(len(module._forward_hooks) for module in net.modules())

    with outputs_of(net, {"a": "a", "gru": "gru", "first": "a.0"}) as outputs:
        assert hooks() == 3
        net(torch.randn(1, 4000))
    assert hooks() == 0
    assert outputs["gru"].shape == (1, 12, 14)  # the first element of a tuple
    assert (outputs["first"] < 0).any(), "the ReLU that follows works in place"
    with pytest.raises(RuntimeError), outputs_of(net, {"a": "a"}):
        net(torch.randn(1, 10))
    assert hooks() == 0


def test_outputs_may_be_mappings_or_objects():
    class Output:
        last_hidden_state = torch.ones(1, 2)

    class Model(nn.Module):
        def __init__(self, output):
            super().__init__()
            self.output = output

        def forward(self, x):
            return self.output

    for output in (Output(), {"last_hidden_state": torch.ones(1, 2)}, [torch.ones(1, 2), 3]):
        model = Model(output)
        with outputs_of(model, {"all": ""}) as outputs:
            model(None)
        assert outputs["all"].shape == (1, 2)


# --- Hearing ----------------------------------------------------------------------------------


def test_activations_are_those_of_torch_with_their_times(net):
    external = External(net, {"b": "b", "gru": "gru"}, rate_hz=RATE_HZ, time_axis={"gru": 1})
    wave = np.random.default_rng(0).standard_normal(44_100)
    found = activations_of(external, wave, 44_100)
    x = torch.from_numpy(soxr.resample(wave.astype(np.float32), 44_100, RATE_HZ, quality="HQ"))
    with torch.inference_mode():
        b = net.b(net.a(x[None, None]))
        gru = net.gru(b.transpose(1, 2))[0]
    np.testing.assert_allclose(found["b"].values, b[0].T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["gru"].values, gru[0], rtol=1e-4, atol=1e-5)
    assert found["b"].frame_s == 0.02
    assert found["b"].first_frame_s == 199.5 / RATE_HZ  # the middle of 400 samples


def test_a_click_is_found_at_its_time(net):
    wave = np.zeros(RATE_HZ, np.float32)
    wave[8000] = 1.0
    conv = activations_of(External(net, {"a": "a.0"}, rate_hz=RATE_HZ), wave, RATE_HZ)["a"]
    changed = np.abs(conv.values - conv.values[0]).max(1) > 1e-6
    assert abs(conv.times_s[changed].mean() - 0.5) < 0.005


def test_windows_of_a_long_sound_give_the_same_as_the_whole(net):
    stages = {"a": "a", "b": "b"}
    wave = noise(5.3)
    whole = activations_of(External(net, stages, rate_hz=RATE_HZ), wave, RATE_HZ)
    for context_s in (0.3, 0.5, 1.0, 2.0):
        external = External(net, stages, rate_hz=RATE_HZ, context_s=context_s)
        cut = activations_of(external, wave, RATE_HZ)
        for stage in stages:
            np.testing.assert_allclose(cut[stage].values, whole[stage].values, atol=1e-5)
            assert cut[stage].first_frame_s == whole[stage].first_frame_s


def test_a_recurrent_stage_in_windows_is_close_to_the_whole(net):
    settings = {"rate_hz": RATE_HZ, "time_axis": {"gru": 1}}
    wave = noise(5.3)
    whole = activations_of(External(net, {"gru": "gru"}, **settings), wave, RATE_HZ)["gru"]
    external = External(net, {"gru": "gru"}, **settings, context_s=2.0)
    cut = activations_of(external, wave, RATE_HZ)["gru"]
    assert cut.values.shape == whole.values.shape
    np.testing.assert_allclose(cut.values, whole.values, atol=1e-3)


def test_a_network_of_one_length_is_applied_in_windows():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 4, 20, 10)

        def forward(self, x):
            if x.shape[-1] != 1000:
                raise ValueError("1000 samples, please")
            return self.conv(x[:, None])

    torch.manual_seed(0)
    net = Fixed()
    external = External(net, {"conv": "conv"}, rate_hz=1000, context_s=1.0)
    wave = noise(0.3)[:4757]
    found = activations_of(external, wave, 1000)["conv"]
    with torch.inference_mode():
        expected = net.conv(torch.from_numpy(wave)[None, None])[0].T
    np.testing.assert_allclose(found.values, expected[: len(found.values)], atol=1e-6)
    assert len(expected) - len(found.values) <= 1
    with pytest.raises(InputError, match=r"lasts 0\.50 s, but the network hears 1 s at once"):
        activations_of(external, wave[:500], 1000)


@pytest.mark.parametrize("stamp", ["end", "centre"])
def test_a_stage_without_time_slides_over_the_sound(net, stamp):
    external = External(
        net, {"out": "out"}, rate_hz=RATE_HZ, time_axis={"out": None}, context_s=1.0, stride_s=0.25,
        stamp=stamp,
    )  # fmt: skip
    wave = noise(2.1)
    out = activations_of(external, wave, RATE_HZ)["out"]
    with torch.inference_mode():
        expected = [
            net(torch.from_numpy(wave)[None, s : s + 16_000])[0] for s in range(0, 17_600, 4000)
        ]
    np.testing.assert_allclose(out.values, torch.stack(expected), atol=1e-6)
    assert out.frame_s == 0.25
    assert out.first_frame_s == pytest.approx(1.0 if stamp == "end" else 0.5, abs=1e-4)
    with pytest.raises(InputError, match=r"bark\.wav lasts 0\.50 s, but the network hears 1 s"):
        activations_of(external, noise(0.5), RATE_HZ, "bark.wav")


def test_causal_frames_are_stamped_at_the_last_input_they_depend_on(net):
    external = External(net, {"a": "a"}, rate_hz=RATE_HZ, causal=True)
    assert activations_of(external, noise(1), RATE_HZ)["a"].first_frame_s == 399 / RATE_HZ
    gru = External(net, {"gru": "gru"}, rate_hz=RATE_HZ, time_axis={"gru": 1}, causal=True)
    with pytest.raises(InputError, match="is not causal"):
        activations_of(gru, noise(1), RATE_HZ)


def test_a_network_may_take_a_front_end():
    torch.manual_seed(0)
    spec = MelSpec(n_mels=40)
    net = nn.Sequential(nn.Conv1d(40, 6, 3, padding=1), nn.ReLU())
    found = activations_of(External(net, {"conv": "0"}, front_end=spec), noise(2), 22_050)["conv"]
    with torch.inference_mode():
        expected = net[0](torch.from_numpy(log_mel(noise(2), spec))[None])[0].T
    np.testing.assert_allclose(found.values, expected, rtol=1e-4, atol=1e-4)
    assert (found.frame_s, found.first_frame_s) == (spec.frame_s, 0.0)


def test_what_fails_is_named(net):
    class Bad(nn.Module):
        def forward(self, x):
            return torch.log(x)[:, None]

    with pytest.raises(
        InputError, match=r"mine: stage log: its activations of bark\.wav contain NaN"
    ):
        activations_of(
            External(Bad(), {"log": ""}, rate_hz=1000, name="mine"), noise(1), 1000, "bark.wav"
        )
    external = External(net, {"b": "b"}, rate_hz=RATE_HZ, name="mine")
    with pytest.raises(InputError, match=r"mine: fails on 0\.00 s of tick\.wav before stage b"):
        activations_of(external, noise(0.001), RATE_HZ, "tick.wav")
    with pytest.raises(InputError, match="has no stages"):
        activations_of(External(net, rate_hz=RATE_HZ), noise(1), RATE_HZ)


# --- Loading ----------------------------------------------------------------------------------

FILE = """
from torch import nn
from neuromusic.models.external import External

def network():
    net = nn.Sequential(nn.Unflatten(1, (1, -1)), nn.Conv1d(1, 8, 400, 160), nn.ReLU())
    return External(net, stages={"A1": "2"}, rate_hz=16_000, name="mine")
"""


def test_a_network_is_loaded_from_a_file_or_a_function(tmp_path, monkeypatch):
    (tmp_path / "my_net.py").write_text(FILE)
    before = list(sys.path)
    network = load_external(tmp_path / "my_net.py")
    assert (network.name, dict(network.stages), sys.path) == ("mine", {"A1": "2"}, before)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_external("my_net:network").name == "mine"
    assert is_external("my_net:network") and is_external(str(tmp_path / "my_net.py"))
    assert not is_external(tmp_path) and not is_external("cortex-z")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x.z\n", r"line 2 \(y = x.z\): AttributeError"),
        ("import no_such_package\n", r"line 1 .*ModuleNotFoundError"),
        ("def network(:\n", "line 1: SyntaxError"),
        ("def networks(): pass\n", r"has no function network\(\).*did you mean 'networks'"),
        ("def network():\n    return 3\n", r"network\(\) returns int; expected a neuromusic"),
        ("def network():\n    raise KeyError(3)\n", r"line 2 \(raise KeyError\(3\)\): KeyError: 3"),
        ("raise SystemExit(3)\n", "SystemExit"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path, text, message):
    path = tmp_path / "my_net.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_external(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no_such.py", "no such file"),
        ("no_such_module:network", "there is no module 'no_such_module'"),
        ("json:network", "module json has no function 'network'"),
        ("json:dumps", "TypeError"),
        ("musicn", "did you mean 'musicnn'"),
    ],
)
def test_unknown_sources_are_refused(source, message):
    with pytest.raises(InputError, match=message):
        load_external(source)


def test_weights_that_would_execute_code_are_refused(tmp_path):
    linear = nn.Linear(2, 3)
    torch.save({"state_dict": linear.state_dict(), "epoch": 3}, tmp_path / "safe.pt")
    assert torch.equal(load_weights(tmp_path / "safe.pt")["weight"], linear.weight)
    torch.save(linear, tmp_path / "module.pt")
    (tmp_path / "damaged.pt").write_bytes(b"\x80\x02nonsense")
    with pytest.raises(InputError, match="is refused, because it contains more than tensors"):
        load_weights(tmp_path / "module.pt")
    for name in ("damaged.pt", "damaged.safetensors"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(InputError, match=name):
            load_weights(tmp_path / name)


# --- Controls and the list of modules ---------------------------------------------------------


def test_controls_keep_the_shapes_but_not_the_weights(net, caplog):
    external = External(net, {"b": "b"}, rate_hz=RATE_HZ)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    for control in (reinitialised, permuted):
        copies = [control(external, seed).module.state_dict() for seed in (1, 1, 2)]
        for key in ("a.0.weight", "b.0.bias", "gru.weight_hh_l0_reverse", "out.weight"):
            assert torch.equal(copies[0][key], copies[1][key])
            assert not torch.equal(copies[0][key], copies[2][key])
            assert not torch.equal(copies[0][key], before[key])
    key = "gru.weight_ih_l0"
    assert torch.equal(
        permuted(external).module.state_dict()[key].flatten().sort().values,
        before[key].flatten().sort().values,
    )
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not caplog.records


def test_modules_that_cannot_be_initialised_are_named(caplog):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.arange(5.0))

        def forward(self, x):
            return x[:, None] * self.scale[:, None]

    network = reinitialised(External(nn.Sequential(Scale()), {"a": "0"}, rate_hz=1000), seed=1)
    assert "cannot initialise 0 anew" in caplog.text
    scale = network.module[0].scale
    assert sorted(scale.tolist()) == [0, 1, 2, 3, 4] and scale.tolist() != [0, 1, 2, 3, 4]


def test_the_list_of_modules(net):
    table = describe(External(net, {"A1": "a"}, rate_hz=RATE_HZ)).set_index("module")
    assert table.loc["a", "stages"] == "A1"
    assert table.loc["a", ["shape", "rate_hz", "extent_s"]].tolist() == ["8 x time", 100, 0.025]
    assert table.loc["gru", ["shape", "time_axis"]].tolist() == ["time x 14", -2]
    assert np.isinf(table.loc["gru", "extent_s"]) and np.isnan(table.loc["out", "rate_hz"])
    assert table.loc["", "parameters"] == sum(p.numel() for p in net.parameters())
