"""`devsh fsck` as it is typed."""

import json
import os
import socket
import subprocess
import sys

import pytest

from devsh_memory_mcp.shim.doorbell import socket_path
from devsh_memory_mcp.store.journal import create
from tests.doubles.clock import START
from tests.store.conftest import CREATED


@pytest.fixture
def place(devsh, tmp_path):
    directory = tmp_path / "orchestrations/orch_test00000001"
    create(directory, CREATED, START)
    assert devsh("fsck", "--repair").code == 0
    return directory


@pytest.mark.promise("doctor.fsck")
def test_what_is_wrong_is_said_with_what_to_do_and_a_repair_says_where_it_kept_what_was_there(devsh, place):
    assert devsh("fsck").out.startswith("All is well.\n")
    (place / "EVENTS.jsonl").write_bytes((place / "EVENTS.jsonl").read_bytes() + b"{torn")
    said = devsh("fsck")
    assert said.code == 1
    assert "wrong   torn_end  5 bytes of a commit that was cut off" in said.out
    assert "1 left to mend: devsh fsck --repair" in said.out
    said = devsh("fsck", "--repair")
    assert said.code == 0
    (kept,) = place.glob("EVENTS.jsonl.torn-*")
    assert f"mended  set_aside  What stood there is kept here, as it was.\n        {kept}" in said.out


def test_what_only_a_person_can_decide_is_left_and_named(devsh, place):
    (place.parent / "notes").mkdir()
    (place.parent / "notes/mine").write_text("mine")
    said = devsh("fsck", "--repair")
    assert said.code == 1
    assert "Move it away if it is yours." in said.out
    assert "1 left that only you can decide." in said.out


def test_a_note_is_no_failure(devsh, place, tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(socket_path(str(tmp_path)))
    said = devsh("fsck", "--json")
    (found,) = json.loads(said.out)["findings"]
    assert (said.code, found["code"], found["note"], json.loads(said.out)["ok"]) == (0, "stale_socket", True, True)
    assert "note    stale_socket" in devsh("fsck").out
    assert json.loads(devsh("fsck", "--repair", "--json").out)["findings"][0]["repaired"]
    assert devsh("fsck").out.startswith("All is well.\n")


def test_what_a_repair_does_not_mend_is_not_sent_to_one(devsh, place):
    (place.parent / "notes").mkdir()
    (place.parent / "notes/mine").write_text("mine")
    (place / "PLAN.json").unlink()
    said = devsh("fsck")
    assert "1 left to mend: devsh fsck --repair\n1 left that only you can decide.\n" in said.out
    assert "PLAN.json is missing. `devsh fsck --repair` writes it anew" in said.out
    said = devsh("fsck", "--repair")
    assert "mended  view_broken  PLAN.json is missing.\n" in said.out
    assert "devsh fsck --repair" not in said.out


def test_a_pipe_in_a_journals_place_makes_no_list_wait(place, tmp_path):
    (place / "EVENTS.jsonl").unlink()
    os.mkfifo(place / "EVENTS.jsonl")
    code = "import sys; from pathlib import Path; from devsh_memory_mcp.cli.glance import begun; print(begun(Path(sys.argv[1])))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, tmp_path], env=environment, timeout=20, check=True)


@pytest.mark.parametrize("left", ["views", "runs"])
def test_an_orchestration_whose_journal_is_deleted_is_nowhere_passed_over(devsh, place, left):
    (place / "EVENTS.jsonl").unlink()
    if left == "runs":
        (place / "runs/tr_1/1").mkdir(parents=True)
        for path in place.glob("*.json"):
            path.unlink()
    for words in (("status",), ("list",), ("list", "--json"), ("spawn", "--agent", "shell/bash", "--repo", "none", "true")):
        said = devsh("orchestrate", *words)
        assert f"{place} cannot be shown: its EVENTS.jsonl is missing. `devsh fsck` tells more." in said.err, words
