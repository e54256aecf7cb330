"""The board as a picture, at any size and whatever agents have written into it."""

import re
from datetime import UTC, datetime, timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.cli.board import ENDED, SYMBOLS, Line
from devsh_memory_mcp.cli.cells import clipped, fit, width
from devsh_memory_mcp.cli.picture import Glass, picture
from devsh_memory_mcp.cli.tree import forest

NOW = datetime(2025, 2, 23, 12, 0, tzinfo=UTC)
STYLE = re.compile(r"\x1b\[[0-9;]*m")


def task(name: str, status: str = "running", *after: str, **more: object) -> Line:
    """A task that began a minute ago, and ended after 30 s where it has ended."""
    began = None if status == "pending" else NOW - timedelta(seconds=60)
    ended = NOW - timedelta(seconds=30) if status in ENDED else None
    fields = {"agent_name": "claude/haiku-4.5", "prompt": f"Do {name}", "started_at": began, "completed_at": ended} | more
    return Line("ns" + name, name, status, orchestration_id="orch_1", depends_on=after, **fields)  # type: ignore[arg-type]


def drawn(lines: list[Line], columns: int = 100, height: int | None = None, **more: object) -> list[str]:
    return [click.unstyle(line) for line in picture("orch_1", lines, NOW, Glass(columns, height), **more)]  # type: ignore[arg-type]


def row(lines: list[str], name: str) -> str:
    return next(line for line in lines if f" {name} " in f"{line} ")


def stems(lines: list[Line]) -> list[str]:
    return [branch.stem + branch.line.id for branch in forest(lines)]


def test_a_task_stands_under_the_last_of_its_dependencies_and_names_the_others():
    lines = [task("a", "completed"), task("b"), task("c"), task("d", "running", "a", "b"), task("e", "pending", "nsd")]
    assert stems(lines) == ["a", "b", "└─ d", "   └─ e", "c"]
    assert "also after a" in row(drawn(lines), "d")


def test_siblings_are_joined_by_a_bar():
    lines = [task("a"), task("b", "pending", "a"), task("c", "pending", "b"), task("d", "pending", "a")]
    assert stems(lines) == ["a", "├─ b", "│  └─ c", "└─ d"]


def test_a_long_chain_leans_no_further_than_it_can_be_read():
    lines = [task("t0"), *(task(f"t{number}", "pending", f"t{number - 1}") for number in range(1, 2000))]
    found = stems(lines)
    assert len(found) == 2000
    assert max(map(len, found)) < 24


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=10, max_size=10))
def test_every_task_is_drawn_once_even_where_a_plan_goes_round_in_a_circle(after):
    lines = [task(f"t{number}", "pending", *(f"t{other}" for other in each)) for number, each in enumerate(after)]
    assert sorted(branch.line.id for branch in forest(lines)) == sorted(line.id for line in lines)


def test_each_status_tells_what_matters_now():
    lines = drawn(
        [
            task("reads", activity="reads src/app.py", attempt=2),
            task("waits", "pending", "reads", waiting_for="dependencies: reads"),
            task("queued", "pending", waiting_for="a free place: 8 of 8 are taken"),
            task("done", "completed", changed=(3, 10, 2), result="first\nAll tests pass.\n"),
            task("broke", "failed", error_message="bash: exit code 3: disk full\nand more"),
        ],
        columns=160,
    )
    assert "● running" in row(lines, "reads")
    assert "try 2 · reads src/app.py" in row(lines, "reads")
    assert row(lines, "reads").endswith("1:00")
    assert "waits for reads" in row(lines, "waits")
    assert "waits for a free place" in row(lines, "queued")
    assert "+10 -2 in 3 files · All tests pass." in row(lines, "done")
    assert row(lines, "done").endswith("0:30")
    assert "bash: exit code 3: disk full" in row(lines, "broke")


def test_what_an_agent_needs_stands_out_below_it():
    lines = drawn([task("a", needs_input="may not run `npm publish`"), task("b", "failed", needs_input="a login")])
    below = lines[lines.index(row(lines, "a")) + 1]
    assert below.strip() == "! may not run `npm publish`"
    assert "! a login" in "\n".join(lines)


@pytest.mark.parametrize(
    ("bases", "shown", "total"), [(("api", "api"), "$0.21", "$0.42"), (("subscription", "api"), "~$0.21", "~$0.42 at list price")]
)
def test_cost_says_where_nobody_may_be_billed_for_it(bases, shown, total):
    lines = drawn([task(name, cost_usd=0.21, cost_basis=basis) for name, basis in zip("ab", bases, strict=True)])
    assert f" {shown} " in row(lines, "a")
    assert f"2 running · {total} · 1:00" in "\n".join(lines)


def test_where_nothing_costs_there_is_no_column_for_it():
    assert "$" not in "\n".join(drawn([task("a"), task("b", "completed")]))


def test_the_only_agent_is_named_once_and_several_beside_their_tasks():
    assert drawn([task("a"), task("b")])[0] == "orch_1  claude/haiku-4.5"
    several = drawn([task("a"), task("b", agent_name="shell/bash")], columns=140)
    assert (several[0], "shell/bash" in row(several, "b")) == ("orch_1", True)


def test_on_a_small_screen_the_unfinished_go_first_and_the_others_are_counted():
    tasks = [task(f"done{number}", "completed") for number in range(30)] + [task("live"), task("soon", "pending", "done3")]
    lines = drawn(tasks, height=20, hints=("type this",))
    assert len(lines) <= 19
    assert row(lines, "live")
    assert "after done3" in row(lines, "soon")
    assert any(re.fullmatch(r"  … and \d+ more completed", line) for line in lines)
    assert "type this" in lines[-1]


def test_in_few_columns_what_is_dropped_is_what_the_footer_tells_too():
    tasks = [task("a", activity="edits src/app.py", cost_usd=1.0), task("b", "pending", "a", waiting_for="dependencies: a")]
    lines = drawn(tasks, columns=60, hints=("devsh orchestrate logs -f a", "Ctrl-C leaves the agents at work"))
    assert "edits src/app.py" in row(lines, "a")
    assert "waits for a" in row(lines, "b")
    assert lines[-1].strip() == "devsh orchestrate logs -f a"


def test_without_unicode_there_are_other_signs():
    lines = picture("orch_1", [task("a"), task("b", "pending", "a")], NOW, Glass(100, unicode=False))
    assert all(line.isascii() for line in lines)


_words = st.text(st.sampled_from("ab \n漢\u0301\x1b[2J\t\r\u202e🎨"), max_size=90)
_tasks = st.builds(
    lambda number, status, after, words, needs, cost: task(
        f"t{number}", status, *(f"t{other}" for other in after), prompt=words, activity=words, result=words, error_message=words,
        needs_input=words if needs else None, waiting_for=words, cost_usd=cost, agent_name=words or "a",
    ),
    st.integers(0, 30), st.sampled_from(sorted(SYMBOLS)), st.lists(st.integers(0, 30), max_size=3), _words, st.booleans(),
    st.none() | st.floats(0, 1e6),
)  # fmt: skip


@given(st.lists(_tasks, max_size=30), st.integers(60, 200), st.none() | st.integers(8, 50))
def test_no_line_is_wider_than_the_terminal_and_no_picture_higher_whatever_agents_write(tasks, columns, height):
    lines = picture("orch_1", tasks, NOW, Glass(columns, height), hints=("do this", "or that"))
    assert height is None or len(lines) < height
    for line in lines:
        assert width(STYLE.sub("", line)) < columns
        assert STYLE.sub("", line).isprintable()


@given(st.text(st.sampled_from("ab漢\u0301 "), max_size=40), st.integers(0, 40))
def test_text_is_cut_by_what_it_takes_on_the_screen(text, room):
    assert width(fit(text, room)) <= room
    assert width(STYLE.sub("", clipped(click.style(text, fg="red"), room))) <= room
    assert clipped(text, 100) == text


def test_a_style_that_is_cut_ends_there():
    assert clipped(click.style("abcdef", fg="red") + "ghi", 3) == "\x1b[31mabc\x1b[0m"
