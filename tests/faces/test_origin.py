"""What a request becomes when it is sent from here to a server."""

import os
import subprocess
from pathlib import Path

import pytest

from devsh_memory_mcp.config import Caller
from devsh_memory_mcp.domain.requests import BatchDefaults, BatchRequest, BatchTask, SpawnRequest
from devsh_memory_mcp.errors import NotAvailable, RepositoryUnusable
from devsh_memory_mcp.faces.http_origin import Origin

pytestmark = pytest.mark.anyio

URL = "https://git.example.org/owner/repo.git"


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=where, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A repository whose only commit its `origin` has, on main."""
    git(tmp_path, "init", "-q")
    (tmp_path / "file").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "remote", "add", "origin", URL)
    git(tmp_path, "update-ref", "refs/remotes/origin/main", "HEAD")
    return tmp_path


def origin(where: Path, **environment: str) -> Origin:
    return Origin(Caller(where, {**os.environ, **environment}))


async def spawned(where: Path, **fields: object) -> tuple[str | None, str | None, tuple[str, ...]]:
    request, warnings = await origin(where).of_spawn(SpawnRequest.model_validate({"prompt": "x", **fields}))
    return request.repo, request.branch, warnings


async def test_without_a_repository_the_callers_own_is_sent_by_its_address(here: Path) -> None:
    assert await spawned(here) == (URL, "main", ())
    assert await spawned(here, branch="other") == (URL, "other", ())
    assert await spawned(here, repo="none") == ("none", None, ())
    assert await spawned(here, repo="owner/other") == ("owner/other", None, ())
    assert await spawned(here, depends_on=["a"]) == (None, None, ())


async def test_a_login_in_the_address_stays_here(here: Path) -> None:
    git(here, "remote", "set-url", "origin", URL.replace("https://", "https://someone:hush@"))
    assert await spawned(here) == (URL, "main", ())


async def test_what_is_not_pushed_is_told(here: Path) -> None:
    (here / "file").write_text("2\n")
    repo, branch, (uncommitted,) = await spawned(here)
    assert (repo, branch, "1 file" in uncommitted) == (URL, "main", True)
    git(here, "commit", "-qam", "second")
    repo, branch, (unpushed,) = await spawned(here)
    assert (repo, branch, "not pushed" in unpushed, git(here, "rev-parse", "HEAD")[:10] in unpushed) == (URL, "main", True, True)
    git(here, "checkout", "-qb", "mine")
    assert (await spawned(here))[1] is None, "a branch that is not there"
    git(here, "checkout", "-q", "--detach", "origin/main")
    repo, branch, (detached,) = await spawned(here)
    assert (repo, branch, "no branch of `origin`" in detached) == (URL, None, True)


@pytest.mark.parametrize("address", [None, "/srv/code.git", "../code"])
async def test_an_origin_that_no_server_reaches_is_told_and_not_sent(here: Path, address: str | None) -> None:
    git(here, "remote", "remove", "origin")
    if address is not None:
        git(here, "remote", "add", "origin", address)
    repo, _, (told,) = await spawned(here)
    assert (repo, "empty directory" in told) == (None, True)


async def test_outside_a_repository_there_is_nothing_to_send(tmp_path: Path) -> None:
    assert await spawned(tmp_path) == (None, None, ())


async def test_a_head_in_a_sandbox_leaves_it_to_the_server(here: Path) -> None:
    request = SpawnRequest(prompt="x")
    assert await origin(here, CMUX_IS_ORCHESTRATION_HEAD="1").of_spawn(request) == (request, ())


async def test_paths_and_uncommitted_changes_do_not_travel(here: Path) -> None:
    for path in (".", "/srv/code", "~/code"):
        with pytest.raises(RepositoryUnusable, match="on a server"):
            await spawned(here, repo=path)
        with pytest.raises(RepositoryUnusable, match="on a server"):
            await origin(here).of_batch(BatchRequest(tasks=(BatchTask(id="a", prompt="x"),), defaults=BatchDefaults(repo=path)))
    with pytest.raises(NotAvailable, match="Uncommitted"):
        await spawned(here, include_dirty=True)


async def test_of_a_batch_what_depends_on_nothing_begins_at_the_callers_repository(here: Path) -> None:
    tasks = (BatchTask(id="a", prompt="x"), BatchTask(id="b", prompt="y", depends_on=("a",)), BatchTask(id="c", prompt="z", repo="none"))
    batch, _ = await origin(here).of_batch(BatchRequest(tasks=tasks))
    assert [(task.repo, task.branch) for task in batch.tasks] == [(URL, "main"), (None, None), ("none", None)]
