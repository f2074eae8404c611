"""What the components read: keys, kubeconfigs, files, manifests; and that these agree with each other."""

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from local_cluster.components import COMPONENTS
from local_cluster.configuration import write_configuration
from local_cluster.layout import DNS_ADDRESS, Layout
from local_cluster.pki import CLIENTS, write_kubeconfig, write_pki
from local_cluster.system_images import BUSYBOX, COREDNS, LOCAL_PATH, PAUSE

MANIFESTS = Path(__file__).parents[2] / "local_cluster/manifests"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A node's places in an empty folder."""
    return replace(Layout.of_node(), state=tmp_path / "state", run=tmp_path / "run", store=tmp_path / "store")


def test_keys_are_private_and_made_only_once(layout: Layout) -> None:
    write_pki(layout)
    keys = {path: path.read_bytes() for path in layout.pki.glob("*.key")}
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    write_pki(layout)
    assert {path: path.read_bytes() for path in layout.pki.glob("*.key")} == keys


def test_the_api_server_s_certificate_names_every_address_it_is_called_by(layout: Layout) -> None:
    write_pki(layout)
    certificate = x509.load_pem_x509_certificate((layout.pki / "kube-apiserver.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(ip) for ip in names.get_values_for_type(x509.IPAddress)} == {"10.98.0.1", "10.96.0.1", "127.0.0.1"}
    assert "kubernetes.default.svc.cluster.local" in names.get_values_for_type(x509.DNSName)


def test_the_kubelet_is_the_node_that_the_node_authorizer_expects(layout: Layout) -> None:
    write_pki(layout)
    subject = x509.load_pem_x509_certificate((layout.pki / "kubelet.crt").read_bytes()).subject
    assert subject.rfc4514_string() == "CN=system:node:local,O=system:nodes"


def test_a_kubeconfig_holds_all_that_its_client_needs(layout: Layout) -> None:
    write_pki(layout)
    path = write_kubeconfig(layout, "admin")
    config = json.loads(path.read_text())
    assert config["clusters"][0]["cluster"]["server"] == "https://10.98.0.1:6443"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_file_that_a_command_line_names_is_written(layout: Layout) -> None:
    write_pki(layout)
    for client in CLIENTS:
        write_kubeconfig(layout, client.file)
    write_configuration(layout)
    for component in COMPONENTS.values():
        for argument in map(str, component.command(layout)):
            path = Path(argument.partition("=")[2])
            if layout.pki in path.parents or layout.config in path.parents:
                assert path.is_file(), f"{component.name} {argument}"


def test_a_file_that_did_not_change_is_left_alone(layout: Layout) -> None:
    write_configuration(layout)
    before = {path: path.stat().st_mtime_ns for path in layout.config.rglob("*") if path.is_file()}
    write_configuration(layout)
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_manifests_use_the_images_that_are_built_and_the_addresses_that_are_configured() -> None:
    documents = [d for file in sorted(MANIFESTS.glob("*.yaml")) for d in yaml.safe_load_all(file.read_text())]
    assert {image for d in documents for image in _images(d)} == {COREDNS, LOCAL_PATH}
    maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
    helper = yaml.safe_load(maps["local-path-config"]["helperPod.yaml"])
    assert [c["image"] for c in helper["spec"]["containers"]] == [BUSYBOX]
    shared = json.loads(maps["local-path-config"]["config.json"])["sharedFileSystemPath"]
    assert Path(shared).is_relative_to(Layout.of_node().state)
    assert DNS_ADDRESS in [d["spec"].get("clusterIP") for d in documents if d["kind"] == "Service"]


def test_containerd_starts_pods_with_the_pause_image_that_is_built(layout: Layout) -> None:
    write_configuration(layout)
    assert f'sandbox = "{PAUSE}"' in (layout.config / "containerd.toml").read_text()


def _images(manifest: dict[str, Any]) -> list[str]:
    pod = manifest.get("spec", {}).get("template", {}).get("spec", {})
    return [container["image"] for container in pod.get("containers", [])]
