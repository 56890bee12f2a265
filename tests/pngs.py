"""PNG files changed as an editor would leave them."""

from __future__ import annotations

import zlib


def mend_checksums(content: bytes | bytearray) -> bytes:
    """A PNG file whose parts were changed, with their checksums right again."""
    parts, at = [content[:8]], 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunk = content[at + 4 : at + 8 + length]
        parts += [content[at : at + 4], chunk, zlib.crc32(chunk).to_bytes(4, "big")]
        at += 12 + length
    return b"".join(parts)
