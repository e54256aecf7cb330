"""Both directions: each built promise has a test, each marker names a promise that is built."""

import re
from pathlib import Path

import pytest
import requirements

ROOT = Path(__file__).parents[1]
SKILL = ROOT / ".agents/skills/devsh-orchestrator"
BY_ID = {promise.id: promise for promise in requirements.PROMISES}


def test_every_built_promise_is_named_by_a_test() -> None:
    missing = [promise.id for promise in requirements.uncovered()]
    assert not missing, f"{len(missing)} promises without a test (python tests/requirements.py lists them)"


def test_every_marker_names_a_promise() -> None:
    unknown = {id_: where for id_, where in requirements.named_promises().items() if id_ not in BY_ID}
    assert not unknown


def test_no_test_claims_what_is_not_built_yet() -> None:
    claimed = {id_: where for id_, where in requirements.named_promises().items() if id_ in requirements.NOT_BUILT_YET}
    assert not claimed, "built by now? then take it off NOT_BUILT_YET"


def test_what_is_not_built_yet_is_promised_nevertheless() -> None:
    assert BY_ID.keys() >= requirements.NOT_BUILT_YET


def test_ids_tell_their_place() -> None:
    places = "cli|mcp|http|sse|head|pattern|file|env|status|agent|skill|settings|setup|plugin|doctor"
    assert [id_ for id_ in BY_ID if not re.fullmatch(rf"({places})\.[\w.-]+", id_)] == []


@pytest.mark.promise("skill.file")
def test_the_skill_names_itself_every_command_and_every_tool() -> None:
    text = (SKILL / "SKILL.md").read_text(encoding="utf-8")
    assert text.startswith("---\nname: devsh-orchestrator\ndescription: ")
    commands = [f"devsh orchestrate {id_.split('.')[1]}" for id_ in BY_ID if id_.startswith("cli.") and id_.count(".") == 1]
    tools = [id_.split(".")[1] for id_ in BY_ID if id_.startswith("mcp.") and re.fullmatch(r"mcp\.[a-z]+_[a-z_]+", id_)]
    assert (len(commands), len(tools)) == (13, 10)
    assert [name for name in commands + tools if name not in text] == []


@pytest.mark.promise("skill.symlink")
def test_claudes_skill_is_a_link_to_the_skill() -> None:
    link = ROOT / ".claude/skills/devsh-orchestrator"
    assert link.is_symlink()
    assert str(link.readlink()) == "../../.agents/skills/devsh-orchestrator"
    assert link.resolve() == SKILL.resolve()
