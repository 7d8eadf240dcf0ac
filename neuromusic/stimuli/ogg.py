"""Walk the pages of an Ogg file (RFC 3533) without decoding them.

libsndfile replaces a page that is missing or damaged by silence, and reads only the first of
several streams that follow each other.
"""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from neuromusic.core.errors import InputError
from neuromusic.stimuli.layout import Layout

HEAD_BYTES = 27
MOST_PADDING_BYTES = 1 << 16  # zeros after the last page
FIRST, LAST = 2, 4  # flags of a page
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_layout(path: Path, file: BinaryIO, size: int) -> Layout:
    """Check the pages of an Ogg file.

    Raises InputError if a page is damaged, missing or cut short, or if there are several streams
    after each other.
    """
    position = number = 0
    next_page: dict[int, int] = {}  # stream -> number of its next page
    granule: dict[int, int] = {}  # stream -> position of its last page, in samples
    has_sound = False
    is_last = False
    file.seek(0)
    while position < size:
        head = file.read(HEAD_BYTES)
        if is_last and _is_padding(head + file.read(MOST_PADDING_BYTES)):
            break
        file.seek(position + len(head))
        page = head + file.read(head[26] if len(head) == HEAD_BYTES else 0)
        n_body = sum(page[HEAD_BYTES:])
        body = file.read(n_body)
        where = f"page {number}, byte {position}"
        if len(page) < HEAD_BYTES or len(page) < HEAD_BYTES + page[26] or len(body) < n_body:
            if len(page) >= 4 and page[:4] != b"OggS":
                raise _damaged(path, where, "is no Ogg page")
            raise InputError(
                f"{path}: is truncated in {where}; {n_body - len(body)} bytes of it are missing"
                "; get another copy"
            )
        if page[:4] != b"OggS":
            raise _damaged(path, where, "is no Ogg page")
        flags, stop, stream, index, crc = struct.unpack("<BqIII", page[5:26])
        if _crc(page[:22] + bytes(4) + page[26:] + body) != crc:
            raise _damaged(path, where, "has a wrong checksum")
        if flags & FIRST:
            if has_sound:
                raise InputError(
                    f"{path}: contains several sounds after each other ({where} begins another "
                    "one), and only the first would be read; split it, or convert it to wav"
                )
        elif index != next_page.get(stream):
            raise _damaged(path, where, f"is number {index}, not {next_page.get(stream)}")
        else:
            has_sound = True
        if stop != -1:
            before = granule.get(stream, 0)
            if stop < before:
                raise _damaged(path, where, f"ends at sample {stop}, the one before at {before}")
            granule[stream] = stop
        next_page[stream] = index + 1
        is_last = bool(flags & LAST)
        position += len(page) + n_body
        number += 1
    doubt = "" if is_last else "its last page is not marked as the last; it may have been cut short"
    return Layout(doubt=doubt)


def _is_padding(rest: bytes) -> bool:
    """Return whether what follows the last page is zeros or a tag."""
    return rest.startswith((b"TAG", b"APETAGEX", b"ID3")) or not rest.strip(b"\0")


def _damaged(path: Path, where: str, how: str) -> InputError:
    return InputError(f"{path}: is damaged; {where}, {how}; get another copy")


def _crc(page: bytes) -> int:
    """Return the CRC-32 of Ogg: zlib's with the bits of each byte and of the result reversed."""
    value = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)
