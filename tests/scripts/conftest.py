import sys
from pathlib import Path

# The scripts of this checkout import each other as siblings, and so do their tests.
sys.path.append(str(Path(__file__).parents[2] / "scripts"))
