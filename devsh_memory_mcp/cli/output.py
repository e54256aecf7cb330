"""What goes to stdout: JSON documents for programs, lines for people."""

import json
import shlex
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from devsh_memory_mcp.agents.plain import plain
from devsh_memory_mcp.cli.board import Line
from devsh_memory_mcp.domain import answers
from devsh_memory_mcp.domain.instants import instant_text


def document(answer: BaseModel) -> dict[str, Any]:
    """The answer as it is on the wire; times are written as in the files."""
    return answer.model_dump(by_alias=True)


def write_json(value: BaseModel | Sequence[BaseModel | dict[str, Any]] | dict[str, Any], *, compact: bool = False) -> None:
    """The value alone, with two spaces, or on one line."""
    one_or_many = [_as_document(each) for each in value] if isinstance(value, Sequence) else _as_document(value)
    text = json.dumps(
        one_or_many, default=_plain, ensure_ascii=False, indent=None if compact else 2, separators=(",", ":") if compact else None
    )
    click.echo(text)


def _as_document(value: BaseModel | dict[str, Any]) -> dict[str, Any]:
    return document(value) if isinstance(value, BaseModel) else value


def _plain(value: object) -> str:
    return instant_text(value) if isinstance(value, datetime) else str(value)


def line_of(row: answers.TaskRow | answers.TaskRecord) -> Line:
    """The task as the board shows it."""
    return Line(
        orchestration_task_id=row.orchestration_task_id,
        id=row.id,
        status=row.status,
        agent_name=row.agent_name,
        prompt=row.prompt,
        orchestration_id=row.orchestration_id,
        result=row.result,
        error_message=why_ended(row),
        waiting_for=row.waiting_for,
        activity=row.activity,
        needs_input=row.needs_input,
        cost_usd=row.cost_usd,
        cost_basis=row.cost_basis,
        attempt=row.attempt,
        changed=(row.diff_stat.files, row.diff_stat.insertions, row.diff_stat.deletions) if row.diff_stat else None,
        depends_on=row.depends_on,
        branch=row.branch,
        created_at=row.created_at,
        started_at=row.started_at,
        completed_at=row.completed_at,
    )


def why_ended(row: answers.TaskRow | answers.TaskRecord | answers.TaskResult) -> str | None:
    """Its error in words; one that a cancelled dependency ended calls that one failed, which people would look for in vain."""
    return f"its dependency {row.cancelled_dependency} was cancelled" if row.cancelled_dependency else row.error_message


def called(row: Line | answers.TaskRow | answers.TaskRecord, *, by_name: bool) -> str:
    """The task in a line to type: by its name where that means it, else by its id, which always does."""
    return quoted(row.id) if by_name else row.orchestration_task_id


def facts(pairs: Sequence[tuple[str, str | None]]) -> None:
    """`name  value` lines, those without a value left out."""
    for line in fact_lines(pairs):
        click.echo(line)


def fact_lines(pairs: Sequence[tuple[str, str | None]]) -> list[str]:
    """The same, to be shown by somebody else."""
    return [f"  {click.style(f'{name:<9}', dim=True)} {value}" for name, value in pairs if value]


def warn(warnings: Sequence[str]) -> None:
    """What the user should know, on stderr."""
    for warning in warnings:
        click.echo(f"{click.style('note:', fg='yellow')} {plain(warning)}", err=True)


def where(directory: Path | str | None) -> None:
    """The last line: where the files are."""
    if directory:
        click.echo(click.style(f"Files: {directory}", dim=True))


def quoted(*words: str) -> str:
    """A command to copy."""
    return shlex.join(words)
