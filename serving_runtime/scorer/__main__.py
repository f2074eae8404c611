"""Start the scorer: `python -m serving_runtime.scorer --port 8083 --plan /etc/anneal/scorer/scoring.json`."""

import argparse
import logging
from pathlib import Path

from serving_runtime.keys import Keyed, key_of
from serving_runtime.plan import ADMIN_KEY_VARIABLE
from serving_runtime.scoring import ScoringPlan

__all__ = ["main"]


def main() -> None:
    """Score until the pod ends."""
    import uvicorn

    from .app import create_app
    from .desk import Desk
    from .recorder import Recorder

    parser = argparse.ArgumentParser(prog="python -m serving_runtime.scorer", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--plan", type=Path, required=True, help="what is scored, and by what")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    plan, key = ScoringPlan.model_validate_json(options.plan.read_text()), key_of(ADMIN_KEY_VARIABLE)
    app = create_app(Desk(plan, Recorder(plan.recorder, key)))
    uvicorn.run(Keyed(app, key, ("/health",)), host="0.0.0.0", port=options.port, log_level="warning")  # noqa: S104 - a pod


if __name__ == "__main__":
    main()
