"""Files that grow when they are read: refused before they do.

Each is made for real and given to the reader that a command uses, in a process of its own.
"""

import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest
import soundfile
from matlab import hdf5_order, v5_file, v5_matrix
from spreadsheets import judgements, write_sheet

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_zip, read_json
from neuromusic.core.records import read_record
from neuromusic.evaluation.xlsx import read_first_sheet
from neuromusic.features.prepared import open_prepared
from neuromusic.stimuli import audio
from neuromusic.training.trained import load_network


def zlib_bomb(path):
    """MATLAB 5: a compressed text of 200 million characters in 200 kB."""
    stream, zeros = zlib.compressobj(), bytes(10_000_000)
    n = 200_000_000
    head = np.array([17, n], "<u4").tobytes()
    start = v5_matrix(4, (1, n // 2), head)
    start = np.array([14, len(start) - 8 + n], "<u4").tobytes() + start[8:]
    packed = stream.compress(start) + b"".join(
        stream.compress(zeros) for _ in range(n // len(zeros))
    )
    packed += stream.flush()
    v5_file(path, np.array([15, len(packed)], "<u4").tobytes() + packed)


def huge_dimensions(path):
    """MATLAB 5: a few bytes that declare 4 GB."""
    body = np.array([9, 2**32 - 8], "<u4").tobytes()
    v5_file(path, v5_matrix(6, (2**29, 1), body))


def huge_cells(path):
    """MATLAB 5: two dimensions whose product is beyond 64 bits."""
    v5_file(path, v5_matrix(1, (2**31 - 1, 2**31 - 1, 2**31 - 1), b""))


def chunk_bomb(path):
    """MATLAB 7.3: a cell of 100 characters in a chunk that unpacks to 400 MB."""
    shape, chunk = (100, 1), (200_000_000, 1)

    def make(file):
        data = file.create_dataset(
            "x", shape, np.uint16, maxshape=(None, 1), chunks=chunk, compression="gzip",
        )  # fmt: skip
        packer, zeros = zlib.compressobj(), bytes(10_000_000)
        packed = b"".join(packer.compress(zeros) for _ in range(40)) + packer.flush()
        data.id.write_direct_chunk((0, 0), packed)
        return data

    hdf5_order(path, make)


def long_flac(path):
    """Two hours of silence at 8 kHz in a hundred kilobytes."""
    with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC") as file:
        for _ in range(120):
            file.write(np.zeros(60 * 8000, np.int16))


def lying_flac(path):
    """A tenth of a second that declares 2 ** 36 - 1 samples."""
    soundfile.write(path, np.full(800, 0.1), 8000, format="FLAC")
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # STREAMINFO: the last 36 bits before the checksum
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)


def lying_wav(path):
    """A wav of 100 bytes that declares 2 GB of 65 535 channels at 4 GHz."""
    soundfile.write(path, np.full(30, 0.1), 8000, subtype="PCM_16", format="WAV")
    content = bytearray(path.read_bytes())
    content[22:24] = b"\xff\xff"
    content[24:28] = b"\xff\xff\xff\xff"
    content[40:44] = (2**31 - 2**20).to_bytes(4, "little")
    path.write_bytes(content)


def zip_bomb(path):
    """An archive of arrays that would unpack to half a gigabyte of zeros."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        head = {"descr": "<f8", "fortran_order": False, "shape": (60_000_000, 1)}
        with file.open("responses.npy", "w", force_zip64=True) as part:
            np.lib.format.write_array_header_1_0(part, head)
            for _ in range(48):
                part.write(bytes(10_000_000))


def lying_npy(path):
    """An archive whose array declares a terabyte and has ten bytes."""
    with zipfile.ZipFile(path, "w") as file, file.open("responses.npy", "w") as part:
        head = {"descr": "<f8", "fortran_order": False, "shape": (2**37, 1)}
        np.lib.format.write_array_header_1_0(part, head)
        part.write(bytes(10))


def wide_text(path):
    """A spreadsheet of which a part unpacks to 300 MB."""
    write_sheet(path, judgements([0], [0]))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/sharedStrings.xml", b" " * 300_000_000)


def deep_xml(path):
    """A spreadsheet with tags in tags."""
    n = 200_000
    write_sheet(path, [["<a>" * n + "</a>" * n]])


def million_rows(path):
    """A million events."""
    row = "0\t15\t'disco'\t7\t0\t15\n"
    path.write_text("onset\tduration\tgenre\ttrack\tstart\tend\n" + row * 1_000_000)


def one_line(path):
    """Settings and events of one line of 300 MB."""
    path.write_bytes(b"a" * 300_000_000)


def deep_toml(path):
    """Settings with lists in lists."""
    path.write_text("[model.options]\nx = " + "[" * 7_000 + "]" * 7_000)


def deep_keys(path):
    """Settings with sections in sections."""
    path.write_text("model.options" + ".a" * 7_000 + " = 1")


def deep_json(path):
    """JSON with lists in lists."""
    path.write_text("[" * 1_000_000)


BOMBS = [
    (zlib_bomb, "order", "unpacks to over 16 MB"),
    (huge_dimensions, "order", "declares 4294967288 bytes where 0 are"),
    (huge_cells, "order", "a cell array declares"),
    (chunk_bomb, "order", "unpacks in pieces of 400 MB"),
    (long_flac, "sound", "declares 120 minutes"),
    (lying_flac, "sound", "declares .* hours|declares .* minutes"),
    (lying_wav, "sound", "declares 4294967295 Hz|no readable sound|is cut short"),
    (zip_bomb, "npz", "would unpack to 480 MB"),
    (lying_npy, "npz", "is no readable"),
    (wide_text, "xlsx", "unpacks to over 10 MB"),
    (deep_xml, "xlsx", ""),
    (million_rows, "events", "has over 100000 rows"),
    (one_line, "events", "has 300 MB"),
    (one_line, "settings", "has 300 MB"),
    (deep_toml, "settings", "is no readable TOML"),
    (deep_keys, "settings", "over 16 deep"),
    (deep_json, "json", "is no readable JSON"),
]
READER = """
import resource, sys, time
from pathlib import Path
from neuromusic.errors import InputError
path, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "order":
    from neuromusic.orders import read_order
    read = lambda: read_order(path, "train")
elif kind == "sound":
    from neuromusic import audio
    read = lambda: audio.read(path)
elif kind == "streamed":
    from neuromusic import audio
    read = lambda: print(sum(map(len, audio.blocks(path, 60))))
elif kind == "npz":
    from neuromusic.fmri.responses import read_responses
    read = lambda: read_responses(path)
elif kind == "xlsx":
    from neuromusic.xlsx import read_first_sheet
    read = lambda: read_first_sheet(path)
elif kind == "events":
    from neuromusic.events import read_events
    read = lambda: read_events(path)
elif kind == "settings":
    from neuromusic.config import load_config
    read = lambda: load_config(path)
else:
    from neuromusic.untrusted import read_json
    read = lambda: read_json(path, "")
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    read()
except InputError as error:
    print(error)
print(time.process_time() - began)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) / 1000)
"""


def measured(path, kind):
    """Read a file in a process of its own; return (what it said, CPU seconds, MB more)."""
    done = subprocess.run(
        [sys.executable, "-c", READER, str(path), kind], capture_output=True, text=True, check=True
    )
    *said, seconds, grown_mb = done.stdout.splitlines()
    return "\n".join(said), float(seconds), float(grown_mb)


@pytest.mark.parametrize(("make", "kind", "message"), BOMBS)
def test_a_file_that_grows_is_refused_before_it_does(tmp_path, make, kind, message):
    path = tmp_path / f"a.{'npz' if kind == 'npz' else 'x'}"
    make(path)
    said, seconds, grown_mb = measured(path, kind)
    assert pd.Series([said]).str.contains(message).all(), said
    assert seconds < 3  # a hang is endless; the machine may be busy
    assert grown_mb < 200


def test_a_long_sound_is_read_in_pieces(tmp_path):
    long_flac(tmp_path / "a.flac")
    assert (tmp_path / "a.flac").stat().st_size < 300_000
    said, _, grown_mb = measured(tmp_path / "a.flac", "streamed")
    assert int(said) == 7200 * audio.RATE_HZ
    assert grown_mb < 100


def test_an_archive_of_real_arrays_is_no_bomb(tmp_path):
    features = np.random.default_rng(0).normal(-40, 10, (200, 1000)).astype(np.float16)
    silence = np.full((800, 1000), -80, np.float16)
    np.savez_compressed(tmp_path / "a.npz", a=np.tile(np.concatenate([features, silence]), (60, 1)))
    check_zip(tmp_path / "a.npz")  # 120 MB


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_hidden_in_another_encoding_are_refused(tmp_path, encoding):
    lol = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9))
    bomb = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE x [<!ENTITY a0 "ha">{lol}]>'
    path = write_sheet(tmp_path / "a.xlsx", [["&a8;"]], bomb)
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            is_sheet = name.endswith("b.xml")
            new.writestr(name, content.decode().encode(encoding) if is_sheet else content)
    with pytest.raises(InputError, match=r"declares entities|is no readable spreadsheet"):
        read_first_sheet(path)


def test_deep_json_where_a_command_reads_it(prepared, run):
    deep = "[" * 200_000
    (prepared / "prepared.json").write_text(deep)
    with pytest.raises(InputError, match=r"prepared\.json: is no readable JSON"):
        open_prepared(prepared)
    (run / "provenance.json").write_text(deep)
    assert read_record(run) is None
    with pytest.raises(InputError):
        load_network(run)
    with pytest.raises(InputError, match="is no readable JSON"):
        read_json(run / "provenance.json", "")
