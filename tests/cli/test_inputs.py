"""Networks with other inputs than log-mel, from sound files to predictions."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers import write_features

from neuromusic.core.errors import InputError
from neuromusic.core.parallel import Machine
from neuromusic.evaluation.predict import predict_files
from neuromusic.pipeline.evaluate import evaluate
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.pipeline.prepare import prepare, prepare_features
from neuromusic.pipeline.train import train
from neuromusic.stimuli.corpora import Corpus
from neuromusic.training.config import load_config

GENRES = ("blues", "jazz", "metal")


@pytest.fixture(scope="module")
def lists(small_clips, tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    for genre in GENRES:
        folder = root / "genres" / genre
        folder.mkdir(parents=True)
        for path in small_clips.glob(f"{genre}.*.wav"):
            wave, rate_hz = soundfile.read(path)
            soundfile.write(folder / path.name, wave[: 4 * rate_hz], rate_hz)
    corpus = Corpus("folder", root / "genres")
    make_file_lists(corpus, split="2:0:1", clip_s=4.0, out=root / "lists")
    return root


def toml(path, name, *lines):
    path.write_text(
        "\n".join(
            ["[data]", "window_s = 2.0", "hop_s = 0.5", "windows_per_epoch = 24", *lines,
             "[model]", f'name = "{name}"', "[train]", "epochs = 2", "batch_size = 8",
             "[augment]", "mixup = 0.2"]
        )
    )  # fmt: skip
    return path


@pytest.mark.parametrize(
    ("front_end", "waves", "name", "lines"),
    [("logmel", True, "cnn1d", []),
     pytest.param("logmel", True, "cel-wave", ['normalisation = "clip"'], marks=pytest.mark.slow),
     pytest.param("cochleagram", False, "cortex-z", ['front_end = "cochleagram"'],
                  marks=pytest.mark.slow),
     ("modulation", False, "cortex-z", ['front_end = "modulation"']),
     pytest.param(
         "scattering", False, "cnn2d", ['front_end = "scattering"'], marks=pytest.mark.slow)],
    ids=["wave", "wave, per clip", "cochleagram", "modulation", "scattering"],
)  # fmt: skip
def test_from_sound_to_predictions(lists, tmp_path, front_end, waves, name, lines):
    data = prepare(
        lists / "lists", out=tmp_path / "p", front_end=front_end, waves=waves, machine=Machine()
    )
    network = train(toml(tmp_path / "x.toml", name, *lines), data, out=tmp_path / "r")
    evaluate(network)
    # A test clip gets the same prediction from its file as from the prepared set.
    clip = pd.read_csv(tmp_path / "r" / "predictions.tsv", sep="\t").iloc[0]
    path = next((lists / "genres").rglob(clip["clip"]))
    log_p = predict_files([path], network)[0]
    np.testing.assert_allclose(np.exp(log_p), clip[list(GENRES)].to_numpy(float), atol=2e-3)
    if waves:
        data = data.as_input("wave", normalise_clips=False)
        wave, _ = soundfile.read(path, dtype="float32")
        row = data.rows.index[data.rows["clip"] == clip["clip"]][0]
        np.testing.assert_array_equal(data.row_features(row)[0], wave)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [("cnn1d", "augment.mixup=0", "has no waves"),
     ("cortex-z", "data.front_end=cochleagram", "was prepared with the front end logmel"),
     ("cnn1d", "augment.mel_shift=3", "takes samples; set it to 0"),
     ("cortex-z", "model.activation=gelu", "'relu', 'leaky_relu' or 'elu'")],
)  # fmt: skip
def test_a_network_that_does_not_suit_the_set_is_refused(tmp_path, name, change, message):
    write_features(tmp_path / "f.npz")
    prepare_features(tmp_path / "f.npz", out=tmp_path / "p")
    with pytest.raises(InputError, match=message):
        config = load_config(toml(tmp_path / "x.toml", name), (change,))
        train(config, tmp_path / "p", out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_modulation_of_precomputed_log_mel(tmp_path):
    write_features(tmp_path / "f.npz")
    data = prepare_features(tmp_path / "f.npz", out=tmp_path / "p", front_end="modulation")
    assert data.meta.front_end_name == "modulation"
    assert data.features.shape[1] == data.meta.n_channels * data.meta.n_bands
    with pytest.raises(InputError, match="prepare the set from sound"):
        prepare_features(tmp_path / "f.npz", out=tmp_path / "q", front_end="scattering")
    assert not (tmp_path / "q").exists()
