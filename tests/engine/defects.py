"""Everything that may be wrong with the files of an orchestration, each planted into a real finished one."""

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from devsh_memory_mcp.shim import census, rundir
from devsh_memory_mcp.shim.doorbell import socket_path
from devsh_memory_mcp.store.reader import fold_file
from tests.engine.house import git

PERSON = "only a person can decide it"


class Place(NamedTuple):
    """A memory root with one orchestration in which `good` completed with a branch and `bad` failed twice; and the repository."""

    root: Path
    directory: Path
    repository: Path

    @property
    def journal(self) -> Path:
        return self.directory / "EVENTS.jsonl"

    def run(self, name: str, attempt: int = 1) -> Path:
        return self.directory / "runs" / fold_file(self.journal).get_task(name).task_run_id / str(attempt)

    def ref(self, name: str) -> str:
        return next(iter(fold_file(self.journal).get_task(name).salvage_refs.values()))

    def lines(self) -> list[bytes]:
        return self.journal.read_bytes().splitlines(keepends=True)

    def write(self, lines: list[bytes]) -> None:
        self.journal.write_bytes(b"".join(lines))

    def append(self, content: bytes) -> None:
        with self.journal.open("ab") as file:
            file.write(content)


class Defect(NamedTuple):
    """`says` is in what fsck says of `code`; `kept` is where a repair sets something aside; `left` is what it leaves to a person."""

    name: str
    code: str
    says: str
    plant: Callable[[Place], object]
    kept: str = ""
    left: frozenset[str] = frozenset()
    is_note: bool = False


DEFECTS: list[Defect] = []


def defect(code: str, says: str, kept: str = "", left: str = "", *, is_note: bool = False) -> Callable[[Callable[[Place], object]], None]:
    """Enters what plants a defect; `left` are codes that a repair leaves, `PERSON` stands for the defect's own."""

    def enter(plant: Callable[[Place], object]) -> None:
        codes = frozenset(left.replace(PERSON, code).split())
        DEFECTS.append(Defect(plant.__name__.strip("_"), code, says, plant, kept, codes, is_note))

    return enter


# The journal.


@defect("torn_end", "7 bytes of a commit that was cut off", "EVENTS.jsonl.torn-*")
def _torn_end(place: Place) -> None:
    place.append(b'{"seq":')


@defect("torn_end", "was cut off", "EVENTS.jsonl.torn-*")
def _zeros_at_the_end(place: Place) -> None:
    place.append(b"\0" * 4096)


@defect("foreign_lines", "1 lines that are not ours")
def _foreign_line(place: Place) -> None:
    place.append(b"hello\n")


@defect("journal_damaged", "puts it together anew and keeps it as it is", "EVENTS.jsonl.before-repair-*")
def _gap(place: Place) -> None:
    place.write([line for line in place.lines() if b'"event":"agent_started"' not in line])


@defect("journal_damaged", "has the number 2", "EVENTS.jsonl.before-repair-*")
def _repeat(place: Place) -> None:
    lines = place.lines()
    place.write([*lines[:5], lines[1], *lines[5:]])


@defect("journal_damaged", "(attempt_started) is not valid", "EVENTS.jsonl.before-repair-*")
def _wrong_type(place: Place) -> None:
    place.write([line.replace(b'"attempt":1', b'"attempt":"one"') if b"attempt_started" in line else line for line in place.lines()])


@defect("journal_damaged", "a hole of NUL bytes", "EVENTS.jsonl.before-repair-*")
def _hole_of_zeros(place: Place) -> None:
    lines = place.lines()
    place.write([*lines[:3], b"\0" * (len(lines[3]) - 1) + b"\n", *lines[4:]])


@defect("format_too_new", "A newer release wrote it (format 99)", left=PERSON)
def _newer_format(place: Place) -> None:
    lines = place.lines()
    place.write([lines[0].replace(b'"format":1', b'"format":99'), *lines[1:]])


@defect("journal_cut", "its end was cut off, and the events 10 to ", "set-aside/views-*")
def _journal_without_its_end(place: Place) -> None:
    place.write(place.lines()[:9])


@defect("journal_cut", "bad (failed; not in the journal), 1 message.", "EVENTS.jsonl.before-repair-*")
def _journal_cut_within_a_line(place: Place) -> None:
    content = place.journal.read_bytes()
    place.journal.write_bytes(content[: content.index(b'"id":"bad"')])


@defect("wrong_mode", "It has 2 names (hard links)", left=PERSON)
def _view_with_another_name(place: Place) -> None:
    (place.directory / "PLAN.json").chmod(0o644)
    os.link(place.directory / "PLAN.json", place.root.parent / "mine")


@defect("wrong_mode", "Its mode is 0644: others than its owner")
def _journal_that_others_may_read(place: Place) -> None:
    place.journal.chmod(0o644)


@defect("wrong_owner", "sudo chown")
def _journal_of_somebody_else(place: Place) -> None:
    os.chown(place.journal, 12345, -1)


@defect("journal_missing", "begins a new one with what the views know")
def _missing_journal(place: Place) -> None:
    place.journal.unlink()


@defect("journal_not_a_file", "sets it aside", "EVENTS.jsonl.damaged-*")
def _directory_for_a_journal(place: Place) -> None:
    place.journal.unlink()
    place.journal.mkdir()


@defect("journal_not_a_file", "sets it aside", "EVENTS.jsonl.damaged-*")
def _pipe_for_a_journal(place: Place) -> None:
    place.journal.unlink()
    os.mkfifo(place.journal)


@defect("journal_damaged", "does not begin with", "EVENTS.jsonl.before-repair-*")
def _empty_journal(place: Place) -> None:
    place.journal.write_bytes(b"")


@defect("journal_not_a_file", "there are no views: move it away and put the journal back from a backup", left=PERSON)
def _directory_for_a_journal_without_views(place: Place) -> None:
    (place.directory.parent / "rest/EVENTS.jsonl").mkdir(parents=True)


@defect("journal_missing", "is no orchestration", left=PERSON)
def _directory_that_is_no_orchestration(place: Place) -> None:
    (place.directory.parent / "notes").mkdir()
    (place.directory.parent / "notes/mine").write_text("mine")


@defect("journal_missing", "put it back from a backup", left=PERSON)
def _run_directories_without_journal_and_views(place: Place) -> None:
    (place.directory.parent / "rest/runs/tr_1/1").mkdir(parents=True)


@defect("lock_not_a_file", "nobody can take the lock", "journal.lock.damaged-*")
def _directory_for_the_journals_lock(place: Place) -> None:
    (place.directory / "journal.lock").unlink(missing_ok=True)
    (place.directory / "journal.lock").mkdir()


# The views.


@defect("view_broken", "AGENTS.json is missing.")
def _missing_view(place: Place) -> None:
    (place.directory / "AGENTS.json").unlink()


@defect("views_behind", "The views do not tell the journal to its end.")
def _stale_views(place: Place) -> None:
    books = place.directory / "views.json"
    books.write_text(re.sub(r'"seq": \d+', '"seq": 1', books.read_text()))


@defect("view_broken", "MAILBOX.json is not JSON.", "MAILBOX.json.edited-*")
def _broken_view(place: Place) -> None:
    (place.directory / "MAILBOX.json").write_text("{")


@defect("view_copied", "PLAN.json is a copy of the file that was written", is_note=True)
def _view_that_was_put_back(place: Place) -> None:
    path = place.directory / "PLAN.json"
    shutil.copy(path, place.root.parent / "copy")
    path.unlink()
    shutil.copy(place.root.parent / "copy", path)


@defect("views_behind", "somebody has changed it", "PLAN.json.edited-*")
def _edited_view(place: Place) -> None:
    path = place.directory / "PLAN.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"mine": 1}))


@defect("view_broken", "PLAN.json is not JSON.", "PLAN.json.edited-*")
def _directory_for_a_view(place: Place) -> None:
    (place.directory / "PLAN.json").unlink()
    (place.directory / "PLAN.json").mkdir()


@defect("view_differs", "not what the journal says", "AGENTS.json.edited-*")
def _view_that_tells_something_else(place: Place) -> None:
    path, books = place.directory / "AGENTS.json", place.directory / "views.json"
    path.write_text(path.read_text().replace("completed", "cancelled"))
    status, known = path.stat(), json.loads(books.read_bytes())
    known["files"]["AGENTS.json"] |= {"inode": status.st_ino, "size": status.st_size, "mtimeNs": status.st_mtime_ns}
    books.write_text(json.dumps(known))


@defect("views_behind", "views.json is missing or cannot be read")
def _broken_books(place: Place) -> None:
    (place.directory / "views.json").write_text("{")


@defect("wrong_mode", "its owner cannot read and write it")
def _view_without_rights(place: Place) -> None:
    (place.directory / "PLAN.json").chmod(0)


@defect("stale_temporary_file", "Whoever wrote it is gone")
def _temporary_file_of_a_view(place: Place) -> None:
    (place.directory / f"PLAN.json.{_ended()}.tmp").write_text("{")


# Run directories.


@defect("run_file_missing", "does not need it", is_note=True)
def _missing_run_file(place: Place) -> None:
    (place.run("good") / rundir.RUN_FILE).unlink()


@defect("run_file_damaged", "It cannot be read", left=PERSON)
def _broken_run_file(place: Place) -> None:
    (place.run("good") / rundir.RUN_FILE).write_text("{}")


@defect("run_file_damaged", "look through it, then remove both yourself", left=PERSON)
def _broken_outcome(place: Place) -> None:
    (place.run("good") / rundir.OUTCOME_FILE).write_text("{")


@defect("run_file_damaged", "It is of attempt 2", left=PERSON)
def _outcome_of_another_attempt(place: Place) -> None:
    shutil.copy(place.run("bad", 2) / rundir.OUTCOME_FILE, place.run("bad") / rundir.OUTCOME_FILE)


@defect("run_file_damaged", "Some of its lines cannot be read", left=PERSON)
def _broken_report(place: Place) -> None:
    with (place.run("good") / rundir.REPORT_FILE).open("ab") as file:
        file.write(b"hello\n")


@defect("run_file_damaged", "3 is not where it should be", left=PERSON)
def _gap_in_a_report(place: Place) -> None:
    path = place.run("good") / rundir.REPORT_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], *lines[2:]]))


@defect("run_file_damaged", "messages are in the journal", left=PERSON)
def _broken_inbox(place: Place) -> None:
    (place.run("good") / rundir.INBOX_FILE).write_bytes(b"hello\n")


@defect("run_file_damaged", "It is not a regular file", left=PERSON)
def _pipe_for_a_lock(place: Place) -> None:
    (place.run("good") / rundir.LOCK_FILE).unlink()
    os.mkfifo(place.run("good") / rundir.LOCK_FILE)


@defect("outcome_missing", "How the attempt ended is in the journal", left=PERSON)
def _end_without_outcome(place: Place) -> None:
    (place.run("good") / rundir.OUTCOME_FILE).unlink()


@defect("attempt_not_running", "The next runner finds out how it ended: `devsh orchestrate wait ns", left=PERSON)
def _outcome_without_end(place: Place) -> None:
    _forget_end(place)


@defect("run_file_damaged", "keeps it aside", "runs/*/2/outcome.json.damaged-*", left="attempt_not_running")
def _broken_outcome_without_end(place: Place) -> None:
    (place.run("bad", 2) / rundir.OUTCOME_FILE).write_text("{")
    _forget_end(place)


@defect("process_left", "but its agent still runs: `kill ", left=PERSON)
@contextmanager
def _process_of_an_ended_attempt(place: Place) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as left:
        path = place.run("bad") / rundir.REPORT_FILE
        reports, _ = rundir.read_lines(str(path), rundir.Report)
        with path.open("ab") as file:
            more = rundir.Report(len(reports) + 1, "agent_started", "2026-01-02T03:04:05.678Z", process=census.identify(left.pid))
            rundir.append_line(file.fileno(), more)
        yield
        left.send_signal(signal.SIGKILL)


@defect("ended_attempt_running", "`lsof ", left=PERSON)
@contextmanager
def _held_lock_of_an_ended_attempt(place: Place) -> Iterator[None]:
    with (place.run("bad") / rundir.LOCK_FILE).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@defect("unknown_run_directory", "The journal has no such attempt.", "set-aside/tr_nobody/1.unknown-*")
def _foreign_run_directory(place: Place) -> None:
    (place.directory / "runs/tr_nobody/1").mkdir(parents=True)
    (place.directory / "runs/tr_nobody/1/work").write_text("mine")


@defect("unknown_run_directory", "sets it aside", "set-aside/*/7.unknown-*")
def _attempt_that_was_never_started(place: Place) -> None:
    shutil.copytree(place.run("bad"), place.run("bad", 7), symlinks=True)


@defect("unknown_run_directory", "an agent runs there", left=PERSON)
@contextmanager
def _foreign_run_directory_in_use(place: Place) -> Iterator[None]:
    (place.directory / "runs/tr_nobody/1").mkdir(parents=True)
    with (place.directory / "runs/tr_nobody/1/lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@defect("missing_run_directory", "What came of it is in the journal", is_note=True)
def _missing_run_directory(place: Place) -> None:
    shutil.rmtree(place.run("bad"))


@defect("stale_temporary_file", "`devsh fsck --repair` removes it")
def _temporary_file_of_a_run(place: Place) -> None:
    (place.run("good") / f"outcome.json.{_ended()}.tmp").write_text("{")


# Refs.


@defect("salvage_ref_missing", "puts the ref back")
def _missing_salvage_ref(place: Place) -> None:
    git(place.repository, "update-ref", "-d", place.ref("good"))


@defect("salvage_ref_missing", "nor is its commit; its checkout may have it still: ", left=PERSON)
def _missing_salvage_ref_and_commit(place: Place) -> None:
    ref, commit = place.ref("good"), git(place.repository, "rev-parse", place.ref("good"))
    git(place.repository, "update-ref", "-d", ref)
    _forget_commit(place, commit)


@defect("salvage_object_missing", "A backup or another clone may have the commit.", left=PERSON)
def _missing_commit_of_a_salvage_ref(place: Place) -> None:
    _forget_commit(place, git(place.repository, "rev-parse", place.ref("good")))


@defect("stale_base_ref", "pins the base of good, which is over")
def _base_ref_of_an_ended_task(place: Place) -> None:
    git(place.repository, "update-ref", f"refs/devsh/base/{place.run('good').parent.name}", "HEAD")


@defect("branch_gone", "as after a merge: dev/", is_note=True)
def _branch_that_was_deleted(place: Place) -> None:
    git(place.repository, "branch", "-D", str(fold_file(place.journal).get_task("good").branch))


@defect("repository_missing", "a repository that was moved is no loss", is_note=True)
def _repository_that_was_moved(place: Place) -> None:
    place.repository.rename(place.repository.with_name("moved"))


@defect("repository_unreadable", "git cannot read", left=PERSON)
def _repository_that_is_none(place: Place) -> None:
    (place.repository / ".git/HEAD").unlink()


# The memory root.


@defect("stale_socket", "the next one replaces it", is_note=True)
def _socket_without_runner(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(socket_path(str(place.root)))


@defect("link_broken", "It leads to orchestrations/orch_none, which is not there.")
def _link_that_leads_nowhere(place: Place) -> None:
    (place.root / "orchestration").unlink()
    (place.root / "orchestration").symlink_to("orchestrations/orch_none")


@defect("link_broken", "It is missing.")
def _missing_link(place: Place) -> None:
    (place.root / "orchestration").unlink()


@defect("stale_temporary_file", "Whoever wrote it is gone")
def _temporary_link(place: Place) -> None:
    (place.root / f"orchestration.{_ended()}.tmp").symlink_to("orchestrations/x")


@defect("lock_not_a_file", "nobody can take the lock", "../../runner.lock.damaged-*")
def _directory_for_the_runners_lock(place: Place) -> None:
    (place.root / "runner.lock").unlink(missing_ok=True)
    (place.root / "runner.lock").mkdir()


@defect("lock_not_a_file", "nobody can take the lock", "../../root.lock.damaged-*")
def _pipe_for_the_roots_lock(place: Place) -> None:
    (place.root / "root.lock").unlink(missing_ok=True)
    os.mkfifo(place.root / "root.lock")


def _forget_end(place: Place) -> None:
    """As if nobody had come to write it, nor views that tell of it."""
    for name in ("PLAN.json", "AGENTS.json", "MAILBOX.json", "views.json"):
        (place.directory / name).unlink()
    lines = place.lines()
    place.write(lines[: max(number for number, line in enumerate(lines) if b'"event":"attempt_ended"' in line)])


def _forget_commit(place: Place, commit: str) -> None:
    for branch in git(place.repository, "branch", "--format=%(refname:short)", "--contains", commit).splitlines():
        git(place.repository, "branch", "-D", branch)
    objects = place.repository / ".git/objects"
    for pack in [path.rename(objects / path.name) for path in (objects / "pack").glob("*.pack")]:
        with pack.open("rb") as file:
            subprocess.run(["git", "unpack-objects", "-q"], cwd=place.repository, stdin=file, check=True)
    (objects / commit[:2] / commit[2:]).unlink()


def _ended() -> int:
    """The number of a process that is gone."""
    with subprocess.Popen(["true"]) as process:
        process.wait()
        return process.pid
