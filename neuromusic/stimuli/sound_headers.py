"""What the headers of a sound file declare, compared with what the file contains.

libsndfile reads a truncated file as a shorter one, so truncation is detected here. The format is
decided by content, whatever the name says.
"""

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from neuromusic.core.errors import InputError
from neuromusic.stimuli.flac import flac_layout
from neuromusic.stimuli.layout import MOST_HEAD_BYTES, Layout, with_head
from neuromusic.stimuli.mpeg import mpeg_layout
from neuromusic.stimuli.ogg import ogg_layout

SLACK_BYTES = 64  # by which a declared length may be wrong
UNKNOWN = (0xFFFFFFFF, (1 << 64) - 1)  # a length that was not known when the header was written
SOX_UNKNOWN = range(0x7FFFF000, 0x80000000)  # the same, as SoX writes it
MOST_CHUNKS = 1000
MOST_PADDING_BYTES = 1 << 16  # zeros after the last chunk
TAGS = (b"TAG", b"ID3", b"APETAGEX")
W64_RIFF = b"riff\x2e\x91\xcf\x11"
MOST_W64_BYTES = 1 << 62  # more means unknown
W64_DATA = b"data\xf3\xac\xd3\x11"
AU_WIDTHS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # encoding -> bytes per sample
WAV_PLAIN = (1, 3, 6, 7)  # integers, floats, A-law, u-law
AIFF_PLAIN = (b"NONE", b"twos", b"sowt", b"raw ", b"in24", b"in32", b"fl32", b"FL32", b"fl64",
              b"FL64")  # fmt: skip
AIFF_BYTES = {b"alaw": 1, b"ALAW": 1, b"ulaw": 1, b"ULAW": 1}  # compressed to one byte each

Chunk = tuple[bytes, int, int]  # name, declared length, first byte
IsChunk = Callable[[BinaryIO, int, int], int]  # (file, position, size) -> end of the chunk, or 0


def layout_of(path: Path) -> Layout:
    """Return what a sound file contains, without decoding it.

    Raises InputError if the file contains less sound than it declares, or more that would not be
    read, or if it is damaged. Formats that are not known here have an empty layout.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        begin = _after_id3(file, size)
        file.seek(begin)
        head = file.read(16)
        if head[:4] == b"fLaC":
            return flac_layout(path, file, size, begin)
        if begin or (head[:1] == b"\xff" and len(head) > 1 and head[1] >= 0xE0):
            return mpeg_layout(path, file, size) or Layout()
        if head[:4] == b"OggS":
            return ogg_layout(path, file, size)
        if head[:4] in (b".snd", b"dns.") and len(head) >= 12:
            return _au(path, file, size, ">" if head[:1] == b"." else "<")
        if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
            return _wav(path, file, size, ">" if head[:4] == b"RIFX" else "<")
        if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
            return _aiff(path, file, size)
        if head[:8] == W64_RIFF:
            return _w64(path, file, size)
        if head[:4] == b"caff":
            return _caf(path, file, size)
        if head[:7] == b"NIST_1A":
            return _nist(path, file, size)
    return Layout()


def _after_id3(file: BinaryIO, size: int) -> int:
    """Return the byte after an ID3v2 tag at the beginning of a file; 0 if there is none."""
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10 or max(head[6:10]) > 127:
        return 0
    n = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
    return min(n + (10 if head[5] & 0x10 else 0), size)


# --- Declared and present -------------------------------------------------------------------------


def _is_unknown(declared: int) -> bool:
    return declared in UNKNOWN or declared in SOX_UNKNOWN


def _check_present(path: Path, declared: int, present: int) -> None:
    """Raise InputError if a file has fewer bytes of sound than it declares."""
    if declared > present + SLACK_BYTES:
        present = max(present, 0)
        raise InputError(
            f"{path}: is truncated; {declared - present} of the {declared} bytes of sound that it "
            "declares are missing; get another copy"
        )


def _check_rest(path: Path, file: BinaryIO, declared: int, begin: int, is_chunk: IsChunk) -> None:
    """Raise InputError if what follows the declared sound is not a part of the format.

    ``begin`` is the first byte of the sound.
    """
    size = path.stat().st_size
    if not _is_rest(file, begin + declared, size, is_chunk):
        raise InputError(
            f"{path}: declares {declared} bytes of sound, but {size - begin} bytes follow, and "
            "only the declared ones would be read; write it again"
        )


def _is_rest(file: BinaryIO, position: int, size: int, is_chunk: IsChunk) -> bool:
    """Return whether there are only chunks, tags and zeros from a position to the end."""
    for _ in range(MOST_CHUNKS):
        if size - position <= SLACK_BYTES:
            return True
        end = is_chunk(file, position, size)
        if not end:
            break
        position = end
    file.seek(position)
    rest = file.read(MOST_PADDING_BYTES)
    return rest.startswith(TAGS) or (position + len(rest) == size and not rest.strip(b"\0"))


def _chunk_end(byte_order: str) -> IsChunk:
    """Return a function that finds the end of a RIFF or FORM chunk."""

    def end(file: BinaryIO, position: int, size: int) -> int:
        position += position % 2
        file.seek(position)
        head = file.read(8)
        if len(head) < 8 or not re.fullmatch(rb"[ -~]{4}", head[:4]):
            return 0
        after = position + 8 + int(struct.unpack(f"{byte_order}I", head[4:])[0])
        return after if after <= size + SLACK_BYTES else 0

    return end


def _no_chunk(file: BinaryIO, position: int, size: int) -> int:
    return 0


def _chunks(file: BinaryIO, position: int, form: str, align: int = 2) -> Iterator[Chunk]:
    """Yield the chunks of a file; ``form`` is the `struct` format of their name and length."""
    n_head = struct.calcsize(form)
    for _ in range(MOST_CHUNKS):
        file.seek(position)
        head = file.read(n_head)
        if len(head) < n_head:
            return
        name, length = struct.unpack(form, head)
        begin = position + n_head
        yield name, length, begin
        position = begin + max(0, length)
        position += -position % align


# --- Formats --------------------------------------------------------------------------------------


def _wav(path: Path, file: BinaryIO, size: int, byte_order: str) -> Layout:
    """RIFF, RIFX and RF64 (EBU Tech 3306). A length of 0 or all ones means: until the end."""
    long_length = 0
    block = 0  # bytes per sample of all channels, if it is certain
    for name, length, begin in _chunks(file, 12, f"{byte_order}4sI"):
        file.seek(begin)
        if name == b"ds64":
            sizes = file.read(16)
            long_length = struct.unpack("<Q", sizes[8:])[0] if len(sizes) == 16 else 0
        elif name == b"fmt ":
            content = file.read(min(length, 40))
            block = _wav_block(content, byte_order)
            if content[:2] in (b"\x50\0", b"\x55\0"):  # its frames would have to be counted
                raise InputError(f"{path}: is MPEG sound in a wav; convert it to wav (PCM) or mp3")
        elif name == b"data":
            declared = long_length if long_length and length == UNKNOWN[0] else length
            present = size - begin
            end_of = _chunk_end(byte_order)
            file.seek(begin)
            is_unfinished = declared == 0 and (
                not end_of(file, begin, size) and present > SLACK_BYTES
            )
            if _is_unknown(declared) or is_unfinished:
                return _until_end(path, file, begin, block, byte_order)
            _check_present(path, declared, present)
            _check_rest(path, file, declared, begin, end_of)
            return Layout()
    return Layout()


def _wav_block(content: bytes, byte_order: str) -> int:
    """Return the bytes per sample of all channels; 0 if the samples are compressed."""
    if len(content) < 16:
        return 0
    kind, channels, _, _, block, bits = struct.unpack(f"{byte_order}HHIIHH", content[:16])
    if kind == 0xFFFE and len(content) >= 26:
        (kind,) = struct.unpack(f"{byte_order}H", content[24:26])
    is_plain = kind in WAV_PLAIN and block == channels * -(-bits // 8)
    return int(block) if is_plain else 0


def _until_end(path: Path, file: BinaryIO, begin: int, block: int, byte_order: str) -> Layout:
    """Return the layout of a wav whose sound lasts until the end of the file."""
    if not block or begin > MOST_HEAD_BYTES:
        return Layout()
    present = path.stat().st_size - begin
    file.seek(0)
    head = bytearray(file.read(begin))
    if bytes(head[:4]) in (b"RF64", b"BW64"):
        head[:4] = b"RIFF"
        head = head.replace(b"ds64", b"JUNK", 1)
    for position, length in ((4, present + begin - 8), (begin - 4, present)):
        struct.pack_into(f"{byte_order}I", head, position, min(length, UNKNOWN[0]))
    whole = with_head(path, bytes(head), begin)
    return Layout(present // block, corrected=whole, header_is_wrong=True)


def _au(path: Path, file: BinaryIO, size: int, byte_order: str) -> Layout:
    file.seek(4)
    content = file.read(20)
    if len(content) < 20:
        return Layout()
    begin, declared, kind, _, channels = struct.unpack(f"{byte_order}5I", content)
    if _is_unknown(declared):
        return Layout()
    if declared == 0 and size - begin > SLACK_BYTES and AU_WIDTHS.get(kind) and channels:
        file.seek(0)
        head = bytearray(file.read(24))
        head[8:12] = b"\xff" * 4
        n_samples = (size - begin) // (channels * AU_WIDTHS[kind])
        whole = with_head(path, bytes(head), 24)
        return Layout(n_samples, corrected=whole, header_is_wrong=True)
    _check_present(path, declared, size - begin)
    _check_rest(path, file, declared, begin, _no_chunk)
    return Layout()


def _aiff(path: Path, file: BinaryIO, size: int) -> Layout:
    """AIFF and AIFC: the number of samples in COMM, and the length of SSND."""
    declared = 0  # bytes of sound, by COMM
    for name, length, begin in _chunks(file, 12, ">4sI"):
        file.seek(begin)
        if name == b"COMM":
            declared = _aiff_bytes(file.read(min(length, 22)))
        elif name == b"SSND":
            (offset,) = struct.unpack(">I", file.read(4).ljust(4, b"\0"))
            begin += 8 + offset
            is_unknown = length == 0 or _is_unknown(length)
            if is_unknown:
                _check_present(path, declared, size - begin)
                return Layout()
            _check_present(path, length - 8 - offset, size - begin)
            if declared and abs(declared - (length - 8 - offset)) > SLACK_BYTES:
                raise InputError(
                    f"{path}: declares {declared} bytes of sound in its chunk COMM, but "
                    f"{length - 8 - offset} in SSND; write it again"
                )
            _check_rest(path, file, length - 8 - offset, begin, _chunk_end(">"))
            return Layout()
    return Layout()


def _aiff_bytes(content: bytes) -> int:
    """Return how many bytes of sound a chunk COMM declares; 0 if it cannot tell."""
    if len(content) < 18:
        return 0
    channels, n_samples, bits = struct.unpack(">HIH", content[:8])
    kind = content[18:22] or AIFF_PLAIN[0]
    width = -(-bits // 8) if kind in AIFF_PLAIN else AIFF_BYTES.get(kind, 0)
    return int(channels * n_samples * width)


def _w64(path: Path, file: BinaryIO, size: int) -> Layout:
    """Sony Wave64: names of 16 bytes, lengths of 64 bits that include the header."""
    position, n_chunks = 40, 0
    while position + 24 <= size and n_chunks < MOST_CHUNKS:
        file.seek(position)
        head = file.read(24)
        n_chunks += 1
        (length,) = struct.unpack("<Q", head[16:])
        if head[:8] == W64_DATA:
            if length < MOST_W64_BYTES:
                _check_present(path, length - 24, size - position - 24)
            break
        position += max(24, length + -length % 8)
    return Layout()


def _caf(path: Path, file: BinaryIO, size: int) -> Layout:
    """Apple's Core Audio Format; a length of -1 means: until the end."""
    for name, length, begin in _chunks(file, 8, ">4sq", align=1):
        if name == b"data":
            if length >= 0:
                _check_present(path, length, size - begin)
            elif begin <= MOST_HEAD_BYTES:  # libsndfile does not know of -1
                file.seek(0)
                head = file.read(begin - 8) + struct.pack(">q", size - begin)
                whole = with_head(path, head, begin)
                return Layout(corrected=whole, header_is_wrong=True)
            break
    return Layout()


def _nist(path: Path, file: BinaryIO, size: int) -> Layout:
    """NIST SPHERE, as in TIMIT: a header of text."""
    file.seek(0)
    text = file.read(4096)
    lines = dict(re.findall(rb"^(\w+) -\w+ (\S+)", text, re.MULTILINE))
    first = re.match(rb"NIST_1A\s+(\d{1,6})\s", text)
    if b"shorten" in lines.get(b"sample_coding", b""):
        return Layout()
    numbers = [lines.get(key, b"") for key in (b"sample_count", b"sample_n_bytes")]
    if first and all(number.isdigit() and len(number) < 12 for number in numbers):
        channels = lines.get(b"channel_count", b"1")
        n = int(numbers[0]) * int(numbers[1]) * (int(channels) if channels.isdigit() else 1)
        _check_present(path, n, size - int(first[1]))
    return Layout()
