"""Provenance records: what they hold, and when two of them are equal."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from neuromusic.core import files, records


def test_arguments_are_split_into_settings_and_places():
    @dataclass(frozen=True)
    class Inner:
        path: Path
        threshold: float

    @dataclass(frozen=True)
    class Outer:
        inner: Inner
        names: tuple[str, ...] = ("a",)

    outer = Outer(Inner(Path("x"), 0.5))
    settings, places = records.arguments(lists=Path("lists"), seed=3, outer=outer)
    assert settings == {"seed": 3, "outer": {"inner": {"threshold": 0.5}, "names": ("a",)}}
    assert places == {"lists": Path("lists"), "outer.inner.path": Path("x")}


def test_inputs_are_hashed_by_path(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    hashes = records.hash_inputs([tmp_path / "b", tmp_path / "a"])
    assert list(hashes.items()) == [
        (str(tmp_path / name), hashlib.sha256(name.encode()).hexdigest()) for name in ("a", "b")
    ]


def test_the_hash_of_a_record_does_not_depend_on_where_it_was_made(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        record = records.record("prepare", {"seed": 1}, {}, places={"lists": Path(name)})
        records.write_record(tmp_path / name, record)
    texts = [(tmp_path / name / "provenance.json").read_text() for name in ("a", "b")]
    assert texts[0] != texts[1]
    assert records.record_hash(tmp_path / "a") == records.record_hash(tmp_path / "b")
    # A record without places, as earlier versions wrote it, has the hash of its file.
    del record["places"]
    records.write_record(tmp_path / "a", record)
    assert records.record_hash(tmp_path / "a") == files.sha256(tmp_path / "a" / "provenance.json")


@pytest.mark.parametrize("content", [b"[1]", b"half of a rec", b"\xff", b"[" * 100_000, None])
def test_a_record_that_cannot_be_read_counts_as_missing(tmp_path, content):
    if content is not None:
        (tmp_path / "provenance.json").write_bytes(content)
    assert records.read_record(tmp_path) is None


def test_a_moved_path_is_looked_for_beside_the_directory_that_names_it(tmp_path):
    """A project that was copied as a whole: /old/project/lists is now tmp_path/project/lists."""
    near = tmp_path / "project" / "prepared"
    candidates = list(records.places_of(Path("/old/project/lists"), near))
    assert candidates[0] == Path("/old/project/lists")
    assert tmp_path / "project" / "lists" in candidates
