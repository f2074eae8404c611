"""What a job has published, published once more with something changed."""

import hashlib
import json
import urllib.request
from collections.abc import Callable
from typing import Any

from demo.installation import SYSTEM
from prompts.canary import CANARY_FILE, Canary

from .bench import Bench

__all__ = ["Files", "Published"]

Files = dict[str, bytes]


class Published:
    """What a job has published, to be published once more with something changed, under a digest of its own."""

    def __init__(self, bench: Bench, version: str) -> None:
        self.spec: dict[str, Any] = bench.cluster.get("modelversion", version)["spec"]
        self._address = bench.cluster.get("service", "anneal-mlflow", "-n", SYSTEM)["spec"]["clusterIP"]
        listed = json.loads(self._file("manifest.json"))["files"]
        self._files = {name: self._file(name) for name in listed}
        assert len(Canary.model_validate_json(self._files[CANARY_FILE]).questions) == 3

    def again(
        self, name: str, change: Callable[[Files], None], *, unnoticed: Callable[[Files], None] | None = None
    ) -> dict[str, Any]:
        """Return the artifact, in the same run; of what changes unnoticed its manifest and digest say nothing."""
        files = dict(self._files)
        change(files)
        listed = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
        sizes = {path: len(content) for path, content in files.items()}
        manifest = json.dumps({"bytes": sizes, "files": listed}).encode()
        if unnoticed:
            unnoticed(files)
        uri = f"{self.spec['artifact']['uri'].rpartition('/')[0]}/{name}"
        for path, content in {**files, "manifest.json": manifest}.items():
            self._ask(f"{uri}/{path}", content)
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        return {**self.spec["artifact"], "uri": uri, "digest": digest, "bytes": sum(sizes.values())}

    def _file(self, name: str) -> bytes:
        return self._ask(f"{self.spec['artifact']['uri']}/{name}")

    def _ask(self, uri: str, content: bytes | None = None) -> bytes:
        path = uri.removeprefix("mlflow-artifacts:").strip("/")
        url = f"http://{self._address}:5000/api/2.0/mlflow-artifacts/artifacts/{path}"
        method = "GET" if content is None else "PUT"
        request = urllib.request.Request(url, content, {"Host": "localhost:5000"}, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            found: bytes = response.read()
        return found
