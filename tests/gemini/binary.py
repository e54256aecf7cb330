"""The real Gemini CLI that the tests run: the one version they are written for."""

import os

VERSION = "0.61.0"
HOW_TO_GET_IT = (
    f"There is no gemini {VERSION}, or no node to run it: `npm install --prefix DIRECTORY @google/gemini-cli@{VERSION}` brings it, and "
    "DEVSH_TEST_GEMINI=DIRECTORY/node_modules/.bin/gemini names it; DEVSH_TEST_NODE may name a node."
)
SAYS = f"{VERSION}\n"


def _surroundings() -> dict[str, str]:
    """It finds node on PATH."""
    node = os.environ.get("DEVSH_TEST_NODE")
    return {**os.environ, "PATH": os.pathsep.join(filter(None, (node and os.path.dirname(node), os.environ.get("PATH"))))}


SURROUNDINGS = _surroundings()  # now: tests/conftest.py takes such variables away
