"""The real client of the Hub, publishing to the loopback one."""

from __future__ import annotations

import json
import logging
import pickle
import re
import shutil
import traceback

import pytest

from hf_lstm_sentiment.cli import main
from hf_lstm_sentiment.hub.push import publishable_files
from tests.hub_clients import PUBLISHED, READ, TAG, WRITE, WRONG, contents, push, received, refusal
from tests.hub_server import Repository
from tests.reviews import refused

pytestmark = pytest.mark.usefixtures("one_thread")


def state(hub):
    """All that a push may change."""
    return {name: (dict(one.branches), dict(one.tags)) for name, one in hub.repositories.items()}


def change_card(run, old="\n# ", new="\n# New "):
    card = run / "README.md"
    card.write_text(card.read_text().replace(old, new, 1))


def put(hub, name, files):
    """A repository of somebody else's making."""
    hub.repositories[name] = Repository(name)
    hub.repositories[name].add(files)


# What is published


def test_exactly_these_files_are_published(run):
    junk = [
        *("training_args.bin", "optimizer.pt", "pytorch_model.bin", "scheduler.pth", "notes.pkl", "notes.txt"),
        *(".env", ".cache/huggingface/x.json", "report/index.html", "report/errors.png", "runs/events.tfevents"),
        *("scratch.py", "sub/modeling_sentiment_lstm.py", "plots/.hidden.png", "plots/old/a.png", "plots/data.csv"),
    ]
    for name in junk:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("private")
    assert list(publishable_files(run)) == sorted(PUBLISHED)
    shutil.rmtree(run / "plots")
    assert list(publishable_files(str(run))) == sorted(name for name in PUBLISHED if not name.startswith("plots/"))


def config(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes})


def test_what_cannot_be_published_is_refused(run):
    refused(lambda: publishable_files("nowhere"), "nowhere is no directory; pass a run directory")
    for name, change, message in [
        ("metrics.json", None, "no finished run, metrics.json is missing; hf-lstm-sentiment train --resume"),
        ("model.safetensors", None, "lacks model.safetensors; restore"),
        ("README.md", None, "lacks README.md; restore"),
        ("model.safetensors", lambda _: pickle.dumps({"a": 1}), "safetensors is damaged or no safetensors file"),
        ("README.md", lambda _: "---\nlicense: [mit\n---\n", "the metadata of .*README.md cannot be read"),
        ("README.md", lambda _: "---\nmodel-index: nonsense\n---\n", "the metadata of .*README.md cannot be read"),
        ("README.md", lambda _: "# Model\n", "README.md has no metadata"),
        ("config.json", config(model_type="bert"), "of a model of type 'bert' .*allowed: a 'sentiment_lstm'"),
        ("config.json", config(auto_map={}), "with the code {}; allowed"),
        (
            "config.json",
            config(auto_map={"AutoConfig": "a/b--x.C"}),
            "with the code .*a/b--x.C.*as its save_pretrained",
        ),
        ("metrics.json", lambda text: text.replace("tiny", WRITE, 1), "metrics.json holds .*access token"),
        ("README.md", lambda text: text.replace("tiny", WRITE, 1), "README.md holds .*access token"),
    ]:
        whole = (run / name).read_bytes()
        changed = None if change is None else change(whole.decode(errors="replace"))
        (run / name).unlink()
        if changed is not None:
            (run / name).write_bytes(changed if isinstance(changed, bytes) else changed.encode())
        assert WRITE not in refused(lambda: publishable_files(run), message)
        (run / name).write_bytes(whole)
    assert publishable_files(run)


@pytest.mark.parametrize("name", ["model.safetensors", "plots"])
def test_a_link_out_of_the_run_is_refused(run, tmp_path, name):
    (run / name).rename(tmp_path / "outside")
    (run / name).symlink_to(tmp_path / "outside")
    refused(lambda: publishable_files(run), rf"{re.escape(name)}.* is a link that leads out of the run")
    (tmp_path / "outside").rename(run / "inside")
    (run / name).unlink()
    (run / name).symlink_to("inside")
    assert list(publishable_files(run)) == sorted(PUBLISHED)


# How


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        *((name, {}, f"Repo id must .*'{name}'") for name in ("a/b/c", "user/na me", "/model", "")),
        ("user/name", {"tag": "a b"}, "'a b' is no name of a branch or tag; allowed: letters"),
        ("user/name", {"tag": "v1", "create_pr": True}, "tag 'v1' cannot be set on a pull request"),
        ("user/name", {"revision": "../main"}, "'../main' is no name"),
        ("user/name", {"revision": "0" * 40}, "is no name.* not the hash of a commit"),
    ],
)
def test_names_are_checked(trained, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        push(trained, name, **arguments)


def test_offline_is_said(trained):
    with pytest.raises(ConnectionError, match="user/name cannot be pushed to, HF_HUB_OFFLINE is set; unset it"):
        push(trained, "user/name")


def test_a_run_arrives_as_it_is_in_one_tagged_commit_and_the_command_says_how_to_load_it(hub, run, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", WRITE)
    assert main(["push", str(run), "--repo_id", "user/first", "--private"]) == 0
    repository, printed = hub.repositories["user/first"], capsys.readouterr().out
    commit = repository.branches["main"]
    assert printed.startswith(f"{hub.endpoint}/user/first\n{len(PUBLISHED)} files, commit {commit}, tag {TAG}\n")
    assert f'commit = "{commit}"' in printed
    assert received(hub, "user/first") == contents(run)
    accuracy = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
    assert repository.history == [f"tiny, seed 42: test accuracy {accuracy:.2%}", "initial commit"]
    assert (repository.tags, repository.branches) == ({TAG: commit}, {"main": commit})
    assert {name for name, file in repository.commits[commit].items() if file.lfs} == {"model.safetensors"}
    assert repository.private


def test_the_same_push_again_changes_nothing_and_a_tag_is_not_moved(hub, run):
    first = push(run, "user/tagged", commit_message="mine")
    assert (first.tag, first.files) == (TAG, tuple(sorted(PUBLISHED)))
    repository, before = hub.repositories["user/tagged"], state(hub)
    assert repository.history[0] == "mine"
    assert push(run, "user/tagged") == first
    assert state(hub) == before
    assert push(run, "user/tagged", tag="best").commit == first.commit
    change_card(run)
    message = refusal(ValueError, push, run, "user/tagged")
    assert f"tag {TAG} of user/tagged stands at commit {first.commit[:12]}" in message
    assert f"--tag {TAG}-2" in message
    assert repository.tags == {TAG: first.commit, "best": first.commit}
    second = push(run, "user/tagged", tag=f"{TAG}-2")
    assert repository.tags == {TAG: first.commit, "best": first.commit, f"{TAG}-2": second.commit}
    assert len(repository.history) == 3
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
    assert len(hub.repositories["user/kept"].history) == 4


@pytest.mark.parametrize(("private", "name"), [(True, "private"), (False, "public")])
def test_the_visibility_of_a_repository_stays(hub, run, private, name):
    push(run, f"user/{name}", private=private or None)
    assert hub.repositories[f"user/{name}"].private == private
    before = state(hub)
    push(run, f"user/{name}", private=private)
    change_card(run)
    message = refusal(ValueError, push, run, f"user/{name}", private=not private, tag="t")
    assert f"user/{name} is there already and is {name}" in message
    assert state(hub) == before


def test_a_branch(hub, run):
    pushed = push(run, "user/branches", revision="experiments/one")
    assert received(hub, "user/branches", "experiments/one") == contents(run)
    assert received(hub, "user/branches") == {}
    assert (pushed.tag, hub.repositories["user/branches"].tags) == (None, {})
    assert push(run, "user/branches", revision="experiments/one", tag="one").commit == pushed.commit
    assert "'one' is a tag of user/branches" in refusal(ValueError, push, run, "user/branches", revision="one")


def test_a_pull_request(hub, run):
    push(run, "user/proposal")
    before = received(hub, "user/proposal")
    change_card(run)
    pushed, repository = push(run, "user/proposal", create_pr=True), hub.repositories["user/proposal"]
    assert received(hub, "user/proposal") == before
    assert received(hub, "user/proposal", "refs/pr/1") == contents(run)
    assert repository.branches["refs/pr/1"] == pushed.commit
    assert (pushed.url, pushed.tag) == (f"{hub.endpoint}/user/proposal/discussions/1", None)
    assert repository.tags.keys() == {TAG}


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
def test_who_may_not_write_is_told_so(hub, run, token, name, message):
    if name == "user/readonly":
        push(run, name)
        change_card(run)
    before = state(hub)
    assert message in refusal(PermissionError, push, run, name, token=token, tag="t")
    assert state(hub) == before


@pytest.mark.parametrize(
    ("files", "holds"),
    [
        ({"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x"}, "a model of type 'bert'"),
        ({"config.json": b"[1]"}, "files and no model"),
        ({"thesis.pdf": b"precious"}, "files and no model"),
    ],
)
def test_another_kind_of_repository_is_not_touched(hub, run, files, holds):
    put(hub, "user/theirs", files)
    before = state(hub)
    message = refusal(ValueError, push, run, "user/theirs")
    assert f"user/theirs holds {holds}, and" in message
    assert "push under another name" in message
    assert state(hub) == before


def test_a_blank_repository_is_used(hub, run):
    put(hub, "user/blank", {"README.md": b"---\nlicense: mit\n---\n", "LICENSE": b"MIT"})
    push(run, "user/blank")
    assert received(hub, "user/blank") == {**contents(run), "LICENSE": b"MIT"}


def test_the_hub_looks_at_the_card_before_there_is_a_repository(hub, run):
    change_card(run, "license: mit", "license: none-of-your-business")
    message = refusal(ValueError, push, run, "user/card")
    assert re.search(r"the Hub refuses the metadata of .*README.md: .*license.* must be one of", message)
    assert "user/card" not in hub.repositories


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
        assert (received(hub, name), hub.repositories[name].tags) == ({}, {})
    hub.drop_after(0, times=0)
    pushed = push(run, name)
    assert received(hub, name) == contents(run)
    assert hub.repositories[name].tags == {TAG: pushed.commit}
    assert len(hub.repositories[name].history) == 2


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
    change_card(run)
    hub.once("/commit/main", lambda: repository.add({"README.md": b"theirs"}))
    message = refusal(OSError, push, run, "user/busy", tag="t")
    assert "somebody else changed user/busy during the push" in message
    assert received(hub, "user/busy")["README.md"] == b"theirs"
    assert repository.tags.keys() == {TAG}


def test_no_token_in_any_output(hub, run, caplog):
    caplog.set_level(logging.DEBUG, logger="huggingface_hub")
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
