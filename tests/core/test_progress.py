"""How long work will still take is said from what is done after the first item."""

import time

from neuromusic.core.progress import Bar


def test_the_first_item_does_not_count_for_the_time_left(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    bar = Bar("clips", total=101)
    now_s += 30  # of which most is compiling
    bar.advance()
    assert bar.time() == "30 s so far"
    now_s += 1
    bar.advance()
    assert bar.time() == "31 s so far"  # one second says little
    now_s += 4
    bar.advance(4)
    assert bar.time() == "about 2 min left"  # 95 clips at one per second
    bar.set(0)  # begins anew
    assert bar.time() == "0 s so far"


def test_work_that_was_done_before_does_not_count(monkeypatch):
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    bar = Bar("epochs", total=80, done=40)
    for _ in range(3):
        now_s += 10
        bar.advance()
    assert bar.time() == "about 6 min left"  # 37 epochs of 10 s
