"""The real client of the Hub, publishing to the loopback one."""

from __future__ import annotations

import json
import logging
import re
import traceback

import pytest

from hf_lstm_sentiment.cli import main
from hf_lstm_sentiment.hub.push import push_run
from tests.hub_clients import (
    PUBLISHED,
    READ,
    TAG,
    WRITE,
    WRONG,
    contents,
    push,
    received,
    refusal,
)
from tests.hub_server import Repository

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        *(
            (name, {}, re.escape(f"repo_id {name!r}") + ".*allowed: USER/NAME")
            for name in ("model", "a/b/c", "user/na me", "/model", "")
        ),
        ("user/name", {"tag": "a b"}, "tag 'a b' is no name; allowed: letters"),
        ("user/name", {"tag": "v1", "create_pr": True}, "tag 'v1' cannot be set on a pull request"),
        ("user/name", {"revision": "../main"}, "revision '../main' is no name"),
        ("user/name", {"revision": "0" * 40}, "is no name; .* not the hash of a commit"),
    ],
)
def test_names_are_checked(trained, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        push_run(trained, name, token=WRITE, **arguments)


def test_offline_is_said(trained):
    with pytest.raises(ConnectionError, match="user/name cannot be pushed to, HF_HUB_OFFLINE is set; unset it"):
        push_run(trained, "user/name", token=WRITE)


def change_title(run):
    card = run / "README.md"
    card.write_text(card.read_text().replace("\n# ", "\n# New ", 1))


@pytest.fixture
def writes(hub):
    """The requests since then that change something."""
    start = len(hub.requests)
    harmless = re.compile(r"/api/validate-yaml|/preupload/|/paths-info/|/lfs/objects/batch")
    return lambda: [
        (method, path)
        for method, path in hub.requests[start:]
        if method not in ("GET", "HEAD") and not harmless.search(path)
    ]


def test_a_run_arrives_as_it_is_in_one_tagged_commit(hub, run):
    pushed = push(run, "user/first")
    repository = hub.repositories["user/first"]
    assert received(hub, "user/first") == contents(run)
    accuracy = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
    assert repository.history() == [f"tiny, seed 42: test accuracy {accuracy:.2%}", "initial commit"]
    assert (repository.tags, repository.branches) == ({TAG: pushed.commit}, {"main": pushed.commit})
    assert pushed.url == f"{hub.endpoint}/user/first"
    assert (pushed.tag, pushed.files) == (TAG, tuple(sorted(PUBLISHED)))
    assert pushed.commit in pushed.snippet
    large = {name for name, file in repository.commits[pushed.commit].files.items() if file.lfs}
    assert large == {"model.safetensors"}
    assert not repository.private


def test_the_same_push_again_changes_nothing(hub, run, writes):
    first = push(run, "user/again", commit_message="mine")
    assert hub.repositories["user/again"].history()[0] == "mine"
    before = len(writes())
    assert push(run, "user/again") == first
    assert len(writes()) == before
    assert push(run, "user/again", tag="best").commit == first.commit
    assert hub.repositories["user/again"].tags == {TAG: first.commit, "best": first.commit}


def test_a_tag_is_not_moved(hub, run, writes):
    first = push(run, "user/tagged")
    change_title(run)
    before = len(writes())
    message = refusal(ValueError, push, run, "user/tagged")
    assert f"tag {TAG} of user/tagged stands at commit {first.commit[:12]}" in message
    assert f"--tag {TAG}-2" in message
    assert len(writes()) == before
    second = push(run, "user/tagged", tag=f"{TAG}-2")
    repository = hub.repositories["user/tagged"]
    assert repository.tags == {TAG: first.commit, f"{TAG}-2": second.commit}
    assert len(repository.history()) == 3
    assert received(hub, "user/tagged") == contents(run)


def test_only_what_an_earlier_push_left_is_deleted(hub, run):
    (run / "plots" / "old.png").write_bytes(b"picture")
    push(run, "user/kept")
    assert "plots/old.png" in received(hub, "user/kept")
    own = ("handler.py", "LICENSE", "pytorch_model.bin", "plots/data.csv", "a/b.py")
    hub.repositories["user/kept"].add(dict.fromkeys(own, b"mine"))
    (run / "plots" / "old.png").unlink()
    push(run, "user/kept", tag="next")
    assert received(hub, "user/kept").keys() == {*PUBLISHED, *own}
    assert len(hub.repositories["user/kept"].history()) == 4


@pytest.mark.parametrize("private", [True, False])
def test_the_visibility_of_a_repository_stays(hub, run, writes, private):
    name, there = ("user/private", "private") if private else ("user/public", "public")
    push(run, name, private=private or None)
    assert hub.repositories[name].private == private
    before = len(writes())
    push(run, name)
    push(run, name, private=private)
    change_title(run)
    message = refusal(ValueError, push, run, name, private=not private, tag="t")
    assert f"{name} is there already and is {there}" in message
    assert len(writes()) == before


def test_a_branch(hub, run):
    pushed = push(run, "user/branches", revision="experiments/one")
    repository = hub.repositories["user/branches"]
    assert received(hub, "user/branches", "experiments/one") == contents(run)
    assert received(hub, "user/branches") == {}
    assert (pushed.tag, repository.tags) == (None, {})
    assert push(run, "user/branches", revision="experiments/one", tag="one").commit == pushed.commit
    assert "'one' is a tag of user/branches" in refusal(ValueError, push, run, "user/branches", revision="one")


def test_a_pull_request(hub, run):
    push(run, "user/proposal")
    before = received(hub, "user/proposal")
    change_title(run)
    pushed = push(run, "user/proposal", create_pr=True)
    repository = hub.repositories["user/proposal"]
    assert received(hub, "user/proposal") == before
    assert received(hub, "user/proposal", "refs/pr/1") == contents(run)
    assert repository.branches["refs/pr/1"] == pushed.commit
    assert pushed.url == f"{hub.endpoint}/user/proposal/discussions/1"
    assert pushed.tag is None
    assert repository.tags.keys() == {TAG}
    change_title(run)
    push(run, "user/proposal", revision="refs/pr/1")
    assert received(hub, "user/proposal", "refs/pr/1") == contents(run)


@pytest.mark.parametrize(
    ("token", "name", "message"),
    [
        (None, "user/refused", "to push to user/refused, an access token is needed: run hf auth login, or set"),
        (WRONG, "user/refused", "the Hub does not accept the access token (401)"),
        (READ, "user/refused", "may not write to user/refused (403); it must have the role write"),
        (WRITE, "other/refused", "the access token may not write to other/refused (403)"),
        (READ, "user/readonly", "may not write to user/readonly (403)"),
    ],
)
def test_who_may_not_write_is_told_so(hub, run, writes, token, name, message):
    if name == "user/readonly":
        push(run, name)
        change_title(run)
    before = [dict(repository.branches) for repository in hub.repositories.values()]
    assert message in refusal(PermissionError, push, run, name, token=token, tag="t")
    assert [repository.branches for repository in hub.repositories.values()] == before


def put(hub, name, files):
    """A repository of somebody else's making."""
    hub.repositories[name] = Repository(name)
    hub.repositories[name].add(files)


@pytest.mark.parametrize(
    ("files", "holds"),
    [
        ({"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x"}, "holds a model of type 'bert'"),
        ({"config.json": b"[1]"}, "holds files and no model"),
        ({"thesis.pdf": b"precious"}, "holds files and no model"),
    ],
)
def test_another_kind_of_repository_is_not_touched(hub, run, writes, files, holds):
    put(hub, "user/theirs", files)
    message = refusal(ValueError, push, run, "user/theirs")
    assert f"user/theirs {holds}" in message
    assert "push under another name" in message
    assert writes() == []


def test_a_blank_repository_is_used(hub, run):
    put(hub, "user/blank", {"README.md": b"---\nlicense: mit\n---\n", "LICENSE": b"MIT"})
    push(run, "user/blank")
    assert received(hub, "user/blank") == {**contents(run), "LICENSE": b"MIT"}


def test_the_hub_looks_at_the_card_before_there_is_a_repository(hub, run, writes):
    card = run / "README.md"
    card.write_text(card.read_text().replace("license: mit", "license: none-of-your-business", 1))
    message = refusal(ValueError, push, run, "user/card")
    assert f'the Hub refuses the metadata of {run / "README.md"}: "license" must be one of' in message
    assert writes() == []


@pytest.mark.parametrize(
    ("uploads", "times", "path"),
    [(0, 9, "/storage/"), (1, 1, "/storage/|/commit/"), (0, 1, "/repos/create")],
    ids=["weights", "commit", "create"],
)
def test_after_a_broken_connection_the_same_push_completes_it(hub, run, uploads, times, path, request):
    name = f"user/dropped-{request.node.callspec.id}"
    hub.large_files.clear()
    hub.drop_after(uploads, times=times, path=path)
    message = refusal(ConnectionError, push, run, name)
    assert f"the connection to {hub.endpoint} failed" in message
    assert "run the same command again" in message
    if name in hub.repositories:
        assert received(hub, name) == {}
        assert hub.repositories[name].tags == {}
    hub.drop_after(0, times=0)
    pushed = push(run, name)
    assert received(hub, name) == contents(run)
    assert hub.repositories[name].tags == {TAG: pushed.commit}
    assert len(hub.repositories[name].history()) == 2


def test_a_commit_without_its_tag_is_said_and_completed(hub, run):
    hub.drop_after(0, path="/tag/")
    message = refusal(ConnectionError, push, run, "user/untagged")
    repository = hub.repositories["user/untagged"]
    head = repository.branches["main"]
    assert f"commit {head} is published in user/untagged, but it has no tag yet" in message
    assert push(run, "user/untagged").commit == head
    assert repository.tags == {TAG: head}


def test_who_pushes_at_the_same_time_is_not_overwritten(hub, run):
    push(run, "user/busy")
    repository = hub.repositories["user/busy"]
    change_title(run)

    hub.once("/commit/main", lambda: repository.add({"README.md": b"theirs"}))
    message = refusal(OSError, push, run, "user/busy", tag="t")
    assert "somebody else changed user/busy during the push" in message
    assert received(hub, "user/busy")["README.md"] == b"theirs"
    assert repository.tags.keys() == {TAG}


def test_no_token_in_any_output(hub, run, caplog):
    caplog.set_level(logging.DEBUG, logger="huggingface_hub")
    change_title(run)
    said = []
    for token in (WRONG, READ, WRITE):
        hub.drop_after(0, path="/commit/")
        with pytest.raises(OSError, match=r"user/said|the connection to|does not accept") as refused:
            push(run, "user/said", token=token)
        said += traceback.format_exception(refused.value)
    hub.drop_after(0, times=0)
    said += [str(push(run, "user/said")), caplog.text]
    # Every request.
    assert "/api/models/user/said/commit/main (authenticated: True)" in said[-1]
    assert not any(token in text for token in (WRITE, READ, WRONG) for text in said)


def test_a_dry_run_needs_neither_network_nor_token(run, capsys):
    main(["push", str(run), "--repo_id", "user/dry", "--dry_run"])
    *listed, total = (line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    sizes = {name: len(content) for name, content in contents(run).items()}
    assert listed == [[f"{size:,}", name] for name, size in sorted(sizes.items())]
    said = f"bytes in {len(sizes)} files would go to user/dry; nothing was sent"
    assert total == [f"{sum(sizes.values()):,}", said]


def test_the_command_publishes_and_says_how_to_load_it(hub, run, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITE)
    assert main(["push", str(run), "--repo_id", "user/command", "--private"]) == 0
    repository, printed = hub.repositories["user/command"], capsys.readouterr().out
    commit = repository.branches["main"]
    assert printed.startswith(f"{hub.endpoint}/user/command\n{len(PUBLISHED)} files, commit {commit}, tag {TAG}\n")
    assert f'commit = "{commit}"' in printed
    assert received(hub, "user/command") == contents(run)
    assert repository.private
