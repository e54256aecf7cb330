"""Work is handed out, done in checkouts, and comes back as branches; the caller's repository stays as it is."""

from pathlib import Path

import pytest

from devsh_memory_mcp.domain.events import AgentFailed, AttemptStarted
from devsh_memory_mcp.domain.requests import BatchRequest
from tests.engine.house import House, ended, events_of, git, run_directory, shell, until_event


def commit_of(name: str) -> str:
    return f"echo {name} > {name} && git add . && git commit -qm 'adds {name}'"


@pytest.mark.promise("status.parallel", "status.dependents", "agent.shell")
async def test_a_task_behind_three_parallel_ones_works_on_what_they_made(house: House, repository: Path) -> None:
    started = house.pipe()
    gate = house.gate()
    async with house.opened() as orchestration:
        scripts = {name: f"echo {name} > {started.path}; {gate.pass_through}; {commit_of(name)}; echo made {name}" for name in "abc"}
        first = [(await orchestration.spawn(shell(script, repo=None))).orchestration_task_id for script in scripts.values()]
        last = await orchestration.spawn(shell("cat a b c; echo d > d", depends_on=tuple(first), repo=None))
        assert (last.status, last.waiting_for) == ("pending", f"dependencies: {', '.join(first)}")
        assert sorted(await started.lines(3)) == ["a", "b", "c"]
        gate.open()
        answer = await ended(orchestration, last.orchestration_task_id, *first)
        assert (answer.status, answer.result) == ("completed", "a\nb\nc\n")
        records = [await orchestration.status(name) for name in first]
        record = await orchestration.status(last.orchestration_task_id)
        work = await orchestration.work(last.orchestration_task_id)
        results = await orchestration.results()
    assert [one.result for one in records] == ["made a\n", "made b\n", "made c\n"]
    assert [(one.commits, one.diff_stat and one.diff_stat.files, one.changed_files) for one in records] == [
        (1, 1, (name,)) for name in "abc"
    ]
    assert (record.branch, record.exit_code, record.merge_conflicts) == (last.branch, 0, ())
    assert (last.base_branch, last.base_commit) == (records[0].branch, None), "it goes on from its first dependency's branch"
    assert (record.base_branch, record.base_commit) == (records[0].branch, git(repository, "rev-parse", str(records[0].branch)))
    assert (record.commits, record.changed_files) == (1, ("d",)), "what was merged before is others' work"
    assert list(record.changed_file_sizes) == ["d"]
    assert git(repository, "diff", "--name-only", f"{work.base_commit}...{work.tip}") == "d"
    assert git(repository, "show", f"{record.branch}:d") == "d"
    assert git(repository, "log", "-1", "--format=%an <%ae>", str(record.branch)) == "A Tester <tester@example.org>"
    assert [git(repository, "rev-parse", ref) for ref in record.salvage_refs] == [git(repository, "rev-parse", str(record.branch))]
    assert (results.status, results.total_tasks, results.completed_tasks) == ("completed", 4, 4)


async def test_the_callers_repository_keeps_its_head_index_status_configuration_and_refs(house: House, repository: Path) -> None:
    (repository / "README").write_text("second\n", encoding="utf-8")
    git(repository, "add", ".")
    (repository / "loose").write_text("not added\n", encoding="utf-8")

    def shown() -> list[str]:
        refs = git(repository, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        files = [(repository / ".git" / name).read_text(encoding="utf-8") for name in ("HEAD", "config")]
        index = (repository / ".git/index").read_bytes().hex()
        return [*(ref for ref in refs if not ref.startswith(("refs/heads/dev/", "refs/devsh/"))), *files, index]

    def status() -> str:
        return git(repository, "--no-optional-locks", "status", "--porcelain")

    before = shown(), status()
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(f"{commit_of('new')}; git config user.name Evil; git tag mine", repo=None))
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"
    assert (shown(), status()) == before
    refs = git(repository, "for-each-ref", "--format=%(refname)").splitlines()
    assert [ref for ref in refs if not ref.startswith("refs/devsh/salvage/")] == [f"refs/heads/{spawned.branch}", "refs/heads/main"]


async def test_without_a_repository_a_task_gets_an_empty_directory(house: House) -> None:
    async with house.opened() as orchestration:
        here = await orchestration.spawn(shell("ls -A; git rev-parse --git-dir", repo=None))
        none = await orchestration.spawn(shell("ls -A", repo="none"))
        answer = await ended(orchestration, here.orchestration_task_id, none.orchestration_task_id)
        assert answer.error_message is not None
        assert "not a git repository" in answer.error_message
        assert (await orchestration.status(none.orchestration_task_id)).result == ""
    assert (here.repo, here.branch, none.repo, none.branch) == (None, None, None, None)


async def test_a_dependent_spawned_elsewhere_has_the_repository_and_the_branch_of_its_first_dependency(
    house: House, repository: Path
) -> None:
    async with house.opened() as orchestration:
        first = await orchestration.spawn(shell(commit_of("a"), repo=None))
    async with house.opened(first.orchestration_id, directory=house.root.parent) as orchestration:
        follower = await orchestration.spawn(shell("cat a; git branch -r", depends_on=(first.orchestration_task_id,), repo=None))
        answer = await ended(orchestration, follower.orchestration_task_id)
    assert (answer.status, follower.repo) == ("completed", first.repo)
    assert (answer.result or "").split() == ["a", f"origin/{first.branch}", "origin/main"]


async def test_work_passes_through_a_task_that_changes_nothing(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        made = await orchestration.spawn(shell("echo a >a", repo=str(repository)))
        checked = await orchestration.spawn(shell("test -e a", repo=str(repository), depends_on=(made.orchestration_task_id,)))
        last = await orchestration.spawn(shell("cat a; echo b >b", repo=str(repository), depends_on=(checked.orchestration_task_id,)))
        await ended(orchestration, last.orchestration_task_id)
        record = await orchestration.status(last.orchestration_task_id)
    assert (record.status, record.result) == ("completed", "a\n")
    assert git(repository, "ls-tree", "--name-only", str(record.branch)).split() == ["README", "a", "b"]


async def test_a_script_finds_in_a_file_what_its_dependencies_came_to_and_whom_it_mentions(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        first = await orchestration.spawn(shell(f"{commit_of('a')}; echo the answer is 42", repo=None, name="first"))
        aside = await orchestration.spawn(shell("echo elsewhere", name="aside"))
        await ended(orchestration, "first", "aside")
        script = f'cat "$DEVSH_BRIEFING"; stat -c %a "$DEVSH_BRIEFING"  # and not {aside.orchestration_task_id}'
        last = await orchestration.spawn(shell(script, repo=None, depends_on=("first",), setup='test -r "$DEVSH_BRIEFING"'))
        alone = await orchestration.spawn(shell('echo "${DEVSH_BRIEFING-none}"'))
        ids = (last.orchestration_task_id, alone.orchestration_task_id)
        await ended(orchestration, *ids)
        said = [(await orchestration.status(name)).result for name in ids]
        directory = await run_directory(orchestration, last.orchestration_task_id)
    assert said == [
        "Results of earlier tasks:\n\n"
        "- first (shell/bash): completed\n"
        f"  branch origin/{first.branch}: 1 file, +1 -0\n"
        "  result: the answer is 42\n\n"
        f"{aside.orchestration_task_id} is a task of shell/bash: completed.\n600\n",
        "none\n",
    ]
    assert (directory / "prompt").read_text(encoding="utf-8") == script


async def test_a_second_attempt_is_told_how_the_first_ended_and_where_its_work_is(house: House, repository: Path) -> None:
    script = 'test -n "$DEVSH_BRIEFING" && exec cat "$DEVSH_BRIEFING"; echo half > half; echo why >&2; exit 3'
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell(script, repo=None, retries=1))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    salvaged = record.salvage_refs[0]
    assert f"This is attempt 2; the one before ended: bash: exit code 3: why. Its work: {salvaged}." in (record.result or "")
    assert git(repository, "show", f"{salvaged}:half") == "half"


async def test_a_conflict_between_dependencies_is_told_and_the_task_runs_all_the_same(house: House, repository: Path) -> None:
    async with house.opened() as orchestration:
        made = [await orchestration.spawn(shell(f"echo {name} > README", repo=None)) for name in "ab"]
        ids = tuple(one.orchestration_task_id for one in made)
        last = await orchestration.spawn(shell("cat README; git status --porcelain", depends_on=ids, repo=None))
        answer = await ended(orchestration, last.orchestration_task_id)
        record = await orchestration.status(last.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "a\n")
    assert [(one.branch, one.files) for one in record.merge_conflicts] == [(made[1].branch, ("README",))]


@pytest.mark.promise("status.failure")
async def test_a_failure_fails_all_that_depend_on_it_in_one_commit(house: House) -> None:
    tasks = [
        {"id": "bad", "prompt": "echo out; echo why >&2; exit 3"},
        {"id": "next", "prompt": "true", "dependsOn": ["bad"]},
        {"id": "last", "prompt": "true", "dependsOn": ["next"]},
        {"id": "stubborn", "prompt": "echo ran", "dependsOn": ["bad"], "onDependencyFailure": "run"},
    ]
    request = BatchRequest.model_validate({"tasks": tasks, "defaults": {"agentName": "shell/bash", "repo": "none"}})
    async with house.opened() as orchestration:
        await orchestration.spawn_batch(request)
        answer = await ended(orchestration, "bad", "next", "last", "stubborn")
        rows = {row.id: (row.status, row.error_message) for row in answer.tasks}
        reasons = {name: (await orchestration.status(name)).reason for name in rows}
        failures = [event for event in events_of(orchestration) if isinstance(event, AgentFailed)]
        state_lines = (orchestration.directory or Path()).joinpath("EVENTS.jsonl").read_text(encoding="utf-8").splitlines()
    assert rows == {
        "bad": ("failed", "bash: exit code 3: why"),
        "next": ("failed", "Dependency bad failed"),
        "last": ("failed", "Dependency next failed"),
        "stubborn": ("completed", None),
    }
    assert reasons == {"bad": "exit", "next": "dependency", "last": "dependency", "stubborn": None}
    ends = {line.partition('"end":')[2].partition(",")[0].rstrip("}") for line in state_lines if '"event":"agent_failed"' in line}
    assert len(failures) == 3
    assert len(ends) == 1
    assert ends != {""}


async def test_every_attempt_is_started_once_and_the_journal_tells_its_life(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo $CMUX_ORCHESTRATION_ID $CMUX_TASK_RUN_ID $CMUX_HEAD_AGENT"))
        answer = await ended(orchestration, spawned.orchestration_task_id)
        names = [event.name for event in events_of(orchestration)]
    assert answer.result == f"{spawned.orchestration_id} {spawned.task_run_id} cli\n"
    assert [name for name in names if name not in ("orchestration_created", "runner_started")] == [
        "agent_spawned", "attempt_started", "agent_started", "attempt_ended", "agent_completed",
    ]  # fmt: skip
    assert AttemptStarted.name in names


async def test_an_agent_that_leaves_daemons_behind_takes_them_along(house: House) -> None:
    pipe = house.pipe()
    async with house.opened() as orchestration:
        script = f"exec 9>{pipe.path}; echo here >&9; setsid sh -c 'sleep 1000 & sleep 1000' & (setsid sleep 1000 &); exit 0"
        spawned = await orchestration.spawn(shell(script))
        await until_event(orchestration, "agent_completed")
        assert (await ended(orchestration, spawned.orchestration_task_id)).status == "completed"
        assert await pipe.end() == ["here"]


@pytest.mark.promise("status.failure")
async def test_the_file_with_the_rest_is_the_one_that_was_written(house: House) -> None:
    async with house.opened() as orchestration:
        spawned = [await orchestration.spawn(shell(script)) for script in ("echo why >&2; exit 3", "echo what; echo why >&2")]
        ids = [one.orchestration_task_id for one in spawned]
        await ended(orchestration, *ids)
        paths = [Path(str((await orchestration.status(name)).result_path)) for name in ids]
    assert [(path.name, path.read_text(encoding="utf-8")) for path in paths] == [("stderr.log", "why\n"), ("stdout.log", "what\n")]
