"""Bringing data and models from where they lie: a path, S3, HTTPS or a Hugging Face hub.

Credentials never stand in the plan: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`,
`AWS_ENDPOINT_URL`, `AWS_REGION` for S3, `HF_TOKEN` and `HF_ENDPOINT` for a hub are files of the folder that the plan
names for a source, as a mounted Secret has them, or environment variables where it names none.
"""

import ipaddress
import os
import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from .errors import AccessError, DataError
from .unreachable import why

__all__ = ["fetch", "is_local"]

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
_MOST_REDIRECTS = 5
_HUB = re.compile(r"hf://(?P<kind>datasets/)?(?P<name>[^/@]+/[^/@]+)(?:@(?P<revision>[^/@]+))?(?:/(?P<path>.+))?")


def is_local(source: str) -> bool:
    """Whether a source is a path of this machine, which needs no copy."""
    return "://" not in source and not source.startswith("mlflow-artifacts:")


def fetch(source: str, folder: Path, credentials: Path | None = None) -> None:
    """Copy what a source names into a folder, read with the credentials that lie in another one.

    Raises AccessError where a server refuses or cannot be reached, DataError where it has no such thing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scheme = source.partition("://")[0]
    if scheme == "s3":
        _fetch_s3(source, folder, _credentials(credentials))
    elif scheme == "https":
        _fetch_https(source, folder)
    elif scheme == "hf":
        _fetch_hub(source, folder, _credentials(credentials))
    elif is_local(source):
        _copy(Path(source), folder)
    else:
        raise DataError(f"{source} is no source: name a path, s3://, https:// or hf://")


def _credentials(folder: Path | None) -> Mapping[str, str]:
    if folder is None:
        return os.environ
    found = {file.name: file.read_text().strip() for file in folder.glob("*") if file.is_file()}
    if not found:
        raise AccessError(f"{folder} holds no credentials: is there a Secret {folder.name}, as secretRef says?")
    return found


def _copy(path: Path, folder: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, folder, dirs_exist_ok=True)
    elif path.exists():
        shutil.copy2(path, folder)
    else:
        raise DataError(f"{path} is not there: check the source's path")


def _fetch_s3(source: str, folder: Path, credentials: Mapping[str, str]) -> None:
    from pyarrow.fs import FileType, LocalFileSystem, S3FileSystem, copy_files

    path = source.removeprefix("s3://")
    endpoint = credentials.get("AWS_ENDPOINT_URL")
    try:
        store = S3FileSystem(
            access_key=credentials.get("AWS_ACCESS_KEY_ID"),
            secret_key=credentials.get("AWS_SECRET_ACCESS_KEY"),
            session_token=credentials.get("AWS_SESSION_TOKEN"),
            endpoint_override=endpoint,
            region=credentials.get("AWS_REGION", "us-east-1"),
            request_timeout=_TIMEOUT_SECONDS,
        )
        found = store.get_file_info(path)
        if found.type == FileType.NotFound:
            raise DataError(f"{source} is not there: check the bucket, the path and AWS_ENDPOINT_URL")
        alone = found.type == FileType.File
        copy_files(
            path,
            str(folder / found.base_name if alone else folder),
            source_filesystem=store,
            destination_filesystem=LocalFileSystem(),
        )
    except (OSError, ValueError) as error:
        raise AccessError(
            f"{source} cannot be read ({why(error)}): check that the secret's AWS_ACCESS_KEY_ID may read it, and "
            f"AWS_ENDPOINT_URL ({endpoint or 'Amazon'})"
        ) from error


def _fetch_https(source: str, folder: Path) -> None:
    """Follow redirects one by one: a public address may not lead into the cluster's own network."""
    import requests

    address = source
    try:
        for _ in range(_MOST_REDIRECTS):
            with requests.get(address, stream=True, allow_redirects=False, timeout=_TIMEOUT_SECONDS) as answer:
                if answer.is_redirect:
                    address = urljoin(address, answer.headers["Location"])
                    _refuse_private(source, address)
                    continue
                answer.raise_for_status()
                with (folder / _file_name(source)).open("wb") as file:
                    for chunk in answer.iter_content(_CHUNK):
                        file.write(chunk)
                return
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        kind = DataError if status in (404, 410) else AccessError
        raise kind(f"{source} answered {status}: check the address and who may read it") from error
    except requests.RequestException as error:
        raise AccessError(f"{source} cannot be read: {why(error)}; check the address and the network policy") from error
    raise AccessError(f"{source} redirects more than {_MOST_REDIRECTS} times")


def _refuse_private(source: str, address: str) -> None:
    parts = urlsplit(address)
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except OSError as error:
        raise AccessError(f"{source} redirects to {parts.hostname}, which has no address") from error
    if parts.scheme != "https" or any(not ipaddress.ip_address(entry[4][0]).is_global for entry in found):
        raise AccessError(
            f"{source} redirects to {parts.scheme}://{parts.hostname}, which is not a public https address: "
            "name the final address as the source"
        )


def _file_name(source: str) -> str:
    return urlsplit(source).path.rpartition("/")[2] or "data"


def _fetch_hub(source: str, folder: Path, credentials: Mapping[str, str]) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    match = _HUB.fullmatch(source)
    if not match:
        raise DataError(
            f"{source} is no hub address: write hf://OWNER/NAME or hf://datasets/OWNER/NAME[@REVISION][/PATH]"
        )
    path = match["path"]
    try:
        snapshot_download(
            match["name"],
            repo_type="dataset" if match["kind"] else "model",
            revision=match["revision"],
            allow_patterns=[path, f"{path}/*"] if path else None,
            local_dir=folder,
            token=credentials.get("HF_TOKEN", None if credentials is os.environ else False),
            endpoint=credentials.get("HF_ENDPOINT"),
        )
    except (RepositoryNotFoundError, HfHubHTTPError) as error:
        raise AccessError(f"the hub refuses {source} ({why(error)}): check the name, and HF_TOKEN") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise AccessError(f"the hub cannot be reached for {source} ({why(error)}): check HF_ENDPOINT") from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    if not any(file.is_file() for file in folder.rglob("*")):
        raise DataError(f"{source} holds no such file: check the path")
