"""Files that would grow enormously when they are read are refused before they do.

Each is a real file, given to the reader that a command uses, in a process of its own.
"""

import re
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
import soundfile
from matlab import hdf5_order, v5_file, v5_matrix
from spreadsheets import judgements, write_sheet

from neuromusic.core.errors import InputError
from neuromusic.core.files import check_zip, read_json
from neuromusic.core.records import read_record
from neuromusic.evaluation.spreadsheet import read_sheets
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


def false_flac(path):
    """A tenth of a second whose header declares 2 ** 36 - 1 samples."""
    soundfile.write(path, np.full(800, 0.1), 8000, format="FLAC")
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # STREAMINFO: the last 36 bits before the checksum
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)


def false_wav(path):
    """A wav of 100 bytes whose header declares 2 GB of 65 535 channels at 4 GHz."""
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


def false_npy(path):
    """An archive with an array of ten bytes that declares a terabyte."""
    with zipfile.ZipFile(path, "w") as file, file.open("responses.npy", "w") as part:
        head = {"descr": "<f8", "fortran_order": False, "shape": (2**37, 1)}
        np.lib.format.write_array_header_1_0(part, head)
        part.write(bytes(10))


def wide_text(path):
    """A spreadsheet with a part that unpacks to 300 MB."""
    write_sheet(path, judgements([0], [0]))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("xl/sharedStrings.xml", b" " * 300_000_000)


def deep_xml(path):
    """A spreadsheet with 200 000 nested tags."""
    n = 200_000
    write_sheet(path, [["<a>" * n + "</a>" * n]])


def million_rows(path):
    """A million events."""
    row = "0\t15\t'disco'\t7\t0\t15\n"
    path.write_text("onset\tduration\tgenre\ttrack\tstart\tend\n" + row * 1_000_000)


def one_line(path):
    """Settings or events in one line of 300 MB."""
    path.write_bytes(b"a" * 300_000_000)


def deep_toml(path):
    """Settings with 7000 nested lists."""
    path.write_text("[model.options]\nx = " + "[" * 7_000 + "]" * 7_000)


def deep_keys(path):
    """Settings with 7000 nested sections."""
    path.write_text("model.options" + ".a" * 7_000 + " = 1")


def deep_json(path):
    """JSON with a million nested lists."""
    path.write_text("[" * 1_000_000)


BOMBS = [
    (zlib_bomb, "order", "unpacks to more than 16 MB"),
    (huge_dimensions, "order", "declares 4294967288 bytes but has 0"),
    (huge_cells, "order", "a cell array declares"),
    (chunk_bomb, "order", "unpacks in pieces of 400 MB"),
    (long_flac, "sound", "declares 120 minutes"),
    (false_flac, "sound", "it declares 68719476735 samples"),
    (false_wav, "sound", "declares 4294967295 Hz|not a readable sound|is truncated"),
    (zip_bomb, "npz", "would unpack to 480 MB"),
    (false_npy, "npz", "is not a readable"),
    (wide_text, "xlsx", "unpacks to over 10 MB"),
    (deep_xml, "xlsx", ""),
    (million_rows, "events", "has over 100000 rows"),
    (one_line, "events", "is 300 MB"),
    (one_line, "settings", "is 300 MB"),
    (deep_toml, "settings", "is not a readable TOML"),
    (deep_keys, "settings", "nested more than 16 deep"),
    (one_line, "experiment", "is 300 MB"),
    (deep_toml, "experiment", "is not a readable TOML"),
    (deep_keys, "experiment", "nested more than 16 deep"),
    (deep_json, "json", "is not a readable JSON"),
]
READERS = {  # kind -> module, expression that reads ``path``
    "order": ("design.orders", "module.read_order(path, 'train')"),
    "sound": ("stimuli.audio", "module.read(path)"),
    "streamed": ("stimuli.audio", "print(sum(map(len, module.blocks(path, 60))))"),
    "npz": ("encoding.sound_responses", "module.read_responses(path)"),
    "xlsx": ("evaluation.spreadsheet", "module.read_sheets(path)"),
    "events": (
        "design.event_rows",
        "module.read_run_events(path, load_experiment('ds003720').sounds)",
    ),
    "experiment": ("design.experiment", "module.load_experiment(path)"),
    "settings": ("training.config", "module.load_config(path)"),
    "json": ("core.files", "module.read_json(path)"),
}
SCRIPT = """
import resource, sys, time
from importlib import import_module
from pathlib import Path
from neuromusic.core.errors import InputError
from neuromusic.design.experiment import load_experiment
path = Path(sys.argv[1])
module = import_module(f"neuromusic.{sys.argv[2]}")
before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
try:
    eval(sys.argv[3])
except InputError as error:
    print(error)
print(time.process_time() - began)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) / 1000)
"""


def read_in_new_process(path, kind):
    """Read a file in a process of its own; return (its output, CPU seconds, growth in MB)."""
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), *READERS[kind]],
        capture_output=True, text=True, check=True, timeout=120,  # a hang would never end
    )  # fmt: skip
    *output, seconds, growth_mb = done.stdout.splitlines()
    return "\n".join(output), float(seconds), float(growth_mb)


@pytest.mark.parametrize(("make", "kind", "message"), BOMBS)
def test_a_file_that_would_grow_is_refused_before_it_does(tmp_path, make, kind, message):
    path = tmp_path / f"a.{'npz' if kind == 'npz' else 'x'}"
    make(path)
    output, seconds, growth_mb = read_in_new_process(path, kind)
    assert re.search(message, output), output
    assert seconds < 3  # of processor time: other work does not count
    assert growth_mb < 200


def test_a_long_sound_can_be_read_in_blocks(tmp_path):
    long_flac(tmp_path / "a.flac")
    assert (tmp_path / "a.flac").stat().st_size < 300_000
    output, _, growth_mb = read_in_new_process(tmp_path / "a.flac", "streamed")
    assert int(output) == 7200 * audio.RATE_HZ
    assert growth_mb < 100


def test_an_archive_of_real_arrays_is_accepted(tmp_path):
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
    with pytest.raises(InputError, match=r"declares entities|is not a readable spreadsheet"):
        read_sheets(path)


def test_deeply_nested_json_is_refused_wherever_it_is_read(prepared, run):
    deep = "[" * 200_000
    (prepared / "prepared.json").write_text(deep)
    with pytest.raises(InputError, match=r"prepared\.json: is not a readable JSON"):
        open_prepared(prepared)
    (run / "provenance.json").write_text(deep)
    assert read_record(run) is None
    with pytest.raises(InputError):
        load_network(run)
    with pytest.raises(InputError, match="is not a readable JSON"):
        read_json(run / "provenance.json")
