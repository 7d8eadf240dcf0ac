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


SPACE = """
[sweep.space]
"train.lr" = {low = 1e-4, high = 1e-2, log = true}
train.batch_size = {low = 8, high = 32, step = 8}
model.options.widths = {choices = [[4, 8, 8, 8], [8, 8, 8, 8]]}
"""


def test_a_space_is_the_same_with_and_without_quotes(tmp_path):
    space = load_config(write(tmp_path, SPACE)).sweep.space
    assert list(space) == ["train.lr", "train.batch_size", "model.options.widths"]
    assert space["train.lr"].log
    assert isinstance(space["train.batch_size"].low, int)
    assert space["model.options.widths"].choices == [[4, 8, 8, 8], [8, 8, 8, 8]]


def test_a_trainings_settings_are_what_its_result_depends_on(tmp_path):
    other = "[sweep]\npruner = 'none'\n[track]\ntensorboard = true\n[published]\naccuracy = 0.5\n"
    config = load_config(write(tmp_path, other + "[paths]\nclips = 'x'\n" + SPACE))
    assert config.of_training() == Config().of_training()
    assert config != Config()


def write(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_text(text)
    return path


def test_toml_out_is_toml_in(tmp_path):
    given = "[train]\nepochs = 7\n[model.options]\ngru = 8\n[published]\nwhat = 'unknown'\n" + SPACE
    config = load_config(write(tmp_path, given))
    text = config.to_toml()
    assert tomllib.loads(text) == config.model_dump(exclude_none=True)
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
     ("[train\n", "no readable TOML"),
     ("[sweep.space]\ntrain.lrr = {low = 1, high = 2}\n", r"'train\.lrr'; did you mean 'train\.lr"),
     ("[sweep.space]\nxyzzy = {low = 1, high = 2}\n", r"unknown key 'xyzzy'; known sections: data"),
     ("[sweep.space]\ntrain.lr = {low = 2, high = 1}\n", r"space\.train\.lr: expected low < high"),
     ("[sweep.space]\ntrain.lr = {low = 0, high = 1, log = true}\n", "low > 0 with log"),
     ("[sweep.space]\ntrain.lr = {low = 1, high = 2, log = true, step = 1}\n", "log and step"),
     ("[sweep.space]\ntrain.lr = {low = 1}\n", r"expected \{low = "),
     ("[sweep.space]\ntrain.lr = {choices = [1], low = 1}\n", "choices stand alone"),
     ("[sweep.space]\ndata.test_runs = {choices = [[1], [2]]}\n", "on different clips"),
     ("[sweep]\nspace = 3\n", r"sweep\.space: .*valid dictionary"),
     ("[published]\naccuracy = 58.5\n", r"published\.accuracy: .*less than or equal to 1")],
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
