"""What cannot be done is refused with a code and with what to do, and leaves nothing behind."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from devsh_memory_mcp.domain.events import PlanEdited, PlanTaskFound
from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest, WaitRequest
from devsh_memory_mcp.errors import DevshError, InvalidRequest
from tests.engine.house import House, ended, events_of, git, shell, until_event, view

LARGE = 10 * 1024 * 1024


REFUSED: tuple[tuple[dict[str, object], str, str], ...] = (
    (
        {"agent_name": "shell/zsh"},
        "unknown_agent",
        "Known are claude/<model>, codex/<model>, opencode/<provider>/<model>, gemini/<model>, acp/<command>, shell/bash",
    ),
    ({"agent_name": "shel/bash"}, "unknown_agent", "Did you mean 'shell/bash'?"),
    ({"agent_name": "a" * LARGE}, "unknown_agent", "There is no agent 'aaa"),
    ({"agent_name": "claude/sonet-4.5"}, "unknown_agent", "Did you mean 'claude/sonnet-4.5'?"),
    ({"agent_name": "gemini/2.5-pro"}, "unknown_agent", "'gemini/2.5-pro'"),
    ({"agent_name": "acp/'"}, "unknown_agent", "There is no agent"),
    ({"permissions": "bypass"}, "invalid_request", "is asked for no permission"),
    ({"billing": "api"}, "invalid_request", "nobody is billed for"),
    ({"depends_on": ("nope",)}, "unknown_dependency", "There is no task 'nope'"),
    ({"depends_on": ("../../etc/passwd",)}, "invalid_id", "is not a valid task id"),
    ({"depends_on": ("a\0b",)}, "invalid_id", "Ids are 1 to 64 letters"),
    ({"name": "../../etc/passwd"}, "invalid_id", "is not a valid task id"),
    ({"name": "-rf"}, "invalid_id", "is not a valid task id"),
    ({"name": "head"}, "invalid_id", "cannot be named 'head'"),
    ({"name": "*"}, "invalid_id", "cannot be named '*'"),
    ({"name": "orch_mine"}, "invalid_id", "ids that we give out"),
    ({"name": "tr_1"}, "invalid_id", "ids that we give out"),
    ({"name": "ns0123456789"}, "invalid_id", "ids that we give out"),
    ({"name": "a\n"}, "invalid_id", "is not a valid task id"),
    ({"prompt": " \n\t"}, "invalid_request", "The prompt is empty"),
    ({"prompt": "x" * LARGE}, "invalid_request", "The prompt has 10,485,760 bytes; at most 1,048,576"),
    ({"prompt": "a\0b"}, "invalid_request", "NUL"),
    ({"setup": "a\0b"}, "invalid_request", "NUL"),
    ({"repo": "./nowhere"}, "repository_unusable", "does not exist"),
    ({"repo": "."}, "repository_unusable", "is not a git repository"),
    ({"repo": "a\0b"}, "repository_unusable", "cannot be the name of a repository"),
    ({"repo": "https://example.org/a\0b"}, "repository_unusable", "cannot be the name of a repository"),
    ({"repo": "./" + 300 * "x"}, "repository_unusable", "does not exist"),
    ({"repo": "./a\0b"}, "repository_unusable", "cannot be the name"),
    ({"repo": "~nobody-of-that-name/x"}, "repository_unusable", "does not exist"),
    ({"repo": "./" + "x" * LARGE}, "repository_unusable", "cannot be the name"),
)
HOLD_A_SECRET = (
    "https://user:hush@example.org/a.git",
    "HTTPS://hush@example.org/a.git",
    "https://hush:x-oauth-basic@example.org/a.git",
    "https:" + "//user:a/hush@example.org/a.git",
    "https://example.org/a.git?private_token=hush",
    "ssh://git:hush@example.org/a.git",
    "user:hush@example.org:a.git",
    "user:hush@example.org/a.git",
    "https://user:hush@example.org/a\0.git",
)


async def test_a_request_that_cannot_be_met_is_refused_and_admits_nothing(house: House) -> None:
    async with house.opened() as orchestration:
        for fields, code, words in REFUSED:
            with pytest.raises(DevshError) as caught:
                await orchestration.spawn(shell("true", **fields))
            assert (caught.value.code, len(str(caught.value)) < 1000) == (code, True)
            assert words in str(caught.value)
        assert [event.name for event in events_of(orchestration)] == ["orchestration_created"]
        assert house.runner_pid() == 0


async def test_a_repository_with_a_secret_in_its_url_is_refused_and_the_secret_is_written_nowhere(house: House) -> None:
    async with house.opened() as orchestration:
        for repo in HOLD_A_SECRET:
            with pytest.raises(InvalidRequest) as caught:
                await orchestration.spawn(shell("true", repo=repo))
            assert "hush" not in str(caught.value)
        assert [event.name for event in events_of(orchestration)] == ["orchestration_created"]
        with pytest.raises(InvalidRequest) as caught:
            await orchestration.spawn(shell("true", repo="HTTP://127.0.0.1:9/a.git"))
        assert "git cannot read http://127.0.0.1:9/a.git" in str(caught.value)
    assert b"hush" not in b"".join(path.read_bytes() for path in house.root.rglob("*") if path.is_file())


async def test_a_hand_written_task_with_the_name_of_another_is_left_out_and_told(house: House) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("true"))).orchestration_task_id)
        await orchestration.pull()
        plan = view(orchestration, "PLAN.json")
        fresh = [{"id": name, "prompt": "p", "agentName": "shell/sh"} for name in ("head", "tr_1", "fine")]
        (orchestration.directory / "PLAN.json").write_text(json.dumps(plan | {"tasks": [*plan["tasks"], *fresh]}))  # type: ignore[operator, misc]
        await orchestration.message(MessageRequest(to="head", message="so that the views are due"))
        await until_event(orchestration, "plan_edited")
        found = [event for event in events_of(orchestration) if isinstance(event, PlanEdited | PlanTaskFound)]
    assert [event.id for event in found if isinstance(event, PlanTaskFound)] == ["fine"]
    assert [event.advice for event in found if isinstance(event, PlanEdited)] == [
        "Not taken in, since no task can be named so: 'head', 'tr_1'; ids of that form are given out by us."
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": 7},
        {"prompt": "\ud800"},
        {"priority": -1},
        {"priority": 11},
        {"priority": "high"},
        {"timeout_ms": 0},
        {"timeout_ms": -5},
        {"timeout_ms": 10**15},
        {"retries": -1},
        {"retries": 10**9},
        {"max_concurrent": 0},
        {"depends_on": "abc"},
        {"depends_on": ("x" * LARGE,)},
        {"name": ""},
        {"idempotency_key": ""},
        {"on_dependency_failure": "ignore"},
        {"colour": "green"},
        {"pr_title": "x" * 301},
        {"setup": "x" * (64 * 1024 + 1)},
        {"depends_on": ("a",) * 501},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_a_field_that_is_unknown_or_out_of_range_is_named(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        SpawnRequest.model_validate({"prompt": "true"} | fields)
    (error,) = caught.value.errors(include_input=False)
    assert str(error["loc"][0]) in {name for field in fields for name in (field, "".join(field.title().split("_")), to_camel(field))}


def to_camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(map(str.title, tail))


TOO_LARGE = tuple(
    {"to": "head", "message": "a"} | field
    for field in ({"metadata": {"a": "x" * 16384}}, {"correlation_id": "x" * 201}, {"correlation_id": ""}, {"reply_to": 0})
)


def test_waits_and_messages_are_checked_too() -> None:
    for wrong in ({"ids": ()}, {"ids": ("a",), "timeout": -1}, {"ids": ("a",), "mode": "some"}, {"ids": ("x" * 65,)}):
        with pytest.raises(ValidationError):
            WaitRequest.model_validate(wrong)
    for wrong in ({"to": "", "message": "a"}, {"to": "head", "message": ""}, {"to": "head", "message": "a", "type": "gossip"}, *TOO_LARGE):
        with pytest.raises(ValidationError):
            MessageRequest.model_validate(wrong)


async def test_questions_about_nobody_are_answered_so(house: House) -> None:
    async with house.opened() as orchestration:
        for any_id in ("nope", "../../etc/passwd", "a\0b", "x" * LARGE):
            for ask in (orchestration.status, orchestration.explain, orchestration.cancel):
                with pytest.raises(DevshError) as caught:
                    await ask(any_id)
                assert (caught.value.code, len(str(caught.value)) < 1000) == ("not_found", True)
        with pytest.raises(DevshError, match="No task 'nope'"):
            await orchestration.wait(WaitRequest(ids=("nope",)))
        with pytest.raises(DevshError, match="at most 256 KiB"):
            await orchestration.message(MessageRequest(to="head", message="x" * LARGE))
        assert [event.name for event in events_of(orchestration)] == ["orchestration_created"]


async def test_a_dependency_that_has_failed_already_fails_its_dependent_in_the_commit_that_admits_it(house: House) -> None:
    async with house.opened() as orchestration:
        await ended(orchestration, (await orchestration.spawn(shell("exit 1", name="bad"))).orchestration_task_id)
        late = await orchestration.spawn(shell("true", depends_on=("bad",)))
        with pytest.raises(DevshError, match="There is a task named 'bad' already"):
            await orchestration.spawn(shell("true", name="bad"))
        record = await orchestration.status(late.orchestration_task_id)
    assert (late.status, record.reason, record.error_message) == ("failed", "dependency", "Dependency bad failed")


async def test_a_base_that_does_not_exist_is_refused_with_the_nearest(house: House, repository: Path) -> None:
    git(repository, "branch", "feature/login")
    async with house.opened() as orchestration:
        for branch in ("feature/logn", "-x", "", "../main", "a\0b", "x" * LARGE):
            with pytest.raises(DevshError) as caught:
                await orchestration.spawn(shell("true", repo=None, branch=branch))
            assert caught.value.code == "base_not_found"
            if branch == "feature/logn":
                assert caught.value.next_step.startswith("Nearest: feature/login")
        spawned = await orchestration.spawn(shell("git log -1 --format=%s", repo=None, branch="feature/login"))
        assert (spawned.base_branch, (await ended(orchestration, spawned.orchestration_task_id)).result) == ("feature/login", "first\n")


async def test_uncommitted_work_is_counted_and_included_only_where_it_is_asked_for(house: House, repository: Path) -> None:
    (repository / "README").write_text("changed\n", encoding="utf-8")
    (repository / "loose").write_text("loose\n", encoding="utf-8")
    async with house.opened() as orchestration:
        without = await orchestration.spawn(shell("cat README; ls", repo=None))
        included = await orchestration.spawn(shell("cat README loose", repo=None, include_dirty=True))
        answer = await ended(orchestration, without.orchestration_task_id, included.orchestration_task_id)
    assert without.warnings == ("2 uncommitted changes are not included in the checkout; --include-dirty (includeDirty) includes them.",)
    assert included.warnings == ()
    assert [row.result for row in answer.tasks] == ["first\nREADME\n", "changed\nloose\n"]
    assert git(repository, "status", "--porcelain").split() == ["M", "README", "??", "loose"]


async def test_ignored_files_that_are_named_go_along_and_are_never_committed(house: House, repository: Path) -> None:
    (repository / ".gitignore").write_text(".env\nbuild/\n", encoding="utf-8")
    (repository / ".worktreeinclude").write_text(".env\n", encoding="utf-8")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "ignores")
    (repository / ".env").write_text("KEY=1\n", encoding="utf-8")
    (repository / "build").mkdir()
    (repository / "build/out").write_text("out\n", encoding="utf-8")
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("cat .env; ls -d build; echo new > new", repo=None))
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "KEY=1\n")
    assert git(repository, "diff", "--name-only", "main", str(spawned.branch)) == "new"


async def test_unusual_repositories_are_worked_on(house: House, repository: Path, tmp_path: Path) -> None:
    (repository / "second").write_text("second\n", encoding="utf-8")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "second")
    git(repository, "branch", "dev")
    git(tmp_path, "clone", "-q", "--bare", str(repository), "bare.git")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", "shallow")
    git(repository, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "side")
    git(repository, "checkout", "-q", "--detach")
    script = "cat README; echo new > new"
    places = {"bare.git": "dev", "shallow": "dev", "linked": "devsh", "project": "devsh"}
    async with house.opened() as orchestration:
        spawned = {name: await orchestration.spawn(shell(script, repo=f"../{name}")) for name in places}
        answer = await ended(orchestration, *(one.orchestration_task_id for one in spawned.values()))
    assert [(row.status, row.result) for row in answer.tasks] == [("completed", "first\n")] * 4
    for name in places:
        where = repository if name == "linked" else tmp_path / name
        assert git(where, "show", f"{spawned[name].branch}:new") == "new"
    assert [(one.branch or "").partition("/")[0] for one in spawned.values()] == ["devsh", "dev", "devsh", "devsh"]
    assert any("a branch named 'dev'" in warning for warning in spawned["project"].warnings)


async def test_a_repository_without_a_commit_is_refused(house: House) -> None:
    git(house.directory, "init", "-q")
    async with house.opened() as orchestration:
        with pytest.raises(DevshError, match="has no commit yet") as caught:
            await orchestration.spawn(shell("true", repo=None))
    assert caught.value.code == "repository_unusable"


async def test_who_has_no_git_identity_is_told_who_commits(house: House, repository: Path, own_surroundings: Path) -> None:
    (own_surroundings / ".gitconfig").write_text("", encoding="utf-8")
    async with house.opened() as orchestration:
        spawned = await orchestration.spawn(shell("echo new > new", repo=None))
        await ended(orchestration, spawned.orchestration_task_id)
    assert spawned.warnings == ("git knows no user.name and user.email here; commits are by `devsh agent`.",)
    assert git(repository, "log", "-1", "--format=%an <%ae>", str(spawned.branch)) == "devsh agent <devsh@localhost>"
