"""The real codex that the tests run: the one version they are written for."""

import os

from tests.claude.binary import find

VERSION = "0.169.0"
HOW_TO_GET_IT = (
    f"There is no codex {VERSION}: `npm install --prefix DIRECTORY @openai/codex@{VERSION}` brings it, and DEVSH_TEST_CODEX names the "
    "program in it, which is DIRECTORY/node_modules/@openai/codex-*/vendor/*/bin/codex."
)
SAYS = f"codex-cli {VERSION}\n"
FOUND = find("codex", SAYS, os.environ)  # now: tests/conftest.py takes such variables away
