"""`owner/repo` is cloned from where the user's git finds it, and worked on like a repository of this machine."""

from pathlib import Path

import pytest

from devsh_memory_mcp.errors import BaseNotFound, RepositoryUnusable
from tests.engine.house import House, ended, git, shell


@pytest.fixture
def hosted(own_surroundings: Path, tmp_path: Path) -> Path:
    """A bare repository that git reaches as the one of that name on GitHub; its HEAD is `trunk`, and there is a `main`."""
    host, work = tmp_path / "host", tmp_path / "work-tree"
    bare = host / "octo" / "tools.git"
    work.mkdir()
    git(work, "init", "-q", "-b", "trunk")
    for branch in ("trunk", "main"):
        git(work, "checkout", "-q", "-B", branch)
        (work / "file").write_text(f"{branch}\n", encoding="utf-8")
        git(work, "add", ".")
        git(work, "commit", "-qm", branch)
    git(work, "clone", "-q", "--bare", str(work), str(bare))
    git(bare, "symbolic-ref", "HEAD", "refs/heads/trunk")
    with (own_surroundings / ".gitconfig").open("a", encoding="utf-8") as file:
        file.write(f'[url "file://{host}/"]\n\tinsteadOf = https://github.com/\n')
    return bare


async def test_a_task_works_on_main_of_a_hosted_repository_through_a_mirror_that_is_shared(house: House, hosted: Path) -> None:
    async with house.opened() as orchestration:
        spawned = [await orchestration.spawn(shell("cat file; echo new > new", repo="octo/tools")) for _ in range(2)]
        answer = await ended(orchestration, *(one.orchestration_task_id for one in spawned))
        record = await orchestration.status(spawned[0].orchestration_task_id)
        follower = await orchestration.spawn(shell("cat new", repo=None, depends_on=(spawned[0].orchestration_task_id,)))
        assert (await ended(orchestration, follower.orchestration_task_id)).result == "new\n"
    assert [row.status for row in answer.tasks] == ["completed", "completed"]
    assert (answer.result, spawned[0].repo, spawned[0].base_branch) == ("main\n", "octo/tools", "main")
    (mirror,) = (house.root / "mirrors").glob("*.git")
    assert git(mirror, "show", f"{record.branch}:new") == "new"
    assert git(hosted, "for-each-ref", "--format=%(refname:short)").split() == ["main", "trunk"]


async def test_without_a_main_the_remotes_own_default_is_the_base(house: House, hosted: Path) -> None:
    git(hosted, "branch", "-q", "-D", "main")
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("cat file", repo="octo/tools"))
        assert (spawned.base_branch, (await ended(orchestration, spawned.orchestration_task_id)).result) == ("trunk", "trunk\n")


async def test_a_clone_of_the_same_repository_lends_its_objects_and_gets_the_branch(house: House, hosted: Path) -> None:
    git(house.directory, "clone", "-q", "https://github.com/octo/tools", ".")
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("cat file; echo new > new", repo="octo/tools"))
        assert (await ended(orchestration, spawned.orchestration_task_id)).result == "main\n"
    assert list((house.root / "mirrors").iterdir()) == []
    assert git(house.directory, "show", f"{spawned.branch}:new") == "new"


async def test_what_is_not_there_is_refused_with_what_is_nearest(house: House, hosted: Path) -> None:
    async with house.opened() as orchestration:
        with pytest.raises(BaseNotFound) as caught:
            await orchestration.spawn(shell("true", repo="octo/tools", branch="mian"))
        with pytest.raises(RepositoryUnusable, match="git cannot read"):
            await orchestration.spawn(shell("true", repo="octo/nothing"))
        for strange in ("--upload-pack=touch", "ext::sh -c true", "two words", "a/b/c", ""):
            with pytest.raises(RepositoryUnusable):
                await orchestration.spawn(shell("true", repo=strange))
        assert (await orchestration.results()).total_tasks == 0
    assert caught.value.next_step.startswith("Nearest: main")
