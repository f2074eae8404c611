"""The finished weights in the precision of the training, however the strategy saved them.

One process, DDP and FSDP train 32-bit weights and save these; DeepSpeed saves the 16-bit copy that it computes with.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["cast_weights"]

_INDEX = "model.safetensors.index.json"


def cast_weights(folder: Path, dtype: "torch.dtype") -> None:
    """Have every weight of a saved model in this type, a file at a time; what is no fraction stays."""
    size = sum(_cast(path, dtype) for path in sorted(folder.glob("*.safetensors")))
    config = json.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": str(dtype).removeprefix("torch.")}, indent=2))
    if (index := folder / _INDEX).exists():
        content = json.loads(index.read_bytes())
        content.setdefault("metadata", {})["total_size"] = size
        index.write_text(json.dumps(content, indent=2))


def _cast(path: Path, dtype: "torch.dtype") -> int:
    """Return the bytes of the weights."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    cast = {name: weight.to(dtype) if weight.is_floating_point() else weight for name, weight in weights.items()}
    if any(cast[name].dtype != weight.dtype for name, weight in weights.items()):
        draft = path.with_suffix(".draft")
        save_file(cast, draft, metadata)
        draft.rename(path)
    return sum(weight.nbytes for weight in cast.values())
