"""A program that unpickles a file, to show that a guard against it works."""

import pickle
import sys
from pathlib import Path

pickle.load(Path(sys.argv[1]).open("rb"))
