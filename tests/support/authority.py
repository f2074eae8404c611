"""A certificate authority of a test's own, and servers that speak TLS by it."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Authority", "authority"]

_NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Authority:
    """Who trusts it reads `file`."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def file(self) -> Path:
        """Its certificate."""
        return self.folder / "authority.pem"

    def context(self, host: str) -> ssl.SSLContext:
        """Return what a server of this name speaks TLS by."""
        key = ec.generate_private_key(ec.SECP256R1())
        named = _builder(host, self.certificate.subject, key)
        named = named.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        chain = self.folder / f"{host}.pem"
        chain.write_bytes(_private(key) + _pem(named.sign(self.key, hashes.SHA256())))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain)
        return context


def authority(folder: Path, name: str = "authority") -> Authority:
    """Make one; where several are trusted, each needs a name of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = _builder(name, _name(name), key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = made.sign(key, hashes.SHA256())
    found = Authority(folder, key, certificate)
    found.file.write_bytes(_pem(certificate))
    return found


def _builder(subject: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    made = x509.CertificateBuilder().subject_name(_name(subject)).issuer_name(issuer).public_key(key.public_key())
    lasting = made.not_valid_before(_NOW - timedelta(days=1)).not_valid_after(_NOW + timedelta(days=1))
    return lasting.serial_number(x509.random_serial_number())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption())
