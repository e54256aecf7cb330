"""`--watch`: a board that redraws itself on a terminal's foreground, one line per change anywhere else.

Nothing is asked for on a timer: the orchestration tells of changes, the interval only moves the clocks on the screen.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import click

from devsh_memory_mcp.cli import failure, terminal
from devsh_memory_mcp.cli.asking import no_tasks, rows_of
from devsh_memory_mcp.cli.board import ENDED, Line, change, counts, table
from devsh_memory_mcp.cli.detail import show_task
from devsh_memory_mcp.cli.following import Bell, following
from devsh_memory_mcp.cli.output import document, line_of, where, write_json
from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.answers import TaskRow
from devsh_memory_mcp.ports import Orchestration

Shown = TaskRow | answers.TaskRecord


class Watch:
    """Follows one task, or all of an orchestration, to the end."""

    def __init__(
        self, orchestration: Orchestration, task_id: str | None, *, interval: float, as_json: bool, says_where: bool = True
    ) -> None:
        self._says_where = says_where
        self._orchestration, self._task_id = orchestration, task_id
        self._interval, self._as_json = interval, as_json
        self._told: dict[str, tuple[str, str | None]] = {}
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
        news = (row.status, row.waiting_for)
        if self._told.get(row.orchestration_task_id) == news:
            return
        self._told[row.orchestration_task_id] = news
        if self._as_json:
            write_json(row, compact=True)
        else:
            click.echo(change(line_of(row), datetime.now(UTC)))

    async def _drawn(self, bell: Bell) -> Sequence[Shown]:
        from devsh_memory_mcp.cli.screen import Screen

        with Screen() as screen:
            while terminal.is_foreground():
                rows = await self._rows()
                screen.show(_picture(self._orchestration.orchestration_id, [line_of(row) for row in rows]))
                if _is_over(rows):
                    return rows
                await bell.heard(self._interval)
        return await self._told_all(bell)

    async def _conclude(self, rows: Sequence[Shown]) -> None:
        if self._as_json:
            if self._task_id is None:
                write_json(document(await self._orchestration.summary()) | {"final": True}, compact=True)
            return
        if isinstance(rows[0] if rows else None, answers.TaskRecord) and terminal.is_foreground():
            show_task(await self._orchestration.status(str(self._task_id)))
        elif terminal.is_foreground():
            for line in _picture(self._orchestration.orchestration_id, [line_of(row) for row in rows], whole=True):
                click.echo(line)
        if self._says_where and (terminal.is_foreground() or self._task_id is None):
            where(self._orchestration.directory)


def exit_code(rows: Sequence[Shown]) -> int:
    """0 where all completed, 1 where one failed or was cancelled."""
    return failure.OK if all(row.status == "completed" for row in rows) else failure.FAILED


def _is_over(rows: Sequence[Shown]) -> bool:
    return all(row.status in ENDED for row in rows)


def _picture(orchestration_id: str, lines: list[Line], *, whole: bool = False) -> list[str]:
    """The board; on a small screen the live tasks first, and how many are not shown."""
    now, columns = datetime.now(UTC), terminal.width()
    heading = f"{click.style(orchestration_id, bold=True)}  {counts(line.status for line in lines)}"
    room = len(lines) if whole else max(3, terminal.height() - 4)
    shown = lines if len(lines) <= room else sorted(lines, key=lambda line: (line.has_ended, line.status != "running"))[:room]
    more = [click.style(f"  … and {len(lines) - len(shown)} more", dim=True)] if len(shown) < len(lines) else []
    return [heading, *table(shown, now, columns), *more]
