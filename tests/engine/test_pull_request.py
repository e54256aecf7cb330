"""Pull requests that were asked for: pushed and opened once, by the runner, whatever happens to it."""

import os
import shutil
from pathlib import Path

import pytest
from pydantic import ValidationError

from devsh_memory_mcp.domain.requests import BatchRequest, SpawnRequest
from devsh_memory_mcp.engine.pull_request import repository_name, run
from devsh_memory_mcp.errors import InvalidRequest
from devsh_memory_mcp.ports import Orchestration
from tests.engine.house import House, ended, git, shell, until_event
from tests.engine.test_remote_code import hosted

__all__ = ["hosted"]

URL = "https://github.com/octo/tools/pull/7"
GH = f"""#!/bin/sh
cd {{here}} && echo "$@" >> asked
case "$2" in
list) cat there;;
create) cat > body; echo {URL} > there; {{then}}; echo {URL};;
esac
"""


class Gh:
    """A `gh` that remembers what it was asked, and what it has opened; `then` is what it does before it answers."""

    def __init__(self, here: Path) -> None:
        self.here = here
        here.mkdir()
        (here / "there").touch()
        self.does("true")

    def does(self, then: str) -> None:
        (self.here / "gh").write_text(GH.format(here=self.here, then=then))
        (self.here / "gh").chmod(0o755)

    def asked(self, what: str) -> list[str]:
        return [line for line in (self.here / "asked").read_text().splitlines() if line.startswith(f"pr {what}")]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.here}:{os.environ['PATH']}"}


@pytest.fixture
def gh(tmp_path: Path) -> Gh:
    return Gh(tmp_path / "gh-here")


async def proposed(orchestration: Orchestration, script: str = "echo new > new; echo All done.", **fields: object) -> str:
    """A task that has completed, of which it is known what came of its pull request."""
    spawned = await orchestration.spawn(shell(script, **({"repo": "octo/tools", "open_pr": True} | fields)))
    await ended(orchestration, spawned.orchestration_task_id)
    return spawned.orchestration_task_id


@pytest.mark.promise("cli.spawn.open-pr", "mcp.spawn_agent.openPr")
async def test_the_branch_is_pushed_and_the_pull_request_opened(house: House, hosted: Path, gh: Gh) -> None:
    async with house.opened(environment=gh.environment) as orchestration:
        task = await proposed(orchestration, pr_title="It's new")
        await until_event(orchestration, "pull_request_opened")
        record, results = await orchestration.status(task), await orchestration.results()
        explained = await orchestration.explain(task)
    assert (record.pr_url, results.results[0].pr_url, record.warnings) == (URL, URL, ())
    assert git(hosted, "show", f"{record.branch}:new") == "new"
    assert gh.asked("create") == [f"pr create --repo octo/tools --head {record.branch} --title It's new --body-file - --base main"]
    assert (gh.here / "body").read_text() == f"All done.\n\nshell/bash, task {task}\n"
    assert "gh pr create" not in str(results.next)
    assert f"Its pull request: {URL}" in explained.because


async def test_a_title_that_is_made_of_the_prompt_has_no_secret_of_it(house: House, hosted: Path, gh: Gh) -> None:
    async with house.opened(environment=gh.environment) as orchestration:
        await proposed(orchestration, f"# Use {'ghp' + '_AbCdEfGhIjKlMnOpQrSt'} here\necho new > new")
        await until_event(orchestration, "pull_request_opened")
    (asked,) = gh.asked("create")
    assert "--title # Use here --body-file" in asked


@pytest.mark.promise("cli.spawn.auto-pr")
async def test_the_settings_ask_for_it_too_and_never_for_a_repository_of_this_machine(
    house: House, hosted: Path, gh: Gh, own_surroundings: Path
) -> None:
    settings = own_surroundings / ".config" / "devsh" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("auto_pr = true\n")
    async with house.opened(environment=gh.environment) as orchestration:
        await proposed(orchestration, open_pr=None)
        await until_event(orchestration, "pull_request_opened")
        refused = await proposed(orchestration, open_pr=False)
        git(house.directory, "clone", "-q", "https://github.com/octo/tools", "mine")
        local = await proposed(orchestration, open_pr=None, repo="./mine")
        for task in (refused, local):
            assert (await orchestration.status(task)).pr_url is None
    assert len(gh.asked("create")) == 1
    assert len(git(hosted, "for-each-ref", "--format=%(refname:short)", "refs/heads/dev").split()) == 1


async def test_a_runner_that_was_killed_between_the_two_opens_it_once(house: House, hosted: Path, gh: Gh) -> None:
    gate = house.gate()
    pipe = house.pipe()
    gh.does(f"echo opened > {pipe.path}; {gate.pass_through}")
    async with house.opened(environment=gh.environment) as orchestration:
        task = await proposed(orchestration)
        assert await pipe.lines(1) == ["opened"]
        house.end_runner()
        gate.open()
        await orchestration.pull()
        await until_event(orchestration, "pull_request_opened")
        assert (await orchestration.status(task)).pr_url == URL
    assert len(gh.asked("create")) == 1


async def test_one_that_is_there_already_is_not_opened_again(house: House, hosted: Path, gh: Gh) -> None:
    gh.does("exit 1")  # it exists, says gh, which was quicker than the list
    async with house.opened(environment=gh.environment) as orchestration:
        for _ in range(2):
            await proposed(orchestration)
        await until_event(orchestration, "pull_request_opened", 2)
    assert len(gh.asked("create")) == 1


FAILURES = {
    "gh could not open it: no rights": ("rm there; touch there; echo no rights >&2; exit 1", {}),
    "gh named no pull request": ("exec true", {}),
    "gh did not end within 3 s": ("exec sleep 1000", {"pull_request": 3.0}),
}


@pytest.mark.parametrize(("said", "case"), FAILURES.items(), ids=FAILURES)
async def test_what_goes_wrong_is_told_and_the_work_stays(
    house: House, hosted: Path, gh: Gh, said: str, case: tuple[str, dict[str, float]]
) -> None:
    gh.does(f"rm there; touch there; {case[0]}")
    async with house.runner(**case[1]), house.opened(environment=gh.environment) as orchestration:
        task = await proposed(orchestration, pr_title="Title")
        await until_event(orchestration, "pull_request_failed")
        record, results = await orchestration.status(task), await orchestration.results()
    assert (record.status, record.pr_url) == ("completed", None)
    assert said in record.warnings[0]
    assert f"gh pr create --head {record.branch} --title Title --repo octo/tools" in str(results.next)


async def test_without_gh_or_with_a_refused_push_the_reason_is_told(house: House, hosted: Path, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("git", "bash", "sh"):
        (programs / name).symlink_to(str(shutil.which(name)))
    async with house.opened(environment={**os.environ, "PATH": str(programs)}) as orchestration:
        without = await proposed(orchestration)
        await until_event(orchestration, "pull_request_failed")
        git(hosted, "config", "receive.denyCurrentBranch", "refuse")
        (hosted / "hooks" / "update").write_text("#!/bin/sh\necho not here >&2; exit 1\n")
        (hosted / "hooks" / "update").chmod(0o755)
        refused = await proposed(orchestration)
        await until_event(orchestration, "pull_request_failed", 2)
        warnings = [(await orchestration.status(task)).warnings[0] for task in (without, refused)]
    assert "gh cannot be started" in warnings[0]
    assert "the branch could not be pushed: remote: not here" in warnings[1]


async def test_nothing_is_pushed_from_a_path_or_from_nowhere(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        for repo in (None, ".", "none"):
            with pytest.raises(InvalidRequest, match="nothing is pushed"):
                await orchestration.spawn(shell("true", repo=repo, open_pr=True))
        assert (await orchestration.results()).total_tasks == 0


async def test_work_that_changed_nothing_has_no_pull_request(house: House, hosted: Path, gh: Gh) -> None:
    async with house.opened(environment=gh.environment) as orchestration:
        task = await proposed(orchestration, "true")
        record = await orchestration.status(task)
    assert (record.pr_url, record.warnings, (gh.here / "asked").exists()) == (None, (), False)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("octo/tools", "octo/tools"),
        ("https://github.com/octo/tools.git", "github.com/octo/tools"),
        ("git@github.com:octo/tools", "github.com/octo/tools"),
        ("ssh://git@example.org:22/a/b/c.git", "example.org/a/b/c"),
    ],
)
def test_a_repository_is_named_as_gh_takes_it(name: str, given: str) -> None:
    assert repository_name(name) == given


async def test_a_word_that_no_command_can_take_is_a_failure_and_no_exception() -> None:
    for command, environment in ((["gh", "pr", "create", "--title", "a\0b"], {}), (["gh"], {"TITLE": "a\0b"})):
        finished = await run(command, environment, 5.0)
        assert (finished.code, "gh cannot be started: embedded null byte" in finished.error) == (None, True)


@pytest.mark.parametrize("title", ["a\0b", "a\nb", "\x1b[31m", "\x7f", "x" * 301])
def test_a_title_that_is_none_is_refused_wherever_it_is_given(title: str) -> None:
    with pytest.raises(ValidationError, match="prTitle"):
        SpawnRequest.model_validate({"prompt": "p", "prTitle": title})
    with pytest.raises(ValidationError, match="prTitle"):
        BatchRequest.model_validate({"tasks": [{"id": "a", "prompt": "p", "prTitle": title}]})
