"""Networks that hear something else than log-mel, from sound files to predictions."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from helpers import write_features

from neuromusic.core.errors import InputError
from neuromusic.evaluation.predict import predict_files
from neuromusic.features.prepared import open_prepared
from neuromusic.pipeline import evaluate, prepare, train
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.stimuli.corpora.folder import table
from neuromusic.training.config import load_config
from neuromusic.training.trained import load_network

GENRES = ("blues", "jazz", "metal")


def quiet(text):
    """Say nothing."""


@pytest.fixture(scope="module")
def lists(small_clips, tmp_path_factory):
    root = tmp_path_factory.mktemp("inputs")
    for genre in GENRES:
        folder = root / "genres" / genre
        folder.mkdir(parents=True)
        for path in small_clips.glob(f"{genre}.*.wav"):
            wave, rate_hz = soundfile.read(path)
            soundfile.write(folder / path.name, wave[: 4 * rate_hz], rate_hz)
    files = table(root / "genres")
    make_file_lists(files, "2:0:1", 0, 4.0, root / "lists", "hard", quiet)
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
     ("logmel", True, "cel-wave", ['normalisation = "clip"']),
     ("cochleagram", False, "cortex-z", ['front_end = "cochleagram"']),
     ("modulation", False, "cortex-z", ['front_end = "modulation"']),
     pytest.param(
         "scattering", False, "cnn2d", ['front_end = "scattering"'], marks=pytest.mark.slow)],
    ids=["wave", "wave, per clip", "cochleagram", "modulation", "scattering"],
)  # fmt: skip
def test_from_sound_to_predictions(lists, tmp_path, front_end, waves, name, lines):
    prepare.make_prepared(lists / "lists", tmp_path / "p", 0, 1, quiet, front_end, waves)
    config = load_config(toml(tmp_path / "x.toml", name, *lines))
    train.make_run(config, tmp_path / "p", tmp_path / "r", False, quiet)
    evaluate.make_evaluation(tmp_path / "r", None, quiet)
    # A test clip is predicted from its file as from the prepared set.
    clip = pd.read_csv(tmp_path / "r" / "predictions.tsv", sep="\t").iloc[0]
    path = next((lists / "genres").rglob(clip["clip"]))
    log_p = predict_files([path], load_network(tmp_path / "r"))[0]
    np.testing.assert_allclose(np.exp(log_p), clip[list(GENRES)].to_numpy(float), atol=2e-3)
    if waves:
        data = open_prepared(tmp_path / "p").heard_as("wave", per_clip=False)
        wave, _ = soundfile.read(path, dtype="float32")
        row = data.rows.index[data.rows["clip"] == clip["clip"]][0]
        np.testing.assert_array_equal(data.row_features(row)[0], wave)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [("cnn1d", "augment.mixup=0", "holds no waves"),
     ("cortex-z", "data.front_end=cochleagram", "was prepared with the front end logmel"),
     ("cnn1d", "augment.mel_shift=3", "hears samples; set it to 0"),
     ("cortex-z", "model.activation=gelu", "'relu', 'leaky_relu' or 'elu'")],
)  # fmt: skip
def test_what_does_not_fit_is_told(tmp_path, name, change, message):
    write_features(tmp_path / "f.npz")
    prepare.make_prepared_features(tmp_path / "f.npz", None, tmp_path / "p", quiet)
    with pytest.raises(InputError, match=message):
        config = load_config(toml(tmp_path / "x.toml", name), (change,))
        train.make_run(config, tmp_path / "p", tmp_path / "r", False, quiet)
    assert not (tmp_path / "r").exists()


def test_modulation_of_ready_made_log_mel(tmp_path):
    write_features(tmp_path / "f.npz")
    prepare.make_prepared_features(tmp_path / "f.npz", None, tmp_path / "p", quiet, "modulation")
    data = open_prepared(tmp_path / "p")
    assert data.meta["front_end"]["name"] == "modulation"
    assert data.features.shape[1] == data.meta["n_channels"] * data.meta["n_bands"]
    with pytest.raises(InputError, match="prepare it from sound"):
        prepare.make_prepared_features(
            tmp_path / "f.npz", None, tmp_path / "q", quiet, "scattering"
        )
    assert not (tmp_path / "q").exists()
