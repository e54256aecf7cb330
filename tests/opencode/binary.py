"""The real opencode that the tests run: the one version they are written for."""

import os

VERSION = "1.18.33"
HOW_TO_GET_IT = (
    f"There is no opencode {VERSION}: `npm install --prefix DIRECTORY opencode-ai@{VERSION}` brings it, and DEVSH_TEST_OPENCODE names the "
    "program in it, which is DIRECTORY/node_modules/opencode-*/bin/opencode."
)
SAYS = f"{VERSION}\n"
SURROUNDINGS = dict(os.environ)  # now: tests/conftest.py takes such variables away
