"""What this machine can do, and machines that can do something else."""

import os

import pytest

from devsh_memory_mcp.shim.cell import search_path
from devsh_memory_mcp.shim.probe import Missing, probe
from devsh_memory_mcp.shim.sandbox import Bubblewrap


def has_sandbox() -> bool:
    return isinstance(probe(search_path(os.environ)), Bubblewrap)


def why_skipped(missing: str | None) -> bool:
    """Whether a test is left out for want of something; not in continuous integration, where nothing would be proved then."""
    return missing is not None and os.environ.get("CI") != "true"


needs_sandbox = pytest.mark.skipif(why_skipped(None if has_sandbox() else ""), reason="no sandbox works on this machine")


def with_one(search: str) -> Bubblewrap | Missing:
    return Bubblewrap("/usr/bin/bwrap")


def without_one(search: str) -> Bubblewrap | Missing:
    return Missing("bubblewrap is not installed", "apt-get install bubblewrap")
