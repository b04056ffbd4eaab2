"""Open the demo page, http://127.0.0.1:7860, or write it as a folder: a Gradio Space or a static one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..model.pretrained_models import held, pretrained
from .console import described, say, typed


def main(words: Sequence[str]) -> None:
    """Parse the command line, then serve the page or write it."""
    examples = ("% --model runs/mine USER/NAME", "% --export_space space", "% --export_static site")
    parser = argparse.ArgumentParser(**described("demo", __doc__, *examples))
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
    parser.add_argument("--port", metavar="N", type=int, help="Port to listen on; the first free one from 7860.")
    parser.add_argument("--export_space", metavar="DIR", help="Write a Gradio Space into this folder, and end.")
    parser.add_argument(
        "--export_static",
        metavar="DIR",
        help="Write a page that computes in the browser, of the first model, into this folder, and end.",
    )
    parser.add_argument(
        "--vendor",
        metavar="NODE_MODULES",
        help="With --export_static: take the page's libraries from this folder of npm's, for a page that needs no CDN.",
    )
    arguments = parser.parse_args(typed(parser, words))

    from ..demo.page import Models, build
    from ..demo.server import launch
    from ..demo.space import export_space
    from ..demo.static import export_static

    if arguments.export_static:
        folder = export_static(arguments.export_static, model=arguments.model[0], vendor=arguments.vendor)
        say(f"{folder}: try it with `python -m http.server` there; publish it with")
        say("  hf repos create USER/NAME --repo-type space --space-sdk static")
        say(f"  hf upload USER/NAME {folder} --repo-type space")
        return
    if arguments.export_space:
        folder = export_space(arguments.export_space, models=arguments.model)
        say(f"{folder}: try it with `python app.py` there; publish it with")
        say("  hf repos create USER/NAME --repo-type space --space-sdk gradio")
        say(f"  hf upload USER/NAME {folder} --repo-type space")
        return
    # Strangers may not fill the disk and the memory with models of their choice.
    models = Models(arguments.model, any_model=arguments.host in ("127.0.0.1", "localhost", "::1"))
    # Found wrong before a page stands there that cannot answer.
    models(models.names[0])
    launch(build(models), host=arguments.host, port=arguments.port)
