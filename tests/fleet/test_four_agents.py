"""The four real CLIs side by side on one repository, each in a sandbox as agents are by themselves, with scripted models on loopback."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from devsh_memory_mcp.domain.answers import TaskRecord
from devsh_memory_mcp.domain.requests import SpawnRequest
from tests.claude import binary as claude
from tests.claude.test_worker import Team
from tests.codex import binary as codex
from tests.doubles.model_api import ModelApi
from tests.doubles.model_dialect import GEMINI, RESPONSES
from tests.doubles.model_script import Tool, Turn
from tests.doubles.walls import needs_sandbox
from tests.engine.house import House, ended, git, house, repository, until_event
from tests.gemini import binary as gemini
from tests.opencode import binary as opencode

__all__ = ["house", "repository"]
pytestmark = needs_sandbox

STATISTICS = "CONNECT play.googleapis.com:443"  # gemini's, which its user's settings could forbid, and are not there in a sandbox
PATIENCE = 240  # seconds: four at a time, each of which starts for the first time, on a machine that has other work
KEYS = {"ANTHROPIC_API_KEY": "sk-real-a", "CODEX_API_KEY": "sk-real-o", "GEMINI_API_KEY": "sk-real-g"}
# Whether the agent can see what it is not to have; the file is its work, with its commit.
LOOK = (
    "env | grep -o 'sk-rea[l]-.*'; cat /proc/*/environ 2>/dev/null | grep -ao 'sk-rea[l]-.'; "
    "for file in {home}/.config/hush {memory}/orchestrations/*/EVENTS.jsonl; do test -r $file && echo is-o''pen; done; echo has-loo''ked"
)
COMMIT = "echo made by $CMUX_AGENT_NAME > {name}.txt && git add {name}.txt && git commit -qm 'made {name}'"


class Kind(NamedTuple):
    """One of the four: its agent's name, how its model says that a command is to be run and our server's tool to be called."""

    name: str
    agent: str
    server: str

    def run(self, command: str) -> Tool:
        match self.name:
            case "claude":
                return Tool("Bash", {"command": command})
            case "codex":
                return Tool("exec_command", {"cmd": command, "yield_time_ms": 30_000})
            case "opencode":
                return Tool("bash", {"command": command, "description": "runs it"})
            case _:
                return Tool("run_shell_command", {"command": command, "description": "runs it"})

    def report(self) -> Tool:
        return Tool(f"{self.server}send_message", {"to": "head", "message": f"{self.name} is half way", "type": "status"})


KINDS = (
    Kind("claude", "claude/haiku-4.5", "mcp__devsh-memory__"),
    Kind("codex", "codex/gpt-5.5", "mcp__devsh_memory."),
    Kind("opencode", "opencode/anthropic/claude-haiku-4-5", "devsh-memory_"),
    Kind("gemini", "gemini/gemini-2.5-pro", "mcp_devsh-memory_"),
)


@pytest.fixture
def models() -> Iterator[dict[str, ModelApi]]:
    """The models by the kind of agent; claude and opencode have the same."""
    with ModelApi() as messages, ModelApi(RESPONSES) as responses, ModelApi(GEMINI) as generate:
        yield {"claude": messages, "codex": responses, "opencode": messages, "gemini": generate}
    told = [complaint for api in (messages, responses, generate) for complaint in api.complaints]
    assert [complaint for complaint in told if STATISTICS not in complaint] == []


@pytest.fixture
def team(house: House, repository: Path, models: dict[str, ModelApi], own_surroundings: Path) -> Team:
    """A house whose callers have all four, with keys in variables, and nowhere to go but to the models."""
    found = [
        claude.get_claude(claude.FOUND, os.environ),
        claude.get(codex.FOUND, codex.HOW_TO_GET_IT, os.environ),
        claude.get(claude.find("opencode", opencode.SAYS, opencode.SURROUNDINGS), opencode.HOW_TO_GET_IT, opencode.SURROUNDINGS),
        claude.get(claude.find("gemini", gemini.SAYS, gemini.SURROUNDINGS), gemini.HOW_TO_GET_IT, gemini.SURROUNDINGS),
    ]
    elsewhere = models["claude"].address
    return Team(
        house,
        {
            "PATH": os.pathsep.join([*(str(program.parent) for program in found), gemini.SURROUNDINGS["PATH"]]),
            "HOME": str(own_surroundings),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "ANTHROPIC_BASE_URL": models["claude"].address,
            "OPENAI_BASE_URL": f"{models['codex'].address}/v1",
            "GOOGLE_GEMINI_BASE_URL": models["gemini"].address,
            "HTTP_PROXY": elsewhere,
            "HTTPS_PROXY": elsewhere,
            "NO_PROXY": "127.0.0.1,localhost",
            "NPM_CONFIG_REGISTRY": f"{elsewhere}/packages/",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "DISABLE_AUTOUPDATER": "1",
            **KEYS,
        },
    )


async def test_a_fan_out_ends_with_four_branches_facts_costs_and_messages(
    team: Team, models: dict[str, ModelApi], repository: Path, own_surroundings: Path
) -> None:
    (own_surroundings / ".config").mkdir(exist_ok=True)
    (own_surroundings / ".config" / "hush").touch()
    look = LOOK.format(home=own_surroundings, memory=team.house.root)
    for kind in KINDS:
        turns = Turn("", [kind.run(look)]), Turn("", [kind.report()]), Turn("", [kind.run(COMMIT.format(name=kind.name))])
        models[kind.name].route(f"TASK-{kind.name}", *turns, Turn(f"{kind.name} is done."))
    async with team.opened(seconds=PATIENCE) as orchestration:
        spawned = [
            await orchestration.spawn(SpawnRequest(prompt=f"TASK-{kind.name}: make it", agent_name=kind.agent, timeout_ms=PATIENCE * 1000))
            for kind in KINDS
        ]
        assert [(each.isolation, each.permissions, each.warnings) for each in spawned] == [("bubblewrap", "bypass", ())] * 4
        senders: set[str] = set()
        while len(senders) < len(KINDS):
            await until_event(orchestration, "message_sent", len(senders) + 1)
            mail = await orchestration.messages()
            senders |= {message.sender for message in mail.messages}
            await orchestration.messages(after=mail.cursor)
        await ended(orchestration, *(each.orchestration_task_id for each in spawned))
        records = [await orchestration.status(each.orchestration_task_id) for each in spawned]
    assert senders == {each.orchestration_task_id for each in spawned}
    for kind, record in zip(KINDS, records, strict=True):
        check(kind, record, repository)
    seen = json.dumps([turn.body for api in set(models.values()) for turn in api.turns()])
    assert seen.count("has-looked") >= len(KINDS)
    assert not any(word in seen for word in (*KEYS.values(), "is-open"))


def check(kind: Kind, record: TaskRecord, repository: Path) -> None:
    """What is told of one of them."""
    assert (record.status, record.result, record.isolation) == ("completed", f"{kind.name} is done.", "bubblewrap"), record.error_message
    assert git(repository, "show", f"{record.branch}:{kind.name}.txt") == f"made by {kind.agent}"
    assert (record.commits, record.changed_files) == (1, (f"{kind.name}.txt",)), kind
    assert (record.tool_calls, record.commands) == (3, 2), kind
    assert (record.cost_usd is not None) == (kind.name in ("claude", "opencode"))
    assert (record.usage is not None) == (kind.name != "opencode")
    assert record.network is not None
    assert record.network.requests >= 4
