"""The cache on disk: whole entries or none, whatever is written, removed or damaged beside it."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from neuromusic.cli.main import cli
from neuromusic.core import cache, plan
from neuromusic.core.cache import Cache, entries
from neuromusic.core.errors import InputError

ARRAYS = {
    "A1": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/b .npy": np.zeros((0, 2)),
    "n": np.array(3),
    "about": np.array([np.nan]),
}


def key(number: int) -> str:
    return f"{number:02x}" + "0" * 62


def test_what_is_stored_comes_back_with_its_type_and_shape(tmp_path):
    place = Cache(tmp_path / "cache")
    assert place.get(key(1)) is None
    assert not (tmp_path / "cache").exists()  # made with the first entry
    place.put(key(1), ARRAYS)
    found = Cache(tmp_path / "cache").get(key(1))
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert place.get(key(2)) is None


def test_a_dry_run_stores_nothing(tmp_path):
    with plan.dry_run():
        Cache(tmp_path / "cache").put(key(1), ARRAYS)
    assert not (tmp_path / "cache").exists()


def test_a_renamed_or_damaged_entry_is_removed_with_one_warning(tmp_path, caplog):
    place = Cache(tmp_path)
    for number in range(4):
        place.put(key(number), ARRAYS)
    paths = {number: tmp_path / key(number)[:2] / f"{key(number)}.npz" for number in range(4)}
    paths[1].write_bytes(paths[0].read_bytes())
    paths[2].write_bytes(b"")
    np.savez(paths[3], x=np.zeros(3))
    for number in (1, 2, 3):
        caplog.clear()
        assert place.get(key(number)) is None
        [message] = caplog.messages
        assert str(paths[number]) in message
        assert not paths[number].exists()
        assert place.get(key(number)) is None
    assert place.get(key(0)) is not None
    assert len(caplog.messages) == 1


def test_the_entries_that_were_not_used_for_the_longest_time_are_removed(tmp_path):
    array = {"x": np.zeros(25_000, np.float32)}  # 0.1 MB
    place = Cache(tmp_path)
    for number in range(5):
        place.put(key(number), array)
        path = tmp_path / key(number)[:2] / f"{key(number)}.npz"
        os.utime(path, (0, 1000 + number))
    place.get(key(0))
    cache.set_limit(tmp_path, 0.00035)  # 0.35 MB
    left = [number for number in range(5) if Cache(tmp_path).get(key(number))]
    assert left == [0, 3, 4]
    place = Cache(tmp_path)
    for number in range(5, 20):
        place.put(key(number), array)
        assert sum(entry.n_bytes for entry in entries(tmp_path)) <= 350_000
        time.sleep(0.002)
    assert place.get(key(19)) is not None
    place.put(key(20), {"x": np.zeros(10**6)})  # larger than the cache
    assert place.get(key(20)) is None
    assert place.get(key(19)) is not None


def test_parts_of_killed_processes_are_removed_and_those_of_others_stay(tmp_path):
    place = Cache(tmp_path)
    place.put(key(0), ARRAYS)
    old, new = (tmp_path / "00" / f".{key(0)}.partial-{number}" for number in (1, 2))
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (0, time.time() - 2 * cache.ABANDONED_S))
    cache.set_limit(tmp_path, 1)
    assert (old.exists(), new.exists()) == (False, True)


def test_threads_store_the_same_entries_at_once(tmp_path):
    place = Cache(tmp_path)

    def fill() -> None:
        for number in range(40):
            if place.get(key(number)) is None:
                place.put(key(number), ARRAYS)

    threads = [threading.Thread(target=fill) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(entries(tmp_path))) == 40
    assert all(place.get(key(number)) is not None for number in range(40))


def test_a_full_disk_leaves_no_part_and_is_reported_once(tmp_path):
    resource = pytest.importorskip("resource")
    code = f"""
import logging, numpy as np
from pathlib import Path
from neuromusic.core.cache import Cache
logging.basicConfig(format="%(message)s")
place = Cache(Path({str(tmp_path)!r}))
for number in range(3):
    place.put(f"{{number:064x}}", {{"x": np.zeros(100_000)}})
print(place.n_stored)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )  # fmt: skip
    assert done.stdout == "0\n"
    [line] = done.stderr.splitlines()
    assert "cannot be written (File too large); going on without storing" in line
    assert not list(entries(tmp_path))


@pytest.mark.parametrize("content", ["a file", "a folder", "something else"])
def test_what_is_no_cache_is_refused_and_not_touched(tmp_path, runner, content):
    place = tmp_path / "place"
    mine = tmp_path / "place/ab/thesis.txt"
    if content == "a file":
        place.write_text("")
    else:
        place.mkdir()
    if content == "something else":
        mine.parent.mkdir()
        mine.write_text("years")
        with pytest.raises(InputError, match="contains something else than a cache"):
            Cache(place)
    result = runner.invoke(cli, ["cache", str(place), "--clear"])
    assert result.exit_code == 2
    assert str(place) in result.stderr
    assert content != "something else" or mine.read_text() == "years"


def test_the_command_shows_limits_and_empties_a_cache(tmp_path, runner):
    place = Cache(tmp_path)
    for number in range(3):
        place.put(key(number), {"x": np.zeros(250_000, np.float32)})
    shown = runner.invoke(cli, ["cache", str(tmp_path)])
    assert "entries     3\nsize        3.0 MB of at most 20.0 GB\n" in shown.stdout
    limited = runner.invoke(cli, ["cache", str(tmp_path), "--limit-gb", "0.0025"])
    assert "entries     2\nsize        2.0 MB of at most 2.5 MB\n" in limited.stdout
    cleared = runner.invoke(cli, ["cache", str(tmp_path), "--clear"])
    assert "entries     0\nsize        0 kB of at most 2.5 MB\noldest use  n/a\n" in cleared.stdout
