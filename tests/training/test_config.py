"""The tree of settings."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic.core.errors import InputError
from neuromusic.models.registry import model_entry
from neuromusic.training.config import Config, load_config, make_config

EXPERIMENTS = sorted((Path(__file__).parents[2] / "experiments").glob("*.toml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_loads_and_names_a_model(path):
    assert model_entry(load_config(path).model.name)


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


SCALARS = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.text(max_size=10), st.dates(),
    st.sampled_from([2**63, -(2**63) - 1, float("inf"), float("nan"), "", "cortex-z"]),
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = [
    f"{name}.{key}" for name, section in Config.model_fields.items()
    for key in section.annotation.model_fields
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3))
def test_any_values_give_settings_that_can_be_written_or_one_line(values):
    tree = {}
    for key, value in values.items():
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = value
    try:
        config = make_config(tree, "x.toml")
    except InputError as error:
        assert str(error).startswith("x.toml: ")
        assert str(error).isprintable()
    else:
        again = make_config(tomllib.loads(config.to_toml()), "again")
        # A number that is none is equal to nothing; in the options of a model it may stand.
        if "nan" not in repr(config):
            assert again == config


@pytest.mark.parametrize(
    ("text", "message"),
    [("train.lr = inf", "train.lr"), ("data.window_s = nan", "data.window_s"),
     ("train.seed = 9223372036854775808", "beyond 64 bits"),
     ("model.options.x = 0x" + "F" * 9000, "beyond 64 bits"),
     ("train.epochs = " + "9" * 5000, "no readable TOML"),
     ("model.options.x = " + "[" * 3000 + "]" * 3000, "no readable TOML"),
     ("model.options.x = " + "[" * 30 + "]" * 30, "over 16 deep"),
     ("sweep.space" + ".a" * 3000 + " = 1", "over 16 deep"),
     ("train.lr = '" + "x" * 9000 + "'", "train.lr"), ("\x00", "no readable TOML"),
     ("#" + "x" * 17_000, "has 17 kB; a file of settings has at most 16 kB")],
)  # fmt: skip
def test_settings_beyond_all_measure_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000, "0x" + "F" * 9000, "inf", "nan"])
def test_a_set_beyond_all_measure_is_refused(value):
    with pytest.raises(InputError):
        make_config({}, "x.toml", (f"train.lr={value}",))
