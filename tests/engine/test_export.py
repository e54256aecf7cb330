"""A bug report of a real run: made while agents work, and with none of the secrets that were said in it."""

import json
import os
import tarfile
from pathlib import Path

import pytest

from devsh_memory_mcp.cli.main import run
from devsh_memory_mcp.cli.session import Surroundings
from devsh_memory_mcp.domain.requests import MessageRequest
from devsh_memory_mcp.store.journal import fold_file
from devsh_memory_mcp.store.playback import read_playback
from tests.engine.house import House, ended, shell

# Put together here, so that no file of this repository has the shape of a key.
KEY, TOKEN, PASSWORD, VALUE = "sk-" + "ant-api03-AbCdEf123", "ghp" + "_AbCdEfGhIjKlMnOpQrSt", "Hunter22Hunter", "Variable9Value9"
SECRETS = ("AbCdEf123", "AbCdEfGhIj", PASSWORD, VALUE)


def unpacked(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as packed:
        return {entry.name: file.read() for entry in packed if (file := packed.extractfile(entry)) is not None}


@pytest.mark.promise("cli.export")
async def test_no_secret_of_prompt_message_output_or_environment_is_in_an_export(
    house: House, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate, pipe = house.gate(), house.pipe()
    surroundings = Surroundings(environment={"HOME": str(house.directory), "SOME_API_KEY": VALUE}, directory=house.directory)

    def exported(name: str) -> dict[str, bytes]:
        words = ["orchestrate", "export", str(orchestration.directory), "-o", name, "--json"]
        assert run(words, surroundings) == 0
        assert json.loads(unpacked(house.directory / name)[told])["fsck"] == []
        return unpacked(house.directory / name)

    script = f"""# {TOKEN} stands where a branch gets its words from
    echo {KEY}; echo '{{"password": "{PASSWORD}"}}' >&2; echo https://me:{PASSWORD}@example.com/r.git > work
    echo {VALUE}; echo begun > {pipe.path}; {gate.pass_through}; echo {TOKEN}"""
    async with house.opened() as orchestration:
        told = f"{orchestration.orchestration_id}/export.json"
        spawned = await orchestration.spawn(shell(script, repo=None, setup=f"export MY_TOKEN={PASSWORD}"))
        await pipe.lines(1)
        await orchestration.message(MessageRequest.model_validate({"to": "head", "type": "status", "message": f"{VALUE} and {TOKEN}"}))
        during = exported("during.tar.gz")
        gate.open()
        await ended(orchestration, spawned.orchestration_task_id)
        after = exported("after.tar.gz")
        journal = (orchestration.directory or Path()) / "EVENTS.jsonl"
    for files in (during, after):
        small = b"\n".join([*files.values(), "\n".join(files).encode()]).lower()
        assert [secret for secret in SECRETS if secret.lower().encode() in small] == []
        assert not any("/workspace" in name or "/git" in name or name.endswith(("/lock", "/prompt")) for name in files)
        assert any(name.endswith("/stdout.log") for name in files)
    state = read_playback(house.directory / "after.tar.gz")
    assert state.last == fold_file(journal).seq
    assert set(json.loads(after[told])["scrubbed"]) >= {"the value of SOME_API_KEY", "tokens of code hosts"}
    assert TOKEN.encode() in journal.read_bytes()
    capsys.readouterr()


async def test_a_secret_of_a_prompt_is_in_no_name_that_is_made_of_it(house: House, repository: Path) -> None:
    caller = {"environment": dict(os.environ) | {"SOME_API_KEY": VALUE}}
    async with house.opened(**caller) as orchestration:
        first = await orchestration.spawn(shell(f"# {TOKEN} and {VALUE} for\ntrue", repo=None, name="first"))
        second = await orchestration.spawn(shell(f"# with {KEY}\ntrue", repo=None, depends_on=["first"]))
        assert (first.branch or "").startswith("dev/and-for-true-")
        assert (second.branch or "").startswith("dev/with-true-")
        for spawned in (first, second):
            await ended(orchestration, spawned.orchestration_task_id)
