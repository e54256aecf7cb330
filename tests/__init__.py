"""Agents of tests and campaigns are watched through files of this machine's: where nothing else is said, they are in no sandbox."""

import os

os.environ.setdefault("DEVSH_SANDBOX", "none")
