"""fsck finds every planted defect, says it in words, and mends it without losing anything; what only a person can decide, it names."""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.domain.requests import MessageRequest
from devsh_memory_mcp.engine.preparation import choose
from devsh_memory_mcp.shim.doorbell import socket_path
from devsh_memory_mcp.store import fsck, inspection, leftovers, refs
from devsh_memory_mcp.store.fsck import Finding, check
from devsh_memory_mcp.store.root import MemoryRoot
from devsh_memory_mcp.wiring import SystemClock
from tests.engine.defects import DEFECTS, Defect, Place
from tests.engine.house import House, ended, git, shell


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A real run, made once; `made` is a copy of all its files."""
    scratch = tmp_path_factory.mktemp("defects") / "here"
    (scratch / "memory").mkdir(parents=True, mode=0o700)
    (scratch / "project").mkdir()
    house = House(scratch / "memory", scratch / "project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(scratch))
        (scratch / ".gitconfig").write_text("[user]\n\tname = A Tester\n\temail = tester@example.org\n", encoding="utf-8")
        git(house.directory, "init", "-q")
        git(house.directory, "commit", "-q", "--allow-empty", "-m", "first")
        directory = anyio.run(_made, house)
        house.close()
    shutil.copytree(scratch, scratch.with_name("made"), symlinks=True)
    return Place(house.root, directory, house.directory)


async def _made(house: House) -> Path:
    async with house.opened() as orchestration:
        first = await orchestration.spawn(shell("echo new > new", repo=None, name="good"))
        await ended(orchestration, first.orchestration_task_id)
        second = await orchestration.spawn(shell("echo bad > bad; false", repo=None, name="bad", retries=1))
        await ended(orchestration, second.orchestration_task_id)
        await orchestration.message(MessageRequest.model_validate({"to": "head", "type": "status", "message": "hello"}))
        assert orchestration.directory is not None
        return orchestration.directory


@pytest.fixture
def place(pristine: Place) -> Iterator[Place]:
    """The same, put back as it was."""
    here = pristine.root.parent
    shutil.rmtree(here)
    shutil.copytree(here.with_name("made"), here, symlinks=True)
    found(pristine, repair=True)  # the books know files by their inodes
    assert found(pristine) == []
    yield pristine
    with contextlib.suppress(OSError):
        os.unlink(socket_path(str(pristine.root)))


def found(place: Place, *, repair: bool = False) -> list[Finding]:
    root = MemoryRoot(place.root, SystemClock(), choose, os.environ)
    return check(root, SystemClock(), choose, repair=repair)


def contents(place: Place) -> set[bytes]:
    """What is in the files that somebody could miss."""
    kept = (path for path in place.root.rglob("*") if not path.name.endswith((".tmp", ".lock", "views.json")))
    return {path.read_bytes() for path in kept if path.is_file()}


def shape(place: Place) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mode, path.lstat().st_mtime_ns) for path in place.root.rglob("*")}


@pytest.mark.promise("doctor.fsck")
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: defect.name)
def test_a_defect_is_found_said_and_mended_or_named(place: Place, defect: Defect) -> None:
    if defect.code == "wrong_owner" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    with contextlib.ExitStack() as planted:
        plant = defect.plant(place)
        if isinstance(plant, contextlib.AbstractContextManager):
            planted.enter_context(plant)
        before, files = shape(place), contents(place)
        findings = [finding for finding in found(place) if finding.code == defect.code]
        assert shape(place) == before, "a check changes nothing"
        assert findings
        assert any(defect.says in finding.message for finding in findings), findings
        assert all(finding.is_note == defect.is_note for finding in findings)
        told = found(place, repair=True)
        assert "not_repaired" not in {finding.code for finding in told}, told
        assert {finding.code for finding in told if not finding.repaired and not finding.is_note} == defect.left
        assert {finding.code for finding in found(place) if not finding.is_note} == defect.left
        if defect.kept:
            kept = list(place.directory.glob(defect.kept))
            assert kept
            said = " ".join(f"{finding.path} {finding.what}" for finding in told if finding.code == "set_aside")
            assert [path for path in kept if path.name not in said] == []
        assert lost(files, place) == set()


def lost(files: set[bytes], place: Place) -> set[bytes]:
    """The lines that were in a file before and are in none now. A view is made anew of the journal."""
    whole = b"\n".join(contents(place))
    views = {content for content in files if content.startswith(b"{\n") and b'"_view"' in content}
    return {line for content in files - views for line in content.splitlines() if line not in whole}


def test_every_code_of_a_check_is_planted() -> None:
    places = (fsck, inspection, leftovers, refs)
    texts = "".join(path.read_text(encoding="utf-8") for path in Path(fsck.__file__).parent.glob("*.py"))
    said = re.findall(r'Finding\(\s*(?:"(\w+)"|([A-Z_]+))', texts)
    codes = {code or next(getattr(place, name) for place in places if hasattr(place, name)) for code, name in said}
    assert codes - {"set_aside", "journal_mended", "not_repaired"} == {defect.code for defect in DEFECTS}
