"""Real Claude Code as the head of a person at a terminal, who goes on working while its workers work."""

import json
from pathlib import Path

from tests.claude.head import ALL, Head, hand_out_scripts, merge, wait
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Turn

# What a call takes until claude lets it go on in the background: two minutes, if nobody says less. To spawn takes none of that.
SOON = {"CLAUDE_CODE_MCP_AUTO_BACKGROUND_MS": "4000"}
QUIET = {"CLAUDE_CODE_DISABLE_OFFICIAL_MARKETPLACE_AUTOINSTALL": "1"}


def settle_in(home: Path, repository: Path, key: str) -> None:
    """What claude asks a newcomer has been asked."""
    known = {"hasCompletedOnboarding": True, "customApiKeyResponses": {"approved": [key[-20:]]}}
    (home / ".claude.json").write_text(json.dumps({**known, "projects": {str(repository): {"hasTrustDialogAccepted": True}}}))


async def test_its_person_goes_on_working_and_it_wakes_by_itself_to_merge_what_was_done(
    head: Head, model_api: ModelApi, claude_home: Path, repository: Path
) -> None:
    settle_in(claude_home, repository, head.environment["ANTHROPIC_API_KEY"])
    gates = {letter: head.house.gate(letter) for letter in "abcd"}
    over = head.house.pipe("turn-over")
    stop = {"hooks": [{"type": "command", "command": f"echo over > {over.path}"}]}
    model_api.route(
        "LEAD",
        Turn("I hand it out.", hand_out_scripts(gates)),
        Turn("", [wait(ALL, "all")]),
        Turn("They work, and I am free.", expect="moved to the background"),
        Turn("Noon.", expect="what time is it"),
        Turn("", merge("abcd"), expect="<task-notification>"),
        Turn("All four are merged."),
    )
    with head.at_terminal("--settings", json.dumps({"hooks": {"Stop": [stop]}}), **SOON, **QUIET) as terminal:
        terminal.await_sign("❯")
        terminal.enter("LEAD: add four files")
        await over.lines(1)
        terminal.enter("what time is it")
        await over.lines(2)
        assert model_api.turns("LEAD")[-1].turn == 3
        for gate in gates.values():
            gate.open()
        await over.lines(3)
    head.assert_merged("abcd")
