"""`push_to_hub` and its kin among the Trainer's arguments: the finished run goes to the Hub, by `push_run`.

The Trainer itself would push every checkpoint, with a card that knows nothing of the data and a pickle of its
arguments.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..hub.push import PushedRun, check_destination, full_repo_id, push_run

_OTHERS = ("hub_model_id", "hub_token", "hub_private_repo", "hub_revision")


@dataclass(frozen=True)
class HubArguments:
    """Where a run is to be pushed once it is finished.

    Attributes:
        repo_id: "user/name", or a name under the account that the token belongs to.
        token: Access token; the one that huggingface_hub finds where None.
        private: Whether a new repository is private; the account's default where None.
        revision: Branch to commit to; `main` where None.
    """

    repo_id: str
    token: str | None = field(default=None, repr=False)
    private: bool | None = None
    revision: str | None = None

    def checked(self) -> HubArguments:
        """The same with the whole name, after a look whether the run can be pushed there.

        Raises:
            ConnectionError, PermissionError, ValueError, OSError: As `check_destination`.
        """
        repo_id = full_repo_id(self.repo_id, token=self.token)
        check_destination(repo_id, private=self.private, revision=self.revision, token=self.token)
        return replace(self, repo_id=repo_id)

    def push(self, run: Path) -> PushedRun:
        """Publish the finished run.

        Args:
            run: The run directory.

        Raises:
            ConnectionError, PermissionError, ValueError, OSError: As `push_run`; the message says how to push the run
                without training it again.
        """
        try:
            repo_id = full_repo_id(self.repo_id, token=self.token)
            return push_run(run, repo_id, private=self.private, revision=self.revision, token=self.token)
        except (OSError, ValueError) as error:
            kind = next(k for k in (ConnectionError, PermissionError, OSError, ValueError) if isinstance(error, k))
            raise kind(
                f"the run is finished, but not published: {error}\n"
                "Pass resume (--resume) to push it without training it again, or use scripts/push_to_hub.py"
            ) from error


def take_hub_arguments(training_arguments: MutableMapping[str, Any], run: Path) -> HubArguments | None:
    """Take everything about the Hub out of the arguments that go to the Trainer and into the run's records.

    Args:
        training_arguments: Fields of `TrainingArguments`; those of the Hub are removed.
        run: The run directory, whose name is the repository's where no other is given.

    Returns:
        Where to push; None where nothing is to be pushed.

    Raises:
        ValueError: A field that does not go with the others, or asks for what is not done here.
    """
    strategy = training_arguments.pop("hub_strategy", None)
    strategy = getattr(strategy, "value", strategy)
    if strategy not in (None, "end"):
        raise ValueError(f"hub_strategy is {strategy!r}; a run is pushed once, when it is finished; allowed: 'end'")
    if training_arguments.pop("hub_always_push", False):
        raise ValueError("hub_always_push is True; a run is pushed once, when it is finished; leave it out")
    wanted = training_arguments.pop("push_to_hub", False)
    given = {name: training_arguments.pop(name, None) for name in _OTHERS}
    if not wanted:
        unused = [name for name, value in given.items() if value is not None]
        if unused:
            raise ValueError(f"{unused[0]} is given, but push_to_hub is not; pass push_to_hub (--push_to_hub) too")
        return None
    return HubArguments(
        given["hub_model_id"] or run.name, given["hub_token"], given["hub_private_repo"], given["hub_revision"]
    )
