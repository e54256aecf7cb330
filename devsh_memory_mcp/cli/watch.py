"""`--watch`: a board that redraws itself on a terminal's foreground, one line per change anywhere else.

The orchestration tells of changes. What it has no event for, what an agent does just now, is looked at each `interval`; the
clocks go on each second.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from devsh_memory_mcp.cli import failure, terminal
from devsh_memory_mcp.cli.asking import no_tasks, rows_of
from devsh_memory_mcp.cli.board import ENDED, Line, change
from devsh_memory_mcp.cli.detail import show_task, task_lines
from devsh_memory_mcp.cli.following import Bell, following, resizes
from devsh_memory_mcp.cli.output import called, document, line_of, where, write_json
from devsh_memory_mcp.cli.picture import Glass, picture
from devsh_memory_mcp.cli.screen import Screen
from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.answers import TaskRow
from devsh_memory_mcp.ports import Orchestration

TICK = 1.0  # seconds

Shown = TaskRow | answers.TaskRecord


class Watch:
    """Follows one task, or all of an orchestration, to the end."""

    def __init__(
        self,
        orchestration: Orchestration,
        task_id: str | None,
        *,
        interval: float,
        as_json: bool,
        says_where: bool = True,
        by_name: bool = False,
    ) -> None:
        self._says_where, self._by_name = says_where, by_name
        self._orchestration, self._task_id = orchestration, task_id
        self._interval, self._as_json = interval, as_json
        self._told: dict[str, tuple[str, str | None, str | None]] = {}
        self.rows: Sequence[Shown] = ()  # at the end

    async def run(self) -> int:
        """Until everything has ended; the exit code of `wait`."""
        async with following(self._orchestration) as bell:
            self.rows = rows = await self._drawn(bell) if terminal.is_foreground() and not self._as_json else await self._told_all(bell)
        await self._conclude(rows)
        return exit_code(rows)

    async def _rows(self) -> Sequence[Shown]:
        if self._task_id is not None:
            return [await self._orchestration.status(self._task_id)]
        rows = await rows_of(self._orchestration)
        if not rows:
            raise no_tasks(self._orchestration)
        return rows

    async def _told_all(self, bell: Bell) -> Sequence[Shown]:
        while True:
            rows = await self._rows()
            for row in rows:
                self._tell(row)
            if _is_over(rows):
                return rows
            await bell.heard()

    def _tell(self, row: Shown) -> None:
        news = (row.status, row.waiting_for, row.needs_input)
        if self._told.get(row.orchestration_task_id) == news:
            return
        self._told[row.orchestration_task_id] = news
        if self._as_json:
            write_json(row, compact=True)
        else:
            click.echo(change(line_of(row), datetime.now(UTC)))

    async def _drawn(self, bell: Bell) -> Sequence[Shown]:
        async with resizes(bell):
            with Screen() as screen:
                while terminal.is_foreground():
                    rows = await self._rows()
                    screen.show(self._picture(rows))
                    if _is_over(rows):
                        return rows
                    await self._ticked(bell, screen, rows)
        return await self._told_all(bell)

    async def _ticked(self, bell: Bell, screen: Screen, rows: Sequence[Shown]) -> None:
        """Until something has changed or `interval` is over and it is time to look again; meanwhile the clocks go on."""
        left = self._interval
        while not await bell.heard(min(TICK, left)) and (left := left - TICK) > 0:
            screen.show(self._picture(rows))

    def _picture(self, rows: Sequence[Shown], *, whole: bool = False) -> list[str]:
        now = datetime.now(UTC)
        if len(rows) == 1 and isinstance(rows[0], answers.TaskRecord):
            return task_lines(rows[0], now, by_name=self._by_name)
        lines = [line_of(row) for row in rows]
        said = hints(lines, watching=not whole, by_name=self._by_name)
        glass = Glass(terminal.width(), None if whole else terminal.height(), terminal.speaks_unicode())
        return picture(self._orchestration.orchestration_id, lines, now, glass, hints=said)

    async def _conclude(self, rows: Sequence[Shown]) -> None:
        if self._as_json:
            if self._task_id is None:
                write_json(document(await self._orchestration.summary()) | {"final": True}, compact=True)
            return
        if terminal.is_foreground() and self._task_id is not None:
            show_task(await self._orchestration.status(self._task_id), by_name=self._by_name)
        elif terminal.is_foreground():
            for line in self._picture(rows, whole=True):
                click.echo(line)
        if self._says_where and (terminal.is_foreground() or self._task_id is None):
            where(self._orchestration.directory)


def exit_code(rows: Sequence[Shown]) -> int:
    """0 where all completed, 1 where one failed or was cancelled."""
    return failure.OK if all(row.status == "completed" for row in rows) else failure.FAILED


def _is_over(rows: Sequence[Shown]) -> bool:
    return all(row.status in ENDED for row in rows)


def hints(lines: Sequence[Line], *, watching: bool, by_name: bool) -> tuple[str, ...]:
    """What to type now."""
    needy = next((called(line, by_name=by_name) for line in lines if line.needs_input and not line.has_ended), None)
    busy = next((called(line, by_name=by_name) for line in lines if line.status == "running"), None)
    said = []
    if needy:
        said.append(f"devsh orchestrate status {needy}  says all that it needs")
    elif busy:
        said.append(f"devsh orchestrate logs -f {busy}  shows what it does")
    elif lines and all(line.has_ended for line in lines):
        return ("devsh orchestrate results  shows what came of it",)
    if watching:
        return (*said, "Ctrl-C leaves the agents at work")
    return (*said, "devsh orchestrate status --watch  follows") if lines else ()
