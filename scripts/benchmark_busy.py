"""Seconds of a training step while another process has one of the cores."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

# The mean of several steps, after a first one.
_STEPS = """
import time, torch
from hf_lstm_sentiment import SentimentLSTMForSequenceClassification
model = SentimentLSTMForSequenceClassification.from_pretrained({model!r}).train()
ids, labels = torch.randint(2, model.config.vocab_size, (64, 200)), torch.randint(0, 2, (64,))
for step in range({steps} + 1):
    start = time.perf_counter() if step < 2 else start
    model(ids, labels=labels).loss.backward()
print((time.perf_counter() - start) / {steps})
"""


def step_seconds(model: str, *, steps: int, repeats: int) -> dict[str, float]:
    """Medians of processes of so many steps, as long as threads wait by torch's default and by the command's."""
    program = [sys.executable, "-c", _STEPS.format(model=model, steps=steps)]
    own = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environments = {"torch": own, "command": {**own, "GOMP_SPINCOUNT": "1000"}}
    seconds: dict[str, list[float]] = {name: [] for name in environments}
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for _ in range(repeats):
            for name, environment in environments.items():
                done = subprocess.run(program, check=True, stdout=subprocess.PIPE, env=environment)
                seconds[name].append(float(done.stdout))
    finally:
        busy.kill()
    return {name: float(np.median(found)) for name, found in seconds.items()}
