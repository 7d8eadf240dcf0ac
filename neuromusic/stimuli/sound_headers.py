"""Lengths that the headers of wav, au and ogg files declare, compared with what the files contain.

libsndfile reads a truncated file as a shorter one, so truncation is detected here.
"""

import struct
from pathlib import Path
from typing import BinaryIO

SLACK_BYTES = 64  # by which the length in a wav or au header may be wrong
UNKNOWN = 0xFFFFFFFF  # a length that was not known when the header was written
SOX_UNKNOWN = range(0x7FFFF000, 0x80000000)  # the same, as SoX writes it
MOST_CHUNKS = 1000
MOST_PAGE_BYTES = 65_307  # of an Ogg page


def sound_bytes(path: Path) -> tuple[int, int]:
    """Return how many bytes of sound a wav, au or ogg file declares and how many it contains.

    Both are equal for other formats, and if the length is unknown because the program that wrote
    the file could not go back to the header. An ogg file only declares the length of each page, so
    one that was truncated between two pages looks complete.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == b"OggS":
            return _last_page_bytes(file, size)
        if head[:4] in (b".snd", b"dns.") and len(head) == 12:
            first, declared = struct.unpack(">II" if head[:1] == b"." else "<II", head[4:])
            return _tolerant(declared, size - first)
        if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:] == b"WAVE":
            return _wav_bytes(file, size, ">" if head[:4] == b"RIFX" else "<")
    return 0, 0


def _wav_bytes(file: BinaryIO, size: int, byte_order: str) -> tuple[int, int]:
    """Find the data chunk; ``file`` is at the first chunk (EBU Tech 3306 for RF64)."""
    rf64_length = 0
    for _ in range(MOST_CHUNKS):
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        (length,) = struct.unpack(f"{byte_order}I", chunk[4:])
        begin = file.tell()
        if chunk[:4] == b"ds64":
            sizes = file.read(16)
            rf64_length = struct.unpack("<Q", sizes[8:])[0] if len(sizes) == 16 else 0
        if chunk[:4] == b"data":
            return _tolerant(
                rf64_length if rf64_length and length == UNKNOWN else length, size - begin
            )
        file.seek(begin + length + length % 2)
    return 0, 0


def _tolerant(declared: int, present: int) -> tuple[int, int]:
    """Return both numbers; ``present`` twice if the length is unknown or nearly right."""
    is_unknown = declared == UNKNOWN or declared in SOX_UNKNOWN
    if is_unknown or abs(declared - present) <= SLACK_BYTES:
        return present, present
    return declared, max(present, 0)


def _last_page_bytes(file: BinaryIO, size: int) -> tuple[int, int]:
    """Return how many bytes the last page of an ogg file declares and contains.

    See RFC 3533, section 6.
    """
    file.seek(max(0, size - MOST_PAGE_BYTES))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return 1, 0
    return sum(page[27 : 27 + page[26]]), len(page) - 27 - page[26]
