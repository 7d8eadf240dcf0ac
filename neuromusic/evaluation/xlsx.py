"""The cells of a spreadsheet (.xlsx, ECMA-376), read with the standard library alone."""

import re
import zipfile
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree  # nosec B405

from neuromusic.core.errors import InputError

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
MOST_BYTES = 10_000_000  # of a part when unpacked; a laboratory's table has a hundredth


def read_first_sheet(path: Path) -> dict[int, dict[str, str]]:
    """Return the first sheet of a file: row (from 1) -> column letters -> text.

    Numbers are text as the file has them, formulas their last value; empty cells are not there.
    Raises InputError for anything that is no such file.
    """
    try:
        with zipfile.ZipFile(path) as file:
            book = _part(file, "xl/workbook.xml", path)
            sheet = book.find(f"{MAIN}sheets/{MAIN}sheet")
            if sheet is None:
                raise InputError(f"{path}: has no sheet")
            links = _part(file, "xl/_rels/workbook.xml.rels", path)
            target = {link.get("Id"): link.get("Target", "") for link in links}
            name = PurePosixPath("/xl") / target[sheet.get(RELATION)]
            strings = []
            if "xl/sharedStrings.xml" in file.namelist():
                strings = [_text(item) for item in _part(file, "xl/sharedStrings.xml", path)]
            return _cells(_part(file, str(name)[1:], path), strings)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a spreadsheet (.xlsx)") from None
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and the XML parser each have their own
        raise InputError(f"{path}: is no readable spreadsheet (.xlsx) ({error})") from None


def _part(file: zipfile.ZipFile, name: str, path: Path) -> ElementTree.Element:
    if file.getinfo(name).file_size > MOST_BYTES:
        raise InputError(f"{path}: {name} unpacks to over {MOST_BYTES // 1_000_000} MB")
    # As text, so that no other encoding can hide a declaration: entities can grow without end. With
    # none of them and few bytes, what bandit fears of this parser (B314, B405) cannot happen.
    text = file.read(name).decode("utf-8-sig")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise InputError(f"{path}: {name} declares entities, which no spreadsheet needs")
    return ElementTree.fromstring(text)  # nosec B314


def _text(item: ElementTree.Element) -> str:
    """Return the text of a string in one or several styles, without its pronunciation (rPh)."""
    runs = [item, *item.findall(f"{MAIN}r")]
    return "".join(t.text or "" for run in runs for t in run.findall(f"{MAIN}t"))


def _cells(sheet: ElementTree.Element, strings: list[str]) -> dict[int, dict[str, str]]:
    rows: dict[int, dict[str, str]] = {}
    for cell in sheet.iter(f"{MAIN}c"):
        place = re.fullmatch(r"([A-Z]+)(\d+)", cell.get("r", ""))
        value = cell.find(f"{MAIN}v")
        if cell.get("t") == "inlineStr":
            inline = cell.find(f"{MAIN}is")
            text = None if inline is None else _text(inline)
        else:
            text = None if value is None else value.text
            if text is not None and cell.get("t") == "s":
                text = strings[int(text)]
        if place and text:
            rows.setdefault(int(place[2]), {})[place[1]] = text
    return rows
