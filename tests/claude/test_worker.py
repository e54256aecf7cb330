"""Real Claude Code as a worker, from the spawn to the branch."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest
from devsh_memory_mcp.ports import Orchestration
from tests.doubles.aftermath import BOUND
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Error, Tool, Turn
from tests.doubles.walls import needs_sandbox
from tests.engine.house import House, ended, events_of, git, until_event


class Team:
    """A house whose callers have claude, logged in at the scripted model."""

    def __init__(self, house: House, environment: dict[str, str]) -> None:
        self.house = house
        self.environment = environment

    @asynccontextmanager
    async def opened(self, *, seconds: float = BOUND, **variables: str | None) -> AsyncIterator[Orchestration]:
        environment = {name: value for name, value in {**self.environment, **variables}.items() if value is not None}
        async with self.house.opened(environment=environment, seconds=seconds) as orchestration:
            yield orchestration


@pytest.fixture
def team(house: House, repository: Path, claude_environment: dict[str, str]) -> Team:
    return Team(house, {**claude_environment, "CLAUDE_CODE_MAX_RETRIES": "1"})


def task(prompt: str, **fields: object) -> SpawnRequest:
    return SpawnRequest.model_validate({"prompt": prompt, "agent_name": "claude/haiku-4.5"} | fields)


def write(path: str, content: str) -> Tool:
    return Tool("Write", {"file_path": path, "content": content})


def allow(directory: Path, *rules: str) -> None:
    directory.mkdir(exist_ok=True)
    (directory / "settings.json").write_text(json.dumps({"permissions": {"allow": rules}}))


async def heard(api: ModelApi, pattern: str) -> None:
    await anyio.to_thread.run_sync(api.await_words, pattern)


async def queued(orchestration: Orchestration, task_id: str, message_id: int) -> None:
    """Until claude says that it has taken the message from its stdin; its model has it with the next request."""
    await printed(orchestration, task_id, f'{message_id:012x}","state":"queued"')


async def printed(orchestration: Orchestration, task_id: str, sign: str) -> None:
    """Until this stands in what the agent prints."""
    said = b""
    async with aclosing(orchestration.printed(task_id, follow=True)) as pieces:  # type: ignore[type-var]
        async for each in pieces:
            said += each.content
            if sign.encode() in said:
                return


@pytest.mark.promise("agent.claude")
async def test_it_edits_commits_and_its_branch_is_there(team: Team, model_api: ModelApi, repository: Path) -> None:
    model_api.route(
        "TASK-A",
        Turn("I write.", [Tool("Bash", {"command": "pwd"})], usage={"input_tokens": 1000, "output_tokens": 20}),
        Turn("", [write("{{result:(/\\S+workspace)}}/made.txt", "made\n")]),
        Turn("", [Tool("Bash", {"command": "git add made.txt && git commit -qm made"})]),
        Turn("All done.", usage={"input_tokens": 3000, "output_tokens": 50}),
    )
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: make it"))
        assert (spawned.permissions, spawned.cost_basis) == ("acceptEdits", "api")
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.result, record.error_message) == ("completed", "All done.", None)
    assert git(repository, "show", f"{record.branch}:made.txt") == "made"
    assert git(repository, "log", "-1", "--format=%s", str(record.branch)) == "made"
    assert Path(str(record.result_path)).read_text() == "All done."
    assert record.usage is not None
    assert (record.usage["outputTokens"] >= 70, record.cost_basis, (record.cost_usd or 0) > 0) == (True, "api", True)
    assert model_api.turns()[0].session_id == record.session_id
    assert model_api.turns()[0].body["model"] == "claude-haiku-4-5"


@needs_sandbox
async def test_in_a_sandbox_it_may_do_anything_and_reaches_nothing_of_the_users(
    team: Team, model_api: ModelApi, repository: Path, claude_home: Path
) -> None:
    (claude_home / "key").write_text("sentinel-of-una")
    look = f"cat {claude_home}/key ~/.claude/settings.json; id -u; printenv DEVSH_ISOLATION"
    model_api.route(
        "TASK-A",
        Turn("I look.", [Tool("Bash", {"command": look})]),
        Turn("", [Tool("Bash", {"command": "echo made > made.txt && git add made.txt && git commit -qm made"})], expect="bubblewrap"),
        Turn("All done."),
    )
    allow(claude_home / ".claude", "Bash(sentinel-of-una)")
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: make it", sandbox="required"))
        assert (spawned.permissions, spawned.isolation, spawned.warnings) == ("bypass", "bubblewrap", ())
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.result, record.isolation) == ("completed", "All done.", "bubblewrap")
    assert git(repository, "show", f"{record.branch}:made.txt") == "made"
    assert not any("sentinel-of-una" in json.dumps(turn.body) for turn in model_api.turns())


async def test_a_message_is_in_the_next_request_of_the_same_turn_and_its_receipt_in_the_journal(
    team: Team, model_api: ModelApi, house: House, claude_home: Path
) -> None:
    gate = house.gate()
    model_api.route(
        "TASK-A",
        Turn("I work.", [Tool("Bash", {"command": gate.pass_through})]),
        Turn("Changed as you said.", expect="use tabs"),
    )
    allow(claude_home / ".claude", "Bash")
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work"))
        await heard(model_api, "TASK-A")
        sent = await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="use tabs"))
        await queued(orchestration, spawned.orchestration_task_id, sent.message_id)
        gate.open()
        answer = await ended(orchestration, spawned.orchestration_task_id)
        receipts = [event for event in events_of(orchestration) if event.name == "message_delivered"]
    assert (answer.status, answer.result) == ("completed", "Changed as you said.")
    assert [(event.message_ids, event.reader, event.via) for event in receipts] == [  # type: ignore[attr-defined]
        ((sent.message_id,), spawned.orchestration_task_id, "push")
    ]


async def test_an_interrupt_ends_what_it_does_and_it_turns_to_the_message(team: Team, model_api: ModelApi, house: House) -> None:
    model_api.route("TASK-A", Turn("Turned around.", hang=True, times=1))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work"))
        await heard(model_api, "TASK-A")
        await until_event(orchestration, "agent_started")
        await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="stop that", interrupt=True))
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Turned around.")


async def test_a_refused_key_fails_at_once_with_what_to_do_and_no_try_is_spent(team: Team, model_api: ModelApi) -> None:
    model_api.refused.update({"api key", "bearer"})
    model_api.route("TASK", Turn("never"))
    async with team.opened() as orchestration:
        keyed = await orchestration.spawn(task("TASK-A", retries=2))
    async with team.opened(ANTHROPIC_API_KEY=None, CLAUDE_CODE_OAUTH_TOKEN="placeholder") as orchestration:
        token = await orchestration.spawn(task("TASK-B", retries=2))
        assert token.cost_basis == "subscription"
        await ended(orchestration, keyed.orchestration_task_id, token.orchestration_task_id)
        for spawned in (keyed, token):
            record = await orchestration.status(spawned.orchestration_task_id)
            assert (record.status, record.failure, record.attempt) == ("failed", "auth", 1)
            assert "claude setup-token" in str(record.needs_input)
    assert {request.credential[0] for request in model_api.turns()} == {"api key", "bearer"}


async def test_too_many_requests_and_then_an_answer_is_a_success(team: Team, model_api: ModelApi) -> None:
    busy = Error(429, "rate_limit_error", "slow down", {"retry-after": "0"})
    model_api.route("TASK-A", Turn("Made it.", error=busy, times=1))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A"))
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Made it.")


async def test_a_used_up_limit_says_until_when_and_the_next_try_waits_for_it(team: Team, model_api: ModelApi) -> None:
    used_up = {"anthropic-ratelimit-unified-status": "rejected", "anthropic-ratelimit-unified-reset": "4102444800"}
    model_api.route("TASK-A", Turn("x", error=Error(429, "rate_limit_error", "limit", used_up)))
    async with team.opened(ANTHROPIC_API_KEY=None, CLAUDE_CODE_OAUTH_TOKEN="placeholder") as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", retries=1))
        await until_event(orchestration, "retry_scheduled")
        record = await orchestration.status(spawned.orchestration_task_id)
        retry = next(event for event in events_of(orchestration) if event.name == "retry_scheduled")
        await orchestration.cancel(spawned.orchestration_task_id)
    assert (record.status, record.failure) == ("pending", "rate_limit")
    assert retry.delay_ms == 86_400_000  # type: ignore[attr-defined]


async def test_a_stream_that_breaks_off_is_taken_up_again(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("Whole after all.", drop=True, times=1))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A"))
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Whole after all.")


async def test_an_api_that_never_answers_ends_at_the_time_limit(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("never", hang=True))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", timeout_ms=3000))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.reason) == ("failed", "timeout")


async def test_what_was_denied_is_told_and_all_of_it_denied_is_no_success(team: Team, model_api: ModelApi) -> None:
    fetch = Tool("Bash", {"command": "npm install left-pad"})
    model_api.route("TASK-A", Turn("", [fetch]), Turn("I could not."))
    model_api.route("TASK-B", Turn("", [Tool("Bash", {"command": "pwd"})]), Turn("", [fetch]), Turn("The rest is done."))
    async with team.opened() as orchestration:
        nothing = await orchestration.spawn(task("TASK-A"))
        some = await orchestration.spawn(task("TASK-B"))
        await ended(orchestration, nothing.orchestration_task_id, some.orchestration_task_id)
        told = {event.orchestration_task_id for event in events_of(orchestration) if event.name == "agent_needs_input"}  # type: ignore[attr-defined]
        records = [await orchestration.status(each.orchestration_task_id) for each in (nothing, some)]
    assert [(record.status, record.failure) for record in records] == [("failed", "permission"), ("completed", None)]
    assert all("npm install left-pad" in str(record.needs_input) for record in records)
    assert told == {nothing.orchestration_task_id, some.orchestration_task_id}


@pytest.mark.parametrize("is_trusted", [True, False])
async def test_a_repositorys_rules_count_where_its_user_trusts_it(
    team: Team, model_api: ModelApi, repository: Path, claude_home: Path, is_trusted: bool
) -> None:
    allow(repository / ".claude", "Bash(make *)", "--dangerously-skip-permissions", "--permission-mode", "-p", "Bash(\n)")
    (claude_home / ".claude.json").write_text(json.dumps({"projects": {str(repository): {"hasTrustDialogAccepted": is_trusted}}}))
    model_api.route("TASK-A", Turn("", [Tool("Bash", {"command": "make --version"})]), Turn("Tried."))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A"))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert record.failure == (None if is_trusted else "permission")
    spec = next(event.spec for event in events_of(orchestration) if event.name == "agent_spawned")  # type: ignore[attr-defined]
    assert spec.allow == (("Bash(make *)",) if is_trusted else ())


@pytest.mark.parametrize(
    "walls",
    [{}, *(pytest.param({"sandbox": "required", "network": network}, marks=needs_sandbox) for network in ("on", "allow:example.com"))],
    ids=["no sandbox", "network on", "network of one host"],
)
async def test_a_worker_speaks_to_its_head_and_sees_no_way_to_spawn(team: Team, model_api: ModelApi, walls: dict[str, str]) -> None:
    report = Tool("mcp__devsh-memory__send_message", {"to": "head", "message": "half way", "type": "status"})
    model_api.route("TASK-A", Turn("", [report]), Turn("Reported."))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", **walls))
        await until_event(orchestration, "message_sent")
        mail = await orchestration.messages()
        await orchestration.messages(after=mail.cursor)
        await ended(orchestration, spawned.orchestration_task_id)
    assert [(message.sender, message.message) for message in mail.messages] == [(spawned.orchestration_task_id, "half way")]
    tools = {tool["name"] for tool in model_api.turns()[0].body["tools"]}
    assert {"mcp__devsh-memory__send_message", "mcp__devsh-memory__get_my_messages"} <= tools
    assert "mcp__devsh-memory__spawn_agent" not in tools


async def test_a_key_is_in_no_file_and_a_task_without_it_is_held_until_it_is_lent_again(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("", [Tool("Bash", {"command": "pwd"})], hold="first"), Turn("Done."))
    model_api.route("TASK-B", Turn("Done as well."))
    key = "sk-ant-very-secret"
    house = team.house
    async with team.opened(ANTHROPIC_API_KEY=key) as orchestration:
        first = await orchestration.spawn(task("TASK-A"))
        second = await orchestration.spawn(task("TASK-B", depends_on=[first.orchestration_task_id]))
        await heard(model_api, "TASK-A")
        await until_event(orchestration, "agent_started")
    house.end_runner()
    model_api.open("first")
    async with team.opened(ANTHROPIC_API_KEY=None) as orchestration:
        await until_event(orchestration, "task_held")
        record = await orchestration.status(second.orchestration_task_id)
        assert "ANTHROPIC_API_KEY" in str(record.waiting_for)
    async with team.opened(ANTHROPIC_API_KEY=key) as orchestration:
        answer = await ended(orchestration, second.orchestration_task_id)
    assert answer.status == "completed"
    assert {request.credential for request in model_api.turns()} == {("api key", key)}
    house.close()  # nobody writes any more
    files = [path for path in house.root.rglob("*") if path.is_file()]
    assert not [path for path in files if key.encode() in path.read_bytes()]
