"""vLLM's own `vllm bench serve`, in a pod of the server's image: a client of the router that is nobody's of ours."""

import json
from typing import Any

from tests.support.pods import HARDENED, pod

__all__ = ["bench_pod", "told"]

_TOKENIZER = """
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
words = {word: number for number, word in enumerate(["<unk>", *(f"w{number}" for number in range(500))])}
made = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>").save_pretrained("/tmp/tokenizer")
"""
"""Of words that a random prompt is made of: no hub is asked for one."""
_BENCH = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
"""`vllm bench serve`. The command itself looks for a distribution called vllm, which is not that for processors."""
_ENVIRONMENT = {"HOME": "/tmp", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_PLUGINS": ""}  # noqa: S108


def bench_pod(name: str, image: str, router: str, model: str, endpoint: str, requests: int) -> dict[str, Any]:
    """The pod; the last line of its log is the result."""
    backend = "openai-chat" if endpoint.endswith("chat/completions") else "openai"
    options = {
        "--backend": backend,
        "--base-url": router,
        "--endpoint": endpoint,
        "--model": model,
        "--tokenizer": "/tmp/tokenizer",  # noqa: S108
        "--dataset-name": "random",
        "--random-input-len": "16",
        "--random-output-len": "8",
        "--num-prompts": str(requests),
        "--max-concurrency": "4",
        "--result-dir": "/tmp",  # noqa: S108
        "--result-filename": "result.json",
    }
    words = " ".join(f"{name} {value}" for name, value in options.items())
    bench = f'python -c "$BENCH" {words} --save-result --save-detailed --disable-tqdm'
    script = f'python -c "$TOKENIZER" && {bench} && echo && cat /tmp/result.json'
    environment = {**_ENVIRONMENT, "TOKENIZER": _TOKENIZER, "BENCH": _BENCH}
    container = {
        "name": "main",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}},
        "securityContext": HARDENED,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    return pod(name, container, volumes=[{"name": "tmp", "emptyDir": {}}])


def told(log: str) -> dict[str, Any]:
    """What the benchmark found."""
    found: dict[str, Any] = json.loads(log.rstrip().rpartition("\n")[2])
    return found
