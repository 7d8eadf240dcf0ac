"""The settings of a benchmark: its networks, and its data sets."""

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from neuromusic.core.errors import InputError, did_you_mean, listed
from neuromusic.core.files import as_path, check_file_name
from neuromusic.core.folders import why_no_file
from neuromusic.core.settings import Section, read_toml, validated
from neuromusic.encoding.timed_encoding import TimedOptions
from neuromusic.encoding.timed_responses import TimedInput

DESCRIPTIONS = "neuromusic.pipeline.benchmark_datasets"


class NetworkChoice(Section):
    """A section [networks.NAME]."""

    source: str = ""  # what --network takes; by default NAME
    features: str = ""  # in its place: folder of features that were computed elsewhere
    stages: tuple[str, ...] = ()  # of a network of others; by default all


class DatasetChoice(Section):
    """A section [datasets.NAME]."""

    description: str = ""  # a TOML file; by default that of the package called NAME
    folder: str = ""  # where the data are; by default `data`/NAME, or the folder of the TOML file


class CombinationChoice(Section):
    """A section [combinations.NAME]."""

    networks: tuple[str, ...] = Field(min_length=1)  # names of sections [networks.NAME]


class Description(Section):
    """What a data set consists of; paths are relative to its folder."""

    kind: Literal["sounds", "timed"] = "sounds"
    sounds: str  # folder of the sound files
    responses: str  # file of the responses
    source: str = ""  # what to cite
    # Target -> highest score that its noise permits.
    ceilings: dict[str, float] = Field(default_factory=dict)
    # Of responses in time, see `TimedOptions` and `TimedInput`.
    lags_s: tuple[float, float] = (0.0, 0.4)
    lag_step_s: float = 0.02
    components: int = Field(default=32, ge=1)
    rate_hz: float | None = None
    first_sample_s: float | None = None


class Settings(Section):
    """A file of settings."""

    data: str = "data"  # folder with one folder per data set
    protocol: Literal["ours", "tuckute2023"] = "tuckute2023"
    splits: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0)
    networks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    combinations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = Field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkNetwork:
    """A network of a benchmark: a source as `load_applied` takes it, or a folder of features."""

    name: str
    source: str
    features: bool = False
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class BenchmarkDataset:
    """A data set of a benchmark, with absolute paths."""

    name: str
    kind: str
    sounds: Path
    responses: Path
    ceilings: dict[str, float]
    options: TimedOptions  # of responses in time, and `given`
    given: TimedInput


@dataclass(frozen=True)
class Plan:
    """Everything that a benchmark is made from."""

    networks: list[BenchmarkNetwork]
    datasets: list[BenchmarkDataset]
    protocol: Literal["ours", "tuckute2023"]
    splits: int
    seed: int
    combinations: dict[str, tuple[str, ...]]  # name -> networks that predict together


def read_plan(
    settings: Path | str | dict[str, Any], networks: tuple[str, ...], datasets: tuple[str, ...]
) -> Plan:
    """Read settings, and add networks and data sets that are named elsewhere.

    Raises InputError if a file is missing, a key does not exist (the message suggests the closest
    one), two networks or data sets have one name, or there is none.
    """
    if isinstance(settings, dict):
        where, tree = "settings", settings
    else:
        where = str(as_path(settings))
        try:
            tree = read_toml(as_path(settings), "a file of settings")
        except FileNotFoundError:
            raise InputError(f"{where}: {why_no_file(Path(where))}") from None
    read = validated(Settings, tree, where)
    found = [_network(name, each, where) for name, each in read.networks.items()]
    found += [_network(_name_of(source), {"source": source}, source) for source in networks]
    sets = [_dataset(name, each, read, where) for name, each in read.datasets.items()]
    for name in datasets:
        is_file = name.endswith(".toml")
        choice = {"description": name} if is_file else {}
        sets.append(_dataset(Path(name).stem if is_file else name, choice, read, name))
    _check_names(where, "networks", [each.name for each in found])
    _check_names(where, "datasets", [each.name for each in sets])
    combined = {
        name: _combination(name, each, [network.name for network in found], where)
        for name, each in read.combinations.items()
    }
    return Plan(found, sets, read.protocol, read.splits, read.seed, combined)


def _combination(
    name: str, tree: dict[str, Any], networks: list[str], where: str
) -> tuple[str, ...]:
    """Return the networks of a combination; raise InputError if one of them is unknown."""
    where = f"{where}: combinations.{name}"
    check_file_name(name, where)
    if name in networks:
        raise InputError(f"{where}: a network has that name; choose another")
    members = validated(CombinationChoice, tree, where).networks
    for member in members:
        if member not in networks:
            raise InputError(
                f"{where}: {member!r} is not a network of this benchmark"
                f"{did_you_mean(member, networks)}; expected some of {listed(networks)}"
            )
    return members


def _check_names(where: str, key: str, names: list[str]) -> None:
    if not names:
        example = "[networks.musicnn]" if key == "networks" else "[datasets.natsound165]"
        raise InputError(f"{where}: names no {key}; add a section such as {example}")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{where}: {key}: {name!r} is named twice")


def _name_of(source: str) -> str:
    """Return a name for a network that is only given by its source."""
    return Path(source.replace(":", "/")).stem


def _network(name: str, tree: dict[str, Any], where: str) -> BenchmarkNetwork:
    where = f"{where}: networks.{name}"
    check_file_name(name, where)
    choice = validated(NetworkChoice, tree, where)
    if choice.source and choice.features:
        raise InputError(f"{where}: give either source or features")
    if choice.features and choice.stages:
        raise InputError(f"{where}: stages are for networks; features are used as they are")
    source = choice.features or choice.source or name
    path = as_path(source)
    absolute = str(path.absolute()) if path.exists() else source
    return BenchmarkNetwork(name, absolute, bool(choice.features), choice.stages)


def _dataset(name: str, tree: dict[str, Any], read: Settings, where: str) -> BenchmarkDataset:
    where = f"{where}: datasets.{name}"
    check_file_name(name, where)
    choice = validated(DatasetChoice, tree, where)
    if choice.description:
        path = as_path(choice.description)
        if not path.is_file():
            raise InputError(f"{where}: {path}: {why_no_file(path)}")
        description = validated(Description, read_toml(path, "a data set"), str(path))
        folder = as_path(choice.folder) if choice.folder else path.parent
    else:
        description = _packaged(name, where)
        folder = as_path(choice.folder or Path(read.data, name))
    folder = folder.absolute()
    sounds, responses = folder / description.sounds, folder / description.responses
    if not sounds.is_dir():
        raise InputError(
            f"{where}: {sounds}: no such directory; name the folder of the data with folder, or "
            "the one above with data"
        )
    if not responses.is_file():
        raise InputError(f"{where}: {responses}: {why_no_file(responses)}")
    try:
        options = TimedOptions(
            description.lags_s, description.lag_step_s, description.components, seed=read.seed
        )
        given = TimedInput(description.rate_hz, description.first_sample_s)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return BenchmarkDataset(
        name, description.kind, sounds, responses, description.ceilings, options, given
    )


def _packaged(name: str, where: str) -> Description:
    folder = resources.files(DESCRIPTIONS)
    names = sorted(
        each.name.removesuffix(".toml") for each in folder.iterdir() if each.name.endswith(".toml")
    )
    if name not in names:
        raise InputError(
            f"{where}: the package describes no such data set, only {listed(names)}; name a TOML "
            f"file with description{did_you_mean(name, names)}"
        )
    with resources.as_file(folder / f"{name}.toml") as file:
        return validated(Description, read_toml(file, "a data set"), name)
