"""The word `demo`."""

from collections.abc import Sequence

from .console import new_parser, parsed, say


def demo(words: Sequence[str]) -> None:
    """Open the demo page, http://127.0.0.1:7860, or write it as a folder: a Gradio Space or a static one."""
    from ..model.pretrained_models import held, pretrained

    shipped = [pretrained(name) for name in held()]
    which = "Run directories or repositories of the Hub to choose from, the first at first; the package's own."
    examples = ("% --model runs/mine USER/NAME", "% --export_space space", "% --export_static site")
    given = parsed(
        new_parser("demo", demo.__doc__, *examples),
        words,
        ("model", "RUN_OR_REPO+", shipped or ..., which),
        ("host", "ADDRESS", "127.0.0.1", "Address to listen on. 0.0.0.0 lets other machines in."),
        ("port", "N", None, "Port to listen on; the first free one from 7860."),
        ("export_space", "DIR", None, "Write a Gradio Space into this folder, and end."),
        ("export_static", "DIR", None, "Write a page of the first model, computed in the browser, and end."),
        ("vendor", "NODE_MODULES", None, "With --export_static: libraries from this folder of npm's, and not a CDN."),
    )
    from ..demo.page import Models, build
    from ..demo.server import launch
    from ..demo.space import export_space
    from ..demo.static import export_static

    models, host = given["model"], given["host"]
    if given["export_static"] or given["export_space"]:
        if given["export_static"]:
            folder = export_static(given["export_static"], model=models[0], vendor=given["vendor"])
            sdk, tried = "static", "python -m http.server"
        else:
            folder, sdk, tried = export_space(given["export_space"], models=models), "gradio", "python app.py"
        say(f"{folder}: try it with `{tried}` there; publish it with")
        say(f"  hf repos create USER/NAME --repo-type space --space-sdk {sdk}")
        say(f"  hf upload USER/NAME {folder} --repo-type space")
        return
    # Strangers may not fill the disk and the memory with models of their choice.
    offered = Models(models, any_model=host in ("127.0.0.1", "localhost", "::1"))
    # Found wrong before a page stands there that cannot answer.
    offered(models[0])
    launch(build(offered), host=host, port=given["port"])
