"""`devsh fsck`, `devsh gc` and `devsh runner`: the memory root itself."""

from datetime import timedelta
from functools import partial

import anyio
import click

from devsh_memory_mcp import wiring
from devsh_memory_mcp.agents.figures import size_text
from devsh_memory_mcp.agents.plain import plain
from devsh_memory_mcp.cli import failure
from devsh_memory_mcp.cli.durations import Milliseconds
from devsh_memory_mcp.cli.group import command
from devsh_memory_mcp.cli.output import where, write_json
from devsh_memory_mcp.cli.session import session_of
from devsh_memory_mcp.store.finding import Finding


@command("fsck", "devsh fsck", "devsh fsck --repair", short_help="Prove the files, and mend them.")
@click.option("--repair", is_flag=True, help="Mend what can be mended; nothing is lost.")
@click.pass_context
def fsck(context: click.Context, *, repair: bool, as_json: bool) -> int:
    """Check journals, views, run directories and refs. Exits 1 where something is wrong still.

    A repair loses nothing: what it replaces is set aside, and it says where. It asks an idle runner to leave, and is refused while
    agents work. Notes are what you may have wanted so, such as a published branch that is deleted.
    """
    session = session_of(context)
    root = session.root
    findings = wiring.check(root, session.orchestration_id, repair=repair)
    left = [finding for finding in findings if not finding.repaired and not finding.is_note]
    if as_json:
        found = [
            {"code": each.code, "path": str(each.path), "message": each.message, "repaired": each.repaired, "note": each.is_note}
            for each in findings
        ]
        write_json({"ok": not left, "findings": found})
        return failure.FAILED if left else failure.OK
    for finding in findings:
        click.echo(f"{_standing(finding)}  {finding.code}  {plain(finding.message)}\n        {finding.path}")
    click.echo(_summary(left, repair=repair))
    where(root)
    return failure.FAILED if left else failure.OK


def _summary(left: list[Finding], *, repair: bool) -> str:
    """What is to be done: nothing is sent to a repair that one cannot mend."""
    if not left:
        return "All is well."
    mendable = 0 if repair else sum(bool(finding.mending) for finding in left)
    told = [f"{mendable} left to mend: devsh fsck --repair"] if mendable else []
    if rest := len(left) - mendable:
        told.append(f"{rest} left that only you can decide.")
    return "\n".join(told)


def _standing(finding: Finding) -> str:
    if finding.repaired:
        return click.style("mended", fg="green")
    return click.style("note  ", fg="yellow") if finding.is_note else click.style("wrong ", fg="red")


@command("gc", "devsh gc --dry-run", "devsh gc", short_help="Remove old checkouts whose work is saved.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--older-than", type=Milliseconds(), default="24h", show_default=True, help="How long a task must have been over.")
@click.pass_context
def gc(context: click.Context, *, dry_run: bool, older_than: int, as_json: bool) -> None:
    """Remove checkouts and output that nobody needs any more. Branches, salvage refs and journals stay."""
    session = session_of(context)
    root = session.root
    collected = anyio.run(
        partial(wiring.collect_garbage, root, session.orchestration_id, older_than=timedelta(milliseconds=older_than), dry_run=dry_run)
    )
    total = sum(each.bytes for each in collected.removed)
    if as_json:
        removed = [
            {"path": str(each.path), "bytes": each.bytes, "reason": each.reason, "failure": each.failure} for each in collected.removed
        ]
        kept = [{"path": str(each.path), "reason": each.reason} for each in collected.kept]
        write_json({"dryRun": dry_run, "bytes": total, "removed": removed, "kept": kept, "failures": collected.failures})
        return
    for each in collected.removed:
        click.echo(f"{size_text(each.bytes):>9}  {each.path}  {click.style(each.reason, dim=True)}")
        if each.failure:
            click.echo(f"{'':>9}  {click.style('a part is left', fg='red')}: {each.failure}")
    for kept_one in collected.kept:
        click.echo(f"{'kept':>9}  {kept_one.path}  {click.style(kept_one.reason, dim=True)}")
    for failure_text in collected.failures:
        click.echo(f"{'':>9}  {failure_text}")
    click.echo(f"{size_text(total)} {'would be freed' if dry_run else 'freed'}.")
    where(root)


@command("runner", "devsh runner", short_help="Run the scheduler (starts by itself).")
@click.pass_context
def runner(context: click.Context, *, as_json: bool) -> None:
    """Run the scheduler of this memory root in the foreground.

    You never need this: the first spawn starts one, and it leaves when there is no work. One runs at a time.
    """
    wiring.run_runner(str(session_of(context).root))
