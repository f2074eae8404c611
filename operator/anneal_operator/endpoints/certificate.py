"""The progress endpoint's certificate, and the authority that issued it: both kept in one Secret.

Training pods know this authority alone, from their job's plan, so nobody else's certificate will do. A plan never
changes, so the authority stays when the certificate is replaced. That is only judged when an operator starts: it must
last for longer than one runs.
"""

import base64
import ssl
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from anneal_operator.api.resources import Manifest

__all__ = ["SECRET_NAME", "certificate_secret", "serving_context"]


SECRET_NAME = "anneal-progress-tls"  # noqa: S105 - a name
_AUTHORITY_VALIDITY = timedelta(days=20 * 365)
_VALIDITY = timedelta(days=5 * 365)
_MARGIN = timedelta(days=30)
_TOLERATED = timedelta(hours=1)
"""So much the pods' clocks may be behind."""


@dataclass(frozen=True)
class _Issued:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def lasts(self, now: datetime) -> bool:
        return self.certificate.not_valid_before_utc <= now < self.certificate.not_valid_after_utc - _MARGIN

    def speaks_for(self, host: str) -> bool:
        names = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return host in names.get_values_for_type(x509.DNSName)

    def data(self, prefix: str) -> dict[str, str]:
        key = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        values = {"crt": self.certificate.public_bytes(serialization.Encoding.PEM), "key": key}
        return {f"{prefix}.{name}": base64.b64encode(value).decode() for name, value in values.items()}


def certificate_secret(namespace: str, host: str, stored: Manifest | None, now: datetime) -> Manifest:
    """Return the Secret to have: what is stored, as far as it serves this host for some time yet, else made anew."""
    data = (stored or {}).get("data", {})
    authority = _read(data, "ca")
    if authority is None or not authority.lasts(now):
        authority = _new_authority(now)
    current = _read(data, "tls")
    if current is None or not _serves(current, authority, host, now):
        current = _new_certificate(authority, host, now)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": SECRET_NAME, "namespace": namespace},
        "data": {**authority.data("ca"), **current.data("tls")},
    }


def serving_context(secret: Manifest) -> tuple[ssl.SSLContext, str]:
    """Return what the endpoint serves with, and as PEM the authority that pods are to trust."""
    authority, certificate, key = (base64.b64decode(secret["data"][name]) for name in ("ca.crt", "tls.crt", "tls.key"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    with tempfile.TemporaryDirectory() as folder:  # the ssl module reads keys from files only
        chain, private = Path(folder) / "tls.crt", Path(folder) / "tls.key"
        chain.write_bytes(certificate)
        private.write_bytes(key)
        context.load_cert_chain(chain, private)
    return context, authority.decode()


def _read(data: dict[str, str], prefix: str) -> _Issued | None:
    """Return what a Secret holds; None where that is not a certificate with its own key."""
    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(data[f"{prefix}.crt"]))
        key = serialization.load_pem_private_key(base64.b64decode(data[f"{prefix}.key"]), None)
    except (KeyError, ValueError, TypeError):
        return None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        return None
    return _Issued(certificate, key)


def _serves(current: _Issued, authority: _Issued, host: str, now: datetime) -> bool:
    try:
        current.certificate.verify_directly_issued_by(authority.certificate)
        return current.speaks_for(host) and current.lasts(now)
    except (ValueError, TypeError, x509.ExtensionNotFound, InvalidSignature):
        return False


def _new_authority(now: datetime) -> _Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("anneal progress authority")
    made = _builder(name, key, now, now + _AUTHORITY_VALIDITY)
    made = made.issuer_name(name).add_extension(_usage(signs=True), critical=True)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _Issued(_signed(made, key), key)


def _new_certificate(authority: _Issued, host: str, now: datetime) -> _Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    end = min(now + _VALIDITY, authority.certificate.not_valid_after_utc)
    made = _builder(_name("anneal progress endpoint"), key, now, end).issuer_name(authority.certificate.subject)
    made = made.add_extension(_usage(signs=False), critical=True)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    return _Issued(_signed(made, authority.key), key)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _TOLERATED)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _signed(made: x509.CertificateBuilder, issuer: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return made.add_extension(identifier, critical=False).sign(issuer, hashes.SHA256())


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
