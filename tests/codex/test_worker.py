"""Real Codex as a worker, from the spawn to the branch."""

from pathlib import Path

import pytest

from devsh_memory_mcp.domain.requests import MessageRequest, SpawnRequest
from tests.claude.test_worker import Team, heard, printed
from tests.codex.login import ACCOUNT, UNCOMPRESSED, write_login
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Error, Tool, Turn
from tests.doubles.responses_answer import limit_headers
from tests.engine.house import House, ended, events_of, git, until_event

OURS = "mcp__devsh_memory"


def task(prompt: str, **fields: object) -> SpawnRequest:
    return SpawnRequest.model_validate({"prompt": prompt, "agent_name": "codex/gpt-5.5"} | fields)


def run(command: str, **fields: object) -> Tool:
    return Tool("exec_command", {"cmd": command, "yield_time_ms": 30_000} | fields)


def patch(*lines: str) -> Tool:
    return Tool("apply_patch", {"input": "\n".join(("*** Begin Patch", *lines, "*** End Patch\n"))})


@pytest.mark.promise("agent.codex")
async def test_it_edits_commits_and_its_branch_is_there(team: Team, model_api: ModelApi, repository: Path) -> None:
    model_api.route(
        "TASK-A",
        Turn("I write.", [patch("*** Add File: made.txt", "+made")], usage={"input_tokens": 1000, "cached_tokens": 400}),
        Turn("", [run("git add made.txt && git commit -qm made")], usage={"output_tokens": 20}),
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
    assert record.usage == {"inputTokens": 3700, "outputTokens": 80, "cacheReadTokens": 400, "cacheWriteTokens": 0, "turns": 3}
    assert (record.cost_usd, record.cost_basis, record.tool_calls, record.commands) == (None, "unknown", 2, 1)
    assert {request.session_id for request in model_api.turns()} == {record.session_id}
    assert model_api.turns()[0].body["model"] == "gpt-5.5"


async def test_a_message_is_in_the_next_request_of_the_same_turn_and_its_receipt_in_the_journal(
    team: Team, model_api: ModelApi, house: House
) -> None:
    gate = house.gate()
    model_api.route("TASK-A", Turn("I work.", [run(gate.pass_through)]), Turn("Changed as you said.", expect="use tabs"))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work", permissions="bypass"))
        await heard(model_api, "TASK-A")
        await until_event(orchestration, "agent_started")
        sent = await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="use tabs"))
        await printed(orchestration, spawned.orchestration_task_id, f'"id":"steer-{sent.message_id}"')
        gate.open()
        answer = await ended(orchestration, spawned.orchestration_task_id)
        receipts = [event for event in events_of(orchestration) if event.name == "message_delivered"]
    assert (answer.status, answer.result) == ("completed", "Changed as you said.")
    assert [(event.message_ids, event.reader, event.via) for event in receipts] == [  # type: ignore[attr-defined]
        ((sent.message_id,), spawned.orchestration_task_id, "push")
    ]


async def test_an_interrupt_ends_what_it_does_and_it_turns_to_the_message(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("Turned around.", hang=True, times=1))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A: work"))
        await heard(model_api, "TASK-A")
        await until_event(orchestration, "agent_started")
        await orchestration.message(MessageRequest(to=spawned.orchestration_task_id, message="stop that", interrupt=True))
        answer = await ended(orchestration, spawned.orchestration_task_id)
    assert (answer.status, answer.result) == ("completed", "Turned around.")
    assert model_api.turns()[-1].has("stop that")


async def test_a_refused_key_fails_at_once_with_what_to_do_and_no_try_is_spent(team: Team, model_api: ModelApi) -> None:
    model_api.refused.add("bearer")
    model_api.route("TASK", Turn("never"))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", retries=2))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.failure, record.attempt) == ("failed", "auth", 1)
    assert "codex login" in str(record.needs_input)


async def test_too_many_requests_or_a_stream_that_breaks_off_and_then_an_answer_is_a_success(team: Team, model_api: ModelApi) -> None:
    busy = Error(429, "rate_limit_exceeded", "slow down", {"retry-after": "0"})
    model_api.route("TASK-A", Turn("Made it.", error=busy, times=1))
    model_api.route("TASK-B", Turn("Whole after all.", drop=True, times=1))
    async with team.opened() as orchestration:
        spawned = [await orchestration.spawn(task(name)) for name in ("TASK-A", "TASK-B")]
        answers = [await ended(orchestration, each.orchestration_task_id) for each in spawned]
    assert [(answer.status, answer.result) for answer in answers] == [("completed", "Made it."), ("completed", "Whole after all.")]


async def test_an_api_that_never_answers_ends_at_the_time_limit(team: Team, model_api: ModelApi) -> None:
    model_api.route("TASK-A", Turn("never", hang=True))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", timeout_ms=3000))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.reason) == ("failed", "timeout")


async def test_what_was_denied_is_told_and_all_of_it_denied_is_no_success(team: Team, model_api: ModelApi) -> None:
    fetch = run("npm install left-pad", sandbox_permissions="require_escalated", justification="It is needed.")
    outside = patch("*** Add File: /outside.txt", "+x")
    model_api.route("TASK-A", Turn("", [fetch, outside]), Turn("I could not."))
    model_api.route("TASK-B", Turn("", [run("pwd")]), Turn("", [fetch]), Turn("The rest is done."))
    async with team.opened() as orchestration:
        nothing = await orchestration.spawn(task("TASK-A"))
        some = await orchestration.spawn(task("TASK-B"))
        await ended(orchestration, nothing.orchestration_task_id, some.orchestration_task_id)
        told = {event.orchestration_task_id for event in events_of(orchestration) if event.name == "agent_needs_input"}  # type: ignore[attr-defined]
        records = [await orchestration.status(each.orchestration_task_id) for each in (nothing, some)]
    assert [(record.status, record.failure) for record in records] == [("failed", "permission"), ("completed", None)]
    assert all("npm install left-pad" in str(record.needs_input) for record in records)
    assert "outside.txt" in str(records[0].needs_input)
    assert told == {nothing.orchestration_task_id, some.orchestration_task_id}
    assert not Path("/outside.txt").exists()


async def test_a_rule_of_its_user_allows_what_would_be_denied(team: Team, model_api: ModelApi, codex_home: Path) -> None:
    (codex_home / "rules").mkdir()
    (codex_home / "rules" / "default.rules").write_text('prefix_rule(pattern=["make", "--version"], decision="allow")\n')
    wanted = run("make --version", sandbox_permissions="require_escalated", justification="It is needed.")
    model_api.route("TASK-A", Turn("", [wanted]), Turn("Tried."))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A"))
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.failure, record.needs_input) == (None, None)


async def test_a_worker_speaks_to_its_head_and_sees_neither_a_way_to_spawn_nor_its_users_servers(
    team: Team, model_api: ModelApi, codex_home: Path
) -> None:
    (codex_home / "config.toml").write_text(f'[mcp_servers.mine]\ncommand = "touch"\nargs = ["{codex_home}/started"]\n')
    report = Tool(f"{OURS}.send_message", {"to": "head", "message": "half way", "type": "status"})
    model_api.route("TASK-A", Turn("", [report]), Turn("Reported."))
    async with team.opened() as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", agent_name="codex/gpt-5.1-codex-mini"))
        await until_event(orchestration, "message_sent")
        mail = await orchestration.messages()
        await orchestration.messages(after=mail.cursor)
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert [(message.sender, message.message) for message in mail.messages] == [(spawned.orchestration_task_id, "half way")]
    tools = model_api.turns()[0].tools
    assert {f"{OURS}.send_message", f"{OURS}.get_my_messages"} <= set(tools)
    assert f"{OURS}.spawn_agent" not in tools
    assert not (codex_home / "started").exists()
    assert record.warnings == ("This codex does not know the model gpt-5.1-codex-mini.",)


async def test_a_resumed_session_goes_on_where_it_was_and_counts_what_came_on_top(team: Team, model_api: ModelApi) -> None:
    model_api.route(
        "TASK-A",
        Turn("The word is plover.", usage={"input_tokens": 1000}),
        Turn("It was {{all:word is (\\w+)}}.", expect="say it", usage={"input_tokens": 1500}),
    )
    async with team.opened() as orchestration:
        first = await orchestration.spawn(task("TASK-A: think of a word"))
        await ended(orchestration, first.orchestration_task_id)
        again = await orchestration.spawn(SpawnRequest(prompt="say it", resume=first.orchestration_task_id))
        await ended(orchestration, again.orchestration_task_id)
        records = [await orchestration.status(each.orchestration_task_id) for each in (first, again)]
    assert [record.result for record in records] == ["The word is plover.", "It was plover."]
    assert [(record.usage or {})["inputTokens"] for record in records] == [1000, 1500]
    assert records[0].session_id != records[1].session_id


async def test_a_chatgpt_login_is_used_where_it_lies_and_its_limit_says_until_when(
    team: Team, model_api: ModelApi, codex_home: Path
) -> None:
    log_in(codex_home, model_api.address)
    login = (codex_home / "auth.json").read_bytes()
    used_up = Error(429, "usage_limit_reached", "The usage limit has been reached", limit_headers(100, 4_102_444_800))
    model_api.route("TASK-A", Turn("x", error=used_up))
    async with team.opened(CODEX_API_KEY=None, OPENAI_BASE_URL=None) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", retries=1))
        assert spawned.cost_basis == "subscription"
        await until_event(orchestration, "retry_scheduled")
        record = await orchestration.status(spawned.orchestration_task_id)
        retry = next(event for event in events_of(orchestration) if event.name == "retry_scheduled")
        await orchestration.cancel(spawned.orchestration_task_id)
    assert (record.status, record.failure) == ("pending", "rate_limit")
    assert retry.delay_ms == 86_400_000  # type: ignore[attr-defined]
    assert model_api.turns()[0].headers["chatgpt-account-id"] == ACCOUNT
    assert (codex_home / "auth.json").read_bytes() == login


def log_in(codex_home: Path, address: str) -> None:
    """With a subscription; its requests are not to be compressed."""
    write_login(codex_home, "signed")
    (codex_home / "config.toml").write_text(
        f'openai_base_url = "{address}/v1"\nchatgpt_base_url = "{address}/backend-api"\n{UNCOMPRESSED}\n'
    )
