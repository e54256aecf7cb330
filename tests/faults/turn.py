"""Which slice of the faults it is this time: drawn from the commit, so that one commit always has the same and all have their turn."""

import os
import subprocess
from functools import cache
from pathlib import Path

VARIABLE = "FAULTS_TURN"


@cache
def turn() -> int:
    """What FAULTS_TURN says, else the number that HEAD's tree has; 0 outside of a repository."""
    if given := os.environ.get(VARIABLE):
        return int(given)
    words = ["git", "rev-parse", "--verify", "--quiet", "HEAD^{tree}"]
    found = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return int(found.stdout[:6] or "0", 16)
