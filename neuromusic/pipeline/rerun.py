"""Repeat the function that made a directory, from its record, and compare the files."""

import contextlib
import filecmp
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from importlib import metadata
from inspect import signature
from pathlib import Path
from typing import Any, get_args, get_type_hints

import safetensors.torch
import torch
from safetensors import safe_open

import neuromusic
from neuromusic.core.errors import InputError, listed
from neuromusic.core.progress import track
from neuromusic.core.records import NETWORK_COMMANDS, RECORD, places_of, read_record
from neuromusic.core.settings import Section
from neuromusic.features.frontends.base import STAGES
from neuromusic.models.loading import named_by_user
from neuromusic.training.applied_networks import load_applied, load_features
from neuromusic.training.stages_front_end import restored
from neuromusic.training.trained import LAST, SECONDS, WEIGHTS, as_network, load_network

log = logging.getLogger(__name__)

# Public functions whose files depend only on what their records contain.
REPEATABLE = (
    "rebuild_orders", "design_orders", "cut_clips", "make_lists", "make_file_lists", "prepare",
    "prepare_features", "prepare_folder", "train", "ensemble", "confusions", "export", "simulate",
    "encode", "encode_group", "encode_participant", "encode_sounds", "encode_timed",
)  # fmt: skip
TIMED = (LAST, SECONDS)  # contain how long epochs took, so they differ each time


def is_reproduced(directory: Path, record: dict[str, Any]) -> bool:
    """Make a directory again in a temporary one beside it; log and return whether it is the same.

    Raises InputError if its function cannot be repeated, or an input cannot be found.
    """
    directory = directory.resolve()
    function, arguments = repeated_call(directory, record)
    # The name of an orphan: if this process is killed, the next one removes it.
    part = directory.parent / f".{directory.name}.partial-{os.getpid()}"
    part.mkdir()
    try:
        new = part / directory.name
        with _silent_log():
            function(**arguments, out=new)
        names = sorted(record.get("outputs") or _file_names(new))
        compared = [name for name in names if name not in TIMED]
        differences = _differences(directory, new, compared)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    n_same = len(compared) - len(differences)
    log.info("%s repeated: %d of %d files are identical", directory, n_same, len(compared))
    timed = [name for name in names if name in TIMED]
    if timed:
        log.info("  not compared, because they contain times: %s", listed(timed))
    if differences:
        _log_differences(differences, record)
    return not differences


def _log_differences(differences: list[str], record: dict[str, Any]) -> None:
    for line in differences:
        log.info("  %s", line)
    versions = other_versions(record)
    if versions:
        log.info("  recorded with other versions: %s", ", ".join(versions))
    if record["command"] == "train":
        log.info("  recorded on %s; other devices round differently", record["device"])


def other_versions(record: dict[str, Any]) -> list[str]:
    """Return packages whose version has changed since the record, as "torch 2.10 (now 2.11)"."""
    packages = record.get("packages", {})
    now = {name: metadata.version(name) for name in packages}
    now["neuromusic"] = neuromusic.__version__
    then = {**packages, "neuromusic": record.get("code_version", neuromusic.__version__)}
    return [f"{name} {then[name]} (now {now[name]})" for name in then if then[name] != now[name]]


# --- The call -------------------------------------------------------------------------------------


def repeated_call(
    directory: Path, record: dict[str, Any]
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the function that made a directory, and its arguments except ``out``.

    Settings of other names than the parameters, such as a front end's, are not arguments.
    """
    name = record.get("function")
    if name is None:
        raise InputError(
            f"{directory}: cannot be repeated, because its record does not name the function; it "
            f"was made by an older version, or by a command other than {', '.join(REPEATABLE)}"
        )
    if name not in REPEATABLE:
        raise InputError(
            f"{directory}: cannot be repeated by rerun; repeat 'neuromusic {record['command']}' "
            "with another output directory and compare"
        )
    function = getattr(neuromusic, name)
    values = _recorded_values(directory, record)
    arguments = {}
    for parameter in signature(function).parameters.values():
        if parameter.name in values:
            arguments[parameter.name] = _as_argument(parameter.annotation, values[parameter.name])
        elif parameter.default is parameter.empty and parameter.name != "out":
            raise InputError(
                f"{directory}: cannot be repeated, because its record does not contain "
                f"{parameter.name}; it was made by an older version"
            )
    if arguments.get("front_end") == STAGES:
        arguments["front_end"] = restored(values["front_end_settings"])
    if "network" in arguments and "channel" not in arguments:  # the network hears a channel
        arguments["network"] = _network(arguments["network"], values)
    return function, arguments


def _network(source: Path | str, values: dict[str, Any]) -> Any:
    """Return a network with the channel and stages of a record; or features from elsewhere.

    Raises InputError for a network file or function that the user has not named.
    """
    channel = values.get("channel", "mix")
    if not Path(source).is_dir():
        stages = tuple(values.get("external", {}).get("stages", ()))
        return load_applied(named_by_user(str(source)), channel=channel, stages=stages)
    if (read_record(Path(source)) or {}).get("command") not in NETWORK_COMMANDS:
        return load_features(source)
    heard = load_network(source)
    return as_network(heard, channel) if heard.meta.source == "audio" else source


def _recorded_values(directory: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Return settings and places as one tree; the place "corpus.path" goes into "corpus".

    The places "networks.0", "networks.1" and so on become a list.
    """
    settings = json.loads(json.dumps(record["settings"]))  # a copy
    # The settings of a training are its parameter config.
    values = {"config": settings} if record["function"] == "train" else settings
    for name, recorded in record.get("places", {}).items():
        if name == "cwd":
            continue
        *parents, last = name.split(".")
        branch = values
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[last] = _find(Path(recorded), directory)
    networks = values.get("networks")
    if isinstance(networks, dict):
        values["networks"] = [networks[str(number)] for number in range(len(networks))]
    return values


def _find(recorded: Path, near: Path) -> Path:
    """Return where a recorded path is now; raise InputError if it cannot be found."""
    for path in places_of(recorded, near):
        if path.exists():
            return path
    raise InputError(f"{recorded}: cannot be found, so {near} cannot be repeated")


def _as_argument(annotation: Any, value: Any) -> Any:
    """Return a value from JSON as a parameter needs it: of a dataclass, or a section of TOML."""
    if isinstance(value, dict):
        for kind in (annotation, *get_args(annotation)):
            if is_dataclass(kind) and isinstance(kind, type):
                kinds = get_type_hints(kind)
                parts = {name: _as_argument(kinds[name], part) for name, part in value.items()}
                return kind(**parts)
            if isinstance(kind, type) and issubclass(kind, Section):
                return kind.model_validate(value)
    return tuple(value) if isinstance(value, list) else value


@contextlib.contextmanager
def _silent_log() -> Iterator[None]:
    """Suppress what the repeated function logs: it was read when the directory was made."""
    logger = logging.getLogger("neuromusic")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


# --- The comparison -------------------------------------------------------------------------------


def _file_names(directory: Path) -> list[str]:
    paths = (path for path in directory.rglob("*") if path.is_file() and path.name != RECORD)
    return [path.relative_to(directory).as_posix() for path in paths]


def _differences(old: Path, new: Path, names: list[str]) -> list[str]:
    """Return one text per file that differs or is missing."""
    differences = []
    for name in track(names, "compare", len(names)):
        if not (new / name).is_file():
            differences.append(f"{name}: was not made again")
        elif not (old / name).is_file():
            differences.append(f"{name}: is missing")
        elif not _is_same(old / name, new / name):
            differences.append(f"{name}: differs")
    return differences


def _is_same(old: Path, new: Path) -> bool:
    if old.name != WEIGHTS:
        return filecmp.cmp(old, new, shallow=False)
    # The header contains the place of the prepared set.
    first, second = safetensors.torch.load_file(old), safetensors.torch.load_file(new)
    return (
        _weights_header(old) == _weights_header(new)
        and list(first) == list(second)
        and all(torch.equal(value, second[key]) for key, value in first.items())
    )


def _weights_header(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["neuromusic"])
    return {key: value for key, value in header.items() if key != "prepared"}
