"""The cluster's own certificate authority, its certificates, and kubeconfigs that carry them.

One authority signs everything: servers and clients, etcd's among them. Client identities follow the names that
Kubernetes gives meaning to (https://kubernetes.io/docs/setup/best-practices/certificates/).
"""

import base64
import ipaddress
import json
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .layout import CLUSTER_DOMAIN, NODE_NAME, SERVICE_ADDRESS, Layout

__all__ = ["CLIENTS", "Identity", "administrator_tls", "write_kubeconfig", "write_pki"]

_LIFETIME = timedelta(days=3650)


@dataclass(frozen=True)
class Identity:
    """Who a certificate names: user and group for a client, host names and addresses for a server."""

    file: str
    user: str
    group: str = ""
    hosts: tuple[str, ...] = ()


CLIENTS = (
    Identity("admin", "anneal-admin", "system:masters"),
    Identity("kube-apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
    Identity("kube-controller-manager", "system:kube-controller-manager"),
    Identity("kube-scheduler", "system:kube-scheduler"),
    Identity("kube-proxy", "system:kube-proxy"),
    Identity("kwok", "kwok", "system:masters"),
    Identity("kubelet", f"system:node:{NODE_NAME}", "system:nodes"),
)


def write_pki(layout: Layout) -> None:
    """Make the authority and every certificate, unless they are there from an earlier start."""
    if (layout.pki / "complete").exists():
        return
    layout.pki.mkdir(parents=True, exist_ok=True)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _certificate(Identity("ca", "anneal-local-cluster"), authority_key.public_key(), None, authority_key)
    _write(layout.pki, "ca", authority, authority_key)
    for identity in (*CLIENTS, *_servers(layout.address)):
        key = ec.generate_private_key(ec.SECP256R1())
        _write(layout.pki, identity.file, _certificate(identity, key.public_key(), authority, authority_key), key)
    tokens = ec.generate_private_key(ec.SECP256R1())
    _write_private(layout.pki / "service-accounts.key", _pem(tokens))
    (layout.pki / "complete").touch()


def administrator_tls(layout: Layout) -> ssl.SSLContext:
    """What the administrator meets the cluster's servers with: its certificate, and trust in this authority only."""
    trust = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
    trust.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
    return trust


def write_kubeconfig(layout: Layout, client: str) -> Path:
    """Write a kubeconfig that holds its certificates, and return its path."""

    def data(name: str) -> str:
        return base64.b64encode((layout.pki / name).read_bytes()).decode()

    cluster = {"server": layout.api_url, "certificate-authority-data": data("ca.crt")}
    user = {"client-certificate-data": data(f"{client}.crt"), "client-key-data": data(f"{client}.key")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "anneal-local", "cluster": cluster}],
        "users": [{"name": client, "user": user}],
        "contexts": [{"name": "anneal-local", "context": {"cluster": "anneal-local", "user": client}}],
        "current-context": "anneal-local",
    }
    path = layout.config / f"{client}.kubeconfig"
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_private(path, json.dumps(config, indent=1).encode())
    return path


def _servers(address: str) -> tuple[Identity, ...]:
    service = "kubernetes.default.svc"
    names = ("kubernetes", "kubernetes.default", service, f"{service}.{CLUSTER_DOMAIN}", "localhost")
    api_hosts = (*names, address, SERVICE_ADDRESS, "127.0.0.1")
    return (
        Identity("kube-apiserver", "kube-apiserver", hosts=tuple(dict.fromkeys(api_hosts))),
        Identity("etcd", "etcd", hosts=(address,)),
        Identity("controllers", "controllers", hosts=(address,)),
        Identity("kubelet-server", f"system:node:{NODE_NAME}", "system:nodes", hosts=(NODE_NAME, address)),
    )


def _certificate(
    identity: Identity,
    key: ec.EllipticCurvePublicKey,
    authority: x509.Certificate | None,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """Sign one certificate; without an authority it becomes one."""
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, identity.user)]
    if identity.group:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.group))
    subject = x509.Name(attributes)
    now = datetime.now(UTC) - timedelta(minutes=5)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject if authority else subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )
    if authority:
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        usages += [ExtendedKeyUsageOID.SERVER_AUTH] if identity.hosts else []
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if identity.hosts:
        names = [_general_name(host) for host in identity.hosts]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority_key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _write(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    _write_private(folder / f"{name}.key", _pem(key))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
