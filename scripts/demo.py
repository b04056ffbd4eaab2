"""Open the demo page: `python scripts/demo.py`, then http://127.0.0.1:7860.

`--export_space DIR` writes the page as a folder that can be pushed to a Gradio Space of the Hub.
"""

from __future__ import annotations

import argparse
import sys

from hf_lstm_sentiment import pretrained
from hf_lstm_sentiment.demo.page import Models, build
from hf_lstm_sentiment.demo.server import launch
from hf_lstm_sentiment.demo.space import export_space
from hf_lstm_sentiment.model.pretrained_models import held


def main() -> None:
    """Parse the command line, then serve the page or write it."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shipped = [pretrained(name) for name in held()]
    parser.add_argument(
        "--model",
        nargs="+",
        metavar="RUN_OR_REPO",
        default=shipped,
        required=not shipped,
        help="Run directories or repositories of the Hub to choose from; the page starts with the first. By default "
        "what comes with the package.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="Address to listen on. 0.0.0.0 lets other machines in.")
    parser.add_argument("--port", type=int, help="Port to listen on; the first free one from 7860.")
    parser.add_argument("--export_space", metavar="DIR", help="Write a Gradio Space into this folder, and end.")
    arguments = parser.parse_args()

    try:
        if arguments.export_space:
            folder = export_space(arguments.export_space, models=arguments.model)
            print(f"{folder}: try it with `python app.py` there; publish it with")
            print("  hf repos create USER/NAME --repo-type space --space-sdk gradio")
            print(f"  hf upload USER/NAME {folder} --repo-type space")
            return
        # Strangers may not fill the disk and the memory with models of their choice.
        models = Models(arguments.model, any_model=arguments.host in ("127.0.0.1", "localhost", "::1"))
        # Found wrong before a page stands there that cannot answer.
        models(models.names[0])
        launch(build(models), host=arguments.host, port=arguments.port)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()
