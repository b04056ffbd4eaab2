"""What goes wrong on the Hub, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

LOGIN = "run hf auth login, or set HF_TOKEN, with a token of the role write (https://huggingface.co/settings/tokens)"


@contextmanager
def in_own_words(repo_id: str, *, published: str | None = None) -> Iterator[None]:
    """Say what went wrong on the Hub, and what to do, without any header, address or token.

    Args:
        repo_id: The repository in question.
        published: Commit that has arrived already, where only its tag is missing.
    """
    try:
        yield
    except Exception as error:
        explained = _explain(error, repo_id)
        if explained is None:
            raise
        if published is not None:
            text = f"commit {published} is published in {repo_id}, but it has no tag yet: {explained}"
            raise type(explained)(text) from error
        # A server may repeat in its answer what it was sent; nobody is shown that for a token.
        raise explained from None if isinstance(explained, PermissionError) else error


def may_not_write(repo_id: str) -> PermissionError:
    """The error for a token that is good for something else.

    Args:
        repo_id: Where it may not write.
    """
    owner = repo_id.split("/")[0]
    return PermissionError(
        f"the access token may not write to {repo_id} (403); it must have the role write, and be one of {owner} or of "
        f"a member of the organisation {owner}: {LOGIN}"
    )


def _explain(error: BaseException, repo_id: str) -> Exception | None:
    """An error of huggingface_hub as one of ours; None for what already is one."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    again = "A commit arrives whole or not at all: run the same command again"
    # Uploads wrap what their connection raises.
    cause: BaseException = error
    while not isinstance(cause, (HTTPError, OfflineModeIsEnabled)) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OfflineModeIsEnabled):
        return ConnectionError(f"{repo_id} cannot be pushed to, HF_HUB_OFFLINE is set; unset it")
    if not isinstance(cause, HfHubHTTPError):
        if isinstance(cause, HTTPError) or type(error).__module__.startswith("hf_xet"):
            return ConnectionError(f"the connection to {constants.ENDPOINT} failed ({type(cause).__name__}). {again}")
        return None
    status = cause.response.status_code
    if status == 401:
        return PermissionError(f"the Hub does not accept the access token (401), it is wrong or was revoked: {LOGIN}")
    if status == 403:
        return may_not_write(repo_id)
    if status in (409, 412):
        return OSError(f"somebody else changed {repo_id} during the push ({status}), nothing was sent. {again}")
    if status == 429 or status >= 500:
        return ConnectionError(f"the Hub is busy or in trouble ({status}). {again}, later")
    reason = " ".join((cause.server_message or type(cause).__name__).split())
    return (ValueError if status == 400 else OSError)(f"the Hub refuses the push to {repo_id} ({status}): {reason}")
