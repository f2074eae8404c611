"""The images, run by the cluster as users would run them: not root, in a namespace that enforces `restricted`."""

import hashlib
import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

from images.build import build_wheel
from images.catalogue import BY_NAME
from tests.serving_runtime import engine_options
from tests.serving_runtime.engine_options import GOLDEN
from tests.support.pods import HARDENED, pod

from .conftest import CHECKOUT, Cluster

pytestmark = pytest.mark.node

# What each image is for, said as the imports that fail when a package or a system library is missing.
IMPORTS = {
    "operator": "anneal_operator, cryptography, kopf, kubernetes.aio.client, mlflow, pydantic_settings, scipy.stats",
    "router": "serving_runtime, fastapi, h11, uvicorn",
    "trainer": "training_runtime, accelerate, bitsandbytes, datasets, deepspeed, mlflow, peft, rensa, sklearn, trl",
    "server": "serving_runtime, torch, transformers, vllm, vllm.entrypoints.openai.api_server",
    "mlflow": "mlflow.server, psycopg2",
}
OPTIONS = inspect.getsource(engine_options).partition("if __name__")[0]
COMPILERS = "gcc g++"
TOOLS = "make pip pip3 uv git"
COMPILING = ("trainer", "server")  # Triton and TorchInductor compile what a model needs when they first run it


@pytest.mark.parametrize("name", IMPORTS)
def test_an_image_runs_restricted_and_holds_what_it_needs(name: str, images: dict[str, str], cluster: Cluster) -> None:
    cluster.kubectl("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted")
    script = f"import os, shutil, {IMPORTS[name]}; print('image-works', os.getuid(), shutil.which('python'))"
    cluster.apply(pod("main", _python(images[name], script), volumes=_SCRATCH))
    assert cluster.logs_until("main", "image-works", patience=180).endswith(
        "image-works 65532 /opt/anneal/bin/python\n"
    )


@pytest.mark.parametrize("name", IMPORTS)
def test_an_image_holds_no_build_tools_but_the_compilers_that_it_needs(
    name: str, images: dict[str, str], cluster: Cluster
) -> None:
    script = f"import shutil; print('tools:', *(t for t in '{COMPILERS} {TOOLS}'.split() if shutil.which(t)))"
    cluster.apply(pod("main", _python(images[name], script), volumes=_SCRATCH))
    expected = f"tools: {COMPILERS}\n" if name in COMPILING else "tools:\n"
    assert cluster.logs_until("main", "tools:") == expected


@pytest.mark.parametrize("name", COMPILING)
def test_triton_compiles_its_driver_as_at_the_first_kernel_on_a_gpu(
    name: str, images: dict[str, str], cluster: Cluster
) -> None:
    """All of it but the link to libcuda, which comes with a node's GPUs."""
    script = (
        "import os\n"
        "from triton.backends.nvidia import driver\n"
        "from triton.runtime.build import _build\n"
        "source = os.path.join(driver.dirname, 'driver.c')\n"
        "print('compiled', os.path.getsize(_build('cuda_utils', source, '/tmp', [], driver.include_dirs, [], [])))\n"
    )
    cluster.kubectl("label", "namespace", cluster.namespace, "pod-security.kubernetes.io/enforce=restricted")
    cluster.apply(pod("main", _python(images[name], script), volumes=_SCRATCH))
    assert int(cluster.logs_until("main", "compiled", patience=120).split()[-1]) > 10_000


@pytest.mark.soak
@pytest.mark.timeout(2400)
def test_the_gpu_server_imports_vllm_and_knows_every_flag_that_the_launcher_writes(cluster: Cluster) -> None:
    build = [sys.executable, "-m", "images", "build", "server-gpu", "--load"]
    built = subprocess.run(build, check=True, cwd=CHECKOUT, capture_output=True, text=True).stdout.split()[-1]
    script = (
        "import vllm.platforms\n"
        "from vllm.platforms import interface\n"
        "class Gpu(interface.Platform):\n"  # vLLM's own loads the driver, which comes with a node's GPUs
        "    _enum, device_name, device_type = interface.PlatformEnum.CUDA, 'cuda', 'cuda'\n"
        "vllm.platforms._current_platform = Gpu()\n"
        f"__file__ = '/tmp/options.py'\n{OPTIONS}\n"
        "from serving_runtime.command import engine_command\n"
        "from serving_runtime.plan import ServingPlan\n"
        "plan = ServingPlan(tracking_uri='', uri='', digest='', served_name='m', public_name='p', dtype='BF16',"
        " max_model_length=64, tensor_parallel=2, quantization='FP8', prefix_caching=False,"
        " engine_args=['--max-num-seqs=8', '--no-async-scheduling'])\n"
        "command = engine_command(plan, Path('/model'), 8000, is_keyed=True)\n"
        "from vllm.entrypoints.launchers.cli_args import make_arg_parser\n"
        "from vllm.utils.argparse_utils import FlexibleArgumentParser\n"
        "read = make_arg_parser(FlexibleArgumentParser()).parse_args(command[3:])\n"
        "parsed = (read.served_model_name, read.port, read.middleware, read.dtype, read.quantization,"
        " read.tensor_parallel_size, read.enable_prefix_caching, read.max_num_seqs, read.async_scheduling)\n"
        "print(json.dumps({'parsed': parsed, 'options': options()}))\n"
    )
    cluster.apply(pod("main", _python(built, script), volumes=_SCRATCH))
    told = json.loads(cluster.logs_until("main", '"parsed"', patience=300).splitlines()[-1])
    middlewares = ["serving_runtime.without_tools.WithoutTools", "serving_runtime.engine_key.EngineKey"]
    assert told["parsed"] == [["p", "m"], 8000, middlewares, "bfloat16", "fp8_per_tensor", 2, False, 8, False]
    expected = json.loads(GOLDEN.read_bytes())
    expected["arguments"]["--mm-processor-device"] = ["auto", "cpu", "cuda"]  # what the processor's build has not
    assert told["options"] == expected


def test_nginx_runs_lua_in_the_router_image(images: dict[str, str], cluster: Cluster) -> None:
    configuration = (
        "load_module modules/ndk_http_module.so; load_module modules/ngx_http_lua_module.so; pid /tmp/pid; "
        "events {} http { access_log off; client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; "
        "fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s; server { listen 8080; "
        "location / { content_by_lua_block { ngx.print(require('cjson').encode({works = true})) } } } }"
    )
    script = (
        "import pathlib, subprocess, time, urllib.request\n"
        f"pathlib.Path('/tmp/nginx.conf').write_text({configuration!r})\n"
        "server = subprocess.Popen(['nginx', '-e', 'stderr', '-c', '/tmp/nginx.conf', '-g', 'daemon off;'])\n"
        "for _ in range(50):\n"
        "    try: print(urllib.request.urlopen('http://127.0.0.1:8080/').read().decode()); break\n"
        "    except OSError: time.sleep(0.1)\n"
        "server.terminate()\n"
    )
    cluster.apply(pod("main", _python(images["router"], script), volumes=_SCRATCH))
    assert '{"works":true}' in cluster.logs_until("main", "works")


@pytest.mark.parametrize("name", [name for name in IMPORTS if BY_NAME[name].has_wheel])
def test_an_image_holds_the_checkout_s_code(name: str, images: dict[str, str], cluster: Cluster) -> None:
    script = (
        "import hashlib, pathlib, anneal_operator as package\n"
        "root = pathlib.Path(package.__file__).parents[1]\n"
        "files = sorted(f for p in ('anneal_operator', 'prompts', 'serving_runtime', 'training_runtime') "
        "for f in (root / p).rglob('*.py'))\n"
        "print('code', hashlib.sha256(b''.join(f.read_bytes() for f in files)).hexdigest())\n"
    )
    cluster.apply(pod("main", _python(images[name], script), volumes=_SCRATCH))
    packages = ("operator/anneal_operator", "prompts", "serving_runtime", "training_runtime")
    folders = [CHECKOUT / package for package in packages]
    content = b"".join(file.read_bytes() for folder in folders for file in sorted(folder.rglob("*.py")))
    assert cluster.logs_until("main", "code") == f"code {hashlib.sha256(content).hexdigest()}\n"


def test_trainer_and_server_share_the_torch_layers(images: dict[str, str]) -> None:
    torch, trainer, server = (_layers(name) for name in (_torch(), images["trainer"], images["server"]))
    assert trainer[: len(torch)] == torch
    assert server[: len(torch)] == torch


def test_the_wheel_of_the_same_sources_has_the_same_bytes() -> None:
    first = hashlib.sha256(build_wheel().read_bytes()).hexdigest()
    assert hashlib.sha256(build_wheel().read_bytes()).hexdigest() == first


def test_a_pod_calls_the_api_server_with_its_own_token(images: dict[str, str], cluster: Cluster) -> None:
    script = (
        "import json; from kubernetes import client, config; config.load_incluster_config(); api = client.ApiClient()\n"
        "answer = api.call_api(*api.param_serialize('GET', '/version', auth_settings=['BearerToken']))\n"
        "print('server', json.loads(answer.read())['gitVersion'])"
    )
    cluster.apply(pod("main", _python(images["operator"], script), volumes=_SCRATCH))
    assert cluster.logs_until("main", "server") == "server v1.36.3\n"


_SCRATCH = [{"name": "tmp", "emptyDir": {}}]


def _python(image: str, script: str) -> dict[str, Any]:
    mounts = {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}  # noqa: S108 - inside the container
    home = [{"name": "HOME", "value": "/tmp"}]  # noqa: S108
    container = {"name": "main", "image": image, "imagePullPolicy": "Never", "securityContext": HARDENED, "env": home}
    return {**container, "command": ["python", "-c", script], **mounts}


def _torch() -> str:
    built = subprocess.run(
        [sys.executable, "-m", "images", "build", "torch"], check=True, cwd=CHECKOUT, capture_output=True, text=True
    )
    return built.stdout.split()[-1]  # after what it says of images that it had to build


def _layers(reference: str) -> list[str]:
    command = ["buildah", "inspect", "--type=image", reference]
    inspected = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    layers: list[str] = inspected["OCIv1"]["rootfs"]["diff_ids"]
    return layers
