"""Find out how many samples a FLAC file contains, from its last frames (RFC 9639)."""

import struct
from pathlib import Path
from typing import BinaryIO

from neuromusic.core.errors import InputError
from neuromusic.stimuli.layout import Layout, with_head

INFO_BYTES = 42  # "fLaC", the header of the first block, and STREAMINFO
LEAST_TAIL_BYTES = 1 << 16
MOST_TAIL_BYTES = 1 << 22
MOST_SAMPLES = (1 << 36) - 1


def flac_layout(path: Path, file: BinaryIO, size: int, begin: int) -> Layout:
    """Return the layout of a FLAC stream that begins at byte ``begin``.

    Raises InputError if its last frame ends before the number of samples that it declares.
    """
    file.seek(begin)
    info = file.read(INFO_BYTES)
    if len(info) < INFO_BYTES or info[4] & 0x7F:
        return Layout()  # the decoder refuses it
    (packed,) = struct.unpack(">Q", info[18:26])
    declared = packed & MOST_SAMPLES
    found = _samples_up_to_end(file, size, info)
    if found is None or found == declared:
        return Layout()
    if found < declared:
        rate_hz = max(1, packed >> 44)
        raise InputError(
            f"{path}: is truncated at {found / rate_hz:.2f} s (byte {size}); it declares "
            f"{declared} samples, and its last frame ends at sample {found}; get another copy"
        )
    corrected = info[:18] + struct.pack(">Q", packed - declared + found) + info[26:]
    whole = with_head(path, corrected, begin + INFO_BYTES)
    return Layout(n_samples=found, corrected=whole, header_is_wrong=True)


def _samples_up_to_end(file: BinaryIO, size: int, info: bytes) -> int | None:
    """Return the number of the sample after the last frame; None if no frame is certain.

    A frame is certain if its header is valid and it follows the one before without a gap, or is the
    first.
    """
    largest = int.from_bytes(info[15:18], "big") or LEAST_TAIL_BYTES
    n_tail = min(max(LEAST_TAIL_BYTES, 4 * largest), MOST_TAIL_BYTES, size)
    file.seek(size - n_tail)
    tail = file.read(n_tail)
    block_samples = int.from_bytes(info[8:10], "big")
    following: int | None = None  # the first sample of the frame that was found last
    end: int | None = None
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        frame = _frame_samples(tail[at : at + 16], block_samples)
        if frame is None:
            continue
        first, n = frame
        if end is not None and first + n == following:
            return end
        if first == 0:
            return n
        if end is None or first + n != following:
            following, end = first, first + n
    return None


def _frame_samples(head: bytes, block_samples: int) -> tuple[int, int] | None:
    """Return (first sample, number of samples) of the frame whose header begins here, or None."""
    if len(head) < 6 or head[1] & 0xFE != 0xF8 or head[3] & 1 or head[3] >> 4 > 10:
        return None
    code, rate_code, lead = head[2] >> 4, head[2] & 15, head[4]
    n_coded = max(1, 8 - (lead ^ 0xFF).bit_length())  # bytes of the number, coded as in UTF-8
    if code == 0 or rate_code == 15 or 0x80 <= lead < 0xC0 or n_coded > 7:
        return None
    at = 4 + n_coded
    number = lead & (0x7F >> n_coded if n_coded > 1 else 0x7F)
    for byte in head[5:at]:
        if byte >> 6 != 2:
            return None
        number = number << 6 | byte & 0x3F
    if code in (6, 7):  # 8 or 16 bits after the number
        n = int.from_bytes(head[at : at + code - 5], "big") + 1
        at += code - 5
    else:
        n = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    at += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if at >= len(head) or _crc8(head[:at]) != head[at]:
        return None
    return (number if head[1] & 1 else number * block_samples), n


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value << 1) ^ (0x107 if value & 0x80 else 0)
    return value
