"""Settings: reading, changing and validating them."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromusic.core.errors import InputError
from neuromusic.models.registry import model_entry
from neuromusic.training.config import Config, as_config, load_config, make_config
from neuromusic.training.library import settings_names


def write(tmp_path, text):
    path = tmp_path / "x.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", settings_names())
def test_all_settings_in_the_package_are_valid_and_name_a_model(name):
    assert model_entry(load_config(name).model.name)


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


def test_the_settings_of_a_training_exclude_sweep_tracking_paths_and_published(tmp_path):
    other = "[sweep]\npruner = 'none'\n[track]\ntensorboard = true\n[published]\naccuracy = 0.5\n"
    config = load_config(write(tmp_path, other + "[paths]\nclips = 'x'\n" + SPACE))
    assert config.of_training() == Config().of_training()
    assert config != Config()


def test_written_settings_are_read_as_they_were(tmp_path):
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
     ("[train\n", "is not a readable TOML file"),
     ("[sweep.space]\ntrain.lrr = {low = 1, high = 2}\n", r"'train\.lrr'; did you mean 'train\.lr"),
     ("[sweep.space]\nxyzzy = {low = 1, high = 2}\n", r"unknown key 'xyzzy'; known sections: data"),
     ("[sweep.space]\ntrain.lr = {low = 2, high = 1}\n", r"space\.train\.lr: expected low < high"),
     ("[sweep.space]\ntrain.lr = {low = 0, high = 1, log = true}\n", "low > 0 with log"),
     ("[sweep.space]\ntrain.lr = {low = 1, high = 2, log = true, step = 1}\n", "log and step"),
     ("[sweep.space]\ntrain.lr = {low = 1}\n", r"expected \{low = "),
     ("[sweep.space]\ntrain.lr = {choices = [1], low = 1}\n", "choices cannot be combined"),
     ("[sweep.space]\ndata.test_runs = {choices = [[1], [2]]}\n", "scored on different clips"),
     ("[sweep]\nspace = 3\n", r"sweep\.space: .*valid dictionary"),
     ("[published]\naccuracy = 58.5\n", r"published\.accuracy: .*less than or equal to 1")],
)  # fmt: skip
def test_an_error_names_the_wrong_setting(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_config(write(tmp_path, text))


def test_changes_are_applied_and_checked(tmp_path):
    path = write(tmp_path, "")
    config = load_config(
        path,
        ("train.epochs=5", "model.name=cnn4", "data.test_runs=[1,2]", "model.options.gru=3"),
    )
    assert (config.train.epochs, config.model.name) == (5, "cnn4")
    assert (config.data.test_runs, config.model.options) == ([1, 2], {"gru": 3})
    assert load_config(path) == Config()
    for wrong, message in (
        ("epochs=5", r"'epochs=5': expected section\.key=value"),
        ("train.epochs", r"'train\.epochs': expected section\.key=value"),
        ("train.epochs.x=5", "'epochs' is not a section"),
        ("train.epochs=many", r"train\.epochs: .*valid integer"),
    ):
        with pytest.raises(InputError, match=message):
            load_config(path, ("train.epochs=1", wrong))
    with pytest.raises(InputError, match=r"unknown key 'train\.epoch'; did you mean"):
        load_config(path, ("train.epoch=5",))


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("true", True), ("'a b'", "a b"), ("a b", "a b"), (" x=y ", "x=y"),
     ("[4, 8]", [4, 8]), ("", "")],
)  # fmt: skip
def test_a_change_is_a_toml_value_or_otherwise_text(tmp_path, text, value):
    options = load_config(write(tmp_path, ""), (f"model.options.x={text}",)).model.options
    assert options == {"x": value}
    assert type(options["x"]) is type(value)


def test_an_error_names_a_file_that_is_missing_a_directory_or_not_text(tmp_path):
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
def test_any_values_give_writable_settings_or_an_error_in_one_line(values):
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
        # NaN, which the options of a model may contain, does not equal itself.
        if "nan" not in repr(config):
            assert again == config


@pytest.mark.parametrize(
    ("text", "message"),
    [("train.lr = inf", "train.lr"), ("data.window_s = nan", "data.window_s"),
     ("train.seed = 9223372036854775808", "beyond 64 bits"),
     ("model.options.x = 0x" + "F" * 9000, "beyond 64 bits"),
     ("train.epochs = " + "9" * 5000, "is not a readable TOML file"),
     ("model.options.x = " + "[" * 3000 + "]" * 3000, "is not a readable TOML file"),
     ("model.options.x = " + "[" * 30 + "]" * 30, "nested more than 16 deep"),
     ("sweep.space" + ".a" * 3000 + " = 1", "nested more than 16 deep"),
     ("train.lr = '" + "x" * 9000 + "'", "train.lr"), ("\x00", "is not a readable TOML file"),
     ("#" + "x" * 17_000, "is 17 kB; a file of settings may be at most 16 kB")],
)  # fmt: skip
def test_huge_or_deeply_nested_settings_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 5000, "0x" + "F" * 9000, "inf", "nan"])
def test_a_change_to_a_huge_or_nonfinite_value_is_refused(value):
    with pytest.raises(InputError):
        make_config({}, "x.toml", (f"train.lr={value}",))


def test_settings_are_given_as_a_file_a_dictionary_or_a_name(tmp_path):
    path = write(tmp_path, "[train]\nepochs = 7\n")
    config = as_config(path)
    assert config.train.epochs == 7
    assert (
        as_config(str(path)) == as_config({"train": {"epochs": 7}}) == as_config(config) == config
    )
    assert as_config("cortex-z") == make_config({"model": {"name": "cortex-z"}}, "x")
    assert as_config("cortex").train.epochs == 80  # settings in the package
    with pytest.raises(InputError, match="name of settings or a model; did you mean 'cortex-z'"):
        as_config("cortexz")
