"""What keeps everybody but the routers from an engine: `vllm serve --middleware serving_runtime.engine_key.EngineKey`.

vLLM's own `--api-key` leaves paths open that load adapters, tokenize, or answer under another name.
"""

from .keys import App, Keyed, key_of
from .lifecycle import OPEN_PATHS, Lifecycle
from .plan import ENGINE_KEY_VARIABLE

__all__ = ["EngineKey"]


class EngineKey(Keyed):
    """Demands the key everywhere but where the kubelet and Prometheus ask, and tells how the engine begins and ends."""

    def __init__(self, app: App) -> None:
        super().__init__(Lifecycle(app), key_of(ENGINE_KEY_VARIABLE), OPEN_PATHS)
