"""The tree of settings."""

import tomllib
from pathlib import Path

import pytest

from neuromusic.config import Config, load_config
from neuromusic.errors import InputError
from neuromusic.models import builder

EXPERIMENTS = sorted((Path(__file__).parents[1] / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_and_names_a_model(path):
    assert builder(load_config(path).model.name)


def write(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_text(text)
    return path


def test_toml_out_is_toml_in(tmp_path):
    config = load_config(write(tmp_path, "[train]\nepochs = 7\n[model.options]\ngru = 8\n"))
    text = config.to_toml()
    assert tomllib.loads(text) == config.model_dump()
    assert load_config(write(tmp_path, text)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [("[train]\nepoch = 3\n", "unknown key 'train.epoch'; did you mean 'train.epochs'"),
     ("[trian]\nepochs = 3\n", "unknown key 'trian'; did you mean 'train'"),
     ("[train]\nepochs = 0\n", r"train\.epochs.*greater than or equal to 1"),
     ("[train]\noptimizer = 'lion'\n", r"train\.optimizer.*'sgd'"),
     ("[train\n", "no readable TOML")],
)  # fmt: skip
def test_wrong_settings_are_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_config(write(tmp_path, text))


def test_changes(tmp_path):
    path = write(tmp_path, "")
    config = load_config(
        path,
        ("train.epochs=5", "model.name=cnn4", "data.test_runs=[1,2]", "model.options.gru=3"),
    )
    assert (config.train.epochs, config.model.name) == (5, "cnn4")
    assert (config.data.test_runs, config.model.options) == ([1, 2], {"gru": 3})
    assert load_config(path) == Config()
    for wrong in ("epochs=5", "train.epochs", "train.epochs.x=5", "train.epochs=many"):
        with pytest.raises(InputError):
            load_config(path, ("train.epochs=1", wrong))
