"""Content credentials (C2PA): a signed statement in the PNG that a model made the picture.

The certificate is made on this computer, for this process, and kept nowhere: it shows that the
picture was not changed since, not who made it, and readers call its signer unknown. Signing asks
nobody: there is no time stamp authority, and nothing is fetched.
"""

from __future__ import annotations

import datetime
import functools
import importlib.util
import json
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image

import dynaip

if TYPE_CHECKING:
    from c2pa import Context

SIGNER = "dynaip, self-made certificate"
DAYS_VALID = 365
# IPTC's word for a picture that a trained model made.
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


class Credential(NamedTuple):
    """What a picture's content credential says.

    Attributes:
        intact: Whether the picture is as it was signed.
        generated: Whether it says that a model made the picture.
        maker: The program that signed, as it calls itself.
        issuer: Who signed, by their own certificate.
        problems: What the check found wrong, as codes of the standard, or in words where the
            credential is too damaged to be read.
    """

    intact: bool
    generated: bool
    maker: str
    issuer: str
    problems: tuple[str, ...]


def can_sign() -> bool:
    """Whether the extra `c2pa` is installed."""
    return all(importlib.util.find_spec(name) for name in ("c2pa", "cryptography"))


def sign_png(content: bytes) -> bytes:
    """The PNG with a content credential; unchanged where the extra `c2pa` is not installed."""
    if not can_sign():
        return content
    from c2pa import Builder

    action = {"action": "c2pa.created", "digitalSourceType": SOURCE_TYPE}
    manifest = {
        "claim_generator_info": [{"name": "dynaip", "version": dynaip.__version__}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    signed = BytesIO()
    with Builder(manifest, context=_context()) as builder:
        builder.sign(_signer(), "image/png", BytesIO(content), signed)
    return signed.getvalue()


def read_credential(content: bytes) -> Credential | None:
    """What the credential in a picture's file says; nothing where there is none.

    Raises:
        ValueError: The extra `c2pa` is not installed.
    """
    if not can_sign():
        raise ValueError("Content credentials are read with the extra c2pa: install dynaip[c2pa].")
    from c2pa import C2paError, Reader

    kind = Image.open(BytesIO(content)).get_format_mimetype()
    if kind not in Reader.get_supported_mime_types():
        return None
    try:
        reader = Reader.try_create(kind, BytesIO(content), context=_context())
    except C2paError as error:
        return Credential(False, False, "unknown", "unknown", (str(error),))
    if reader is None:
        return None
    with reader:
        found = json.loads(reader.json())
    manifest = found["manifests"][found["active_manifest"]]
    problems = tuple(
        entry["code"]
        for entry in found.get("validation_status", ())
        if entry["code"] != "signingCredential.untrusted"
    )
    maker = (manifest.get("claim_generator_info") or [{}])[0]
    return Credential(
        intact=not problems,
        generated=SOURCE_TYPE in json.dumps(manifest.get("assertions", [])),
        maker=f"{maker.get('name', 'unknown')} {maker.get('version', '')}".strip(),
        issuer=manifest.get("signature_info", {}).get("issuer", "unknown"),
        problems=problems,
    )


@functools.cache
def _context() -> Context:
    """Nothing is fetched; and no thumbnail, which would be larger than most pictures here."""
    from c2pa import Context

    return Context.from_dict(
        {
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
            "builder": {"thumbnail": {"enabled": False}},
        }
    )


@functools.cache
def _signer() -> Any:
    from c2pa import C2paSignerInfo, Signer

    chain, key = _make_certificate()
    return Signer.from_info(C2paSignerInfo(b"es256", chain, key, None))


def _make_certificate() -> tuple[bytes, bytes]:
    """A certificate chain and its key, as PEM: the standard refuses one that signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(text: str) -> x509.Name:
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, SIGNER),
                x509.NameAttribute(NameOID.COMMON_NAME, text),
            ]
        )

    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    now = datetime.datetime.now(datetime.UTC)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())

    def certificate(subject: str, public: Any, is_root: bool) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name("dynaip root"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=DAYS_VALID))
            .add_extension(x509.BasicConstraints(is_root, None), critical=True)
            .add_extension(_key_usage(is_root), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(identifier, critical=False)
        )

    root = certificate("dynaip root", root_key.public_key(), True).sign(root_key, hashes.SHA256())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = certificate("dynaip", key.public_key(), False).add_extension(usage, critical=False)
    signed = leaf.sign(root_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return signed.public_bytes(pem) + root.public_bytes(pem), private


def _key_usage(is_root: bool) -> Any:
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
