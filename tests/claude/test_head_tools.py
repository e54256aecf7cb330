"""Real Claude Code as a head: what its model is shown of our server, and what it does with it."""

import pytest

from devsh_memory_mcp.clients.server import SERVER_NAME
from devsh_memory_mcp.domain.requests import ListRequest
from devsh_memory_mcp.wiring import open_orchestrations
from tests.claude.head import Head, ours
from tests.claude.test_model_api import result_of
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.engine.house import git

SESSION = "6b1f2f6e-3a0f-4a55-9a53-6d5c1c0f7a11"
FOUR = [{"id": name, "prompt": f"echo {name} > {name}.txt; echo wrote {name}"} for name in ("a", "b", "c", "d")]


@pytest.mark.promise("mcp.spawn_batch")
@pytest.mark.promise("mcp.brief")
async def test_it_fans_out_waits_and_is_told_what_it_owes(head: Head, model_api: ModelApi) -> None:
    model_api.route(
        "TASK-F",
        Turn("All at once.", [ours("spawn_batch", tasks=FOUR, defaults={"agentName": "shell/bash"})], expect="ONE wait_for_agent"),
        Turn("I wait.", [ours("wait_for_agent", ids=["a", "b", "c", "d"], mode="any")], expect="wait_for_agent once with all ids"),
        Turn("For the rest.", [ours("wait_for_agent", ids=["a", "b", "c", "d"])], expect=r"wrote [abcd]"),
        Turn("And now?", [ours("get_orchestration_summary", brief=True)], expect=r"merge what is good: dev/"),
        Turn("I read it too.", [Tool("ReadMcpResourceTool", {"server": SERVER_NAME, "uri": "devsh://brief"})], expect="git merge BRANCH"),
        Turn("Merged.", expect=r"Finished, not merged as far as git shows \(4\)"),
    )
    with head.started("TASK-F: write four files", "--session-id", SESSION) as process:
        assert result_of(process)["result"] == "Merged."
    caller = head.house.caller(session=SESSION, is_shell=False)
    async with open_orchestrations(head.house.root, caller) as orchestrations:
        orchestration = await orchestrations.current()
        rows = (await orchestration.list_tasks(ListRequest())).result
    assert [row.status for row in rows] == ["completed"] * 4
    git(head.house.directory, "merge", "-q", *(str(row.branch) for row in rows))
    assert {path.name for path in head.house.directory.glob("?.txt")} == {"a.txt", "b.txt", "c.txt", "d.txt"}


@pytest.mark.promise("mcp.prompts")
def test_a_pattern_that_its_user_types_is_read_with_all_his_words(head: Head, model_api: ModelApi) -> None:
    words = "Port the parser and the lexer"
    model_api.route("Let agents do this side by side: Port the", Turn("I see.", expect=f"<command-args>{words}</command-args>"))
    with head.started(f"/mcp__devsh-memory__parallel_fan_out {words}") as process:
        assert result_of(process)["result"] == "I see."
