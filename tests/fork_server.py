"""Runs jobs in forked children that can be killed: `python -m tests.fork_server` reads one JSON object per line.

Importing the libraries takes seconds and a tiny training less than one, so the imports are done once, before the
fork. Nothing is computed before it: a child must start as a fresh process would.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import resource
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).parents[1]


class ForkServer:
    """The client's side."""

    def __init__(self, directory):
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "HF_HOME": str(directory / "hf"),
            "MPLCONFIGDIR": str(directory / "mpl"),
        }
        for name in ("MASTER_ADDR", "WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
            environment.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def __call__(self, **job):
        """Run a job. What it returns: "code" (negative for a signal), "codes", "output" (standard output and error)."""
        self._process.stdin.write(json.dumps(job, default=str) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _find(target):
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    return owner, name


def _damage(values):
    """Leave half of the file or directory that a call has to do with."""
    for value in values:
        if isinstance(value, str | os.PathLike) and Path(value).is_file():
            os.truncate(value, Path(value).stat().st_size // 2)
        elif isinstance(value, str | os.PathLike) and Path(value).is_dir():
            files = sorted(path for path in Path(value).iterdir() if path.is_file())
            for path in files[: len(files) // 2]:
                path.unlink()


def _at_call(target, call, act):
    """Do something at the n-th call of a function: `act` is given the function and its arguments."""
    owner, name = _find(target)
    function, done = getattr(owner, name), []

    @functools.wraps(function)
    def watched(*args, **kwargs):
        done.append(1)
        if len(done) != call:
            return function(*args, **kwargs)
        return act(function, args, kwargs)

    setattr(owner, name, watched)


def _arm(job):
    if kill := job.get("kill"):

        def die(function, args, kwargs):
            if kill["when"] == "half" and function is not shutil.rmtree:
                function(*args, **kwargs)
            if kill["when"] == "half":
                _damage([*args, *kwargs.values()])
            os.kill(os.getpid(), signal.SIGKILL)

        _at_call(kill["target"], kill["call"], die)
    if sent := job.get("signal"):

        def send(function, args, kwargs):
            os.kill(os.getpid(), sent["number"])
            return function(*args, **kwargs)

        for call in sent["calls"]:
            _at_call(sent["target"], call, send)
    if folder := job.get("watch"):
        sys.addaudithook(functools.partial(_watch, folder))
    if full := job.get("full"):

        def fill(function, args, kwargs):
            resource.setrlimit(resource.RLIMIT_FSIZE, (full["bytes"], resource.RLIM_INFINITY))
            return function(*args, **kwargs)

        _at_call(full["target"], full["call"], fill)


def _watch(folder, event, arguments):
    """Tell which files of a folder this process opens to write."""
    if event == "open" and isinstance(arguments[0], str) and arguments[0].startswith(folder):
        flags = arguments[2] if isinstance(arguments[2], int) else 0
        if flags & (os.O_WRONLY | os.O_RDWR):
            os.write(2, f"\nrank {os.environ.get('RANK', '-')} wrote {Path(arguments[0]).name}\n".encode())


def _work(job):
    if "patch" in job:
        owner, name = _find(job["patch"])
        getattr(owner, name)()
    _arm(job)
    if "script" in job:
        sys.argv = [job["script"], *job["arguments"]]
        runpy.run_path(job["script"], run_name="__main__")
        return
    from hf_lstm_sentiment import predict_file, train
    from tests.reviews import TINY

    if "predict" in job:
        predict_file(**job["predict"], progress=False)
        return
    settings = {"epochs": 3, "embedding_dropout": 0.2, "classifier_dropout": 0.2, **job.get("preset", {})}
    preset = replace(TINY, **settings)
    train(preset, **job["train"], disable_tqdm=True)


def _child(job, output):
    for stream in (1, 2):
        os.dup2(output, stream)
    os.setpgid(0, 0)
    code = 0
    try:
        _work(job)
    except SystemExit as error:
        if isinstance(error.code, str):
            os.write(2, f"{error.code}\n".encode())
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _serve():
    import logging

    import accelerate  # noqa: F401
    import evaluate  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import sklearn.utils  # noqa: F401
    import torch
    import transformers.pipelines  # noqa: F401

    import hf_lstm_sentiment.inference.files
    import hf_lstm_sentiment.training.train  # noqa: F401

    logging.getLogger("hf_lstm_sentiment").setLevel(logging.INFO)
    logging.getLogger("hf_lstm_sentiment").addHandler(logging.StreamHandler())
    torch.set_num_threads(1)
    for line in sys.stdin:
        job = json.loads(line)
        sys.stdout.write(json.dumps(_run(job)) + "\n")
        sys.stdout.flush()


def _run(job):
    """Fork one child, or the processes of one distributed training; their exit codes and what they printed."""
    # Not into a file, which a job that limits the size of files would fill.
    reading, writing = os.pipe()
    children = []
    port = _free_port()
    for rank in range(job.get("processes", 1)):
        child = os.fork()
        if not child:
            os.close(reading)
            if "processes" in job:
                places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["processes"], "MASTER_PORT": port}
                os.environ.update({name: str(value) for name, value in places.items()}, MASTER_ADDR="127.0.0.1")
            # What is to happen to one process of several does not happen to the others.
            _child({**job, **job.get(f"rank {rank}", {})}, writing)
        children.append(child)
    os.close(writing)
    if "seconds" in job:
        _kill_later(children[0], job["seconds"])
    with os.fdopen(reading, "rb") as pipe:
        output = pipe.read().decode(errors="replace")
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    return {"code": codes[0], "codes": codes, "output": output}


def _free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _kill_later(child, seconds):
    """Kill once the child has computed for so long, whatever else keeps the machine busy."""
    ticks = os.sysconf("SC_CLK_TCK")
    while True:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        if fields[0] == "Z":
            return
        if (int(fields[11]) + int(fields[12])) / ticks >= seconds:
            os.kill(child, signal.SIGKILL)
            return
        time.sleep(0.005)


if __name__ == "__main__":
    _serve()
