"""The real client of the Hub against the loopback one: first who publishes, then strangers who load what was published.

huggingface_hub reads its environment when it is imported, and remote code gives way to a package that is imported, so
clients live in processes of their own: one that publishes, two strangers.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_lstm_sentiment import PRESETS, __version__, train
from hf_lstm_sentiment.hub import publishable_files, push_run

from .hub_server import File, HubServer, Repository, Token, check_card
from .reviews import make_reviews, write_csv
from .test_remote_code import TRAVELLING

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(__file__).parents[1]
WRITE, READ, WRONG = (f"hf_{letter * 34}" for letter in "wrx")
TAG = f"v{__version__}"
PUBLISHED = [
    "README.md",
    "config.json",
    "metrics.json",
    "model.safetensors",
    "plots/confusion_matrix.png",
    "plots/training_curves.png",
    "tokenizer.json",
    "tokenizer_config.json",
    *TRAVELLING,
]
TINY = replace(
    PRESETS["v1"],
    name="tiny",
    description="A model of a test.",
    vocab_words=60,
    embedding_size=8,
    hidden_size=16,
    pooling="max",
    learning_rate=2e-2,
    batch_size=16,
    epochs=2,
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    before, datasets.config.HF_DATASETS_CACHE = datasets.config.HF_DATASETS_CACHE, tmp_path_factory.mktemp("cache")
    folder = tmp_path_factory.mktemp("trained")
    reviews = write_csv(folder / "reviews.csv", make_reviews(200))
    result = train(TINY, dataset=reviews, output_dir=folder / "run", disable_tqdm=True)
    datasets.config.HF_DATASETS_CACHE = before
    return result.run_directory


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the trained run, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("optimizer.pt")))


def edit_card(run, old, new):
    card = (run / "README.md").read_text()
    assert old in card
    (run / "README.md").write_text(card.replace(old, new, 1))


def edit_config(run, **changes):
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# What goes to the Hub


def test_exactly_these_files_are_published(run):
    junk = [
        *("training_args.bin", "optimizer.pt", "pytorch_model.bin", "scheduler.pth", "notes.pkl", "notes.txt"),
        *(".env", ".cache/huggingface/x.json", "report/index.html", "report/errors.png", "runs/events.tfevents"),
        *("scratch.py", "sub/modeling_sentiment_lstm.py", "plots/.hidden.png", "plots/old/a.png", "plots/data.csv"),
    ]
    for name in junk:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("private")
    assert publishable_files(run) == sorted(PUBLISHED)
    assert publishable_files(str(run)) == sorted(PUBLISHED)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("metrics.json", r"no finished run, metrics.json is missing; scripts/train.py --resume"),
        ("model.safetensors", r"lacks model.safetensors; restore"),
        ("tokenizer.json", r"lacks tokenizer.json; restore"),
        ("README.md", r"lacks README.md; restore"),
        ("modeling_sentiment_lstm.py", r"modeling_sentiment_lstm.py is missing, which auto_map of config.json needs"),
        ("packed_lstm.py", r"packed_lstm.py is missing, which auto_map of config.json needs"),
    ],
)
def test_what_is_not_whole_is_not_published(run, name, message):
    (run / name).unlink()
    with pytest.raises(ValueError, match=message):
        publishable_files(run)


def test_pictures_are_not_required(run):
    shutil.rmtree(run / "plots")
    assert publishable_files(run) == sorted(name for name in PUBLISHED if not name.startswith("plots/"))


def test_no_directory():
    with pytest.raises(FileNotFoundError, match="nowhere is no directory; pass a run directory"):
        publishable_files("nowhere")


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "plots", "packed_lstm.py"])
def test_a_link_out_of_the_run_is_refused(run, tmp_path, name):
    (run / name).rename(tmp_path / "outside")
    (run / name).symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match=rf"{name}.* is a link that leads out of the run"):
        publishable_files(run)
    (tmp_path / "outside").rename(run / "inside")
    (run / name).unlink()
    (run / name).symlink_to("inside")
    assert publishable_files(run) == sorted(PUBLISHED)


def test_a_pickle_called_safetensors_is_refused(run):
    (run / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or no safetensors file"):
        publishable_files(run)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("---\nlicense: [mit\n---\n# Model\n", "the metadata of .*README.md cannot be read"),
        ("---\nlicense: mit\nmodel-index: nonsense\n---\n", "the metadata of .*README.md cannot be read"),
        ("# Model\n", "README.md has no metadata"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused(run, card, message):
    (run / "README.md").write_text(card)
    with pytest.raises(ValueError, match=message):
        publishable_files(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "is of a model of type 'bert'; only a 'sentiment_lstm' can be pushed"),
        ({"auto_map": {}}, "auto_map of .*config.json names no code; save the model"),
        ({"auto_map": {"AutoConfig": "a/b--configuration_x.C"}}, "code of another repository, a/b--configuration_x.C"),
    ],
)
def test_a_configuration_that_strangers_cannot_load_is_refused(run, changes, message):
    edit_config(run, **changes)
    with pytest.raises(ValueError, match=message):
        publishable_files(run)


@pytest.mark.parametrize("name", ["metrics.json", "README.md"])
def test_an_access_token_is_not_published(run, name):
    path = run / name
    path.write_text(path.read_text().replace("tiny", WRITE, 1))
    with pytest.raises(ValueError, match=f"{name} holds something like an access token") as refusal:
        publishable_files(run)
    assert WRITE not in str(refusal.value)


@pytest.mark.parametrize("name", ["model", "a/b/c", "user/na me", "user/a--b", "/model", "user/", "", "user/x.git"])
def test_bad_names_are_refused(trained, name):
    with pytest.raises(ValueError, match=re.escape(f"repo_id {name!r}") + ".*allowed: USER/NAME"):
        push_run(trained, name, token=WRITE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tag": "a b"}, "tag 'a b' is no name; allowed: letters"),
        ({"tag": "v1", "create_pr": True}, "tag 'v1' cannot be set on a pull request"),
        ({"revision": "../main"}, "revision '../main' is no name"),
        ({"revision": "0" * 40}, "is the hash of a commit"),
    ],
)
def test_names_of_tags_and_branches_are_checked(trained, arguments, message):
    with pytest.raises(ValueError, match=message):
        push_run(trained, "user/name", token=WRITE, **arguments)


def test_offline_is_said(trained):
    with pytest.raises(ConnectionError, match="user/name cannot be pushed to, HF_HUB_OFFLINE is set; unset it"):
        push_run(trained, "user/name", token=WRITE)


# Publishing

PUBLISHER = """
import dataclasses, json, logging, os, sys, time, traceback

import torch
from hf_lstm_sentiment import SentimentLSTMForSequenceClassification, hub
from huggingface_hub.utils import disable_progress_bars
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

torch.set_num_threads(1)
disable_progress_bars()
logging.basicConfig(level=logging.DEBUG)
time.sleep = lambda seconds: None  # between the client's own retries


def push(**arguments):
    return dataclasses.asdict(hub.push_run(**arguments))


def local_logits(repo, revision, batch, out):
    model = AutoModelForSequenceClassification.from_pretrained(repo, revision=revision)
    assert type(model) is SentimentLSTMForSequenceClassification
    with torch.no_grad():
        save_file({"logits": model(**load_file(batch)).logits}, out)


for line in sys.stdin:
    call = json.loads(line)
    try:
        answer = {"result": globals()[call["function"]](**call["arguments"])}
    except Exception as error:
        traceback.print_exc()
        answer = {"kinds": [kind.__name__ for kind in type(error).__mro__], "message": str(error)}
    print(json.dumps(answer), flush=True)
"""


def environment(hub, folder, **more):
    """That of a client which knows the loopback Hub and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    paths = {"HF_HOME": str(folder / "home"), "HF_MODULES_CACHE": str(folder / "home" / "modules")}
    return {**kept, **paths, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1", **more}


class PushError(Exception):
    def __init__(self, kinds, message):
        super().__init__(message)
        self.kinds = kinds


class Publisher:
    """The process that publishes, with this package and without an access token of its own."""

    def __init__(self, hub, folder):
        self.log = folder / "publisher.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PUBLISHER],
                cwd=ROOT,
                env=environment(hub, folder, HF_HUB_VERBOSITY="debug"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def call(self, function, **arguments):
        self.process.stdin.write(json.dumps({"function": function, "arguments": arguments}, default=str) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        answer = json.loads(line)
        if "message" in answer:
            raise PushError(answer["kinds"], answer["message"])
        return answer["result"]

    def push(self, run, repo_id, *, token=WRITE, **arguments):
        return self.call("push", run=run, repo_id=repo_id, token=token, **arguments)

    def refusal(self, kind, run, repo_id, **arguments):
        """The message of an error of that kind."""
        with pytest.raises(PushError) as refusal:
            self.push(run, repo_id, **arguments)
        assert kind.__name__ in refusal.value.kinds, refusal.value.kinds
        return str(refusal.value)


@pytest.fixture(scope="module")
def hub():
    with HubServer({WRITE: Token("user"), READ: Token("user", write=False)}) as server:
        yield server


@pytest.fixture(scope="module")
def publisher(hub, tmp_path_factory):
    publisher = Publisher(hub, tmp_path_factory.mktemp("publisher"))
    yield publisher
    publisher.process.stdin.close()
    publisher.process.wait(60)


@pytest.fixture
def writes(hub):
    """The requests since then that change something."""
    start = len(hub.requests)
    harmless = re.compile(r"/api/validate-yaml|/preupload/|/paths-info/")
    return lambda: [
        f"{request.method} {request.path}"
        for request in hub.requests[start:]
        if request.method not in ("GET", "HEAD") and not harmless.search(request.path)
    ]


def contents(run):
    return {name: (run / name).read_bytes() for name in publishable_files(run)}


def received(hub, repo_id, revision="main"):
    return {
        name: content for name, content in hub.repositories[repo_id].files(revision).items() if name != ".gitattributes"
    }


def test_a_run_arrives_as_it_is_in_one_tagged_commit(hub, publisher, run):
    pushed = publisher.push(run, "user/first")
    repository = hub.repositories["user/first"]
    assert received(hub, "user/first") == contents(run)
    accuracy = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
    assert repository.history() == [f"tiny, seed 42: test accuracy {accuracy:.2%}", "initial commit"]
    assert repository.tags == {TAG: pushed["commit"]}
    assert repository.branches == {"main": pushed["commit"]}
    assert pushed["url"] == f"{hub.endpoint}/user/first"
    assert (pushed["tag"], pushed["files"]) == (TAG, sorted(PUBLISHED))
    assert pushed["commit"] in pushed["snippet"]
    large = {name for name, file in repository.commits[pushed["commit"]].files.items() if file.lfs}
    assert large == {"model.safetensors"}
    assert not repository.private


def test_the_same_push_again_changes_nothing(hub, publisher, run, writes):
    first = publisher.push(run, "user/again", commit_message="mine")
    assert hub.repositories["user/again"].history()[0] == "mine"
    before = len(writes())
    assert publisher.push(run, "user/again") == first
    assert len(writes()) == before
    assert publisher.push(run, "user/again", tag="best")["commit"] == first["commit"]
    assert hub.repositories["user/again"].tags == {TAG: first["commit"], "best": first["commit"]}


def test_a_tag_is_not_moved(hub, publisher, run, writes):
    first = publisher.push(run, "user/tagged")
    edit_card(run, "# Sentiment", "# A new sentiment")
    before = len(writes())
    message = publisher.refusal(ValueError, run, "user/tagged")
    assert f"tag {TAG} of user/tagged stands at commit {first['commit'][:12]}" in message
    assert f"--tag {TAG}-2" in message
    assert len(writes()) == before
    second = publisher.push(run, "user/tagged", tag=f"{TAG}-2")
    repository = hub.repositories["user/tagged"]
    assert repository.tags == {TAG: first["commit"], f"{TAG}-2": second["commit"]}
    assert len(repository.history()) == 3
    old, new = received(hub, "user/tagged", TAG), received(hub, "user/tagged")
    assert new == contents(run)
    assert [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)] == ["README.md"]


def test_only_what_an_earlier_push_left_is_deleted(hub, publisher, run):
    path = run / "packed_lstm.py"
    path.write_text(path.read_text().replace("import torch\n", "import torch\n\nfrom .helper import nothing\n", 1))
    (run / "helper.py").write_text("nothing = None\n")
    (run / "plots" / "old.png").write_bytes(b"picture")
    publisher.push(run, "user/kept")
    assert {"helper.py", "plots/old.png"} < received(hub, "user/kept").keys()
    repository = hub.repositories["user/kept"]
    head = repository.commits[repository.branches["main"]]
    own = {name: File(b"mine") for name in ("handler.py", "LICENSE", "pytorch_model.bin", "plots/data.csv", "a/b.py")}
    repository.add("main", replace(head, parent=head.id, message="own files", files={**head.files, **own}))
    shutil.copy(ROOT / "hf_lstm_sentiment" / "packed_lstm.py", path)
    (run / "plots" / "old.png").unlink()
    publisher.push(run, "user/kept", tag="next")
    assert received(hub, "user/kept").keys() == {*PUBLISHED, *own}
    assert len(repository.history()) == 4


def test_a_private_repository(hub, publisher, run, writes):
    publisher.push(run, "user/private", private=True)
    assert hub.repositories["user/private"].private
    before = len(writes())
    publisher.push(run, "user/private")
    publisher.push(run, "user/private", private=True)
    assert "user/private is there already and is private" in publisher.refusal(
        ValueError, run, "user/private", private=False
    )
    assert len(writes()) == before


def test_a_public_repository_is_not_taken_for_a_private_one(publisher, run, writes):
    publisher.push(run, "user/public")
    edit_card(run, "# Sentiment", "# Secret sentiment")
    before = len(writes())
    assert "user/public is there already and is public" in publisher.refusal(
        ValueError, run, "user/public", private=True, tag="t"
    )
    assert len(writes()) == before


def test_a_branch(hub, publisher, run):
    pushed = publisher.push(run, "user/branches", revision="experiments/one")
    repository = hub.repositories["user/branches"]
    assert received(hub, "user/branches", "experiments/one") == contents(run)
    assert received(hub, "user/branches") == {}
    assert (pushed["tag"], repository.tags) == (None, {})
    assert publisher.push(run, "user/branches", revision="experiments/one", tag="one")["commit"] == pushed["commit"]
    assert "'one' is a tag of user/branches" in publisher.refusal(ValueError, run, "user/branches", revision="one")


def test_a_pull_request(hub, publisher, run):
    publisher.push(run, "user/proposal")
    before = received(hub, "user/proposal")
    edit_card(run, "# Sentiment", "# Proposed sentiment")
    pushed = publisher.push(run, "user/proposal", create_pr=True)
    repository = hub.repositories["user/proposal"]
    assert received(hub, "user/proposal") == before
    assert received(hub, "user/proposal", "refs/pr/1") == contents(run)
    assert repository.branches["refs/pr/1"] == pushed["commit"]
    assert pushed["url"] == f"{hub.endpoint}/user/proposal/discussions/1"
    assert pushed["tag"] is None
    assert repository.tags.keys() == {TAG}
    edit_card(run, "# Proposed", "# Corrected")
    publisher.push(run, "user/proposal", revision="refs/pr/1")
    assert received(hub, "user/proposal", "refs/pr/1") == contents(run)


@pytest.mark.parametrize(
    ("token", "name", "message"),
    [
        (
            None,
            "user/refused",
            "to push to user/refused, an access token is needed: run hf auth login, or set HF_TOKEN",
        ),
        (WRONG, "user/refused", "the Hub does not accept the access token (401)"),
        (READ, "user/refused", "the access token may not write to user/refused (403); it must have the role write"),
        (WRITE, "other/refused", "the access token may not write to other/refused (403)"),
    ],
)
def test_who_may_not_write_is_told_so(hub, publisher, run, token, name, message):
    assert message in publisher.refusal(PermissionError, run, name, token=token)
    assert name not in hub.repositories


def test_a_read_only_token_on_a_repository_that_is_there(hub, publisher, run):
    publisher.push(run, "user/readonly")
    before = dict(hub.repositories["user/readonly"].branches)
    edit_card(run, "# Sentiment", "# Forbidden sentiment")
    assert "(403)" in publisher.refusal(PermissionError, run, "user/readonly", token=READ, tag="t")
    assert hub.repositories["user/readonly"].branches == before


def put(hub, name, files):
    """A repository of somebody else's making."""
    repository = hub.repositories[name] = Repository(name, private=False, author="user")
    head = repository.commits[repository.branches["main"]]
    repository.add("main", replace(head, parent=head.id, message="theirs", files={**head.files, **files}))


@pytest.mark.parametrize(
    ("files", "holds"),
    [
        ({"config.json": b'{"model_type": "bert"}', "model.safetensors": b"x"}, "holds a model of type 'bert'"),
        ({"config.json": b"[1]"}, "holds files and no model"),
        ({"thesis.pdf": b"precious"}, "holds files and no model"),
    ],
)
def test_another_kind_of_repository_is_not_touched(hub, publisher, run, writes, files, holds):
    put(hub, "user/theirs", {name: File(content) for name, content in files.items()})
    message = publisher.refusal(ValueError, run, "user/theirs")
    assert f"user/theirs {holds}" in message
    assert "push under another name" in message
    assert writes() == []


def test_a_blank_repository_is_used(hub, publisher, run):
    put(hub, "user/blank", {"README.md": File(b"---\nlicense: mit\n---\n"), "LICENSE": File(b"MIT")})
    publisher.push(run, "user/blank")
    assert received(hub, "user/blank") == {**contents(run), "LICENSE": b"MIT"}


def test_the_hub_looks_at_the_card_before_there_is_a_repository(hub, publisher, run, writes):
    edit_card(run, "license: mit", "license: none-of-your-business")
    message = publisher.refusal(ValueError, run, "user/card")
    assert f'the Hub refuses the metadata of {run / "README.md"}: "license" must be one of' in message
    assert writes() == []


@pytest.mark.parametrize(
    ("uploads", "times", "path"),
    [(0, 9, "/storage/"), (1, 1, "/storage/|/commit/"), (0, 1, "/repos/create"), (0, 9, "/preupload/")],
    ids=["weights", "commit", "create", "preupload"],
)
def test_after_a_broken_connection_the_same_push_completes_it(hub, publisher, run, uploads, times, path, request):
    name = f"user/dropped-{request.node.callspec.id}"
    hub.large_files.clear()
    hub.drop_after(uploads, times=times, path=path)
    message = publisher.refusal(ConnectionError, run, name)
    assert f"the connection to {hub.endpoint} failed" in message
    assert "run the same command again" in message
    if name in hub.repositories:
        assert received(hub, name) == {}
        assert hub.repositories[name].tags == {}
    hub.drop_after(0, times=0)
    pushed = publisher.push(run, name)
    assert received(hub, name) == contents(run)
    assert hub.repositories[name].tags == {TAG: pushed["commit"]}
    assert len(hub.repositories[name].history()) == 2


def test_a_short_interruption_is_not_noticed(hub, publisher, run):
    hub.large_files.clear()
    hub.drop_after(0)
    publisher.push(run, "user/hiccup")
    assert received(hub, "user/hiccup") == contents(run)


def test_a_commit_without_its_tag_is_said_and_completed(hub, publisher, run):
    hub.drop_after(0, path="/tag/")
    message = publisher.refusal(ConnectionError, run, "user/untagged")
    repository = hub.repositories["user/untagged"]
    head = repository.branches["main"]
    assert f"commit {head} is published in user/untagged, but it has no tag yet" in message
    assert publisher.push(run, "user/untagged")["commit"] == head
    assert repository.tags == {TAG: head}


def test_who_pushes_at_the_same_time_is_not_overwritten(hub, publisher, run):
    publisher.push(run, "user/busy")
    repository = hub.repositories["user/busy"]
    edit_card(run, "# Sentiment", "# Late sentiment")

    def meanwhile():
        head = repository.commits[repository.branches["main"]]
        files = {**head.files, "README.md": File(b"theirs")}
        repository.add("main", replace(head, parent=head.id, message="theirs", files=files))

    hub.once("/commit/main", meanwhile)
    assert "somebody else changed user/busy during the push" in publisher.refusal(OSError, run, "user/busy", tag="t")
    assert received(hub, "user/busy")["README.md"] == b"theirs"
    assert repository.tags.keys() == {TAG}


def test_no_token_in_any_output(hub, publisher, run):
    edit_card(run, "# Sentiment", "# Said sentiment")
    said = [publisher.refusal(PermissionError, run, "user/said", token=token) for token in (WRONG, READ)]
    hub.drop_after(0, path="/commit/")
    said.append(publisher.refusal(ConnectionError, run, "user/said"))
    said.append(json.dumps(publisher.push(run, "user/said")))
    said.append(publisher.log.read_text())
    # The errors with all that led to them, and every request.
    assert "PermissionError: the Hub does not accept" in said[-1]
    assert "ConnectionError: the connection to" in said[-1]
    assert "/api/models/user/said/commit/main (authenticated: True)" in said[-1]
    assert not any(token in text for token in (WRITE, READ, WRONG) for text in said)


# The script


def run_script(*arguments, env):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "push_to_hub.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
        check=False,
    )


def test_a_dry_run_needs_neither_network_nor_token(hub, run, tmp_path):
    before = len(hub.requests)
    done = run_script(
        run, "--repo_id", "user/dry", "--dry_run", env=environment(hub, tmp_path, HF_HUB_OFFLINE="1", HF_ENDPOINT="")
    )
    assert done.returncode == 0, done.stderr
    *listed, total = done.stdout.splitlines()
    sizes = {name: len(content) for name, content in contents(run).items()}
    assert [line.split() for line in listed] == [[f"{size:,}", name] for name, size in sorted(sizes.items())]
    assert (
        total.split()
        == f"{sum(sizes.values()):,} bytes in {len(sizes)} files would go to user/dry; nothing was sent".split()
    )
    assert len(hub.requests) == before


def test_the_script_publishes_and_says_how_to_load_it(hub, run, tmp_path):
    done = run_script(run, "--repo_id", "user/script", "--private", env=environment(hub, tmp_path, HF_TOKEN=WRITE))
    assert done.returncode == 0, done.stderr
    commit = hub.repositories["user/script"].branches["main"]
    assert done.stdout.startswith(f"{hub.endpoint}/user/script\n{len(PUBLISHED)} files, commit {commit}, tag {TAG}\n")
    assert f'commit = "{commit}"' in done.stdout
    assert received(hub, "user/script") == contents(run)
    assert hub.repositories["user/script"].private
    assert WRITE not in done.stdout + done.stderr


def test_the_script_answers_a_mistake_in_one_line(hub, run, tmp_path):
    done = run_script(run, "--repo_id", "user/mistake", env=environment(hub, tmp_path, HF_TOKEN=WRONG))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: the Hub does not accept the access token (401)")
    assert len(done.stderr.splitlines()) == 1
    assert WRONG not in done.stderr


# Strangers, who have transformers and torch, and not this package

STRANGER = """
import importlib.abc, json, os, sys
from pathlib import Path


class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "hf_lstm_sentiment":
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent())
try:
    import hf_lstm_sentiment
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("the package can be imported, so this would not test remote code")

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer, pipeline

torch.set_num_threads(1)
folder = Path(sys.argv[1])
facts = json.loads(sys.argv[2])
home = Path(os.environ["HF_HOME"])
batch = load_file(folder / "batch.safetensors")
texts = ["a wonderful film", "", "boring and dull word1", "word " * 600]
report = {}


def logits(model):
    with torch.no_grad():
        return model.eval()(**batch).logits


def answers(classify, **options):
    got = classify(texts, truncation=True, **options)
    return [got, classify(texts, truncation=True, batch_size=3, **options), classify(texts[0], truncation=True, **options)]
"""  # noqa: E501

LOAD = """
repo, tag, first, second = (facts[key] for key in ("repo", "tag", "first", "second"))

refusals = []
for load in (
    AutoConfig.from_pretrained,
    AutoModel.from_pretrained,
    AutoModelForSequenceClassification.from_pretrained,
    lambda name, **options: pipeline("text-classification", model=name, **options),
):
    for options in ({}, {"trust_remote_code": False}, {"revision": tag}):
        try:
            load(repo, **options)
        except ValueError as error:
            refusals.append(str(error))
report["refusals"] = refusals
report["code before trust"] = [str(path) for path in home.rglob("*_lstm*.py")]
report["modules before trust"] = [name for name in sys.modules if "sentiment_lstm" in name or "packed_lstm" in name]

trusted = {"trust_remote_code": True}
revisions = {"main": {}, "tag": {"revision": tag}, "first": {"revision": first}, "second": {"revision": second}}
tensors, report["modules"], report["base"] = {}, {}, {}
for name, revision in revisions.items():
    model = AutoModelForSequenceClassification.from_pretrained(repo, **revision, **trusted)
    tensors[name] = logits(model)
    report["modules"][name] = type(model).__module__
    base = AutoModel.from_pretrained(repo, **revision, **trusted)
    config = AutoConfig.from_pretrained(repo, **revision, **trusted)
    report["base"][name] = [type(base).__name__, type(config).__name__, config.pooling]
    with torch.no_grad():
        tensors[f"{name} base"] = base.eval()(**batch).pooler_output
mixed = AutoModelForSequenceClassification.from_pretrained(repo, code_revision=first, **trusted)
tensors["code of the first"] = logits(mixed)
report["modules"]["code of the first"] = type(mixed).__module__
save_file(tensors, folder / "stranger.safetensors")

tokenizer = AutoTokenizer.from_pretrained(repo, revision=tag, **trusted)
report["tokenizer"] = [type(tokenizer).__module__, tokenizer.model_max_length, tokenizer(["wonderful", ""], padding=True)]
report["tokenizer"][2] = dict(report["tokenizer"][2])

classify = pipeline("text-classification", model=repo, revision=tag, **trusted)
report["answers"], report["all labels"] = answers(classify), answers(classify, top_k=None)
inputs = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
pulled = AutoModelForSequenceClassification.from_pretrained(repo, revision=tag, **trusted)
with torch.no_grad():
    report["expected"] = pulled(**inputs).logits.softmax(-1).tolist()

# Once more through the Hub, by the plain means of transformers.
pulled.save_pretrained(folder / "pulled")
tokenizer.save_pretrained(folder / "pulled")
pulled.push_to_hub("user/pulled")
tokenizer.push_to_hub("user/pulled")

import datasets, evaluate

datasets.config.HF_DATASETS_CACHE = folder / "datasets"


class Accuracy(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description="", citation="", features=features)

    def _compute(self, predictions, references):
        return {"accuracy": sum(p == r for p, r in zip(predictions, references)) / len(references)}


examples = datasets.Dataset.from_dict({"text": texts * 4, "label": [1, 0, 0, 1] * 4})
measured = evaluate.evaluator("text-classification").compute(
    pulled, examples, tokenizer=tokenizer, metric=Accuracy(), label_mapping=pulled.config.label2id
)
predicted = [row.index(max(row)) for row in report["expected"]]
report["evaluated"] = [measured["accuracy"], sum(p == r for p, r in zip(predicted, [1, 0, 0, 1])) / 4]

from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

rows = [{**tokenizer(text, truncation=True), "label": label} for text, label in zip(texts * 4, [1, 0, 0, 1] * 4)]
before = {name: value.clone() for name, value in pulled.state_dict().items()}
trainer = Trainer(
    model=pulled,
    args=TrainingArguments(
        output_dir=str(folder / "tuned"), max_steps=2, per_device_train_batch_size=8, report_to="none", use_cpu=True,
        disable_tqdm=True, save_strategy="no", dataloader_pin_memory=False, learning_rate=1e-2,
    ),
    train_dataset=rows,
    data_collator=DataCollatorWithPadding(tokenizer),
    processing_class=tokenizer,
)
report["tuned"] = [trainer.train().training_loss, trainer.state.global_step]
report["tuned"].append([name for name, value in pulled.state_dict().items() if torch.equal(value, before[name])])
report["padding stays zero"] = not pulled.get_input_embeddings().weight[0].any().item()
print()
print(json.dumps(report))
"""  # noqa: E501

LOAD_AGAIN = """
repo, again = facts["repo"], "user/pulled"
trusted = {"trust_remote_code": True}
tensors = {
    name: logits(AutoModelForSequenceClassification.from_pretrained(source, **trusted))
    for name, source in (("hub", again), ("directory", folder / "pulled"))
}
save_file(tensors, folder / "again.safetensors")
classify = pipeline("text-classification", model=again, **trusted)
report["module"] = type(classify.model).__module__
report["answers"] = answers(classify)

import contextlib, io

printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    exec(facts["snippet"], scope := {})
report["snippet"] = [printed.getvalue().strip(), str(scope["classify"]("A moving film.", truncation=True))]
report["snippet module"] = type(scope["classify"].model).__module__

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

card = ModelCard.load(repo)
card.validate()
name, results = model_index_to_eval_results(card.data.to_dict()["model-index"])
report["card"] = [name, {result.metric_type: result.metric_value for result in results}]
info = HfApi().model_info(repo)
report["info"] = [info.sha, info.library_name, info.pipeline_tag, sorted(s.rfilename for s in info.siblings)]
print()
print(json.dumps(report))
"""


def run_stranger(script, folder, facts, hub, home):
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER + script, str(folder), json.dumps(facts)],
        cwd=folder,
        env=environment(hub, home, HF_TOKEN=WRITE),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def strangers(hub, publisher, trained, tmp_path_factory):
    """Two commits of a repository, and what two strangers and a user of the package made of them."""
    folder = tmp_path_factory.mktemp("strangers")
    run = Path(shutil.copytree(trained, folder / "run"))
    first = publisher.push(run, "user/model")
    weights = load_file(run / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, run / "model.safetensors", metadata={"format": "pt"})
    second = publisher.push(run, "user/model", tag="shifted")

    ids = torch.randint(1, 60, (4, 9), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(9) < torch.tensor([[9], [4], [0], [1]])).long()
    save_file({"input_ids": ids, "attention_mask": mask}, folder / "batch.safetensors")
    for name, revision in (("first", TAG), ("second", "main")):
        out = folder / f"local-{name}.safetensors"
        batch = folder / "batch.safetensors"
        publisher.call("local_logits", repo="user/model", revision=revision, batch=batch, out=out)

    facts = {"repo": "user/model", "tag": TAG, "snippet": first["snippet"]}
    facts |= {"first": first["commit"], "second": second["commit"]}
    reports = [
        run_stranger(script, folder, facts, hub, folder / name) for script, name in ((LOAD, "one"), (LOAD_AGAIN, "two"))
    ]
    return folder, facts, *reports


def test_a_stranger_who_does_not_trust_runs_nothing(strangers):
    _, _, report, _ = strangers
    assert len(report["refusals"]) == 12
    assert all("trust_remote_code=True" in refusal for refusal in report["refusals"])
    assert report["code before trust"] == report["modules before trust"] == []


def test_a_stranger_gets_the_revision_that_was_asked_for(strangers):
    folder, facts, report, _ = strangers
    got = load_file(folder / "stranger.safetensors")
    assert torch.equal(got["tag"], got["first"])
    assert torch.equal(got["main"], got["second"])
    assert torch.equal(got["main"], got["code of the first"])
    assert not torch.equal(got["main"], got["tag"])
    of = {name: module.split(".")[-2:] for name, module in report["modules"].items()}
    first, second = facts["first"], facts["second"]
    assert of["tag"] == of["first"] == of["code of the first"] == [first, "modeling_sentiment_lstm"]
    assert of["main"] == of["second"] == [second, "modeling_sentiment_lstm"]
    assert all(module.startswith("transformers_modules.user.model.") for module in report["modules"].values())
    assert set(map(tuple, report["base"].values())) == {("SentimentLSTMModel", "SentimentLSTMConfig", "max")}


def test_with_and_without_the_package_the_answers_are_bit_equal(strangers):
    folder, *_ = strangers
    remote = load_file(folder / "stranger.safetensors")
    for name in ("first", "second"):
        local = load_file(folder / f"local-{name}.safetensors")["logits"]
        assert len(local.unique()) > 2
        assert torch.equal(remote[name], local)
    again = load_file(folder / "again.safetensors")
    assert torch.equal(again["hub"], remote["tag"])
    assert torch.equal(again["directory"], remote["tag"])


def test_the_stock_pipeline_answers(strangers):
    _, _, report, again = strangers
    expected = [dict(zip(("NEGATIVE", "POSITIVE"), row, strict=True)) for row in report["expected"]]
    best = [max(row, key=row.__getitem__) for row in expected]
    for got in report["answers"][:2]:
        assert [answer["label"] for answer in got] == best
        assert [answer["score"] for answer in got] == pytest.approx(
            [row[label] for row, label in zip(expected, best, strict=True)], abs=1e-6
        )
    assert report["answers"][2] == report["answers"][0][:1]
    for got in report["all labels"][:2]:
        assert [{a["label"]: a["score"] for a in row} for row in got] == [
            pytest.approx(row, abs=1e-6) for row in expected
        ]
    assert again["answers"] == report["answers"]
    assert again["module"].startswith("transformers_modules.user.pulled.")


def test_the_tokenizer_needs_no_remote_code(strangers):
    _, _, report, _ = strangers
    module, max_length, encoded = report["tokenizer"]
    assert module.startswith("transformers.")
    assert max_length == TINY.max_length
    assert encoded["attention_mask"] == [[1], [0]]


def test_a_stranger_can_evaluate_and_fine_tune(strangers):
    _, _, report, _ = strangers
    measured, expected = report["evaluated"]
    assert measured == expected
    loss, steps, unchanged = report["tuned"]
    assert steps == 2
    assert 0 < loss < 5
    assert unchanged == []
    assert report["padding stays zero"]


def test_the_snippet_loads_the_pushed_commit(strangers):
    _, facts, _, report = strangers
    printed, expected = report["snippet"]
    assert printed == expected
    assert "'label'" in printed
    assert f".{facts['first']}." in report["snippet module"]


def test_the_card_is_read_from_the_hub(strangers, trained):
    _, facts, _, report = strangers
    metrics = json.loads((trained / "metrics.json").read_text())
    name, results = report["card"]
    assert name == "Sentiment LSTM: tiny"
    assert results["accuracy"] == metrics["test"]["accuracy"]
    assert results.keys() >= {"accuracy", "f1", "precision", "recall", "roc_auc", "loss"}
    sha, library, task, siblings = report["info"]
    assert (sha, library, task) == (facts["second"], "transformers", "text-classification")
    assert siblings == sorted([".gitattributes", *PUBLISHED])


# The loopback Hub itself


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("license: mit", "license: nonsense"), '"license" must be one of'),
        (("type: text-classification", "kind: text-classification"), "task.type"),
        (("value: 0.", "worth: 0."), "metrics[0].value"),
        (("tags:", "tags: sentiment\nothers:"), '"tags" must be an array'),
        (("license: mit", "license: ["), "cannot be parsed"),
    ],
)
def test_the_loopback_hub_refuses_a_bad_card(trained, change, error):
    card = (trained / "README.md").read_text()
    assert check_card(card) == ([], [])
    assert change[0] in card
    errors, _ = check_card(card.replace(*change, 1))
    assert any(error in message for message in errors), errors
