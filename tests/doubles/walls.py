"""What this machine can do, and machines that can do something else."""

import os

import pytest

from devsh_memory_mcp.shim.cell import search_path
from devsh_memory_mcp.shim.probe import Missing, probe
from devsh_memory_mcp.shim.sandbox import Bubblewrap
from devsh_memory_mcp.shim.seatbelt import Seatbelt


def has_sandbox() -> bool:
    return isinstance(probe(search_path(os.environ)), Bubblewrap)


# In continuous integration they are not left out: nothing would be proved then.
_IS_LEFT_OUT = not has_sandbox() and os.environ.get("CI") != "true"
needs_sandbox = pytest.mark.skipif(_IS_LEFT_OUT, reason="no sandbox works on this machine")


def with_one(search: str) -> Bubblewrap | Missing:
    return Bubblewrap("/usr/bin/bwrap")


def with_seatbelt(search: str) -> Seatbelt | Missing:
    return Seatbelt()


def without_one(search: str) -> Bubblewrap | Missing:
    return Missing("bubblewrap is not installed", "apt-get install bubblewrap")
