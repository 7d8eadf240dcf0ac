"""Tables and spreadsheets as people save them: each reader gives the same content, or one line."""

import io
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
from helpers import neuromusic
from spreadsheets import STRICT, judgements, write_ods, write_sheet, write_sheets

from neuromusic.core.errors import InputError
from neuromusic.core.files import names_in
from neuromusic.core.tables import numbers, read_table
from neuromusic.design.artists import read_artists
from neuromusic.design.event_rows import read_run_events
from neuromusic.design.events import orders_from_bids
from neuromusic.design.experiment import Sounds
from neuromusic.design.lists import read_lists
from neuromusic.design.orders import EXPERIMENT, GENRES
from neuromusic.encoding.atlas import read_label_names
from neuromusic.encoding.sound_responses import read_responses
from neuromusic.evaluation.answers import read_behaviour, read_decoding
from neuromusic.features.precomputed import read_log_mel
from neuromusic.pipeline.lists import make_file_lists
from neuromusic.stats.multiple import false_discovery, holm, warn_if_nan
from neuromusic.stimuli.corpora import Corpus

# How the same rows of cells can be written; each returns the bytes of a table.


def plain(rows, sep="\t", end="\n"):
    return end.join([sep.join(row) for row in rows] + [""]).encode()


def quoted(rows):
    return plain([[f'"{cell}"' for cell in row] for row in rows])


FORMS = {
    "plain": plain,
    "byte-order mark": lambda rows: b"\xef\xbb\xbf" + plain(rows),
    "CRLF": lambda rows: plain(rows, end="\r\n"),
    "CR": lambda rows: plain(rows, end="\r"),
    "no end of line": lambda rows: plain(rows)[:-1],
    "quotes": quoted,
    "quotes, mark and CRLF": lambda rows: b"\xef\xbb\xbf" + quoted(rows).replace(b"\n", b"\r\n"),
    "tabs at the end of rows": lambda rows: plain([rows[0], *([*row, ""] for row in rows[1:])]),
    "tabs at the end of all": lambda rows: plain([[*row, "", ""] for row in rows]),
    "spaces in the header": lambda rows: plain([[f" {cell} " for cell in rows[0]], *rows[1:]]),
    "empty lines": lambda rows: plain([*rows, [""], [], ["", "", ""]]),
    "another column": lambda rows: plain([[*row, "note"] for row in rows[:1]]
                                         + [[*row, "x"] for row in rows[1:]]),
    ".csv, commas": lambda rows: plain(rows, ","),
    ".csv, semicolons": lambda rows: plain(rows, ";", "\r\n"),
    ".csv, tabs": plain,
    ".csv, Excel's first line": lambda rows: b"sep=;\r\n" + plain(rows, ";", "\r\n"),
}  # fmt: skip

EVENTS = [
    ["onset", "duration", "genre", "track", "start", "end"],
    ["0", "15", "'disco'", "7", "0", "15"],
    ["15", "15", "'pop'", "49", "9.59", "24.58"],
]
STIM_FILES = [
    ["onset", "duration", "stim_file", "composer"],
    ["0.01", "6", "stimuli/a b.wav", "Bach"],
    ["12", "n/a", "c.wav", "Holst"],
]
ARTISTS = [["track", "artist_group", "fault"], ["a.1", "x", "n/a"], ["a.2", "y", "distorted"]]
RESPONSES = [["sound", "A", "B"], *[[f"s{i}", str(i), f"{i}.5"] for i in range(25)]]
DECODING = [["subject", "y_true", "y_pred"], ["1", "pop", "rock"], ["2", "rock", "pop"]]
LABELS = [["index", "name"], ["1", "A1"], ["-2", "belt"]]


def read_events(path):
    """Read events in the columns of the preset."""
    return read_run_events(path, EXPERIMENT.sounds).rows


def read_stim_files(path):
    """Read events in the columns of a description: BIDS's column for sounds, and a class."""
    sounds = Sounds.model_validate({"sound": "stim_file", "class": "composer"})
    return read_run_events(path, sounds).rows


READERS = {
    "events": (EVENTS, lambda path: [row.clip for row in read_events(path)],
               ["disco.00007_15s.wav", "pop.00049_15s.wav"]),
    "events with stim_file": (
        STIM_FILES, lambda path: [(row.onset_s, row.clip, row.class_)
                                  for row in read_stim_files(path)],
        [(0.01, "a b.wav", "Bach"), (12, "c.wav", "Holst")]),
    "artists": (ARTISTS, lambda path: read_artists(path).to_numpy().tolist(),
                [["a.1", "x", False], ["a.2", "y", True]]),
    "responses": (RESPONSES, lambda path: read_responses(path).values[:, :2].tolist(),
                  [[i, i + 0.5] for i in range(25)]),
    "decoding": (DECODING, lambda path: read_decoding(path, ["pop", "rock"]).to_numpy().tolist(),
                 [["1", "pop", "rock"], ["2", "rock", "pop"]]),
    "labels": (LABELS, read_label_names, {1: "A1", -2: "belt"}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_accepts_every_form_of_a_table(tmp_path, reader, form):
    rows, read, expected = READERS[reader]
    if form == "another column" and reader == "responses":
        return  # it would be another target
    path = tmp_path / f"x{'.csv' if '.csv' in form else '.tsv'}"
    path.write_bytes(FORMS[form](rows))
    assert read(path) == expected


def changed(rows, row, column, cell):
    rows = [list(line) for line in rows]
    rows[row][column] = cell
    return rows


REFUSED = {
    "UTF-16": (lambda rows: plain(rows).decode().encode("utf-16"), "as Unicode text by Excel"),
    "UTF-16 without a mark": (lambda rows: plain(rows).decode().encode("utf-16-le"), "is UTF-16"),
    "Latin-1": (lambda rows: plain(changed(rows, 2, 1, "Bj\xf6rk")).decode().encode("latin-1"),
                "line 3: has the byte 0xf6, which is not UTF-8"),
    "a spreadsheet": (lambda rows: b"PK\x03\x04" + bytes(50), "is a spreadsheet or an archive"),
    "a column twice": (lambda rows: plain([[*row, row[0]] for row in rows]), "the column .* twice"),
    "a column without a name": (lambda rows: plain([[*row[:1], "", *row[1:]] for row in rows]),
                                "column 2 has no name in the header"),
    "a row too long": (lambda rows: plain([*rows[:-1], [*rows[-1], "x"]]), r"line \d+ has \d"),
    "a missing column": (lambda rows: plain([row[:1] for row in rows]), "has"),
    "a quote that does not end": (lambda rows: plain(changed(rows, 1, 0, '"a')), r"line \d+: "),
    "nothing": (lambda rows: b"", "it is empty"),
    "only empty lines": (lambda rows: b"\n\t\n", "it is empty"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_refuses_other_files_in_one_line(tmp_path, reader, form):
    rows, read, _ = READERS[reader]
    make, message = REFUSED[form]
    path = tmp_path / "x.tsv"
    path.write_bytes(make(rows))
    with pytest.raises(InputError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(RESPONSES, 3, 1, "0,5"), r"row 4: column 'A' .*decimal point, 0\.5"),
        (changed(RESPONSES, 3, 1, "high"), "row 4: column 'A' contains text, 'high'"),
        (changed(RESPONSES, 3, 0, ""), "row 4 has no name of a sound"),
        (changed(EVENTS, 2, 4, "9,59"), r"row 2: expected numbers \(start '9,59'.*9\.59"),
        (changed(EVENTS, 2, 4, "n/a"), r"row 2: expected numbers \(start 'n/a'"),
        (changed(EVENTS, 0, 2, "Genre"), "no column genre, but 'Genre'; expected"),
        (changed(STIM_FILES, 1, 0, "0,01"), r"row 1: expected numbers \(onset '0,01'.*0\.01"),
        (changed(STIM_FILES, 2, 1, "-1"), "row 2: duration -1 s"),
        (changed(STIM_FILES, 2, 3, "n/a"), "row 2: has no composer"),
        (changed(STIM_FILES, 0, 2, "Stim_file"), "no column stim_file, but 'Stim_file'; expected"),
    ],
)
def test_a_cell_that_is_not_what_is_expected_is_named_with_its_row(tmp_path, rows, message):
    path = tmp_path / "x.tsv"
    path.write_bytes(plain(rows))
    read = {6: read_events, 4: read_stim_files}.get(len(rows[0]), read_responses)
    with pytest.raises(InputError, match=message):
        read(path)


def test_a_table_with_two_separators_in_its_header_is_refused(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"index;name,x\n1;A1,2\n")
    with pytest.raises(InputError, match="its header has commas and semicolons"):
        read_label_names(path)
    path = path.with_suffix(".tsv")
    path.write_bytes(b"index,name\n1,A1\n")
    with pytest.raises(InputError, match="its columns are not separated by tabs"):
        read_label_names(path)


def test_missing_values_and_numbers_as_text(tmp_path):
    path = tmp_path / "x.tsv"
    path.write_text('a\n"1"\n 2.0 \nn/a\nNaN\n-1e3\n')
    np.testing.assert_array_equal(
        numbers(read_table(path, as_text=True), "a", path), [1, 2, np.nan, np.nan, -1000]
    )


# --- Events ---------------------------------------------------------------------------------------


def test_what_bids_allows_in_events_is_read(tmp_path, caplog):
    caplog.set_level("INFO", "neuromusic")
    rest = ["30", "12", "n/a", "n/a", "n/a", "n/a"]
    rows = [[*EVENTS[0], "trial_type"]]
    rows += [["0", "n/a", "'disco'", "7.0", "0", "15", "a"], [*rest, "rest"]]
    rows += [["45", "15", '"rock"', "13", "0", "15", "b"], ["60", *["n/a"] * 6]]
    func = tmp_path / "sub-A/func"
    func.mkdir(parents=True)
    for task in ("Training", "Test"):
        (func / f"sub-A_task-{task}_run-01_events.tsv").write_bytes(plain(rows))
    events = read_events(func / "sub-A_task-Test_run-01_events.tsv")
    assert [row.clip for row in events] == ["disco.00007_15s.wav", "rock.00013_15s.wav"]
    assert np.isnan(events[0].duration_s)
    (train, _), _ = orders_from_bids(tmp_path)
    assert train.clips.tolist() == [["rock.00013_15s.wav"]]
    assert "left out 4 rest rows" in caplog.text


# --- Lists that were edited in Excel, and .npz ----------------------------------------------------


@pytest.fixture
def lists(tmp_path, small_clips):
    """Lists of a folder with ten classes of three sounds."""
    for path in small_clips.iterdir():
        folder = tmp_path / "tree" / path.name.split(".")[0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).symlink_to(path)
    return make_file_lists(
        Corpus("folder", tmp_path / "tree"), split="2:0:1", out=tmp_path / "lists", link="sym"
    )


def test_lists_that_were_edited_in_a_spreadsheet_are_read(lists):
    before = read_lists(lists)
    path = lists / "train.tsv"
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    whole = [rows[0].index(name) for name in ("run", "trial", "volume")]
    for row in rows[1:]:
        for column in whole:
            row[column] = row[column] if row[column] == "n/a" else f"{row[column]}.0"
    path.write_bytes(b"\xef\xbb\xbf" + quoted(rows).replace(b"\n", b"\r\n") + b"\t\t\t\r\n")
    pd.testing.assert_frame_equal(read_lists(lists), before)


def test_names_in_npz_may_be_bytes(tmp_path):
    sounds = np.array([f"Caf\xe9_{i}".encode() for i in range(25)])
    np.savez(tmp_path / "r.npz", responses=np.eye(25, 2), sounds=sounds, targets=[b"A", b"B"])
    responses = read_responses(tmp_path / "r.npz")
    assert responses.sounds[3] == "Caf\xe9_3"
    assert responses.targets == ["A", "B"]
    np.savez(tmp_path / "f.npz", features=np.ones((1, 2, 3)), clip=[b"a_15s.wav"], genre=[b"pop"],
             frame_s=0.1)  # fmt: skip
    features = read_log_mel(tmp_path / "f.npz")
    assert (features.clip, features.genre) == (["a_15s.wav"], ["pop"])
    with pytest.raises(InputError, match="x: has a name that is not UTF-8"):
        names_in(np.array([b"Bj\xf6rk"]), "x")


# --- Spreadsheets ---------------------------------------------------------------------------------

TRUTH, ANSWERS = [0, 3, 9], [0, 4, 9]
ROWS = judgements(TRUTH, ANSWERS)


def with_cells(change):
    """Return the rows with each number replaced by ``change(number)``."""
    return [[change(cell) if isinstance(cell, int) else cell for cell in row] for row in ROWS]


def dated(row):
    return [*row, "2026-11-26", True]


SHEETS = {
    "plain.xlsx": lambda path: write_sheet(path, ROWS),
    "capitals.XLSX": lambda path: write_sheet(path, ROWS),
    "strict.xlsx": lambda path: write_sheets(path, {"A": ROWS}, STRICT),
    "fractions.xlsx": lambda path: write_sheet(path, with_cells(float)),
    "text.xlsx": lambda path: write_sheet(path, with_cells(str)),
    "text with a fraction.xlsx": lambda path: write_sheet(path, with_cells(lambda n: f"{n}.0 ")),
    "empty marks.xlsx": lambda path: write_sheet(path, with_cells(lambda n: n or None)),
    "bools.xlsx": lambda path: write_sheet(
        path, [[*row[:11] , *row[11:]] if i in (0, 4) else
               [row[0], *map(bool, row[1:11]), row[11]] for i, row in enumerate(ROWS)]),
    "empty rows.xlsx": lambda path: write_sheet(path, [[], [], ROWS[0], [], *ROWS[1:], [], []]),
    "a column before.xlsx": lambda path: write_sheet(path, [[None, *row] for row in ROWS]),
    "more columns.xlsx": lambda path: write_sheet(path, [dated(row) for row in ROWS]),
    "spaces.xlsx": lambda path: write_sheet(
        path, [[f" {cell} " if isinstance(cell, str) else cell for cell in row] for row in ROWS]),
    "second sheet.xlsx": lambda path: write_sheets(path, {"Notes": [["x", 1]], "Data": ROWS}),
    "plain.ods": lambda path: write_ods(path, {"A": ROWS}),
    "capitals.ODS": lambda path: write_ods(path, {"Notes": [["x"]], "Data": with_cells(str)}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHEETS)
def test_the_same_answers_are_read_from_every_kind_of_spreadsheet(tmp_path, name):
    SHEETS[name](tmp_path / name)
    (tmp_path / "~$open.xlsx").touch()
    (tmp_path / "folder.xlsx").mkdir()
    table, respelt = read_behaviour(tmp_path, list(GENRES))
    assert table["true"].tolist() == [GENRES[i] for i in TRUTH]
    assert table["answer"].tolist() == [GENRES[i] for i in ANSWERS]
    assert respelt == {}


def twice(path):
    write_sheet(path.with_name("CategoryJudge_sub-001.xlsx"), ROWS)
    write_ods(path.with_name("CategoryJudge_sub-001.ods"), {"A": ROWS})


BAD_SHEETS = {
    r"has several sheets of answers \(Monday, Tuesday\); keep one": lambda path: write_sheets(
        path, {"Notes": [["x"]], "Monday": ROWS, "Tuesday": ROWS}),
    r"row 3 \(Run13_2\): has 10 answers": lambda path: write_sheet(
        path, [row if i != 2 else [row[0], *[1.0] * 10, 1] for i, row in enumerate(ROWS)]),
    r"row 3 \(Run13_2\): Correct is '1.5'": lambda path: write_sheet(
        path, changed(ROWS, 2, 11, 1.5)),
    r"row 3 \(Run13_1\): is already in row 2": lambda path: write_sheet(
        path, changed(ROWS, 2, 0, "Run13_1")),
    "has a password": lambda path: path.write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(99)),
    "is of sub-001, as .* is": twice,
    "expected a spreadsheet": lambda path: write_ods(path, {"A": ROWS}, kind="text"),
    r"spans 3 rows and": lambda path: write_ods(path, {"A": ROWS[:1]}, more=(
        "<table:table-row>" + '<table:table-cell table:number-columns-repeated="999"/>' * 400
        + "</table:table-row>") * 2),
}  # fmt: skip


@pytest.mark.parametrize("message", BAD_SHEETS)
def test_other_spreadsheets_are_refused_in_one_line(tmp_path, message):
    BAD_SHEETS[message](tmp_path / "CategoryJudge_sub-001.xlsx")
    with pytest.raises(InputError, match=message) as caught:
        read_behaviour(tmp_path, list(GENRES))
    assert str(tmp_path) in str(caught.value)


def test_rows_that_fill_an_ods_sheet_do_not_count(tmp_path):
    """LibreOffice writes the rest of the sheet as one empty cell in a million rows."""
    filling = '<table:table-row table:number-rows-repeated="1048570"><table:table-cell ' \
              'table:number-columns-repeated="16384"/></table:table-row>'  # fmt: skip
    write_ods(tmp_path / "x.ods", {"A": ROWS}, more=filling)
    assert len(read_behaviour(tmp_path, list(GENRES))[0]) == 3


def test_a_workbook_with_many_large_sheets_is_refused(tmp_path):
    path = write_sheets(tmp_path / "x.xlsx", {f"s{n}": [[1]] for n in range(3)})
    content = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            text = old.read(name).decode()
            far = '<row r="900"><c r="ALL900"><v>1</v></c></row></sheetData>'
            new.writestr(name, text.replace("</sheetData>", far))
    with pytest.raises(InputError, match="has 3 sheets of up to 900000 cells"):
        read_behaviour(tmp_path, list(GENRES))


# --- p values -------------------------------------------------------------------------------------


def test_a_missing_p_value_stays_missing_and_is_counted(caplog):
    p = np.array([0.01, np.nan, 0.04, 0.9, np.nan])
    q = false_discovery(p)
    np.testing.assert_array_equal(np.isnan(q), np.isnan(p))
    np.testing.assert_allclose(q[[0, 2, 3]], false_discovery(p[[0, 2, 3]]))
    assert np.isnan(false_discovery([np.nan, np.nan])).all()
    assert np.isnan(holm(p)[[1, 4]]).all()
    assert len(false_discovery([])) == 0
    warn_if_nan(p[[0, 2]], "voxels")
    assert not caplog.records
    warn_if_nan(p, "voxels")
    assert "voxels: 2 of 5 p values are NaN" in caplog.text


# --- In a process ---------------------------------------------------------------------------------


def test_a_command_refuses_a_table_from_excel_in_one_line(tmp_path):
    func = tmp_path / "bids/sub-A/func"
    func.mkdir(parents=True)
    path = func / "sub-A_task-Test_run-01_events.tsv"
    path.write_bytes(plain(EVENTS).decode().encode("utf-16"))
    done = neuromusic("orders", "from-bids", "bids", "--out", "orders", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"Error: .*_events\.tsv: is UTF-16 .*Excel.*\n", done.stderr)
    assert not (tmp_path / "orders").exists()
