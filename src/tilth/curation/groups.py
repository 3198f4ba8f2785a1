"""Groups of documents that are held out as a whole, and their hashes."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from tilth.curation.operators import Row
from tilth.curation.read_result import GROUP

SCALE = 1 << 53
"""Hashes have 53 bits, so that a float holds each of them, as a share of the hash space, exactly."""


def share(group: str, seed: int) -> float:
    """Returns the hash of a group as a share of the hash space, in 0..1."""
    digest = hashlib.blake2b(f"{seed}\0{group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / SCALE


def group_of(row: Row, by: str) -> str:
    """Returns the key of a document's group."""
    if by == "site" and row.get("url"):
        try:
            host = urlsplit(str(row["url"])).hostname
        except ValueError:
            host = None
        if host:
            return host.lower()
    return str(row[GROUP])
