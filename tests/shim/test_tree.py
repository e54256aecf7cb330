"""Who of a tree can be ended."""

import errno
import os
import signal

import pytest

from devsh_memory_mcp.shim import census, tree


@pytest.mark.parametrize(("refusal", "is_left"), [(errno.EPERM, False), (errno.EACCES, True), (errno.ESRCH, True)])
def test_another_users_process_is_nobody_to_go_on_for(monkeypatch: pytest.MonkeyPatch, refusal: int, is_left: bool) -> None:
    asked = []

    def refuse(pid: int, number: int) -> None:
        asked.append((pid, number))
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(tree, "members", lambda root, marker: [mine])
    mine = next(entry for entry in census.entries() if entry.pid == os.getpid())
    monkeypatch.setattr(os, "kill", refuse)
    assert tree.kill([mine]) is is_left
    assert asked == [(os.getpid(), signal.SIGKILL)]
    assert tree.is_others(1, "") is not is_left
