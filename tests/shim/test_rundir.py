"""The files of a run directory, as readers find them that must not be stopped by what an agent puts there."""

import os
import pathlib
import socket

import pytest

from devsh_memory_mcp.shim import rundir
from devsh_memory_mcp.shim.rundir import Letter, Outcome
from tests.shim.stage import Stage, post


def _put(path: pathlib.Path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.with_suffix(".real").write_text('{"id":1,"type":"cancel"}\n')
        path.symlink_to(path.with_suffix(".real"))
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))


@pytest.mark.parametrize("kind", ["pipe", "link", "directory", "device", "socket"])
def test_what_is_no_regular_file_is_neither_waited_for_nor_followed(
    tmp_path: pathlib.Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the address of a socket has to be short
    _put(pathlib.Path("file"), kind)
    assert rundir.read_lines("file", Letter) == ([], 0)
    with pytest.raises(ValueError, match="not a regular file"):
        rundir.read_json("file", Outcome)


def test_what_is_too_large_is_not_read_whole(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    post(tmp_path, Letter(1, "cancel"))
    (tmp_path / rundir.INBOX_FILE).rename(path)
    os.truncate(path, 1 << 40)
    assert rundir.read_lines(str(path), Letter)[0] == [Letter(1, "cancel")]
    with pytest.raises(ValueError, match="larger than"):
        rundir.read_json(str(path), Outcome)


def test_what_is_nested_too_deeply_is_no_shape(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_text("[" * 1000000 + "\n")
    assert rundir.read_lines(str(path), Letter) == ([], 1000001)
    with pytest.raises(ValueError, match="nested"):
        rundir.read_json(str(path), Outcome)


def test_an_inbox_that_became_a_pipe_does_not_stop_the_shim(stage: Stage) -> None:
    tether = stage.tether()
    run = stage.launch(f"exec 9>{tether.path}; rm -f ../inbox.jsonl; mkfifo ../inbox.jsonl; echo a >&9; cat ../go", setup="mkfifo ../go")
    tether.await_words(1)
    stage.bell.await_hello()
    stage.bell.ring()
    (run.directory / "go").write_text("done\n")
    assert run.end().result == "done\n"
