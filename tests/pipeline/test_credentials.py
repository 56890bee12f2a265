"""A credential holds as long as the picture is not changed, and says that a model made it."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image
from pngs import mend_checksums

from dynaip.pipeline.credentials import SIGNER, read_credential, sign_png


@pytest.fixture(scope="module")
def plain() -> bytes:
    content = BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, "PNG")
    return content.getvalue()


def test_a_signed_picture_says_who_and_what_made_it(plain: bytes) -> None:
    signed = sign_png(plain)
    credential = read_credential(signed)
    assert credential is not None
    assert (credential.intact, credential.generated, credential.issuer) == (True, True, SIGNER)
    assert credential.maker.startswith("dynaip ")
    assert Image.open(BytesIO(signed)).getpixel((0, 0)) == (255, 0, 0)


def test_a_changed_picture_is_told(plain: bytes) -> None:
    changed = bytearray(sign_png(plain))
    changed[changed.index(b"IDAT") + 6] ^= 1
    credential = read_credential(bytes(changed))
    assert credential is not None
    assert not credential.intact
    assert credential.problems == ("assertion.dataHash.mismatch",)


def test_a_damaged_credential_is_told(plain: bytes) -> None:
    damaged = bytearray(sign_png(plain))
    damaged[damaged.index(b"jumb") + 4] ^= 255
    credential = read_credential(mend_checksums(damaged))
    assert credential is not None
    assert not credential.intact
    assert credential.problems


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_a_picture_without_one(kind: str) -> None:
    content = BytesIO()
    Image.new("RGB", (8, 8), "red").save(content, kind)
    assert read_credential(content.getvalue()) is None
