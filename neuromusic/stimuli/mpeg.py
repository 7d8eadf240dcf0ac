"""Walk the frames of an MPEG audio file (mp3, mp2, mp1) without decoding them.

libsndfile believes the number of frames in the first frame (Xing, Info or VBRI), or estimates it
from the bit rate of the first frame, and reads no further. Sources: ISO/IEC 11172-3 and 13818-3
for frames; Xing and LAME tags as mpg123 and LAME read them; VBRI as Fraunhofer wrote it; ID3v2.4,
ID3v1, APEv2 and Lyrics3 for tags.
"""

import functools
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from neuromusic.core.errors import InputError
from neuromusic.stimuli.layout import Layout, with_head

# Bit rates in kbit/s by (is MPEG 1, layer); index 0 is "free", 15 is invalid.
_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
KBITS = {
    (True, 1): tuple(range(0, 449, 32)),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): _LOW,
    (False, 3): _LOW,
}
RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
INFO_KBIT_INDEX = 9  # a frame of this bit rate has room for the tables of an Info frame
MOST_FREE_BYTES = 8192  # of a frame in free format
MOST_JUNK_BYTES = 1 << 16  # among which the next frame is looked for
BLOCK_BYTES = 1 << 18
TOLERANCE_FRAMES = 2


@dataclass(frozen=True)
class Kind:
    """What all frames of a stream share.

    Attributes
    ----------
    version : int
        3 for MPEG 1, 2 for MPEG 2, 0 for MPEG 2.5, as in the header.
    layer : int
        1, 2 or 3.
    rate_hz : int
        Sampling rate.
    lengths : dict
        Second and third byte of a header -> length of the frame in bytes.
    n_samples : int
        Samples per channel in a frame.
    """

    version: int
    layer: int
    rate_hz: int
    lengths: dict[int, int] = field(repr=False)
    n_samples: int


@dataclass
class Walk:
    """The frames of a file: what was found, and what the first frame declares."""

    kind: Kind
    first: int  # byte of the first frame that contains sound
    n_frames: int = 0
    n_bytes: int = 0  # of all frames
    end: int = 0  # byte after the last frame
    gap: tuple[int, int] | None = None  # frame and byte of the first bytes that are no frame
    gap_bytes: int = 0
    declared: "Declared | None" = None


@dataclass(frozen=True)
class Declared:
    """What a Xing, Info or VBRI frame declares."""

    position: int
    length: int
    n_frames: int | None
    n_bytes: int | None  # from its own first byte
    n_trimmed: int  # samples that the encoder added at both ends, and the decoder removes
    count_at: int | None  # where the number of frames is, if it can be corrected in place
    bytes_at: int | None = None  # the same for the number of bytes


def _kind(second: int, third: int) -> Kind | None:
    """Return the kind of frame that two bytes of a header belong to, or None if they are none."""
    version, layer, rate = second >> 3 & 3, 4 - (second >> 1 & 3), third >> 2 & 3
    if second < 0xE0 or version == 1 or layer == 4 or rate == 3:
        return None
    return _kind_of(version, layer, rate)


@functools.cache
def _kind_of(version: int, layer: int, rate: int) -> Kind:
    rate_hz = RATES_HZ[version][rate]
    is_half = version != 3 and layer == 3
    n_samples = {1: 384, 2: 1152, 3: 576 if is_half else 1152}[layer]
    second = 0xE0 | version << 3 | 4 - layer << 1
    lengths = {}
    for index, kbit in enumerate(KBITS[version == 3, layer]):
        for bits in range(8 if index else 0):  # padding, private; protection
            padding = bits & 1
            if layer == 1:
                length = (12_000 * kbit // rate_hz + padding) * 4
            else:
                length = n_samples // 8 * 1000 * kbit // rate_hz + padding
            key = (second | bits >> 2) << 8 | index << 4 | rate << 2 | padding << 1
            lengths[key | bits >> 1 & 1] = length
    return Kind(version, layer, rate_hz, lengths, n_samples)


def mpeg_layout(path: Path, file: BinaryIO, size: int) -> Layout | None:
    """Return the layout of an MPEG file, or None if it has no MPEG frames.

    Raises InputError if it is cut short or damaged, or if its frames have no declared length.
    """
    walk = walk_frames(path, file, size)
    if walk is None:
        return None
    _check_complete(path, walk, size)
    declared, unit = walk.declared, walk.kind.n_samples
    doubt = ""
    if walk.gap:
        frame, byte = walk.gap
        doubt = (
            f"its MPEG frames are interrupted at {frame * unit / walk.kind.rate_hz:.2f} s (frame "
            f"{frame}, byte {byte}); a part may be missing"
        )
    corrects = walk.kind.layer == 3 and walk.n_frames > 0
    return Layout(
        n_samples=max(0, walk.n_frames * unit - (declared.n_trimmed if declared else 0)),
        tolerance=TOLERANCE_FRAMES * unit,
        unit_samples=unit,
        corrected=with_head(path, *_corrected(file, walk)) if corrects else None,
        header_is_wrong=declared is not None and declared.n_frames != walk.n_frames,
        doubt=doubt,
    )


def walk_frames(path: Path, file: BinaryIO, size: int, most_frames: int = 1 << 62) -> Walk | None:
    """Count the frames of a file, at most ``most_frames``; None if there are none."""
    size = _without_last_tags(file, size)
    position = _skip_tags(file, 0, size)
    first = _first_frame(file, position, size)
    if first is None:
        if _is_free_format(file, position, size):
            raise InputError(
                f"{path}: is an mp3 in free format, whose frames have no declared length; convert "
                "it to wav"
            )
        return None
    position, kind = first
    walk = Walk(kind, position, declared=_read_declared(file, position, kind))
    if walk.declared:
        position = walk.first = position + walk.declared.length
    while walk.n_frames < most_frames:
        before = position
        n, position = _count(file, before, kind.lengths, most_frames - walk.n_frames, size)
        if n:
            walk.n_frames += n
            walk.end = min(position, size)
            walk.n_bytes += walk.end - before
            if position < size:
                continue
            walk.n_frames -= position > size  # the last frame is not complete
            break
        if position >= size:
            break
        after = _skip_tags(file, position, size)
        if after == position:
            found = _next_frame(file, position, kind.lengths, size)
            after = size if found is None else found
            if walk.gap is None:
                walk.gap = (walk.n_frames, position)
            walk.gap_bytes += after - position
        position = after
        if position >= size:
            break
    return walk


def _count(
    file: BinaryIO, position: int, lengths: dict[int, int], most: int, size: int
) -> tuple[int, int]:
    """Return the number of frames in the block at a position, and the byte after the last."""
    file.seek(position)
    block = file.read(BLOCK_BYTES)
    n = at = 0
    last = len(block) - 3
    while at < last and n < most:
        length = lengths.get(block[at + 1] << 8 | block[at + 2]) if block[at] == 0xFF else None
        if length is None:
            break
        n += 1
        at += length
    end = position + at
    return n, size if 0 < size - end < 4 else end  # too few bytes for a header


def _skip_tags(file: BinaryIO, position: int, size: int) -> int:
    """Return the byte after the tags at a position."""
    while position < size:
        file.seek(position)
        head = file.read(32)
        if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
            n = 10 + sum(byte << 7 * (3 - i) for i, byte in enumerate(head[6:10]))
            n += 10 if head[5] & 0x10 else 0
        elif head[:8] == b"APETAGEX" and len(head) == 32:
            # A header comes before the items, a footer after them; the size counts the footer.
            n = 32 + (struct.unpack("<I", head[12:16])[0] if head[23] & 0x20 else 0)
        elif head[:3] == b"TAG":  # the tag of one of several files that were joined
            n = 128
        else:
            break
        position += n
    return min(position, size)


def _without_last_tags(file: BinaryIO, size: int) -> int:
    """Return where the tags at the end of a file begin."""
    while size > 128:
        file.seek(size - 128)
        tail = file.read(128)
        if tail[:3] == b"TAG":
            n = 128
        elif tail[-32:-24] == b"APETAGEX":  # a footer; a header is not counted by the size
            n = struct.unpack("<I", tail[-20:-16])[0] + (32 if tail[-9] & 0x80 else 0)
        elif tail[-9:] == b"LYRICS200" and tail[-15:-9].isdigit():
            n = int(tail[-15:-9]) + 15
        else:
            break
        if not 0 < n <= size:
            break
        size -= n
    return size


def _first_frame(file: BinaryIO, position: int, size: int) -> tuple[int, Kind] | None:
    """Return byte and kind of the first frame that another one follows, or the end of the file."""
    file.seek(position)
    block = file.read(MOST_JUNK_BYTES)
    at = block.find(b"\xff")
    while 0 <= at < len(block) - 3:
        kind = _kind(block[at + 1], block[at + 2])
        length = kind.lengths.get(block[at + 1] << 8 | block[at + 2]) if kind else None
        if kind and length and _is_frame(file, position + at + length, kind.lengths, size):
            return position + at, kind
        at = block.find(b"\xff", at + 1)
    return None


def _next_frame(file: BinaryIO, position: int, lengths: dict[int, int], size: int) -> int | None:
    """Return where the next frame begins that another one follows; None if there is none."""
    file.seek(position)
    block = file.read(MOST_JUNK_BYTES)
    at = block.find(b"\xff", 1)
    while 0 <= at < len(block) - 3:
        length = lengths.get(block[at + 1] << 8 | block[at + 2])
        if length and _is_frame(file, position + at + length, lengths, size):
            return position + at
        at = block.find(b"\xff", at + 1)
    return None


def _is_frame(file: BinaryIO, position: int, lengths: dict[int, int], size: int) -> bool:
    """Return whether a frame, a tag or the end of the file is at a position."""
    if position >= size:
        return True
    file.seek(position)
    head = file.read(3)
    if len(head) == 3 and head[0] == 0xFF and head[1] << 8 | head[2] in lengths:
        return True
    return _skip_tags(file, position, size) > position


def _is_free_format(file: BinaryIO, position: int, size: int) -> bool:
    """Return whether an MPEG header with the bit rate "free" is at a position."""
    file.seek(position)
    block = file.read(min(MOST_FREE_BYTES, size - position))
    return (
        len(block) > 4 and block[0] == 0xFF and block[2] >> 4 == 0
        and _kind(block[1], block[2]) is not None and block.find(block[:2], 4) > 0
    )  # fmt: skip


def _side_bytes(version: int, is_mono: bool) -> int:
    """Return how many bytes of side information precede a Xing tag."""
    return {True: (17, 32), False: (9, 17)}[version == 3][not is_mono]


def _read_declared(file: BinaryIO, position: int, kind: Kind) -> Declared | None:
    """Return what the frame at a position declares; None if it contains sound."""
    file.seek(position)
    head = file.read(4)
    length = kind.lengths[head[1] << 8 | head[2]]
    frame = head + file.read(length - 4)
    if kind.layer != 3 or len(frame) < length:
        return None
    if frame[36:40] == b"VBRI" and length >= 54:
        n_bytes, n_frames = struct.unpack(">II", frame[46:54])
        return Declared(position, length, n_frames, n_bytes, 0, None)
    is_mono = head[3] >> 6 == 3
    at = 4 + _side_bytes(kind.version, is_mono)
    if frame[at : at + 4] not in (b"Xing", b"Info") or at + 8 > length:
        return None
    (flags,) = struct.unpack(">I", frame[at + 4 : at + 8])
    at += 8
    places: dict[int, int] = {}
    for flag, n in ((1, 4), (2, 4), (4, 100), (8, 4)):  # frames, bytes, contents, quality
        if flags & flag:
            places[flag] = at
            at += n
    n_frames, n_bytes = (
        int.from_bytes(frame[places[flag] : places[flag] + 4], "big") if flag in places else None
        for flag in (1, 2)
    )
    trim = frame[at + 21 : at + 24]  # the tag of LAME: 12 bits of delay, 12 of padding
    n_trimmed = 0
    if len(trim) == 3:
        n_trimmed = (trim[0] << 4 | trim[1] >> 4) + ((trim[1] & 15) << 8 | trim[2])
    return Declared(
        position, length, n_frames, n_bytes, n_trimmed, places.get(1), places.get(2)
    )  # fmt: skip


def _check_complete(path: Path, walk: Walk, size: int) -> None:
    """Raise InputError if frames are missing at the end or in the middle."""
    kind, declared = walk.kind, walk.declared
    frame_s = kind.n_samples / kind.rate_hz
    mean_bytes = max(1.0, walk.n_bytes / max(1, walk.n_frames))
    n_declared = declared.n_frames if declared else None
    says = ""
    is_short = False
    if n_declared is not None and declared is not None:
        says = f"; its header declares {n_declared} frames ({n_declared * frame_s:.2f} s), and "
        says += f"there are {walk.n_frames} ({walk.n_frames * frame_s:.2f} s)"
        has_all_bytes = declared.n_bytes is not None and (
            abs(walk.end - declared.position - declared.n_bytes) <= TOLERANCE_FRAMES * mean_bytes
        )
        is_short = n_declared - walk.n_frames > TOLERANCE_FRAMES and not has_all_bytes
        if abs(n_declared - walk.n_frames) <= TOLERANCE_FRAMES and not is_short:
            return
    if walk.gap and (is_short or walk.gap_bytes > TOLERANCE_FRAMES * mean_bytes):
        frame, byte = walk.gap
        raise InputError(
            f"{path}: is damaged at {frame * frame_s:.2f} s (frame {frame}, byte {byte}): "
            f"{walk.gap_bytes} bytes of it are no MPEG frames{says}; get another copy"
        )
    if is_short:
        raise InputError(
            f"{path}: is truncated at {walk.n_frames * frame_s:.2f} s (byte {size}){says}; get "
            "another copy"
        )


def _corrected(file: BinaryIO, walk: Walk) -> tuple[bytes, int]:
    """Return a first frame with the right number of frames, and the byte of the next one."""
    declared, kind = walk.declared, walk.kind
    if declared and declared.count_at is not None:
        file.seek(declared.position)
        frame = bytearray(file.read(declared.length))
        struct.pack_into(">I", frame, declared.count_at, walk.n_frames)
        if declared.bytes_at is not None:
            n_bytes = min(walk.end - declared.position, 0xFFFFFFFF)
            struct.pack_into(">I", frame, declared.bytes_at, n_bytes)
        return bytes(frame), walk.first
    file.seek(walk.first)
    head = bytearray(file.read(4))
    head[1] |= 1  # no checksum
    head[2] = INFO_KBIT_INDEX << 4 | head[2] & 0x0C
    length = kind.lengths[head[1] << 8 | head[2]]
    side = bytes(_side_bytes(kind.version, head[3] >> 6 == 3))
    tag = b"Info" + struct.pack(">II", 1, walk.n_frames)
    return (bytes(head) + side + tag).ljust(length, b"\0"), walk.first


def byte_of_frame(path: Path, number: int) -> int:
    """Return the byte at which a frame of a file begins."""
    with open(path, "rb") as file:
        walk = walk_frames(path, file, path.stat().st_size, number)
        return walk.end if walk else 0
