"""The tree of settings."""

import tomllib
from pathlib import Path

import pytest

from neuromusic.config import Config, load_config
from neuromusic.errors import InputError
from neuromusic.models import entry

EXPERIMENTS = sorted((Path(__file__).parents[1] / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_and_names_a_model(path):
    assert entry(load_config(path).model.name)


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
     ("[train]\nepochs = 'many'\n", r"train\.epochs: .*valid integer.*'many'"),
     ("[train]\nlr = [1]\n", r"train\.lr: .*valid number"),
     ("train = 3\n", "train: .*valid dictionary"),
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
    with pytest.raises(InputError, match=r"unknown key 'train\.epoch'; did you mean"):
        load_config(path, ("train.epoch=5",))


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("true", True), ("'a b'", "a b"), ("a b", "a b"), (" x=y ", "x=y"),
     ("[4, 8]", [4, 8]), ("", "")],
)  # fmt: skip
def test_a_change_is_toml_or_else_text(tmp_path, text, value):
    options = load_config(write(tmp_path, ""), (f"model.options.x={text}",)).model.options
    assert options == {"x": value}
    assert type(options["x"]) is type(value)


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    for path in (tmp_path / "y.toml", tmp_path, tmp_path / "x.toml"):
        with pytest.raises(InputError) as caught:
            load_config(path)
        assert str(caught.value).startswith(str(path))
