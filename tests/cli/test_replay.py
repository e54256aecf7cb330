"""`replay` and `export` as they are typed."""

import json
import subprocess
from pathlib import Path

import pytest

from devsh_memory_mcp.store.journal import create
from devsh_memory_mcp.store.line import encode
from tests.doubles.clock import START
from tests.store.conftest import CREATED
from tests.store.test_journal import message, spawned


@pytest.fixture
def place(devsh, orchestration, tmp_path):
    """The current orchestration's directory: a task is spawned, then two messages in one commit, then another task."""
    directory = tmp_path / "memory/orchestrations/orch_test00000001"
    create(directory, CREATED, START)
    with (directory / "EVENTS.jsonl").open("ab") as file:
        for events, seq in (((spawned(1),), 2), ((message("one"), message("two")), 3), ((spawned(2),), 5)):
            file.write(encode(events, seq, START))
    orchestration.directory = directory
    return directory


@pytest.mark.promise("cli.replay")
def test_it_shows_plan_mailbox_and_events_as_they_were(devsh, place):
    said = devsh("orchestrate", "replay", "--to", "2")
    assert said.code == 0
    assert "orch_test00000001  as it was after event 2 of 5, 2026-01-02T03:04:05.678Z" in said.out
    assert "t1" in said.out
    assert "2  03:04:05  t1 was spawned: Do it." in said.out
    assert "Mailbox" not in said.out
    assert "t2" not in said.out
    said = devsh("orchestrate", "replay", "--events", "1")
    assert "#3 head → ns1 (request, unread): one" in said.out
    assert "What happened last (4 events before it: --events 5)\n  5  03:04:05  t2 was spawned: Do it.\n" in said.out


def test_with_json_it_is_the_three_views_and_what_happened(devsh, place):
    answer = json.loads(devsh("orchestrate", "replay", "--to", "4", "--json").out)
    assert (answer["orchestrationId"], answer["seq"], answer["lastSeq"], answer["damage"]) == ("orch_test00000001", 4, 5, None)
    assert [task["id"] for task in answer["plan"]["tasks"]] == ["t1"]
    assert [agent["taskRunId"] for agent in answer["agents"]["agents"]] == ["tr_000000000001"]
    assert [sent["message"] for sent in answer["mailbox"]["messages"]] == ["one", "two"]
    assert [event["event"] for event in answer["events"]] == ["orchestration_created", "agent_spawned", "message_sent", "message_sent"]


def test_the_middle_of_a_commit_is_its_end_and_what_is_out_of_range_is_refused(devsh, place):
    said = devsh("orchestrate", "replay", "--to", "3")
    assert "after event 4 of 5" in said.out
    assert "Event 3 was committed together with those up to 4" in said.err
    said = devsh("orchestrate", "replay", "--to", "6", "--json")
    assert (said.code, json.loads(said.out)["error"]["message"]) == (2, "There is no event 6: 1 to 5 can be read in this journal.")


def test_a_damaged_journal_is_shown_as_far_as_it_can_be_read(devsh, place):
    with (place / "EVENTS.jsonl").open("ab") as file:
        file.write(encode((message("far"),), 9, START))
    said = devsh("orchestrate", "replay")
    assert said.code == 0
    assert "after event 5 of 5" in said.out
    assert (
        "The journal is damaged: it can be read up to event 5, and not what came after it (the event after 5 has the number 9)" in said.err
    )
    assert json.loads(devsh("orchestrate", "replay", "--json").out)["damage"] == "the event after 5 has the number 9"


@pytest.mark.promise("cli.replay", "cli.export")
def test_what_was_exported_is_replayed_packed_and_unpacked(devsh, place, tmp_path):
    said = devsh("orchestrate", "export")
    archive = tmp_path / "orch_test00000001.tar.gz"
    assert said.code == 0
    assert str(archive) in said.out
    assert "look through it before you give it away" in said.out
    subprocess.run(["tar", "-xzf", archive], cwd=tmp_path, check=True)
    devsh.world.all.clear()
    for named in (archive.name, archive, "orch_test00000001", tmp_path / "orch_test00000001/EVENTS.jsonl"):
        assert json.loads(devsh("orchestrate", "replay", named, "--json").out)["lastSeq"] == 5
    assert devsh("orchestrate", "replay", "orch_other").code == 4


def test_a_task_is_no_path_though_a_directory_is_called_as_it(devsh, place, orchestration, tmp_path):
    (tmp_path / "unit").mkdir()
    orchestration.add("ns1", id="unit")
    assert devsh("orchestrate", "replay", "unit").code == 0


@pytest.mark.promise("cli.export")
def test_an_export_says_in_json_what_was_left_out_and_scrubbed_and_replaces_nothing_unasked(devsh, place, tmp_path):
    with (place / "EVENTS.jsonl").open("ab") as file:
        file.write(b"my s3cret-value\n")
    (place / "runs/tr_1/1/workspace").mkdir(parents=True)
    environment = {"SOME_TOKEN": "s3cret-value"}
    answer = json.loads(devsh("orchestrate", "export", place, "-o", "out.tgz", "--json", environment=environment).out)
    assert answer["path"] == str(tmp_path / "out.tgz")
    assert (answer["leftOut"], answer["scrubbed"]) == ({"workspace": 1}, {"the value of SOME_TOKEN": 1})
    assert answer["findings"] == 3  # the foreign line, no views, a run directory that the journal does not know
    assert devsh("orchestrate", "export", place, "-o", "out.tgz").code == 5
    assert devsh("orchestrate", "export", place, "-o", "out.tgz", "--force").code == 0
    assert devsh("orchestrate", "export", tmp_path / "memory").code == 4
    assert not list(Path(tmp_path).glob("*.tmp"))


@pytest.mark.parametrize("given", ["nowhere.tar.gz", "./nowhere", "~/nowhere", "memory"])
def test_a_path_that_leads_to_no_journal_says_what_would(devsh, place, given):
    said = devsh("orchestrate", "replay", "./memory" if given == "memory" else given)
    assert said.code == 4
    assert "does not exist" in said.err or "is no orchestration: it has no EVENTS.jsonl" in said.err
    assert "Name a directory with an EVENTS.jsonl, or the .tar.gz that `devsh orchestrate export` made." in said.err


def test_an_export_that_could_be_committed_says_so(devsh, place, tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    told = "lies in a git checkout that does not ignore it: do not commit it, or name another place with -o."
    assert told in devsh("orchestrate", "export", place, "-o", "one.tgz").err
    (tmp_path / ".gitignore").write_text("*.tgz\n")
    assert told not in devsh("orchestrate", "export", place, "-o", "two.tgz").err
