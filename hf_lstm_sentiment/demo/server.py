"""The server of the demo: limits to requests, threads, sessions and the queue, and the page's colors."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..inference.explanation import css
from .page import MAX_BATCH

if TYPE_CHECKING:
    import gradio as gr

# Bytes of a request; JSON may spell a character with several.
MAX_REQUEST = 4 * MAX_BATCH


def _bounded(app: Any) -> Any:
    """ASGI middleware that refuses requests above a size, before anything of them is parsed."""
    from starlette.responses import PlainTextResponse

    async def handle(scope: Any, receive: Any, send: Any) -> None:
        declared = dict(scope["headers"] if scope["type"] == "http" else ()).get(b"content-length", b"")
        received = 0

        async def counted() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # Of a body that does not say its length, no more is read.
            return message if received <= MAX_REQUEST else {"type": "http.disconnect"}

        if declared.isdigit() and int(declared) > MAX_REQUEST:
            said = f"a request has {int(declared):,} bytes; up to {MAX_REQUEST:,} are read here"
            await PlainTextResponse(said, 413, {"connection": "close"})(scope, receive, send)
        else:
            await app(scope, counted, send)

    return handle


def launch(page: gr.Blocks, *, host: str | None = None, port: int | None = None) -> None:
    """Serve a page until the process ends.

    Without a host, Gradio reads `GRADIO_SERVER_NAME`, else it is 127.0.0.1; without a port, it is the first free one
    from 7860.
    """
    import gradio as gr
    from starlette.middleware import Middleware

    # Requests run side by side, so that each gets one core.
    torch.set_num_threads(1)
    # Fonts of the machine: nothing is fetched from elsewhere.
    sans, mono = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    theme = gr.themes.Soft(primary_hue="blue", neutral_hue="zinc", font=sans, font_mono=mono)
    own = Path(__file__).with_name("demo.css").read_text(encoding="utf-8")
    # Requests that may wait.
    page.queue(max_size=500)
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        ssr_mode=False,
        max_file_size=MAX_BATCH,
        # For as many requests at once as there are processors, and for files beside them.
        max_threads=2 * (os.cpu_count() or 1),
        # Whoever calls without the name of a session is a new one; a forgotten one begins anew and misses nothing.
        state_session_capacity=100,
        app_kwargs={"middleware": [Middleware(_bounded)]},
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        theme=theme,
        css=css() + own,
    )
