"""The table of a task's life."""

import pytest

from devsh_memory_mcp.domain.status import MEANING, TRANSITIONS, Status, Trigger, advance, diagram
from devsh_memory_mcp.errors import Conflict


@pytest.mark.parametrize("status", [status for status in Status if status.is_terminal])
@pytest.mark.parametrize("trigger", list(Trigger))
def test_nothing_leaves_a_terminal_status(status: Status, trigger: Trigger) -> None:
    with pytest.raises(Conflict, match=f"{status} cannot {trigger}"):
        advance(status, trigger)


@pytest.mark.parametrize(("status", "trigger"), list(TRANSITIONS))
def test_each_step_of_the_table_can_be_taken(status: Status, trigger: Trigger) -> None:
    assert advance(status, trigger) is TRANSITIONS[status, trigger]


def test_a_pending_task_cannot_complete() -> None:
    with pytest.raises(Conflict):
        advance(Status.PENDING, Trigger.COMPLETE)


def test_each_step_has_its_meaning_and_its_arrow() -> None:
    assert set(MEANING) == set(TRANSITIONS)
    assert diagram().count("-->") == len(TRANSITIONS) + 4
