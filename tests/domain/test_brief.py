"""The brief of a head that lost its memory."""

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devsh_memory_mcp.domain import events
from devsh_memory_mcp.domain.brief import MAX_CHARACTERS, MAX_TOKENS, NOTHING, Facts, brief, elsewhere, tokens
from devsh_memory_mcp.domain.records import DiffStat, MergeConflict, Repository, Totals
from tests.domain.plans import Plan
from tests.doubles.clock import START

REPOSITORY = Repository(
    name="/p", git_directory="/p/.git", base_commit="c", branch="dev/x", author_name="a", author_email="e", base_branch="main"
)


def facts(**known: object) -> Facts:
    return Facts(START + timedelta(minutes=75), **known)  # type: ignore[arg-type]


def finish(plan: Plan, name: str, *depends_on: str, conflicts: tuple[str, ...] = ()) -> None:
    """A task that completes with two commits on branch dev/NAME; `conflicts` are branches that it could not take in."""
    plan.spawn(name, *depends_on, repository=REPOSITORY)
    plan.start(name)
    totals = Totals(
        commits=2, diff_stat=DiffStat(files=1, insertions=9, deletions=3), merge_conflicts=tuple(MergeConflict(branch=b) for b in conflicts)
    )
    plan.tell(events.AttemptEnded(orchestration_task_id=name, task_run_id=f"tr_{name}", attempt=1, reason="exit", totals=totals))
    plan.tell(events.AgentCompleted(orchestration_task_id=name, result="ok", branch=f"dev/{name}"))


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.mark.promise("mcp.brief")
def test_it_says_who_runs_what_is_owed_which_mail_there_is_and_what_to_call(plan: Plan) -> None:
    plan.spawn("run")
    plan.start("run")
    plan.spawn("wait", "run")
    plan.spawn("bad")
    plan.fail("bad")
    finish(plan, "good")
    plan.tell(events.MessageSent(sender="run", to="head", type="request", message="Which\nport?"))
    page = brief(plan.state, facts(waiting={"wait": "dependencies: plan-run"}, activity={"run": "editing auth.py"}))
    assert page.splitlines()[4:] == [
        "## Next calls",
        "1. get_my_messages()",
        "2. get_agent_status of plan-bad for why; spawn_agent again with a better prompt, where it is still wanted",
        "3. look at and merge what is finished: git diff main...dev/good, then git merge BRANCH",
        '4. wait_for_agent(ids=["plan-run", "plan-wait"], mode="any")',
        "",
        "## Unread messages, not consumed by this (1)",
        "- request from plan-run: Which port?",
        "",
        "## Running (1)",
        "- plan-run, a/b, 1 h 15 min: Do run.; now: editing auth.py",
        "",
        "## Failed or cancelled (1)",
        "- plan-bad (exit): no; it was: Do bad.",
        "",
        "## Finished, not merged as far as git shows (1)",
        "- plan-good: branch dev/good, 2 commits, +9 -3 in 1 file: Do good.",
        "",
        "## Waiting (1)",
        "- plan-wait waits for dependencies: plan-run: Do wait.",
    ]
    assert "1 running, 1 pending, 1 completed, 1 failed, 0 cancelled" in page
    assert "never spawn this work again" in page
    assert len(plan.state.unread) == 1


def test_an_agent_that_needs_help_comes_before_what_merely_runs(plan: Plan) -> None:
    plan.spawn("stuck")
    plan.start("stuck")
    plan.tell(events.AgentNeedsInput(orchestration_task_id="stuck", attempt=1, n=3, kind="permission", message="may not run make"))
    page = brief(plan.state, facts())
    assert "1. help plan-stuck" in page
    assert "## Need your help (1)\n- plan-stuck: may not run make" in page
    assert 'wait_for_agent(ids=["plan-stuck"], mode="any")' in page


def test_where_all_has_ended_and_is_merged_nothing_is_owed(plan: Plan) -> None:
    finish(plan, "good")
    page = brief(plan.state, facts(merged=frozenset({"good"})))
    assert "None: all has ended, and nothing is owed." in page
    assert "## Finished, nothing left to do (1)" in page


def test_of_a_chain_only_the_last_branch_is_to_be_merged(plan: Plan) -> None:
    finish(plan, "first")
    finish(plan, "other")
    finish(plan, "last", "first", "other", conflicts=("dev/other",))
    page = brief(plan.state, facts())
    assert "not merged as far as git shows (2)\n- plan-last: branch dev/last" in page
    assert "- plan-other: branch dev/other" in page
    assert "branch dev/first" not in page


def test_an_empty_orchestration_says_how_to_begin(plan: Plan) -> None:
    assert NOTHING in brief(plan.state, facts())
    assert elsewhere([]) == NOTHING
    told = elsewhere([("orch_2", "2 running: Port the parser")])
    assert "- orch_2: 2 running: Port the parser" in told
    assert "pull_orchestration_updates(orchestrationId=" in told


def is_one_page(page: str) -> bool:
    return len(page) <= MAX_CHARACTERS and tokens(page) <= MAX_TOKENS


def fill(plan: Plan, count: int, prompt: str) -> None:
    for number in range(count):
        name, kind = f"ns{number:010}", number % 5
        plan.spawn(name, prompt=prompt, repository=REPOSITORY)
        if kind == 1:
            plan.start(name)
        if kind == 2:
            plan.fail(name)
        if kind == 3:
            plan.complete(name)
        if kind == 4:
            plan.tell(events.AgentFailed(orchestration_task_id=name, reason="dependency", error_message="Dependency x failed"))


def test_fifty_tasks_have_a_line_each(plan: Plan) -> None:
    fill(plan, 50, "Write the parser of the configuration file, with tests, and document every key of it in the manual.")
    page = brief(plan.state, facts())
    assert is_one_page(page)
    assert "more:" not in page
    assert all(page.count(f"ns{number:010}") for number in range(50))


def test_of_many_the_most_important_stay_and_the_rest_is_counted(plan: Plan) -> None:
    fill(plan, 500, "Write the parser of the configuration file.")
    page = brief(plan.state, facts())
    assert is_one_page(page)
    for heading in ("Running (100)", "Failed or cancelled (100)", "Waiting (100)", "Finished, nothing left to do (100)"):
        assert f"## {heading}" in page
    shown = {part.partition(" (")[0]: part.count("plan-") for part in page.split("## ")}
    assert shown["Running"] > shown["Waiting"] == shown["Finished, nothing left to do"] == 3
    assert '- and 97 more: list_spawned_agents(status="pending")' in page


_TEXTS = st.text(max_size=400) | st.sampled_from(["🦆" * 300, "語" * 300, "a-b_c/d " * 100, "\ud800" * 50])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 120), _TEXTS, st.lists(_TEXTS, max_size=40))
def test_whatever_there_is_it_is_one_page(count: int, prompt: str, mail: list[str]) -> None:
    plan = Plan()
    fill(plan, count, prompt or "p")
    for text in mail:
        plan.tell(events.MessageSent(sender="ns0000000001", to="head", type="status", message=text))
    page = brief(plan.state, facts())
    assert is_one_page(page)
    assert page.startswith("# Brief of orchestration orch_1")
    assert f"## Unread messages, not consumed by this ({len(mail)})" in page or not mail
