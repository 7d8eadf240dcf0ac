"""The description of an experiment: its files, sounds, timing and splits, read from TOML.

Nothing outside this description and the presets in this package knows a task, a class, a repetition
time or the length of a sound.
"""

import functools
import string
from importlib import resources
from pathlib import Path
from typing import Literal, Self

import tomli_w
from pydantic import Field, field_validator, model_validator

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.core.files import as_path
from neuromusic.core.settings import Section, read_toml, validated

Split = Literal["train", "test"]
PRESETS = "neuromusic.design.presets"
LENGTH = "length"  # field of a pattern: end minus start of a sound in its track, in whole seconds


class Files(Section):
    """Which runs of a BIDS dataset belong to the experiment."""

    tasks: tuple[str, ...] = Field(min_length=1)  # labels of task-
    sessions: tuple[str, ...] = ()  # labels of ses-; none: all


class Sounds(Section):
    """Which columns of the events name the sound, its class and its group.

    ``sound`` is the name of a column, or a pattern such as ``"{genre}.{track:0>5}.wav"`` whose
    fields are columns. The field ``length`` is column ``end`` minus column ``start``, in whole
    seconds. Rows in which the column (all columns of a pattern but ``start`` and ``end``) is n/a
    play nothing.
    """

    sound: str = Field(min_length=1)
    class_: str = Field("", alias="class")  # column; "": there are no classes
    group: str = ""  # column or pattern: sounds that no split may separate, such as a piece
    classes: tuple[str, ...] = ()  # in the order of a network's outputs; none: whatever is played
    contrast: tuple[str, ...] = Field((), max_length=2)  # two classes; exports report its variance

    @field_validator("sound", "group")
    @classmethod
    def _check_pattern(cls, text: str) -> str:
        pattern_columns(text)
        return text

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the events must have, besides onset and duration."""
        named = [*pattern_columns(self.sound), self.class_, *pattern_columns(self.group)]
        return tuple(dict.fromkeys(name for name in named if name))


class Time(Section):
    """When sounds are played, relative to the images.

    ``trials`` is the number of sounds of a run, without the lead-in: a run with exactly as many
    rows has lost its lead-in. ``rest`` is the response of a network to no sound.
    """

    tr_s: float | None = Field(None, gt=0)  # repetition time in s; None: that of the images
    n_volumes: int | None = Field(None, ge=1)  # of a run; None: as the images have
    duration_s: float | None = Field(None, gt=0)  # of a sound; None: as the events say
    trials: int | None = Field(None, ge=1)
    lead_in_s: float = Field(0.0, ge=0)  # sounds that begin earlier are neither fitted nor scored
    rest: Literal["zero", "silence"] = "zero"
    high_pass_note: str = ""  # for the sidecars of exports: what a cutoff would remove


class Encoding(Section):
    """Which part of the data is fitted, and which is scored.

    ``split`` is "tasks" (``train`` and ``test`` are tasks), or what is left out in each fold: one
    run ("runs"), sounds ("sounds"), or all sounds of a group ("groups").
    """

    split: Literal["tasks", "runs", "sounds", "groups"] = "runs"
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    folds: int | None = Field(None, ge=2)  # for sounds and groups; None: up to 10, of 5 or more
    segment_s: float | None = Field(None, gt=0)  # of long pieces; None: sounds are not divided

    @model_validator(mode="after")
    def _check_tasks(self) -> Self:
        has_tasks = bool(self.train and self.test)
        if (self.split == "tasks") != has_tasks or bool(self.train) != bool(self.test):
            raise ValueError('train and test are tasks, both needed for split = "tasks" only')
        if both := set(self.train) & set(self.test):
            raise ValueError(f"{listed(sorted(both))} is both in train and in test")
        return self


class OrderFiles(Section):
    """MATLAB files with the names of the clips, trials x runs: one for training, one for the test.

    The dummy that leads into a run is a clip of the order itself. ``test_repeats`` and
    ``trials_per_class`` are for new designs: how often a run plays a test clip, and how many
    training clips of each class it plays.
    """

    variables: dict[Split, str]
    files: dict[Split, str]
    clip_name: str  # regular expression with the groups genre, number and length
    clip_example: str
    test_repeats: int = Field(ge=1)
    trials_per_class: int = Field(ge=1)


class Experiment(Section):
    """What an experiment plays, when, and which of it is fitted and scored.

    Parameters
    ----------
    name : str
        Name of the experiment.
    files : Files or dict
        Tasks, and sessions, of the BIDS dataset that belong to it.
    sounds : Sounds or dict
        Columns of the events with the sound, its class and its group.
    time : Time or dict
        TR, volumes, durations, lead-in and rest.
    encoding : Encoding or dict
        What is held out, and into which segments long pieces are divided.
    orders : OrderFiles or dict, optional
        MATLAB order files, if there are any.

    Raises
    ------
    pydantic.ValidationError
        If a key is unknown or a value does not fit the others. `load_experiment` raises InputError
        in its place.

    Examples
    --------
    >>> from neuromusic.design.experiment import load_experiment
    >>> experiment = load_experiment("ds003720")
    >>> experiment.files.tasks
    ('Training', 'Test')
    """

    name: str = Field(min_length=1)
    files: Files
    sounds: Sounds
    time: Time = Time()
    encoding: Encoding = Encoding()
    orders: OrderFiles | None = None

    @model_validator(mode="after")
    def _check_tasks(self) -> Self:
        if unknown := {*self.encoding.train, *self.encoding.test} - set(self.files.tasks):
            raise ValueError(
                f"encoding: {listed(sorted(unknown))} is not one of files.tasks, "
                f"{listed(self.files.tasks)}"
            )
        if self.encoding.split == "groups" and not self.sounds.group:
            raise ValueError('encoding.split = "groups" needs sounds.group')
        return self

    def split_of(self, task: str) -> Split | None:
        """Return whether a task is for training or testing; None if folds decide."""
        if task in self.encoding.train:
            return "train"
        return "test" if task in self.encoding.test else None

    def task_of(self, split: Split) -> str:
        """Return the first task of a split, which names the runs of an order."""
        return (self.encoding.train if split == "train" else self.encoding.test)[0]

    def to_toml(self) -> str:
        """Return the description as TOML, without what is None."""
        return tomli_w.dumps(self.model_dump(exclude_none=True, by_alias=True))


def pattern_columns(pattern: str) -> tuple[str, ...]:
    """Return the columns that a pattern names; a text without braces is the name of a column.

    Raises ValueError if the braces are not those of a pattern.
    """
    if "{" not in pattern and "}" not in pattern:
        return (pattern,) if pattern else ()
    columns: list[str] = []
    for _, field, _, conversion in string.Formatter().parse(pattern):
        if field is None:
            continue
        if not field.isidentifier() or conversion:
            raise ValueError(f"{pattern!r} is not a pattern; expected columns in braces")
        columns += ["start", "end"] if field == LENGTH else [field]
    return tuple(dict.fromkeys(columns))


# --- Reading --------------------------------------------------------------------------------------


def preset_names() -> list[str]:
    """Return the names of the experiments in the package."""
    files = resources.files(PRESETS).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load_experiment(source: str | Path) -> Experiment:
    """Read the description of an experiment.

    Parameters
    ----------
    source : str or Path
        A TOML file, or the name of a preset, such as "ds003720". A file has precedence.

    Returns
    -------
    Experiment
        What the file says, checked.

    Raises
    ------
    InputError
        If there is no such file or preset, a key does not exist (the message suggests the closest
        one) or a value is wrong.

    Examples
    --------
    >>> import neuromusic as nm
    >>> nm.load_experiment("ds003720").files.tasks
    ('Training', 'Test')
    """
    path = as_path(source)
    is_name = path.name == str(source) and path.suffix != ".toml" and not path.is_file()
    if is_name:
        return _preset(str(source))
    try:
        tree = read_toml(path, "the description of an experiment")
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; write one with 'neuromusic experiment inspect BIDS --out "
            f"{path}'"
        ) from None
    return validated(Experiment, tree, str(path))


@functools.cache
def _preset(name: str) -> Experiment:
    names = preset_names()
    if name not in names:
        raise InputError(
            f"{name}: is neither a TOML file nor an experiment of the package, {listed(names)}"
            f"{did_you_mean(name, names)}"
        )
    path = resources.files(PRESETS) / f"{name}.toml"
    with resources.as_file(path) as file:
        return validated(Experiment, read_toml(file, "a preset"), name)


def as_experiment(experiment: Experiment | str | Path) -> Experiment:
    """Return an experiment that is given as one, or as what `load_experiment` accepts."""
    return experiment if isinstance(experiment, Experiment) else load_experiment(experiment)
