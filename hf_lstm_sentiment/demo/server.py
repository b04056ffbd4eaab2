"""The demo's server: what of Gradio is set, bounded and mended so that it stays up and stays small."""

from __future__ import annotations

import contextlib
import ctypes
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..inference.explanation import css
from .page import MAX_BATCH

if TYPE_CHECKING:
    import gradio as gr

# Bytes of a request; JSON may spell a character with several.
MAX_REQUEST = 4 * MAX_BATCH
# Sessions that are remembered, the latest ones. A forgotten one begins anew with its next request and misses nothing.
_SESSIONS = 100
# Requests that may wait.
_QUEUED = 500
# Sessions for which answers are kept until they are fetched: those that were used last.
_ANSWERED = 2 * _QUEUED


class LatestUsed(OrderedDict[Any, Any]):
    """A dictionary that keeps the entries that were set or looked up last.

    Gradio keeps the answers of a session in one that drops what was set first, even if someone is waiting for it.

    Args:
        most: So many entries.
        dropped: Is told the key of each entry that was dropped.
    """

    def __init__(self, most: int, dropped: Callable[[Any], Any]) -> None:
        super().__init__()
        self._most, self._dropped = most, dropped

    def __getitem__(self, key: Any) -> Any:
        self.move_to_end(key)
        return super().__getitem__(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self._most:
            oldest = next(iter(self))
            del self[oldest]
            self._dropped(oldest)


class _BoundedRequests:
    """ASGI middleware that refuses requests above a size, before anything of them is parsed."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        declared = dict(scope["headers"] if scope["type"] == "http" else ()).get(b"content-length", b"")
        received = 0

        async def counted() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # Of a body that does not say its length, no more is read.
            return message if received <= MAX_REQUEST else {"type": "http.disconnect"}

        if declared.isdigit() and int(declared) > MAX_REQUEST:
            said = f"a request has {int(declared):,} bytes; up to {MAX_REQUEST:,} are read here".encode()
            headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": 413, "headers": headers})
            await send({"type": "http.response.body", "body": said})
        else:
            await self._app(scope, counted, send)


def _keep_memory_flat() -> None:
    """Have the threads share one heap, and give large blocks back when they are freed, where the C library is glibc.

    It gives each thread a heap of its own, which keeps what was freed. Requests run in threads that come and go, so
    that a server's memory would grow with every request. And once a large block was freed, it takes such blocks from
    the heap, too, where they leave holes: reviews would be explained a fifth faster, and memory would go up and down.
    """
    arena_max, mmap_threshold = -8, -3  # M_ARENA_MAX and M_MMAP_THRESHOLD of malloc.h
    with contextlib.suppress(AttributeError, OSError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(arena_max, 1)
        allocator.mallopt(mmap_threshold, 4 * 2**20)


def launch(page: gr.Blocks, *, host: str | None = None, port: int | None = None, block: bool = True) -> str:
    """Serve a page until the process ends.

    Args:
        page: What :func:`build` made.
        host: Address to listen on; None for what the environment variable `GRADIO_SERVER_NAME` says, else 127.0.0.1.
        port: Port to listen on; None for the first free one from 7860.
        block: Return only when the server stops.

    Returns:
        The address of the page.

    Raises:
        OSError: The port is taken.
    """
    import gradio as gr
    from starlette.middleware import Middleware

    # Requests run side by side, so that each gets one core.
    torch.set_num_threads(1)
    _keep_memory_flat()
    fonts = ["system-ui", "sans-serif"]
    theme = gr.themes.Soft(
        primary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.zinc,
        # Fonts of the machine: nothing is fetched from elsewhere.
        font=fonts,
        font_mono=["ui-monospace", "monospace"],
    ).set(
        block_title_background_fill="transparent",
        block_title_text_color="*body_text_color",
        block_title_padding="0",
        block_label_background_fill="transparent",
        block_label_text_color="*body_text_color",
        block_border_width="1px",
        button_border_width="1px",
        button_secondary_border_color="*border_color_primary",
        button_secondary_border_color_dark="*border_color_primary",
        button_secondary_background_fill_hover_dark="*neutral_700",
        # White on it has a contrast of 7.
        button_primary_background_fill="#005a8c",
        button_primary_background_fill_hover="#00486f",
        button_primary_background_fill_dark="#005a8c",
        button_primary_background_fill_hover_dark="#0072b2",
    )
    own = Path(__file__).with_name("demo.css").read_text(encoding="utf-8")
    page.queue(max_size=_QUEUED)
    queue: Any = page._queue
    # Gradio would remember the name of every session for good.
    queue.pending_messages_per_session = LatestUsed(
        _ANSWERED, dropped=lambda session: queue.pending_event_ids_session.pop(session, None)
    )
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=not block,
        share=False,
        ssr_mode=False,
        max_file_size=MAX_BATCH,
        # Whoever calls without the name of a session is a new one.
        state_session_capacity=_SESSIONS,
        app_kwargs={"middleware": [Middleware(_BoundedRequests)]},
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        theme=theme,
        css=css() + own,
        quiet=not block,
    )
    return address
