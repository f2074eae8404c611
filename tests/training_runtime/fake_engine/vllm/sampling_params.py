from typing import Any


def StructuredOutputsParams(*, json: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - vLLM's name
    return {"json": json}
