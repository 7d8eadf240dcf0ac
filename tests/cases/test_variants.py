"""Further variants of files and habits, each found by trying."""

import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from helpers import neuromusic

from neuromusic.core.errors import InputError
from neuromusic.core.tables import read_table
from neuromusic.design.events import orders_from_bids
from neuromusic.encoding.sound_responses import read_responses
from neuromusic.stimuli import audio


def test_mpeg_sound_in_a_wav_is_refused(tmp_path):
    """Its frames are not counted, and a wrong count in its header would cut it."""
    mp3 = io.BytesIO()
    wave = 0.3 * np.sin(np.arange(44_100) * 0.06)
    soundfile.write(mp3, wave, 44_100, format="MP3", subtype="MPEG_LAYER_III")
    content = mp3.getvalue()
    kind = struct.pack("<IHHIIHHHHIHHH", 30, 0x55, 1, 44_100, 16_000, 1, 0, 12, 1, 2, 417, 1, 1393)
    data = b"WAVEfmt " + kind + b"data" + struct.pack("<I", len(content)) + content
    path = tmp_path / "x.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", len(data)) + data)
    with pytest.raises(InputError, match=r"x\.wav: is MPEG sound in a wav; convert it"):
        audio.read(path)


def test_events_that_are_not_sorted_by_onset_are_sorted(tmp_path, caplog):
    folder = tmp_path / "sub-001/func"
    folder.mkdir(parents=True)
    rows = [f"{15 * i}\t15\trock\t{i}\t0\t15" for i in (0, 1, 10, 2)]
    header = "onset\tduration\tgenre\ttrack\tstart\tend"
    for task in ("Training", "Test"):
        path = folder / f"sub-001_task-{task}_run-01_events.tsv"
        path.write_text("\n".join([header, *rows]) + "\n")
    orders, _ = orders_from_bids(tmp_path)
    expected = [f"rock.{i:05d}_15s.wav" for i in (1, 2, 10)]
    assert [order.clips.tolist() for order in orders] == [[expected]] * 2
    assert "2 events files have rows that are not in the order of their onsets" in caplog.text
    assert path.name in caplog.text


def test_responses_without_a_header_are_refused(tmp_path):
    path = tmp_path / "r.tsv"
    path.write_text("".join(f"s{i:02}.wav\t{i / 7:.4f}\t-{i}\n" for i in range(24)))
    with pytest.raises(InputError, match=r"r\.tsv: has no header .*s00\.wav"):
        read_responses(path)


@pytest.mark.parametrize("content", [
    b'sound, "a", "b"\n"s0.wav", "0.1", "0.2"\n', b"sound\ta\tb\ns0.wav\t0.1\t0.2\n\x1a",
    b"sound\ta\tb\r\ns0.wav\t0.1\t0.2\r\n\0\0\0",
])  # fmt: skip
def test_tables_of_other_programs_are_read(tmp_path, content):
    path = tmp_path / ("t.csv" if b"," in content else "t.tsv")
    path.write_bytes(content)
    table = read_table(path, as_text=True)
    assert table.to_dict("records") == [{"sound": "s0.wav", "a": "0.1", "b": "0.2"}]


def test_a_closed_stdout_is_no_error(tmp_path):
    line = f"{sys.executable} -m neuromusic models"
    done = subprocess.run(["sh", "-c", f"{line} >&-"], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr


def test_predict_overwrites_neither_its_input_nor_another_file(sound_run, small_clips, tmp_path):
    sound = next(iter(sorted(small_clips.glob("*.wav"))))
    (tmp_path / "in.wav").write_bytes(sound.read_bytes())
    (tmp_path / "notes.txt").write_text("years")
    for out, text in (("in.wav", "is one of the inputs"), ("notes.txt", "its content differs")):
        before = (tmp_path / out).read_bytes()
        line = ["predict", sound_run.directory, "in.wav", "--out", out]
        done = neuromusic(*line, cwd=tmp_path)
        assert done.returncode == 2 and text in done.stderr, done.stderr
        assert (tmp_path / out).read_bytes() == before
    done = neuromusic(*line, "--overwrite", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "notes.txt").read_text().startswith("file\t")


def test_compare_names_what_to_do_for_a_network_without_scores(tmp_path):
    os.mkdir(tmp_path / "run")
    done = neuromusic("compare", "run", cwd=tmp_path)
    assert done.returncode == 2
    assert "type 'neuromusic evaluate run'" in done.stderr
