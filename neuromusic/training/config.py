"""Settings of a training, a sweep and a whole project: validated, read from TOML."""

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import Field, field_validator, model_validator

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.core.files import as_path
from neuromusic.core.settings import Section, read_toml, validated
from neuromusic.stimuli.variants import VARIANTS
from neuromusic.training import library


class Paths(Section):
    """Input and output of `neuromusic run`; all other commands take paths as arguments.

    Set one kind of input: order files and clips; a class/file folder and its split; or precomputed
    log-mel. A relative path begins in the directory in which the command is run; ``~`` is the home
    directory.
    """

    train_order: str = ""  # order file of the training runs
    test_order: str = ""  # order file of the test runs
    clips: str = ""  # directory of the clips that the order files name
    folder: str = ""  # directory class/file
    split: str = "70:15:15"  # proportions of train, valid and test for the folder
    clip_s: float = Field(15.0, gt=0)  # seconds; shorter files of the folder are refused
    features: str = ""  # .npz file of precomputed log-mel, for training
    test_features: str = ""  # .npz file of precomputed log-mel, for testing
    out: str = "runs/cortex"  # will contain run_dataset, prepared, run and export

    @field_validator(
        "train_order", "test_order", "clips", "folder", "features", "test_features", "out"
    )
    @classmethod
    def _expand_home(cls, path: str) -> str:
        return str(as_path(path)) if path else ""


class Data(Section):
    """What the network is trained and scored on."""

    window_s: float = Field(10.0, gt=0)  # seconds that the network sees at once
    hop_s: float = Field(2.5, gt=0)  # seconds from one window of a scored clip to the next
    windows_per_epoch: int = Field(480, ge=1)  # spread evenly over the training clips
    # One of these is drawn for each window.
    variants: list[int] = Field(default_factory=lambda: list(range(len(VARIANTS))))
    validation_runs: int | list[int] = 1  # runs of the training order, or how many at its end
    front_end: str = "logmel"  # front end of the prepared set; unused if the network takes samples
    normalisation: Literal["global", "band", "band-mean", "clip"] = "band-mean"  # of the input
    # Runs of the training order to score instead of the test clips.
    test_runs: list[int] = Field(default_factory=list)
    # The same for tracks of the training clips; crossval sets it to all tracks of some artists.
    test_tracks: list[str] | None = None

    @property
    def holds_out(self) -> bool:
        """Whether training clips are scored instead of the test clips."""
        return bool(self.test_runs or self.test_tracks)


class Model(Section):
    """Which network is trained."""

    name: str = "cortex-z"  # see `neuromusic models`
    activation: Literal["relu", "leaky_relu", "elu"] = "relu"  # of all layers that have one
    options: dict[str, Any] = Field(default_factory=dict)  # keyword arguments of the model


class Train(Section):
    """How the network is trained."""

    seed: int = Field(0, ge=0)  # of the initial weights and of all random draws of the training
    epochs: int = Field(60, ge=1)  # each has data.windows_per_epoch windows
    batch_size: int = Field(32, ge=2)  # windows per step, over all devices
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"  # sgd: with Nesterov momentum
    lr: float = Field(1e-3, gt=0)  # learning rate, at its highest
    momentum: float = Field(0.9, ge=0, lt=1)  # of sgd
    weight_decay: float = Field(0.01, ge=0)  # L2 penalty; with adamw, decoupled from the gradient
    l1: float = Field(0.0, ge=0)  # penalty on the sum of the absolute weights
    # How the learning rate changes during the training.
    schedule: Literal["constant", "cosine", "one-cycle", "plateau"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)  # proportion of steps with rising lr: cosine, one-cycle
    plateau_factor: float = Field(0.2, gt=0, lt=1)  # plateau: factor that lowers lr
    plateau_patience: int = Field(5, ge=0)  # plateau: epochs without improvement before that
    min_lr: float = Field(0.0, ge=0)  # training stops when lr falls below this
    early_stop: int = Field(0, ge=0)  # stop after n epochs without a lower valid_loss; 0: never
    label_smoothing: float = Field(0.0, ge=0, lt=1)  # probability spread over all classes
    ema: float = Field(0.0, ge=0, lt=1)  # decay per step of the averaged weights; 0: no averaging
    clip_norm: float = Field(0.0, ge=0)  # largest norm of the gradient; 0: no limit
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"  # as Lightning names it
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"  # auto: a GPU if there is one
    devices: int = Field(1, ge=1)  # per machine
    nodes: int = Field(1, ge=1)  # machines with that many devices each; see experiments/slurm


class Augment(Section):
    """Random changes of the windows of a training batch; 0 turns one off.

    See training/spectral_augment.py.
    """

    mixup: float = Field(0.0, ge=0)  # alpha of the beta distribution
    time_masks: int = Field(0, ge=0)  # masks per window
    time_mask_s: float = Field(1.0, ge=0)  # longest mask in seconds
    mel_masks: int = Field(0, ge=0)  # masks per window
    mel_mask_share: float = Field(0.15, ge=0, le=1)  # widest mask, as a proportion of the bands
    gain_db: float = Field(0.0, ge=0)  # largest gain in dB, up or down
    tilt_db: float = Field(0.0, ge=0)  # standard deviation in dB of a smooth random equaliser
    mel_shift: int = Field(0, ge=0)  # largest shift in bands, up or down
    time_scale: float = Field(0.0, ge=0, lt=1)  # tempo changes by up to a factor 1 + time_scale


# Sections that the result of a training depends on.
TRAINED: dict[str, type[Section]] = {
    "data": Data,
    "model": Model,
    "train": Train,
    "augment": Augment,
}


class Dimension(Section):
    """The values that a sweep tries for one setting: a range or a list of choices.

    A range is of whole numbers if all of its numbers are whole.
    """

    low: int | float | None = None  # lowest value of a range
    high: int | float | None = None  # highest value of a range
    log: bool = False  # draw from a logarithmic scale
    step: int | float | None = Field(None, gt=0)  # distance of the values of a range
    choices: list[Any] | None = Field(None, min_length=1)  # the values, in place of a range

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if self.choices is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("choices cannot be combined with low, high, log or step")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected {low = ..., high = ...} or {choices = [...]}")
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError("expected low < high, and low > 0 with log")
        if self.log and self.step is not None:
            raise ValueError("log and step cannot be combined")
        return self


class Sweep(Section):
    """What `neuromusic sweep` tries, and how it compares trials."""

    # What trials are compared by, on the validation clips.
    metric: Literal["valid_loss", "valid_accuracy"] = "valid_loss"
    sampler: Literal["tpe", "random"] = "tpe"  # how values are drawn; tpe learns from other trials
    pruner: Literal["median", "none"] = "median"  # stop trials worse than the others' median
    warmup_epochs: int = Field(5, ge=0)  # no trial is stopped in its first epochs
    # Setting, such as "train.lr" -> values.
    space: dict[str, Dimension] = Field(default_factory=dict)

    @field_validator("space", mode="before")
    @classmethod
    def _flatten(cls, space: Any) -> Any:
        return _leaves(space, "") if isinstance(space, dict) else space

    @field_validator("space")
    @classmethod
    def _names_settings(cls, space: dict[str, Dimension]) -> dict[str, Dimension]:
        known = [f"{name}.{key}" for name, part in TRAINED.items() for key in part.model_fields]
        known_sections = f"; known sections: {', '.join(TRAINED)}"
        for key in space:
            if key in ("data.validation_runs", "data.test_runs"):
                raise ValueError(f"{key} cannot vary: trials would be scored on different clips")
            if key not in known and not key.startswith("model.options."):
                suggestion = did_you_mean(key, known) or known_sections
                raise ValueError(f"unknown key {key!r}{suggestion}")
        return space


def _leaves(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Flatten a space: ``train.lr = {...}``, which TOML nests, becomes ``"train.lr" = {...}``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        is_branch = isinstance(value, dict) and not set(value) & set(Dimension.model_fields)
        flat |= _leaves(value, f"{prefix}{key}.") if is_branch else {f"{prefix}{key}": value}
    return flat


class Track(Section):
    """Where the progress of a training is shown besides metrics.csv."""

    tensorboard: bool = False  # write event files into the directory of the network
    wandb: Literal["off", "offline", "online"] = "off"  # Weights & Biases; offline: no account
    project: str = "neuromusic"  # project at Weights & Biases


class Published(Section):
    """A number from the literature that `neuromusic compare` shows next to ours."""

    accuracy: float | None = Field(None, ge=0, le=1)  # share of clips that were right
    what: str = ""  # the data that it was measured on


class Config(Section):
    """All settings, in sections.

    Each section and field has a default; ``config.toml`` in the directory of any trained network
    lists them all. Sections are immutable; `model_copy` makes a changed copy.

    Parameters
    ----------
    paths : Paths or dict
        Input and output of `run`.
    data : Data or dict
        What the network is trained and scored on.
    model : Model or dict
        Which network is trained.
    train : Train or dict
        How it is trained.
    augment : Augment or dict
        Random changes of the windows of a batch.
    sweep : Sweep or dict
        What `sweep` tries.
    track : Track or dict
        Where the progress of a training is shown.
    published : Published or dict
        A number from the literature, for `compare`.

    Raises
    ------
    pydantic.ValidationError
        If a key is unknown or a value is outside its limits. Functions that take a dictionary or a
        file instead raise InputError, with the closest key.

    Examples
    --------
    >>> import neuromusic as nm
    >>> config = nm.Config(train={"epochs": 5})
    >>> config.train.epochs, config.model.name
    (5, 'cortex-z')
    """

    paths: Paths = Paths()
    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    augment: Augment = Augment()
    sweep: Sweep = Sweep()
    track: Track = Track()
    published: Published = Published()

    def to_toml(self) -> str:
        """Return the settings as TOML, without those that are None."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def of_training(self) -> dict[str, Any]:
        """Return the sections that the result of a training depends on, as in TOML."""
        return self.model_dump(exclude_none=True, include=set(TRAINED))


def as_config(config: Config | Path | str | dict[str, Any]) -> Config:
    """Return settings that are given as a Config, a dictionary, or what `load_config` accepts."""
    if isinstance(config, Config):
        return config
    if isinstance(config, dict):
        return make_config(config, "settings")
    return load_config(config)


def load_config(settings: Path | str, changes: tuple[str, ...] = ()) -> Config:
    """Read settings and apply changes such as ``train.epochs=5``.

    ``settings`` is a TOML file, or the name of settings in the package, such as "cortex", or of a
    model, such as "cortex-z", which then has default settings. A file has precedence over a name.

    Raises InputError if there is no such file or name, the file cannot be read, a key does not
    exist (the message suggests the closest one) or a value is wrong.
    """
    path, name = as_path(settings), str(settings)
    is_name = path.name == name and path.suffix != ".toml" and not path.is_file()
    if is_name and name not in library.settings_names():
        _check_model(name)
        return make_config({"model": {"name": name}}, name, changes)
    if is_name:
        path = library.settings_file(name)
    try:
        tree = read_toml(path, "a file of settings")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{_suggest_name(path.stem)}") from None
    return make_config(tree, name if is_name else str(path), changes)


def _check_model(name: str) -> None:
    """Raise InputError if there is no model of that name."""
    from neuromusic.models.registry import list_models  # imports torch, which takes time

    models = list_models()
    if name not in models:
        known = library.settings_names()
        suggestion = did_you_mean(name, [*known, *models])
        raise InputError(
            f"{name}: is neither a TOML file nor the name of settings or a model{suggestion}; "
            f"known settings: {listed(known)} ('neuromusic settings' lists them)"
        )


def _suggest_name(stem: str) -> str:
    """Return what to add to the message that a file is missing."""
    if stem in library.settings_names():
        return f"; the settings {stem!r} of the package are named without .toml"
    return "; 'neuromusic settings' lists the settings of the package"


def make_config(tree: dict[str, Any], where: str, changes: tuple[str, ...] = ()) -> Config:
    """Validate a tree of settings, after changes such as ``train.epochs=5``.

    ``where`` begins the messages of the InputError that `load_config` describes.
    """
    for change in changes:
        _apply(change, tree)
    return validated(Config, tree, where)


def _apply(change: str, tree: dict[str, Any]) -> None:
    """Apply one change, in place."""
    key, equals, value = change.partition("=")
    *sections, name = key.strip().split(".")
    if not equals or not sections:
        raise InputError(
            f"settings change {change!r}: expected section.key=value, such as train.epochs=5"
        )
    branch = tree
    for section in sections:
        branch = branch.setdefault(section, {})
        if not isinstance(branch, dict):
            raise InputError(f"settings change {change!r}: {section!r} is not a section")
    branch[name] = _parse(value.strip())


def _parse(text: str) -> Any:
    """Return a TOML value, or the text itself if it is not one: quotes are optional."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text
