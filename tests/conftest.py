import gc
import os
from pathlib import Path

import pytest

# What tests start imports this checkout too, and not what happens to be installed.
ROOT = str(Path(__file__).parents[1])
os.environ["PYTHONPATH"] = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
# Before any import that reads them: no test may reach for the network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes at once: each keeps to one core, and so does what it starts.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """The files that start processes come first: at the end, one process would work on them and the other wait."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    # The libraries stay. Every training collects garbage, for a tenth of its time if it looks through them, too.
    gc.freeze()


@pytest.fixture(autouse=True)
def messages_are_heard():
    """Some commands turn messages off for their process, which here is that of the next tests, too."""
    import logging

    logger = logging.getLogger("hf_lstm_sentiment")
    before = logger.level, logger.handlers[:]
    yield
    logging.disable(logging.NOTSET)
    logger.setLevel(before[0])
    logger.handlers[:] = before[1]


@pytest.fixture(scope="module")
def one_thread():
    """One thread for torch: models this small only wait for each other's threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """A cache of data sets for the tests of a file."""
    import datasets

    before, datasets.config.HF_DATASETS_CACHE = datasets.config.HF_DATASETS_CACHE, tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The directory of a finished run, not to be changed."""
    from tests.hub_clients import train_tiny

    return train_tiny(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the finished run, to be changed."""
    import shutil

    return shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("optimizer.pt"))


@pytest.fixture
def unwarned(recwarn):
    """Fails a test that warns. What the garbage collector says of files of other tests is not its own."""
    yield
    assert not [str(warning.message) for warning in recwarn if warning.category is not ResourceWarning]


@pytest.fixture(scope="session")
def loopback():
    """A loopback Hub; its user's name is user."""
    from tests.hub_clients import READ, WRITE
    from tests.hub_server import HubServer

    with HubServer({WRITE: ("user", True), READ: ("user", False)}) as server:
        yield server


@pytest.fixture
def hub(loopback, tmp_path):
    """The same, and a test that is its client."""
    from tests.hub_clients import connected

    with connected(loopback, tmp_path / "huggingface"):
        yield loopback


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Runs jobs in processes that can be killed."""
    from tests.fork_server import ForkServer

    return ForkServer(tmp_path_factory.mktemp("server"))
