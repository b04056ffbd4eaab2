"""A program that unpickles a file, to show that a guard against it works."""

import pickle
import sys
from pathlib import Path

with Path(sys.argv[1]).open("rb") as file:
    pickle.load(file)
