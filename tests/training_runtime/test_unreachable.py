"""What the real clients raise against real ports, told in words."""

import socket
import ssl
from collections.abc import Callable, Iterator

import pytest
import requests

from training_runtime.unreachable import why

CLOSED = "http://127.0.0.1:9"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - any client's
        return error
    raise AssertionError


def test_requests_errors_are_told_by_their_cause(silent: str) -> None:
    assert why(_raised(lambda: requests.get(CLOSED, timeout=5))) == "the connection was refused"
    unknown = _raised(lambda: requests.get("http://nowhere.invalid", timeout=5))
    assert why(unknown) == "the host name cannot be resolved"
    assert why(_raised(lambda: requests.get(silent, timeout=0.2))) == "no answer in time"


def test_an_http_answer_is_told_by_its_status() -> None:
    response = requests.Response()
    response.status_code, response.reason = 403, "Forbidden"
    assert why(_raised(response.raise_for_status)) == "the answer was 403 Forbidden"


def test_mlflow_s_errors_are_told_by_their_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert why(_raised(lambda: MlflowClient(CLOSED).get_experiment_by_name("x"))) == "the connection was refused"


def test_s3_errors_are_told_by_their_kind() -> None:
    from pyarrow.fs import S3FileSystem

    store = S3FileSystem(endpoint_override=CLOSED, access_key="a", secret_key="b", connect_timeout=1)
    assert why(_raised(lambda: store.get_file_info("bucket/key"))) == "the connection was refused"
    denied = OSError(
        "When getting key 'k' in bucket 'b': AWS Error ACCESS_DENIED during HeadObject operation: No body."
    )
    assert why(denied) == "access denied"


def test_a_certificate_that_is_not_trusted_is_told() -> None:
    outer = requests.exceptions.SSLError("HTTPSConnectionPool(host='h', port=443): Max retries exceeded")
    outer.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert why(outer) == "the certificate is not trusted"


def test_what_has_no_known_cause_is_told_in_its_first_line() -> None:
    assert why(ValueError("not so\nTraceback")) == "not so"
    assert why(ValueError()) == "no message"
    assert why(OSError("HTTPConnectionPool(host='h', port=1): broken")) == "the connection broke"
