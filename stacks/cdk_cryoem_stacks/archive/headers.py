"""What the first bytes of a movie say of it: MRC (2014 format) and TIFF 6.0 or BigTIFF, of which EER is one. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

MRC_BYTES = 1024
_MOST_FRAMES = 400
"""Each frame of a TIFF is one more read; of a movie with more, the depositor says how many there are."""
_ENTRIES = 32
_MRC_VOXELS = {
    0: "SIGNED BYTE",
    1: "SIGNED 16 BIT INTEGER",
    2: "32 BIT FLOAT",
    6: "UNSIGNED 16 BIT INTEGER",
    12: "16 BIT FLOAT",
    101: "4 BIT INTEGER",
}
# By bits and sample format: 1 unsigned, 2 signed, 3 floating point (TIFF 6.0, tags 258 and 339).
_TIFF_VOXELS = {
    (4, 1): "4 BIT INTEGER",
    (8, 1): "UNSIGNED BYTE",
    (8, 2): "SIGNED BYTE",
    (16, 1): "UNSIGNED 16 BIT INTEGER",
    (16, 2): "SIGNED 16 BIT INTEGER",
    (32, 1): "UNSIGNED 32 BIT INTEGER",
    (32, 2): "SIGNED 32 BIT INTEGER",
    (32, 3): "32 BIT FLOAT",
}
_WIDTH, _HEIGHT, _BITS, _FORMAT = 256, 257, 258, 339
_SHORT, _LONG, _LONG8 = 3, 4, 16
Read = Callable[[int, int], bytes]
"""Bytes of a file: from where, how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What a movie's header says; None for what it does not. pixel: Angstrom. voxel: EMPIAR's word."""

    width: int | None = None
    height: int | None = None
    frames: int | None = None
    voxel: str | None = None
    pixel: float | None = None


def mrc(head: bytes) -> Header:
    """Of the first 1024 bytes of an MRC file. Errors: ValueError when they are none."""
    if len(head) < MRC_BYTES or head[208:211] != b"MAP":
        raise ValueError("it has no MRC header")
    order = ">" if head[212:214] == b"\x11\x11" else "<"
    width, height, frames, mode = struct.unpack_from(f"{order}4i", head, 0)
    (samples,) = struct.unpack_from(f"{order}i", head, 28)
    (cell,) = struct.unpack_from(f"{order}f", head, 40)
    pixel = cell / samples if samples > 0 else 0.0
    return Header(
        width=width,
        height=height,
        frames=frames,
        voxel=_MRC_VOXELS.get(mode),
        # 1 is what programs write that do not know it.
        pixel=round(pixel, 4) if pixel > 0 and abs(pixel - 1) > 1e-6 else None,
    )


def tiff(read: Read, *, count_frames: bool) -> Header:
    """Of a TIFF or BigTIFF file. Errors: ValueError when it is none."""
    head = read(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    magic = struct.unpack_from(f"{order}H", head, 2)[0] if order and len(head) >= 16 else 0
    if order is None or magic not in (42, 43):
        raise ValueError("it has no TIFF header")
    large = magic == 43
    at = struct.unpack_from(f"{order}Q", head, 8)[0] if large else struct.unpack_from(f"{order}I", head, 4)[0]
    tags, following = _directory(read, at, order, large=large)
    frames: int | None = 1
    seen = {at}
    while count_frames and following and frames is not None:
        # A list that bites its own tail has no end.
        frames = frames + 1 if following not in seen and frames < _MOST_FRAMES else None
        seen.add(following)
        _, following = _directory(read, following, order, large=large)
    return Header(
        width=tags.get(_WIDTH),
        height=tags.get(_HEIGHT),
        frames=frames if count_frames else None,
        voxel=_TIFF_VOXELS.get((tags.get(_BITS, 1), tags.get(_FORMAT, 1))),
    )


def _directory(read: Read, at: int, order: str, *, large: bool) -> tuple[dict[int, int], int]:
    """The numbers of a directory of tags, and where the next one is, 0 for none."""
    count, entry, pointer = ("Q", 20, "Q") if large else ("H", 12, "I")
    first = struct.calcsize(f"{order}{count}")
    last = struct.calcsize(f"{order}{pointer}")
    data = read(at, first + _ENTRIES * entry + last)
    if len(data) < first:
        raise ValueError("its TIFF header points behind its end")
    (entries,) = struct.unpack_from(f"{order}{count}", data, 0)
    whole = first + entries * entry + last
    if whole > len(data):
        data = read(at, min(whole, 1_000_000))
    if whole > len(data):
        raise ValueError("its TIFF header points behind its end")
    tags = {}
    for number in range(entries):
        start = first + number * entry
        tag, kind = struct.unpack_from(f"{order}HH", data, start)
        value = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}.get(kind)
        if value is not None and (value != "Q" or large):
            (tags[tag],) = struct.unpack_from(f"{order}{value}", data, start + (12 if large else 8))
    (following,) = struct.unpack_from(f"{order}{pointer}", data, whole - last)
    return tags, following
