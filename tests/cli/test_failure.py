import json

import pytest

from devsh_memory_mcp import errors
from devsh_memory_mcp.cli.failure import EXIT_CODES


def every_error(kind=errors.DevshError):
    return [kind, *(found for child in kind.__subclasses__() for found in every_error(child))]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_an_exit_code(kind):
    assert kind in EXIT_CODES


def test_an_error_is_told_in_two_lines_and_no_traceback(devsh):
    said = devsh("orchestrate", "status", "ns0")
    assert (said.code, said.out) == (4, "")
    assert said.err.splitlines() == ["devsh: There is no task 'ns0'.", "       `devsh orchestrate list --all` shows every task."]


def test_with_json_an_error_is_an_object_on_stdout_too(devsh):
    said = devsh("orchestrate", "status", "ns0", "--json")
    assert json.loads(said.out)["error"]["code"] == "not_found"
    assert "There is no task" in said.err


def test_a_fault_of_our_own_is_told_as_one(devsh, orchestration):
    orchestration.add("ns0").status = None
    said = devsh("orchestrate", "status", "ns0")
    assert said.code == 70
    assert "fault of devsh itself" in said.err
    assert "Traceback" not in said.err
    assert "Traceback" in devsh("orchestrate", "status", "ns0", environment={"DEVSH_DEBUG": "1"}).err


def test_ctrl_c_says_how_the_task_is_cancelled(devsh, orchestration):
    async def interrupted(_any_id):
        raise KeyboardInterrupt

    orchestration.add("ns1")
    orchestration.status = interrupted
    said = devsh("orchestrate", "status", "ns1", "--watch")
    assert said.code == 130
    assert "still running; cancel with `devsh orchestrate cancel ns1`" in said.err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [(["orchestrat"], "orchestrate"), (["orchestrate", "spwan"], "spawn"), (["spawn"], "orchestrate spawn"), (["lst"], "orchestrate list")],
)
def test_a_command_that_does_not_exist_names_the_nearest(devsh, typed, meant):
    said = devsh(*typed)
    assert said.code == 2
    assert f"Did you mean `{meant}`?" in said.err


def test_a_flag_that_does_not_exist_names_the_nearest(devsh):
    said = devsh("orchestrate", "spawn", "--agnt", "shell/bash", "true")
    assert said.code == 2
    assert "--agent" in said.err
