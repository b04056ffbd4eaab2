"""Runs jobs in processes that can be killed, forked from one that has imported the libraries.

Importing them takes seconds and a tiny training less than one. Nothing is computed before the fork: a child must start
as a fresh process would.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import resource
import runpy
import shutil
import signal
import sys
from dataclasses import replace
from multiprocessing import forkserver, get_context
from pathlib import Path
from unittest.mock import patch

import evaluate  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import sklearn.utils  # noqa: F401
import torch
import transformers.pipelines  # noqa: F401
from accelerate.utils.other import get_free_port

from hf_lstm_sentiment.inference.files import predict_file
from hf_lstm_sentiment.training.train import train
from tests.reviews import TINY


class ForkServer:
    """Runs a job, and what befalls it: a training of a changed preset, `predict_file`, or a script with arguments.

    What it returns: "code" (negative for a signal), "codes" of several processes, "output" (standard output and error).
    """

    def __init__(self, directory):
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        environment = {name: str(directory / name) for name in ("HF_HOME", "MPLCONFIGDIR")}
        environment |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        with patch.dict(os.environ, environment):
            for name in ("MASTER_ADDR", "WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
                os.environ.pop(name, None)
            forkserver.ensure_running()

    def __call__(self, *, processes=1, **job):
        # Not into a file, which a job that limits the size of files would fill.
        reading, writing = self._context.Pipe(duplex=False)
        children, port = [], get_free_port()
        for rank in range(processes):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
            place = {name: str(value) for name, value in place.items()} | {"MASTER_ADDR": "127.0.0.1"}
            # What is to happen to one process of several does not happen to the others.
            own = {**job, **job.get(f"rank {rank}", {})}
            child = self._context.Process(target=_work, args=(own, writing, place if processes > 1 else {}))
            child.start()
            children.append(child)
        writing.close()
        with open(reading.fileno(), "rb", closefd=False) as pipe:
            output = pipe.read().decode(errors="replace")
        for child in children:
            child.join()
        codes = [child.exitcode for child in children]
        return {"code": codes[0], "codes": codes, "output": output}


def _work(job, output, place):
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(output.fileno(), number)
        setattr(sys, name, os.fdopen(number, "w", closefd=False))
    output.close()
    os.environ.update(place)
    torch.set_num_threads(1)
    logging.getLogger("hf_lstm_sentiment").setLevel(logging.INFO)
    logging.getLogger("hf_lstm_sentiment").addHandler(logging.StreamHandler())
    _arm(job)
    if "script" in job:
        sys.argv = [job["script"], *job["arguments"]]
        runpy.run_path(job["script"], run_name="__main__")
    elif "predict" in job:
        predict_file(**job["predict"], progress=False)
    else:
        settings = {"epochs": 3, "embedding_dropout": 0.2, "classifier_dropout": 0.2, **job.get("preset", {})}
        train(replace(TINY, **settings), **job["train"], disable_tqdm=True)


def _arm(job):
    """Prepare what is to befall a job."""
    if first := job.get("first"):
        first()
    if folder := job.get("watch"):
        sys.addaudithook(functools.partial(_watch, folder))
    if seconds := job.get("seconds"):
        # Of processor time, whatever else keeps the machine busy; the system ends the process then.
        signal.setitimer(signal.ITIMER_PROF, seconds)
    if kill := job.get("kill"):
        at_call(kill["target"], kill["call"], functools.partial(_die, kill["when"]))
    if sent := job.get("signal"):
        for call in sent["calls"]:
            at_call(sent["target"], call, lambda *_: os.kill(os.getpid(), sent["number"]))
    if full := job.get("full"):
        limit = (full["bytes"], resource.RLIM_INFINITY)
        at_call(full["target"], full["call"], lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, limit))


def at_call(target, number, act):
    """Do something before the n-th call of a function: `act` is given the function and its arguments."""
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    function, done = getattr(owner, name), []

    @functools.wraps(function)
    def watched(*args, **kwargs):
        done.append(1)
        if len(done) == number:
            act(function, args, kwargs)
        return function(*args, **kwargs)

    setattr(owner, name, watched)


def _die(when, function, args, kwargs):
    """End this process before a call, or when half of the file or directory that it has to do with is there."""
    if when == "half":
        if function is not shutil.rmtree:
            function(*args, **kwargs)
        for path in [Path(value) for value in (*args, *kwargs.values()) if isinstance(value, str | os.PathLike)]:
            if path.is_file():
                os.truncate(path, path.stat().st_size // 2)
            elif path.is_dir():
                files = sorted(inner for inner in path.iterdir() if inner.is_file())
                for inner in files[: len(files) // 2]:
                    inner.unlink()
    os.kill(os.getpid(), signal.SIGKILL)


def _watch(folder, event, arguments):
    """Tell which files of a folder this process opens to write."""
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(folder):
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        if flags & (os.O_WRONLY | os.O_RDWR):
            os.write(2, f"\nrank {os.environ.get('RANK', '-')} wrote {Path(arguments[0]).name}\n".encode())
