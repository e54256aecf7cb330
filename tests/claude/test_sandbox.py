"""Real claude, spawned: where its key is, and that the same search finds it where there is no sandbox."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.claude.test_worker import Team, allow, task, team
from tests.doubles.model_api import ModelApi
from tests.doubles.model_script import Tool, Turn
from tests.doubles.walls import needs_sandbox
from tests.engine.house import ended, run_directory

__all__ = ["team"]
KEY = "sk-ant-the-real-one"
CANARY = "sk-ant-a-canary"  # which the agent leaves itself wherever it searches
# It prints what it finds, each line with where; brackets and quotes keep it from finding itself.
SEARCH = """export CANARY=sk-ant-a-'canary'; sleep 100 & for place in ~ {tmp} $PWD; do echo $CANARY >$place/canary; done
echo BEGIN; env | grep -aE '{key}' | sed 's/^/env:/'; command grep -raoHsE '{key}' ~ {tmp} $PWD
for file in /proc/[0-9]*/environ; do tr '\\0' '\\n' 2>/dev/null <$file | grep -aE '{key}' | sed 's/^/proc:/'; done; echo END; kill $!"""
PATTERN = "sk-ant-(the-real-on[e]|a-canar[y])"


class Left(NamedTuple):
    """Where somebody has left the key: his home, and a directory in the machine's /tmp."""

    home: str
    tmp: str


@pytest.fixture
def left(claude_home: Path) -> Iterator[Left]:
    allow(claude_home / ".claude", "Bash")
    path = tempfile.mkdtemp(prefix="devsh-key-", dir="/tmp")
    for place in (claude_home, Path(path)):
        (place / "left").write_text(KEY)
    Path(path).chmod(0o755)
    yield Left(str(claude_home), path)
    shutil.rmtree(path)


def found_by(model_api: ModelApi) -> set[str]:
    """The lines of the search, of which the agent has told its model."""
    told = model_api.turns()[1].results[0]
    said = re.search(r"^BEGIN\n(.*)^END", told, re.DOTALL | re.MULTILINE)
    assert said is not None, told
    return {*said[1].splitlines()}


@needs_sandbox
@pytest.mark.parametrize("login", [("ANTHROPIC_API_KEY", "api key"), ("CLAUDE_CODE_OAUTH_TOKEN", "bearer")])
@pytest.mark.parametrize("sandbox", ["required", "none"])
async def test_the_key_is_nowhere_in_a_sandbox_and_in_many_places_without_one(
    team: Team, model_api: ModelApi, left: Left, login: tuple[str, str], sandbox: str
) -> None:
    is_walled, (variable, kind) = sandbox == "required", login
    tmp = "/tmp" if is_walled else left.tmp
    model_api.route("TASK-A", Turn("", [Tool("Bash", {"command": SEARCH.format(tmp=tmp, key=PATTERN)})]), Turn("done"))
    async with team.opened(**{"ANTHROPIC_API_KEY": None, variable: KEY}) as orchestration:
        spawned = await orchestration.spawn(task("TASK-A", sandbox=sandbox))
        assert (spawned.isolation, spawned.warnings) == ("bubblewrap" if is_walled else "guard", ())
        await ended(orchestration, spawned.orchestration_task_id)
        record = await orchestration.status(spawned.orchestration_task_id)
    assert (record.status, record.result) == ("completed", "done"), record.error_message
    assert {turn.credential for turn in model_api.turns()} == {(kind, KEY)}, "the provider is shown the real one either way"
    found = found_by(model_api)
    here = await run_directory(orchestration, spawned.orchestration_task_id) / "workspace"
    own = {f"{place}/canary:{CANARY}" for place in (left.home, tmp, here)} | {f"{where}:CANARY={CANARY}" for where in ("env", "proc")}
    assert own <= found
    if is_walled:
        assert found == own
        assert not any(KEY in turn.conversation for turn in model_api.turns())
    else:
        assert {f"{left.home}/left:{KEY}", f"{tmp}/left:{KEY}", f"proc:{variable}={KEY}"} <= found
        # Of a token claude leaves its tools no variable, but what it was started with can be read.
        assert (f"env:{variable}={KEY}" in found) == (kind == "api key")
