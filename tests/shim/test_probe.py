"""A sandbox is believed in when it has been seen to work."""

import os
import pathlib

import pytest

from devsh_memory_mcp.shim import probe
from devsh_memory_mcp.shim.probe import Missing
from devsh_memory_mcp.shim.sandbox import Bubblewrap


def test_where_it_is_not_installed_it_is_said_how_to_get_it() -> None:
    found = probe.probe("/nowhere")
    assert isinstance(found, Missing)
    assert "apt-get install bubblewrap" in found.remedy


def test_one_that_does_not_work_is_none_and_what_it_said_is_told(tmp_path: pathlib.Path) -> None:
    _program(tmp_path, "bwrap", "echo 'bwrap: setting up uid map: Permission denied' >&2; exit 1")
    _program(tmp_path, "setpriv", "")
    found = probe.probe(str(tmp_path))
    assert isinstance(found, Missing)
    assert "does not work here: bwrap: setting up uid map: Permission denied" in found.why
    assert found.remedy


def test_one_that_is_no_program_is_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "bwrap").write_bytes(b"\x7fELF rubbish")
    (tmp_path / "bwrap").chmod(0o755)
    _program(tmp_path, "setpriv", "")
    assert isinstance(probe.probe(str(tmp_path)), Missing)


def test_one_that_keeps_root_where_nothing_can_drop_it_is_none(tmp_path: pathlib.Path) -> None:
    _program(tmp_path, "bwrap", "exit 0")
    found = probe.probe(str(tmp_path))
    assert isinstance(found, Missing) is (os.geteuid() == 0)


@pytest.mark.parametrize("unknown", ["--disable-userns", "--size"])
def test_one_that_is_older_does_without_what_it_does_not_know(tmp_path: pathlib.Path, unknown: str) -> None:
    refuses = (
        f"PATH=/usr/bin:/bin; tr '\\0' '\\n' <&3 | grep -qxe {unknown} && {{ echo 'bwrap: Unknown option {unknown}' >&2; exit 1; }}; exit 0"
    )
    _program(tmp_path, "bwrap", refuses)
    _program(tmp_path, "setpriv", "")
    found = probe.probe(str(tmp_path))
    assert isinstance(found, Bubblewrap)
    assert (found.disables_userns, found.takes_size) == (False, unknown != "--size")


def _program(directory: pathlib.Path, name: str, script: str) -> None:
    (directory / name).write_text(f"#!/bin/sh\n{script}\n")
    (directory / name).chmod(0o755)
