"""Every number of the paper is in a table that a script of the repository has written."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "paper"
NUMBER = re.compile(r"(?<![\w.])(?:\d{1,3}(?: \d{3})+|\d*\.?\d+)(?![\w])")
# Names, and counts that the sentence itself explains.
NOT_RESULTS = re.compile(r"SHA-256|AR\(1\)|ds003720|\\\w+\{[^}]*\}|@\w+")


def body() -> str:
    text = (PAPER / "paper.md").read_text("utf-8").split("---\n", 2)[2]
    text = re.sub(r"`[^`]*`", " ", text)
    return NOT_RESULTS.sub(" ", re.sub(r"\s+", " ", text))


def sources() -> pd.DataFrame:
    return pd.read_csv(PAPER / "numbers.tsv", sep="\t", dtype=str, quoting=3)


def listed(row) -> set[str]:
    return set(row.numbers.split("; "))


def test_every_number_has_a_source():
    known = set().union(*map(listed, sources().itertuples()))
    assert set(NUMBER.findall(body())) <= known


@pytest.mark.parametrize("row", list(sources().itertuples()), ids=lambda row: row.numbers)
def test_the_source_says_so_and_a_script_exists(row):
    text = re.sub(r"\s+", " ", (ROOT / row.file).read_text("utf-8"))
    assert re.sub(r"\s+", " ", row.line) in text
    script = row.command.split()[0]
    assert script == "neuromusic" or (ROOT / script).is_file()


def test_each_citation_is_in_the_bibliography_with_an_identifier():
    cited = set(re.findall(r"@(\w+)", (PAPER / "paper.md").read_text("utf-8")))
    entries = {
        re.match(r"@\w+\{(\w+),", line)[1]: line
        for line in (PAPER / "paper.bib").read_text("utf-8").splitlines()
        if line.startswith("@")
    }
    assert cited == set(entries)
    for line in entries.values():
        assert re.search(r"doi = \{10\.\d{4,}/\S+\}|eprint = \{\d{4}\.\d{4,}\}", line), line


def test_the_figure_is_that_of_the_table(tmp_path):
    import runpy

    drawn = runpy.run_path(str(PAPER / "figure.py"))
    drawn["draw"](tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert drawn["values"](drawn["FOUR"]) == [0.89, 0.78, 0.63, 0.86, 0.86, 0.73]
