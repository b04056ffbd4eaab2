"""A process that publishes: `python -m tests.publisher` answers calls, a JSON object per line.

It has this package and knows the loopback Hub by its environment; access tokens come with the calls.
"""

from __future__ import annotations

import dataclasses
import io
import json
import logging
import os
import sys
import time
import traceback
from contextlib import redirect_stdout

import torch
from huggingface_hub.utils import disable_progress_bars
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from hf_lstm_sentiment import SentimentLSTMForSequenceClassification, cli
from hf_lstm_sentiment.hub import push as hub
from hf_lstm_sentiment.training import train as training
from tests.hub_clients import SHORT


def push(**arguments):
    return dataclasses.asdict(hub.push_run(**arguments))


def train(**arguments):
    result = training.train(SHORT, num_threads=1, disable_tqdm=True, **arguments)
    return {"pushed": result.pushed and dataclasses.asdict(result.pushed), "summary": result.summary()}


def command(words, token):
    """What a command prints for somebody who has that token."""
    os.environ["HF_TOKEN"] = token
    with redirect_stdout(io.StringIO()) as printed:
        code = cli.main(words)
    del os.environ["HF_TOKEN"]
    return [code, printed.getvalue()]


def local_logits(repo, revision, batch, out):
    model = AutoModelForSequenceClassification.from_pretrained(repo, revision=revision)
    assert type(model) is SentimentLSTMForSequenceClassification
    with torch.no_grad():
        save_file({"logits": model(**load_file(batch)).logits}, out)


def main():
    torch.set_num_threads(1)
    disable_progress_bars()
    logging.basicConfig(level=logging.DEBUG)
    time.sleep = lambda seconds: None  # between the client's own retries
    functions = {function.__name__: function for function in (push, train, command, local_logits)}
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        call = json.loads(line)
        try:
            answer = {"result": functions[call["function"]](**call["arguments"])}
        except Exception as error:
            traceback.print_exc()
            answer = {"kinds": [kind.__name__ for kind in type(error).__mro__], "message": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
