"""Files signed with a C2PA manifest by the C2PA library itself, and a certificate made for it."""

from __future__ import annotations

import datetime
import io
import json
from functools import cache

IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/"


def sign(
    content: bytes,
    mime: str,
    source_type: str = "trainedAlgorithmicMedia",
    ocsp_url: str | None = None,
) -> bytes:
    """Return a file with a manifest that says how its content was made.

    The certificate can name an address that says whether it was revoked.
    """
    import c2pa

    action = {"action": "c2pa.created", "digitalSourceType": IPTC + source_type}
    manifest = {
        "claim_generator_info": [{"name": "Voice Maker", "version": "2.0"}],
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
    }
    chain, key = _certificates(ocsp_url)
    info = c2pa.C2paSignerInfo(b"es256", chain, key, None)
    out = io.BytesIO()
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
        builder.sign(signer, mime, io.BytesIO(content), out)
    return out.getvalue()


@cache
def _certificates(ocsp_url: str | None) -> tuple[bytes, bytes]:
    """Return a chain of two certificates and the key of the first, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, f"Test {role}"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"test {role}"),
            ]
        )
        for role in ("Root", "Maker")
    ]
    certificates = []
    for index, is_root in enumerate((True, False)):
        usage = x509.KeyUsage(
            digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root,
            content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key())
        subject = x509.SubjectKeyIdentifier.from_public_key(keys[index].public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[index])
            .issuer_name(names[0])
            .public_key(keys[index].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=is_root, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(authority, critical=False)
            .add_extension(subject, critical=False)
        )
        if not is_root:
            purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purposes, critical=False)
        if ocsp_url:
            place = x509.AccessDescription(
                AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp_url)
            )
            builder = builder.add_extension(
                x509.AuthorityInformationAccess([place]), critical=False
            )
        certificates.append(builder.sign(keys[0], hashes.SHA256()))
    chain = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in reversed(certificates))
    key = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return chain, key
