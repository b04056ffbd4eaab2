"""`push_to_hub` among the arguments of a training, against the loopback Hub."""

from __future__ import annotations

import json

import pytest

from hf_lstm_sentiment import train
from tests.hub_clients import PUBLISHED, READ, SHORT, TAG, WRITE, WRONG, contents, push, received, write_reviews
from tests.hub_server import Repository
from tests.reviews import refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_reviews(tmp_path_factory.mktemp("reviews"))


def train_and_push(run, reviews, *, hub_token=WRITE, **arguments):
    arguments |= {"push_to_hub": True, "hub_token": hub_token, "num_threads": 1, "disable_tqdm": True}
    return train(SHORT, output_dir=run, dataset=reviews, **arguments)


def test_a_training_that_pushes_leaves_the_repository_that_the_script_makes(hub, reviews, tmp_path):
    done = train_and_push(tmp_path / "run", reviews, hub_model_id="user/trained")
    repository, pushed = hub.repositories["user/trained"], done.pushed
    assert received(hub, "user/trained") == contents(tmp_path / "run")
    assert received(hub, "user/trained").keys() == set(PUBLISHED)
    assert repository.tags == {TAG: pushed.commit}
    assert len(repository.history) == 2
    assert repository.history[0].startswith("tiny, seed 42: test accuracy ")
    assert f"On the Hub: {hub.endpoint}/user/trained, commit {pushed.commit}, tag {TAG}" in done.summary()
    assert push(tmp_path / "run", "user/trained").commit == pushed.commit
    # Neither the recipe nor what is published tells where it went and by whose token.
    recorded = json.loads((tmp_path / "run" / "checkpoints" / "recipe.json").read_text()) | json.loads(
        received(hub, "user/trained")["metrics.json"]
    )
    assert not any("hub" in key for key in [*recorded, *recorded["options"]])
    assert not any(WRITE.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_what_was_trained_and_not_published_is_published_by_a_resume(hub, reviews, tmp_path):
    options = {"hub_private_repo": True, "hub_revision": "candidate"}
    hub.drop_after(0, times=9, path="/commit/")
    message = r"the run is finished, but not published: the connection to.*--resume"
    refused(lambda: train_and_push(tmp_path / "named-after-the-run", reviews, **options), message)
    repository = hub.repositories["user/named-after-the-run"]
    assert received(hub, repository.name, "candidate") == {}
    hub.drop_after(0, times=0)
    before = contents(tmp_path / "named-after-the-run")
    done = train_and_push(tmp_path / "named-after-the-run", reviews, resume=True, **options)
    assert received(hub, repository.name, "candidate") == before
    assert repository.private
    assert received(hub, repository.name) == repository.tags == {}
    assert done.pushed.tag is None


@pytest.mark.parametrize(
    ("name", "token", "message"),
    [
        ("early", WRONG, r"does not accept the access token \(401\)"),
        ("user/early", None, "an access token is needed: run hf auth login"),
        ("user/early", READ, r"may not write to user/early \(403\)"),
        ("user/a--b", WRITE, "Cannot have -- or .. in repo_id: .user/a--b"),
        ("user/tagged-before", WRITE, f"tag {TAG} of user/tagged-before stands at commit"),
        ("user/book", WRITE, "user/book holds files and no model"),
    ],
)
def test_what_cannot_be_pushed_is_not_trained(hub, reviews, run, tmp_path, name, token, message):
    if name == "user/tagged-before" and name not in hub.repositories:
        push(run, name)
    if name == "user/book":
        hub.repositories[name] = Repository(name)
        hub.repositories[name].add({"book.pdf": b"x"})
    before = len(hub.repositories)
    refused(lambda: train_and_push(tmp_path / "unmade", reviews, hub_model_id=name, hub_token=token), message)
    assert not (tmp_path / "unmade").exists()
    assert len(hub.repositories) == before
