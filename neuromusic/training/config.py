"""All settings of an experiment: one validated tree, read from TOML."""

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from neuromusic.core.errors import InputError, did_you_mean
from neuromusic.core.files import check_reachable, check_size
from neuromusic.stimuli.variants import VARIANTS

# Of a file of settings; the longest of ours has a kilobyte. tomllib takes the square of the length
# of a key: six seconds for 40 kB of it.
MOST_BYTES = 16_000
MOST_DEPTH = 16  # of sections in sections


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Paths(_Section):
    """Where `neuromusic run` finds its input and puts its output; other commands name their own.

    The input is one of: order files and clips; a class/file tree and its split; ready-made log-mel.
    """

    train_order: str = ""
    test_order: str = ""
    clips: str = ""
    folder: str = ""
    split: str = "70:15:15"
    clip_s: float = Field(15.0, gt=0)  # the shortest file of the folder that is taken
    features: str = ""
    test_features: str = ""
    out: str = "runs/cortex"  # holds run_dataset, prepared, run and export


class Data(_Section):
    """What the network sees."""

    window_s: float = Field(10.0, gt=0)
    hop_s: float = Field(2.5, gt=0)  # between the windows of a clip that is scored
    windows_per_epoch: int = Field(480, ge=1)  # shared out evenly over the training clips
    variants: list[int] = list(range(len(VARIANTS)))  # drawn from, for each window
    validation_runs: int | list[int] = 1  # runs of the training order, or how many at its end
    front_end: str = "logmel"  # that the set was prepared with; a wave network hears samples
    normalisation: Literal["global", "band", "band-mean", "clip"] = "band-mean"
    test_runs: list[int] = []  # runs of the training order scored instead of the test clips


class Model(_Section):
    """Which network of the registry, and its own options."""

    name: str = "cortex-z"
    activation: Literal["relu", "leaky_relu", "elu"] = "relu"
    options: dict[str, Any] = {}


class Train(_Section):
    """How it is trained."""

    seed: int = Field(0, ge=0)
    epochs: int = Field(60, ge=1)
    batch_size: int = Field(32, ge=2)
    optimizer: Literal["sgd", "adam", "adamw"] = "adamw"  # sgd with Nesterov's momentum
    lr: float = Field(1e-3, gt=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)  # L2; with adamw decoupled from the gradient
    l1: float = Field(0.0, ge=0)  # penalty on the sum of the absolute weights
    schedule: Literal["constant", "cosine", "one-cycle", "plateau"] = "cosine"
    warmup: float = Field(0.05, ge=0, lt=1)  # share of the steps in which cosine, one-cycle rise
    plateau_factor: float = Field(0.2, gt=0, lt=1)
    plateau_patience: int = Field(5, ge=0)
    min_lr: float = Field(0.0, ge=0)  # below this rate the training ends
    early_stop: int = Field(0, ge=0)  # epochs without a better validation loss; 0: never
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)  # decay of the averaged weights; 0: none
    clip_norm: float = Field(0.0, ge=0)  # largest norm of the gradient; 0: no limit
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = Field(1, ge=1)  # of one machine
    nodes: int = Field(1, ge=1)  # machines with so many devices each, as in experiments/slurm


class Augment(_Section):
    """What is done to the windows of a training batch; each 0 is off. See spectral.py."""

    mixup: float = Field(0.0, ge=0)  # alpha of the beta distribution
    time_masks: int = Field(0, ge=0)
    time_mask_s: float = Field(1.0, ge=0)  # longest
    mel_masks: int = Field(0, ge=0)
    mel_mask_share: float = Field(0.15, ge=0, le=1)  # widest, as a share of the bands
    gain_db: float = Field(0.0, ge=0)  # up or down by at most
    tilt_db: float = Field(0.0, ge=0)  # smooth random equaliser, standard deviation
    mel_shift: int = Field(0, ge=0)  # bands up or down by at most
    time_scale: float = Field(0.0, ge=0, lt=1)  # tempo faster or slower by up to 1 + this


TRAINED: dict[str, type[_Section]] = {
    "data": Data,
    "model": Model,
    "train": Train,
    "augment": Augment,
}


class Dimension(_Section):
    """What a sweep tries for one setting: a range, of whole numbers if all are, or a list."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = Field(None, gt=0)
    choices: list[Any] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if self.choices is not None:
            if (self.low, self.high, self.step, self.log) != (None, None, None, False):
                raise ValueError("choices stand alone, without low, high, log and step")
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected {low = ..., high = ...} or {choices = [...]}")
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError("expected low < high, and low > 0 with log")
        if self.log and self.step is not None:
            raise ValueError("log and step do not go together")
        return self


class Sweep(_Section):
    """What `neuromusic sweep` tries, and how it judges."""

    metric: Literal["valid_loss", "valid_accuracy"] = "valid_loss"
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "none"] = "median"  # stop what is worse than the others' median
    warmup_epochs: int = Field(5, ge=0)  # in which no trial is stopped
    space: dict[str, Dimension] = {}  # setting -> values

    @field_validator("space", mode="before")
    @classmethod
    def _flatten(cls, space: Any) -> Any:
        return _leaves(space, "") if isinstance(space, dict) else space

    @field_validator("space")
    @classmethod
    def _names_settings(cls, space: dict[str, Dimension]) -> dict[str, Dimension]:
        known = [f"{name}.{key}" for name, part in TRAINED.items() for key in part.model_fields]
        for key in space:
            if key in ("data.validation_runs", "data.test_runs"):
                raise ValueError(f"{key} would score the trials on different clips")
            if key not in known and not key.startswith("model.options."):
                near = did_you_mean(key, known) or f"; known sections: {', '.join(TRAINED)}"
                raise ValueError(f"unknown key {key!r}{near}")
        return space


def _leaves(tree: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Write ``train.lr = {...}``, which TOML nests, as it is with quotes: ``"train.lr"``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        inner = isinstance(value, dict) and not set(value) & set(Dimension.model_fields)
        flat |= _leaves(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


class Track(_Section):
    """Where a training is followed besides metrics.csv."""

    tensorboard: bool = False
    wandb: Literal["off", "offline", "online"] = "off"  # offline needs no account
    project: str = "neuromusic"  # at Weights & Biases


class Published(_Section):
    """A number from the literature, which `neuromusic compare` shows beside ours."""

    accuracy: float | None = Field(None, ge=0, le=1)
    what: str = ""  # of which data


class Config(_Section):
    """The whole tree."""

    paths: Paths = Paths()
    data: Data = Data()
    model: Model = Model()
    train: Train = Train()
    augment: Augment = Augment()
    sweep: Sweep = Sweep()
    track: Track = Track()
    published: Published = Published()

    def to_toml(self) -> str:
        """Return the settings as TOML, all that are set."""
        return tomli_w.dumps(self.model_dump(exclude_none=True))

    def of_training(self) -> dict[str, Any]:
        """Return the settings that a training's result depends on, as TOML has them."""
        return self.model_dump(exclude_none=True, include=set(TRAINED))


def load_config(path: Path, changes: tuple[str, ...] = ()) -> Config:
    """Read a TOML file and apply changes such as ``train.epochs=5``.

    Raises InputError for a key that does not exist (with the nearest that does) or a wrong value.
    """
    path = Path(path)
    try:
        check_size(path, MOST_BYTES, "a file of settings")
        tree = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; see experiments/ for examples") from None
    except InputError:
        raise
    # ValueError: all that tomllib raises, and Python's own for a number of 4300 digits.
    except (OSError, ValueError, RecursionError) as error:
        check_reachable(path)
        raise InputError(f"{path}: is no readable TOML ({error})") from None
    return make_config(tree, str(path), changes)


def make_config(tree: dict[str, Any], where: str, changes: tuple[str, ...] = ()) -> Config:
    """Validate a tree of settings, after changes such as ``train.epochs=5``; see `load_config`."""
    for change in changes:
        key, equals, value = change.partition("=")
        parts = key.strip().split(".")
        if not equals or len(parts) < 2:
            raise InputError(f"--set {change}: expected section.key=value, as train.epochs=5")
        section = tree
        for part in parts[:-1]:
            section = section.setdefault(part, {})
            if not isinstance(section, dict):
                raise InputError(f"--set {change}: {part!r} is no section")
        section[parts[-1]] = _parse(value.strip())
    _check_tree(tree, where)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None


def _parse(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _check_tree(tree: dict[str, Any], where: str) -> None:
    """Raise InputError for what no setting needs and much code cannot bear: depth, huge numbers."""
    waiting: list[tuple[Any, int]] = [(tree, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MOST_DEPTH:
            raise InputError(f"{where}: has sections or lists over {MOST_DEPTH} deep")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InputError(f"{where}: has a whole number beyond 64 bits")
        if isinstance(value, dict | list):
            inner = value.values() if isinstance(value, dict) else value
            waiting += [(part, depth + 1) for part in inner]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":  # one of our own, which says what it got
        return f"{key}: {first['msg'].removeprefix('Value error, ')}"
    if first["type"] != "extra_forbidden":
        return f"{key}: {first['msg']} (got {_short(first['input'])})"
    known = list(Config.model_fields)
    for name, field in Config.model_fields.items():
        section = field.annotation
        assert isinstance(section, type) and issubclass(section, BaseModel)
        known += [f"{name}.{child}" for child in section.model_fields]
    near = did_you_mean(key, known) or f"; known: {', '.join(Config.model_fields)}"
    return f"unknown key {key!r}{near}"
