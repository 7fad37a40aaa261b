"""A file's checksums, and what a manifest has to hold them to."""

from __future__ import annotations

import base64
import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 1 << 20
_Crc = Callable[[bytes, int], int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Read:
    """A file that was read: its length in bytes, its SHA-256, and as base64 its CRC64NVME where this machine computes one."""

    length: int
    sha256: str
    crc64nvme: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What a manifest has of a file: the SHA-256 that DataSync read on the share, and what S3 keeps of the version."""

    sha256: str | None
    s3_checksum: str | None = None
    s3_algorithm: str | None = None

    def same(self, sha256: str | None, crc64nvme: str | None = None) -> bool | None:
        """Whether a file has this content; None when there is nothing to hold it to."""
        if self.sha256 is not None and sha256 is not None:
            return sha256 == self.sha256
        # Of an upload in parts S3 may keep a checksum of checksums, with a dash and their number, which no content has.
        if self.s3_checksum is None or "-" in self.s3_checksum:
            return None
        if self.s3_algorithm == "SHA256" and sha256 is not None:
            return base64.b64encode(bytes.fromhex(sha256)).decode() == self.s3_checksum
        if self.s3_algorithm == "CRC64NVME" and crc64nvme is not None:
            return crc64nvme == self.s3_checksum
        return None

    @property
    def why_not(self) -> str:
        """What to say where there is nothing to hold content to."""
        if self.s3_algorithm == "CRC64NVME":
            return (
                "its reports have no SHA-256, and S3 keeps a CRC64NVME, which --share can be compared with where Python has"
                " awscrt (pip install awscrt)"
            )
        return "neither its reports nor S3 have a checksum to hold it to"


def read(path: Path) -> Read:
    """Read a file once. Errors: OSError."""
    crc = fast_crc()
    digest, length, value = hashlib.sha256(), 0, 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            length += len(block)
            value = crc(block, value) if crc is not None else 0
    encoded = base64.b64encode(value.to_bytes(8, "big")).decode() if crc is not None else None
    return Read(length=length, sha256=digest.hexdigest(), crc64nvme=encoded)


def fast_crc() -> _Crc | None:
    """CRC64NVME by AWS's own library, which is no dependency; None without it. In Python it takes a day for a terabyte."""
    try:
        found: _Crc = importlib.import_module("awscrt.checksums").crc64nvme
    except (ImportError, AttributeError):
        return None
    return found
