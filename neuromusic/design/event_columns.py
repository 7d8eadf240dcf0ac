"""Which columns of events name the sound, its class and its group."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from neuromusic.core.errors import InputError, listed
from neuromusic.design.bids import RunId
from neuromusic.design.event_rows import MISSING, read_events_cells
from neuromusic.design.experiment import Sounds, load_experiment, preset_names
from neuromusic.stimuli.clips import is_sound

# BIDS: columns with a meaning of their own, none of which names a sound or a class.
NOT_SOUNDS = frozenset({
    "onset", "duration", "sample", "response_time", "value", "hed", "channel", "identifier", "run",
    "volume",
})  # fmt: skip
# In the order of preference, in lower case. stim_file is the name in BIDS.
SOUND_NAMES = (
    "stim_file", "sound_file", "audio_file", "stim", "stimulus", "sound", "clip", "audio", "file",
    "filename", "piece", "track", "song", "stim_id", "stimulus_id",
)  # fmt: skip
CLASS_NAMES = ("genre", "class", "category", "style", "trial_type", "condition", "label")
GROUP_NAMES = (
    "artist", "composer", "performer", "speaker", "singer", "album", "source", "piece", "track",
    "song",
)  # fmt: skip


class RunCells(NamedTuple):
    """The events of one run: its columns as text, each with one cell per row."""

    run: RunId
    path: Path
    columns: dict[str, list[str]]


@dataclass(frozen=True)
class Columns:
    """What was chosen, and one sentence for each doubt."""

    sounds: Sounds
    doubts: list[str]


def read_columns(run: RunId, path: Path) -> RunCells:
    """Read all columns of the events of a run; raise InputError if they are no events."""
    header, cells = read_events_cells(path, ("onset", "duration"))
    if not cells:
        raise InputError(f"{path}: has no rows; expected one row per presentation")
    columns = {
        name: [cell.strip("'\"").strip() for cell in column]
        for name, column in zip(header, zip(*cells, strict=True), strict=True)
    }
    return RunCells(run, path, columns)


def choose_columns(tables: Sequence[RunCells]) -> Columns | None:
    """Return which columns name the sound, its class and its group; None if none names a sound."""
    shared = [name for name in tables[0].columns if all(name in each.columns for each in tables)]
    if (pattern := _preset_pattern(set(shared), tables)) is not None:
        return Columns(pattern, [f"The columns are joined to names of sounds: {pattern.sound}"])
    values = {name: [cell for each in tables for cell in each.columns[name]] for name in shared}
    candidates = _sound_candidates(values)
    if not candidates:
        return None
    sound, *others = candidates
    doubts = []
    if others:
        same = [name for name in others if _is_one_to_one(values[sound], values[name])]
        text = f"Column {sound} was taken for the name of the sound; it could also be "
        text += listed(others)
        if same:
            text += f" ({listed(same)} has one value for each sound, so it makes no difference)"
        doubts.append(text + ".")
    class_, doubt = _class_column(sound, values)
    doubts += doubt
    group = _group_column(sound, class_, values)
    return Columns(Sounds.model_validate({"sound": sound, "class": class_, "group": group}), doubts)


def _preset_pattern(shared: set[str], tables: Sequence[RunCells]) -> Sounds | None:
    """Return the columns of the first preset whose pattern fits all rows, without its classes."""
    for name in preset_names():
        known = load_experiment(name).sounds
        if "{" not in known.sound or not {*known.columns} <= shared:
            continue
        is_filled = all(
            all(cell not in MISSING for cell in each.columns[column])
            for each in tables
            for column in known.columns
        )
        if is_filled:
            chosen = {"sound": known.sound, "class": known.class_, "group": known.group}
            return Sounds.model_validate(chosen)
    return None


# --- The sound ------------------------------------------------------------------------------------


def _sound_candidates(values: dict[str, list[str]]) -> list[str]:
    """Return the columns that could name the sound, the best first.

    First columns of file names of sounds, then columns that are called as a sound. Without either,
    the text column with most values, if its values occur more than once.
    """
    text = {name: _present(cells) for name, cells in values.items() if _may_name(name, cells)}
    files = [name for name, cells in text.items() if _share(cells, is_sound) > 0.5]
    if files:
        return sorted(files, key=_preference)
    called = [
        name for name, cells in text.items()
        if name.lower() in SOUND_NAMES and len(set(cells)) > 1 and not _are_other_files(cells)
    ]  # fmt: skip
    if called:
        return sorted(called, key=_preference)
    repeated = [
        name
        for name, cells in text.items()
        if 1 < len(set(cells)) < len(cells) and not _are_other_files(cells)
    ]
    return sorted(repeated, key=lambda name: -len(set(text[name])))


def _preference(name: str) -> tuple[int, str]:
    key = name.lower()
    return (SOUND_NAMES.index(key) if key in SOUND_NAMES else len(SOUND_NAMES), key)


def _may_name(name: str, cells: list[str]) -> bool:
    present = _present(cells)
    if not present or name.lower() in NOT_SOUNDS:
        return False
    # Numbers name a sound only in a column that is called so.
    return name.lower() in SOUND_NAMES or _share(present, _is_number) < 0.5


def _are_other_files(cells: list[str]) -> bool:
    """Return whether most values are files of another kind, such as pictures."""
    return _share(cells, lambda cell: bool(Path(cell).suffix[1:].isalnum())) > 0.5 and not any(
        is_sound(cell) for cell in cells
    )


def _present(cells: list[str]) -> list[str]:
    return [cell for cell in cells if cell not in MISSING]


def _share(cells: list[str], is_true: Callable[[str], bool]) -> float:
    distinct = set(cells)
    return sum(map(is_true, distinct)) / max(1, len(distinct))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- Classes and groups ---------------------------------------------------------------------------


def _values_of(sound: str, name: str, values: dict[str, list[str]]) -> dict[str, str] | None:
    """Return sound -> its value in a column; None if a sound has several or none."""
    found: dict[str, str] = {}
    for clip, value in zip(values[sound], values[name], strict=True):
        if clip in MISSING:
            continue
        if value in MISSING or found.setdefault(clip, value) != value:
            return None
    return found


def _is_one_to_one(first: list[str], second: list[str]) -> bool:
    pairs = set(zip(first, second, strict=True))
    return len(pairs) == len(set(first)) == len(set(second))


def _class_column(sound: str, values: dict[str, list[str]]) -> tuple[str, list[str]]:
    """Return the column of the class, "" if there is none, and doubts.

    It has one value for each sound, and at least two sounds have each value on average.
    """
    of_sounds = {}
    for name in values:
        if name in (sound, "onset", "duration") or name.lower() in (*NOT_SOUNDS, *GROUP_NAMES):
            continue
        if name.lower() not in CLASS_NAMES and _share(_present(values[name]), _is_number) > 0.5:
            continue
        found = _values_of(sound, name, values)
        if found and 2 <= len(set(found.values())) <= len(found) / 2:
            of_sounds[name] = found

    def preference(name: str) -> int:
        key = name.lower()
        return CLASS_NAMES.index(key) if key in CLASS_NAMES else len(CLASS_NAMES)

    chosen, *others = sorted(of_sounds, key=preference) or [""]
    different = [
        name for name in others
        if not _is_one_to_one(list(of_sounds[chosen].values()), list(of_sounds[name].values()))
    ]  # fmt: skip
    if not different:
        return chosen, []
    return chosen, [
        f"Column {chosen} was taken for the class; it could also be {listed(different)}."
    ]


def _group_column(sound: str, class_: str, values: dict[str, list[str]]) -> str:
    """Return the column of the artist or piece, "" if there is none."""
    for name in sorted(values, key=lambda name: name.lower()):
        if name.lower() not in GROUP_NAMES or name in (sound, class_):
            continue
        found = _values_of(sound, name, values)
        if found and 2 <= len(set(found.values())) < len(found):
            return name
    return ""
