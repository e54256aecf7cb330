"""Every test has its own HOME and git configuration, a bell that rings, and a stage."""

import collections.abc
import os
import pathlib
import shutil
import signal
import tempfile

import pytest

from tests.doubles.bell import Bell
from tests.shim.stage import Repository, Stage
from tests.shim.warden import Warden


@pytest.fixture(autouse=True)
def home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    path = tmp_path / "home"
    path.mkdir()
    (path / ".gitconfig").write_text('[user]\n\tname = Una User\n\temail = una@example.org\n[protocol "file"]\n\tallow = always\n')
    monkeypatch.setenv("HOME", str(path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return path


@pytest.fixture
def signals() -> collections.abc.Iterator[None]:
    """For tests with a loop of the shim's in this process: it owns the process's signals."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture
def bell() -> collections.abc.Iterator[Bell]:
    bell = Bell()
    yield bell
    bell.close()


@pytest.fixture
def stage(tmp_path: pathlib.Path, bell: Bell) -> collections.abc.Iterator[Stage]:
    stage = Stage(tmp_path, bell)
    yield stage
    stage.close()


@pytest.fixture
def repository(tmp_path: pathlib.Path) -> Repository:
    repository = Repository(tmp_path / "repository")
    repository.commit("first", **{"readme": "hello\n", "src__code": "one\ntwo\n", ".gitignore": "ignored\n.env\n"})
    return repository


@pytest.fixture(params=["root", "ordinary"] if os.geteuid() == 0 else ["ordinary"])
def warden(request: pytest.FixtureRequest, bell: Bell) -> collections.abc.Iterator[Warden]:
    root = pathlib.Path(tempfile.mkdtemp(prefix="devsh-walls-"))  # pytest's own directories are closed to other users
    root.chmod(0o755)
    warden = Warden(root, bell, ordinary=request.param == "ordinary")
    yield warden
    warden.stage.close()
    shutil.rmtree(root)
