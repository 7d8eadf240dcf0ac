"""Find files in folders as people have them: links, system folders, names from other systems."""

import errno
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from neuromusic.core.errors import InputError, listed, printable

# Written by file servers, archivers and operating systems; compared in lower case. Names that begin
# with a dot, such as .git, .DS_Store or ._song.wav, are left out too.
SYSTEM_NAMES = frozenset({
    "@eadir", "@recently-snapshot", "@recycle", "@sharebin", "@tmp", "#recycle", "#snapshot",
    "$recycle.bin", "__macosx", "__pycache__", "desktop.ini", "ehthumbs.db", "icon\r", "lost+found",
    "network trash folder", "recycler", "system volume information", "temporary items", "thumbs.db",
})  # fmt: skip
# What Windows does not allow in a name: characters, and devices, with any suffix.
NOT_ON_WINDOWS = frozenset('<>:"/\\|?*')
DEVICES = frozenset({
    "con", "prn", "aux", "nul", "conin$", "conout$",
    *(f"{port}{n}" for port in ("com", "lpt") for n in "0123456789\u00b9\u00b2\u00b3"),
})  # fmt: skip
BREAKING = ("Cc", "Zl", "Zp")  # Unicode categories: control characters and line separators
JOINERS = "\u200c\u200d"  # part of names in Persian and many Indian languages, and of emoji
MOST_COUNTED = 10_000  # files in a system folder: .git may hold very many
MOST_SUFFIX = 8  # characters; in "01. A song" the text after the dot is not a suffix


@dataclass(frozen=True)
class Found:
    """The files that `find_files` found, and what it left out.

    Parameters
    ----------
    files : list of Path
        The wanted files, sorted.
    broken : list of Path
        Links to something that does not exist, whatever their names, and wanted names that are not
        files but, for example, pipes; sorted.
    same : dict of Path
        Folder that was not searched -> the folder, searched before, that it is a link to.
    others : Counter
        (suffix, folder directly below the start or "") -> number of files that are not wanted.
    system : Counter
        Name of a hidden or system folder -> number of files in all folders of that name.
    n_hidden : int
        Number of hidden and system files in the folders that were searched.
    names : dict of str
        (suffix, folder directly below the start or "") -> name of the first such file.
    """

    files: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    same: dict[Path, Path] = field(default_factory=dict)
    others: Counter[tuple[str, str]] = field(default_factory=Counter)
    system: Counter[str] = field(default_factory=Counter)
    n_hidden: int = 0
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def left_out(self) -> str:
        """What was left out, such as "12 .png in images, notes.txt, 3 in @eaDir"; "" if nothing."""
        parts = []
        for suffix in dict.fromkeys(suffix for suffix, _ in self.others):
            places = {place: n for (each, place), n in self.others.items() if each == suffix}
            where = f" in {len(places)} folders" if len(places) > 1 else ""
            if len(places) == 1 and "" not in places:
                where = f" in {next(iter(places))}"
            n = sum(places.values())
            what = f"{n} {suffix}" if n > 1 else self.names[suffix, next(iter(places))]
            parts.append(what + where)
        for name, n in self.system.items():
            parts.append(f"{'over ' if n > MOST_COUNTED else ''}{min(n, MOST_COUNTED)} in {name}")
        if self.n_hidden:
            parts.append(f"{self.n_hidden} hidden or system file{'s' * (self.n_hidden > 1)}")
        parts += [f"{link} (the same folder as {first})" for link, first in self.same.items()]
        return listed(parts)


def find_files(
    directory: Path, is_wanted: Callable[[str], bool], expected: str, top: str = "*"
) -> Found:
    """Find files in a folder, at any depth, through links to files and to folders.

    Each folder is searched once, also if several links lead to it or to a folder that contains it.
    Hidden and system files and folders are left out; a folder is never a file, whatever its name.

    Parameters
    ----------
    directory : Path
        Where to start; it may itself be hidden or a link.
    is_wanted : callable
        Whether a file is wanted, from its name.
    expected : str
        What the folder should be, for the message if there is none.
    top : str
        Pattern of the folders directly below ``directory`` that are searched.

    Raises
    ------
    InputError
        If ``directory`` is not a folder.
    OSError
        If a folder cannot be listed.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: {why_no_folder(directory)}; expected {expected}")
    found = Found()
    n_hidden = 0
    start = os.path.realpath(directory)
    searched: dict[str, Path] = {}  # real path -> path
    folders = [(directory, start)]
    links: list[tuple[Path, str]] = []
    while folders or links:
        if not folders:  # folders first, so that a link to one of them is the one left out
            links.sort()
            folders.append(links.pop(0))
        folder, real = folders.pop()
        if real in searched or _contains(real, start):
            found.same[folder] = searched.get(real, Path(real))
            continue
        searched[real] = folder
        for entry in _entries(folder):
            path, kind = folder / entry.name, _kind(entry)
            if is_system(entry.name):
                n_hidden += kind != "folder"
                if kind == "folder" and (n := _count_files(path)):
                    found.system[entry.name] += n
            elif kind == "folder":
                if folder == directory and not fnmatchcase(entry.name, top):
                    continue
                if entry.is_symlink():
                    links.append((path, os.path.realpath(path)))
                else:
                    folders.append((path, os.path.join(real, entry.name)))
            elif kind == "broken link" or (kind == "special" and is_wanted(entry.name)):
                found.broken.append(path)
            elif kind == "file" and is_wanted(entry.name):
                found.files.append(path)
            else:
                key = _suffix(entry.name, kind), _top(path, directory)
                found.others[key] += 1
                found.names.setdefault(key, printable(entry.name))
    found.files.sort()
    found.broken.sort()
    return replace(found, n_hidden=n_hidden)


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _kind(entry: "os.DirEntry[str]") -> str:
    """Return what an entry is, through links: folder, file, broken link, or something else."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        return "special" if os.path.exists(entry.path) else "broken link"
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself
            return "broken link"
        raise


def _contains(folder: str, start: str) -> bool:
    """Return whether a real path is above the start."""
    return folder != start and Path(start).is_relative_to(folder)


def _suffix(name: str, kind: str) -> str:
    suffix = Path(name).suffix.lower()
    if not (suffix[1:].isalnum() and len(suffix) <= MOST_SUFFIX):
        suffix = "without a suffix"
    return suffix if kind == "file" else f"{suffix} that is not a file"


def _top(path: Path, directory: Path) -> str:
    parts = path.relative_to(directory).parts
    return parts[0] if len(parts) > 1 else ""


def _count_files(folder: Path) -> int:
    """Return the number of files in a folder that is left out, at most MOST_COUNTED + 1."""
    n = 0
    for _, _, files in os.walk(folder):
        n += len(files)
        if n > MOST_COUNTED:
            return MOST_COUNTED + 1
    return n


def is_system(name: str) -> bool:
    """Return whether a file or folder is hidden, or written by a system and not by people."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_same_file(first: Path, second: Path) -> bool:
    """Return whether two paths are one file, perhaps through links."""
    return first == second or os.path.realpath(first) == os.path.realpath(second)


# --- What is not there ----------------------------------------------------------------------------


def why_no_folder(path: Path) -> str:
    """Return why a path is not a folder, such as "no such directory"."""
    if path.is_symlink() and not path.exists():
        return _broken_link(path)
    return "is a file" if path.exists() else "no such directory"


def why_no_file(path: Path) -> str:
    """Return why a path is not a file, such as "no such file"."""
    if path.is_symlink() and not path.exists():
        return _broken_link(path)
    if path.is_dir():
        return "is a folder; expected a file"
    return "is not a regular file" if path.exists() else "no such file"


def _broken_link(path: Path) -> str:
    target = os.readlink(path)
    try:
        os.stat(path)
    except OSError as error:
        if error.errno == errno.ELOOP:
            return f"is a link to {target}, which leads back to it; remove the link"
    remedy = "repair or remove the link"
    if "/annex/objects/" in target:
        remedy = "fetch its content with 'datalad get' or 'git annex get'"
    return f"is a link to {target}, which does not exist; {remedy}"


def check_present(paths: Iterable[Path]) -> None:
    """Raise InputError for the first path that is not a file, such as a broken link."""
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: {why_no_file(path)}")


# --- Names ----------------------------------------------------------------------------------------


def nfc(text: str) -> str:
    """Return text in the Unicode form NFC, in which equal names have equal characters.

    macOS stores an accented letter as two characters (NFD), other systems as one.
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def check_name(path: Path | str) -> None:
    """Raise InputError for a path that is not valid UTF-8, or would break the rows of a table."""
    text = os.fspath(path)
    if text.isprintable():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{text}: its name is not valid UTF-8; rename it") from None
    if any(unicodedata.category(character) in BREAKING for character in text):
        raise InputError(
            f"{text!r}: its name contains a tab, a line break or another control character; "
            "rename it"
        )


def windows_fault(name: str) -> str:
    """Return why a file or folder on Windows cannot have a name; "" if it can."""
    bad = sorted(NOT_ON_WINDOWS & set(name))
    if bad:
        return f"contains {' '.join(bad)}"
    if name.split(".")[0].rstrip(" ").lower() in DEVICES:
        return "is the name of a device"
    if name.endswith((".", " ")):
        return f"ends with {'a dot' if name.endswith('.') else 'a space'}"
    return ""


def is_unsafe(character: str) -> bool:
    """Return whether a character may hide or change what a name looks like."""
    category = unicodedata.category(character)
    return category in (*BREAKING, "Cs") or (category == "Cf" and character not in JOINERS)


def check_unambiguous(paths: Iterable[Path], directory: Path) -> None:
    """Raise InputError if two names in a folder differ only in their Unicode normalisation."""
    first_with: dict[tuple[str, ...], Path] = {}
    for path in paths:
        parts = path.relative_to(directory).parts
        if all(part.isascii() for part in parts):
            continue
        for n in range(1, len(parts) + 1):
            each = directory.joinpath(*parts[:n])
            first = first_with.setdefault(tuple(map(nfc, parts[:n])), each)
            if first != each:
                raise InputError(
                    f"{each}: has the same name as {first} except for its Unicode normalisation "
                    f"({each.name!a} and {first.name!a}); rename one of them"
                )


def actual_path(directory: Path, name: str) -> str:
    """Return a relative path as it is on disk: its accents may be stored in another form.

    A path that does not exist in any form is returned unchanged.
    """
    if name.isascii() or (directory / name).exists():
        return name
    actual = Path()
    for part in Path(name).parts:
        folder = directory / actual
        names = os.listdir(folder) if folder.is_dir() else []
        actual /= next((each for each in names if nfc(each) == nfc(part)), part)
    return actual.as_posix() if (directory / actual).exists() else name
