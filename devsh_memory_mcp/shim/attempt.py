"""One attempt of one agent, from the lock to the outcome.

The first cause of an end wins: what an agent has done by itself is never called a cancel. No agent runs whose guard is not on disk.
"""

import os
import time
import typing

from devsh_memory_mcp.agents.adapter import Adapter, Ending, Verdict
from devsh_memory_mcp.agents.catalogue import find_adapter
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.shim import census, mirror, rundir, workspace
from devsh_memory_mcp.shim.allowance import DISK, Allowance
from devsh_memory_mcp.shim.assignment import assignment_of, shown_to
from devsh_memory_mcp.shim.broker.passage import Passage, added, find_passage, find_way, warning_of
from devsh_memory_mcp.shim.cause import why_ended
from devsh_memory_mcp.shim.cell import Cell, make_cell
from devsh_memory_mcp.shim.confinement import GUARD
from devsh_memory_mcp.shim.conversation import Conversation
from devsh_memory_mcp.shim.ending import PATIENCE, End, Ended, Facts, Unverified, tell
from devsh_memory_mcp.shim.git import Git, marker
from devsh_memory_mcp.shim.history import Bundler
from devsh_memory_mcp.shim.leading import Leading
from devsh_memory_mcp.shim.limits import Cage
from devsh_memory_mcp.shim.output import Relief, Stream
from devsh_memory_mcp.shim.patience import Patience
from devsh_memory_mcp.shim.place import Place
from devsh_memory_mcp.shim.process import CommandFailed, Interrupted
from devsh_memory_mcp.shim.pulse import Pulse
from devsh_memory_mcp.shim.report import Inbox, Reports, now
from devsh_memory_mcp.shim.rundir import Run, Traffic
from devsh_memory_mcp.shim.saving import Saved, Saving
from devsh_memory_mcp.shim.surroundings import agent_environment
from devsh_memory_mcp.shim.wall import Task, Wall, decode_status, describe_signal
from devsh_memory_mcp.shim.workspace import Prepared

_AGAIN = 1.0  # seconds until a file that cannot be read or written is tried again
_LONGEST_VERIFICATION = 1800.0  # seconds, for a task without a time limit of its own
_VERIFY_LOG = 4 * 1024 * 1024  # bytes
_VERIFY_TAIL = 4000  # characters, which the next attempt is told


class Attempt:
    """Runs one attempt. FileExistsError where it was begun before."""

    def __init__(self, run: Run, place: Place) -> None:
        self._run = run
        self._place = place
        self._loop = place.loop
        self._began = time.monotonic()
        self._started_at = now()
        self._relief = Relief(f"{place.directory}/{rundir.RESERVE_FILE}")
        self._reports = Reports(place.directory, self._relief)
        self._inbox = Inbox(place.directory)
        self._pulse = Pulse(place.loop, run, place.version, self._read_inbox)
        self._conversation = Conversation(place.loop, self._reports, self._pulse, place.door.note)
        self._cause: str | None = "cancelled" if run.cancelled else None
        self._agent: Wall | None = None  # the agent's own
        self._prepared: Prepared | None = None
        self._saving: Saving | None = None
        self._streams: tuple[Stream, Stream] | None = None
        self._cell: Cell | None = None
        self._passage: Passage | None = None  # of the command that runs now, or is about to
        self._leading: Leading | None = None  # of an agent that is a head
        self._traffic: Traffic | None = None
        self._isolation = GUARD
        self._cage = Cage(run.limits, marker(run), self._reports)
        self._allowance = Allowance(place, run.limits.disk if run.limits else None, self._note_cause, self._warn)
        self._has_answer = False  # that is for people, beside what the agent printed
        self._agent_began = 0.0  # by the monotonic clock
        self._active_ms: int | None = None
        self._is_verifying = False
        self._verified: bool | None = None
        self._late: str | None = None  # what came first when the agent had already ended
        self._workspace = f"{place.directory}/{rundir.WORKSPACE_DIRECTORY}"
        self._environment = agent_environment(run, self._workspace)
        self._briefing = f"{place.directory}/{rundir.BRIEFING_FILE}"
        if run.briefing is not None:
            self._environment[rundir.BRIEFING_VARIABLE] = self._briefing

    def conduct(self) -> bool:
        """The whole attempt; whether its outcome is on disk."""
        self._reports.add("started", process=census.identify(os.getpid()))
        self._relief.lay()
        self._loop.on_end = self._leave
        self._place.door.is_unwanted = lambda: self._cause is not None
        self._pulse.connect()
        self._read_inbox()
        verdict = self._try_to_run()
        return self._finish(verdict)

    def _try_to_run(self) -> Verdict:
        try:
            adapter = find_adapter(self._run.agent_name)
            if self._cause is None:
                self._prepare()
            if self._cause is None and self._run.setup is not None and (failure := self._set_up(self._run.setup)) is not None:
                return failure
            if self._cause is None:
                return self._run_agent(adapter)
        except Interrupted:
            self._place.door.note("preparation given up")
        except (CommandFailed, DevshError, OSError) as error:
            self._note_cause("spawn")
            return _failure(str(error) if self._agent is None else f"Its supervision failed, and the agent was ended: {error}")
        finally:
            self._end_passage()  # of a command that did not come to stand
        return _failure(self._why_ended())

    # --- before the agent

    def _prepare(self) -> None:
        place, checkout = self._place, self._run.checkout
        if self._run.briefing is not None:
            rundir.write_file(self._briefing, self._run.briefing.encode(errors="replace"))
        os.makedirs(self._workspace, exist_ok=True)
        if checkout is None:
            self._prepared = Prepared("")
            self._cell = self._make_cell()
        else:
            mirror.refresh(self._loop, place.door, self._run, checkout)
            tool = Git(place.door, self._run, checkout, place.directory)
            self._prepared = workspace.prepare(tool, self._run.task_run_id)
            self._cell = self._make_cell()
            bundler = Bundler(self._loop, place.directory, self._environment, place.lock, self._cell)
            self._saving = Saving(tool, self._run, self._prepared, bundler)
        self._reports.add("workspace", facts=self._prepared.facts())
        if checkout is not None:
            self._pulse.ring()  # the next one may be made

    def _make_cell(self) -> Cell | None:
        """The agent's limits and its sandbox, with the checkout handed over to it; None where it has none. Warnings say what is missing."""
        limited = self._cage.make()
        cell, told = make_cell(self._run, self._place.directory, self._place.walls)
        if cell is not None:
            self._isolation = cell.isolation
        self._warn(*limited, *told)
        return cell

    def _warn(self, *told: str) -> None:
        if self._prepared is not None:
            self._prepared = self._prepared._replace(warnings=(*self._prepared.warnings, *told))

    def _set_up(self, command: str) -> Verdict | None:
        """Runs the setup behind a guard; None where it succeeded, or where the attempt ends for another reason."""
        self._allowance.begin()
        wall, output = self._command(command, rundir.SETUP_FILE, self._run.output_limit, self._cell)
        if wall.failure is not None:
            return _failure(wall.why_not_started("The setup", output.tail))
        code, number = decode_status(wall.status)
        if self._cause is None and code != 0:
            self._note_cause("setup")
            how = describe_signal(number) if number else f"exit code {code}"
            return _failure(f"The setup failed ({how}): {output.tail[-2000:].strip()}")
        return None

    def _command(self, command: str, file: str, limit: int, cell: Cell | None) -> tuple[Wall, Stream]:
        """Runs a command of the caller's behind a guard: with the hosts that he has named, and without a login."""
        output = Stream(f"{self._place.directory}/{file}", limit)
        way = self._passage = find_way(self._run, is_beside=cell.is_beside) if cell is not None else None
        environment = {**self._environment, **(way.environment if way is not None else {})}
        wall = self._stand(Task(("sh", "-c", command), environment, self._workspace, output, output), cell)
        self._supervise(wall)
        return wall, output

    # --- the agent

    def _run_agent(self, adapter: Adapter) -> Verdict:
        directory, run = self._place.directory, self._run
        prompt_path = f"{directory}/{rundir.PROMPT_FILE}"
        with open(prompt_path, "w", encoding="utf-8", errors="replace", opener=rundir.create_private) as file:
            file.write(run.prompt)
        cell, secrets = self._cell, self._place.secrets
        passage = self._passage = find_passage(run, secrets, self._loop, directory, is_beside=cell.is_beside) if cell is not None else None
        unserved = passage.warnings if passage is not None else ()
        self._warn(*unserved)
        shown = shown_to(self._environment, secrets, passage.environment if passage else {}, is_walled=cell is not None)
        assignment = assignment_of(run, directory, shown.known, cell.server if cell else None)._replace(credentials=shown.credentials)
        assignment = assignment._replace(server=()) if unserved else assignment
        command, talk = adapter.command(assignment), adapter.talk(assignment)
        out = Stream(f"{directory}/{rundir.STDOUT_FILE}", run.output_limit, self._conversation.hear if talk else None)
        error = Stream(f"{directory}/{rundir.STDERR_FILE}", run.output_limit)
        self._streams = out, error
        if run.head is not None:
            self._leading = Leading(self._place, run, run.head, cell.inside if cell else None)
        led = self._leading.environment if self._leading else {}
        environment = {**self._environment, **command.environment, **shown.login, **led}
        task = Task(command.argv, environment, self._workspace, out, error, command.stdin, is_spoken_to=talk is not None)
        self._allowance.begin()
        self._agent = wall = self._stand(task, cell)
        if talk is not None:
            self._conversation.begin(talk, wall)
        self._supervise(wall)
        self._conversation.end()
        if self._agent_began:
            self._active_ms = round((time.monotonic() - self._agent_began) * 1000)
        if wall.failure is not None:
            return _failure(wall.why_not_started(command.argv[0], error.tail))
        code, number = decode_status(wall.status)
        verdict = (talk or adapter).verdict(Ending(code, number, out.tail, error.tail, out.is_cut))
        self._has_answer = talk is not None and verdict.result is not None
        if self._cause != "exit":
            verdict = verdict._replace(succeeded=False, error_message=self._why_ended(), failure=None)
        return passage.judge(verdict, self._cause) if passage is not None else verdict

    def _stand(self, task: Task, cell: Cell | None) -> Wall:
        """A guard, on disk before anything can run behind it."""
        task = task._replace(bounds=self._cage.bounds)
        task = task if cell is None else cell.enclose(task, port=self._passage.port if self._passage is not None else None)
        wall = Wall(self._loop, task, self._place.lock)
        try:
            self._reports.add("guard", process=wall.process, facts={"isolation": self._isolation, **self._cage.facts()})
        except OSError:
            wall.end(0.0)
            raise
        return wall

    def _supervise(self, wall: Wall) -> None:
        """Lets the command run until its own end or another cause, then ends its tree."""
        passage = self._passage

        def open_passage(sandbox: int) -> None:
            if passage is not None:
                passage.open(self._loop, sandbox, self._hear_of_network)

        try:
            if self._cause is None and wall.go(open_passage):
                self._accompany(wall)
        except OSError:  # of ours: what the agent was at is not its end
            self._note_cause("lost")
            raise
        finally:
            self._allowance.rest()
            if wall.failure is not None:
                self._note_cause("spawn")
            elif wall.is_gone and wall.status is None:
                self._note_cause("lost")
            elif wall is self._agent and wall.status is not None:
                self._note_cause("exit")
            grace = self._run.timeout_grace if self._cause in ("timeout", "stalled") else self._run.cancel_grace
            wall.end(grace, self._pulse.strangers | (passage.strangers if passage is not None else set()))
            self._end_passage()

    def _end_passage(self) -> None:
        passage, leading, self._passage, self._leading = self._passage, self._leading, None, None
        if leading is not None:
            leading.end()
        if passage is not None:
            self._traffic = added(self._traffic, passage.end())

    def _hear_of_network(self, told: dict[str, typing.Any]) -> None:
        if told["kind"] == "gone":
            self._warn(warning_of(told))
        else:
            self._report("network", told)

    def _accompany(self, wall: Wall) -> None:
        """Until the command's own end or another cause; the end is prepared while the agent is already at work."""
        patience = Patience(self._loop, self._note_cause)
        self._allowance.watch()
        if self._run.timeout is not None:
            began = self._agent_began if self._is_verifying else time.monotonic()  # a verification has what the agent left
            patience.until(began + self._run.timeout, "timeout")
        elif self._is_verifying:
            patience.until(time.monotonic() + _LONGEST_VERIFICATION, "verify")
        if wall is self._agent:
            self._agent_began = time.monotonic()
            if self._run.stall_timeout is not None and self._streams is not None:
                patience.heed_silence(self._run.stall_timeout, self._streams)
            facts = {"monotonic": self._agent_began, "isolation": self._isolation, **self._cage.facts()}
            self._report("agent_started", facts, census.identify(wall.command or 0))
            self._look_around()
        self._loop.wait(lambda: wall.has_ended or self._cause is not None)
        patience.end()

    def _report(self, kind: str, facts: dict[str, typing.Any], process: rundir.Process | None = None) -> None:
        try:
            self._reports.add(kind, process=process, facts=facts)
        except OSError as error:  # the agent runs; a full disk is no reason to end it
            self._place.door.note(f"not in the report ({error}): {kind} {facts}")
        self._pulse.ring()

    def _look_around(self) -> None:
        try:
            if self._saving is not None:
                self._saving.look()
        except (CommandFailed, Interrupted) as error:
            self._place.door.note(f"the end is not prepared: {error}")

    # --- the causes

    def _note_cause(self, cause: str) -> None:
        if self._agent is not None and self._agent.has_run and not self._is_verifying:
            self._late = self._late or (cause if cause != "exit" else None)
            cause = "exit"  # it had ended by itself, which was only not looked at yet
        if self._cause is None:
            self._cause = cause

    def _why_ended(self) -> str:
        return self._allowance.why_ended() if self._cause == DISK else why_ended(self._cause, self._run)

    def _read_inbox(self) -> None:
        if self._leading is not None:
            self._leading.renew()
        try:
            letters = self._inbox.take()
        except OSError as error:  # nobody rings twice for what is in it
            self._place.door.note(f"the inbox cannot be read yet: {error}")
            self._loop.at(time.monotonic() + _AGAIN, self._read_inbox)
            return
        for letter in letters:
            if letter.type == "cancel":
                self._note_cause("cancelled")
            elif letter.type == "message":
                self._conversation.deliver(letter)

    def _leave(self) -> None:
        """SIGTERM: an orderly end, which is a cancel only if one was asked for."""
        self._read_inbox()
        self._note_cause("lost")

    # --- the verification

    def _verify(self, command: str, verdict: Verdict, saved: Saved) -> Verdict:
        """Runs the caller's command in the checkout, behind a guard of its own; the agent's work is saved by then, and as yet unpublished.

        The agent's success is no end any more: what comes first now, the command's own end or another cause, is that of the attempt.
        """
        self._tell("verifying", Unverified(self._ended(verdict), saved))
        self._is_verifying, self._cause = True, self._late
        try:
            cell = self._cell.afresh() if self._cell is not None else None
            wall, output = self._command(command, rundir.VERIFY_FILE, min(self._run.output_limit, _VERIFY_LOG), cell)
        except (DevshError, OSError) as error:
            self._end_passage()
            self._note_cause("spawn")
            return verdict.despite(f"The verification could not be run: {error}")
        code, number = decode_status(wall.status)
        if self._cause is None and code == 0:
            self._cause, self._verified = "exit", True
            return verdict
        if self._cause not in (None, "verify"):
            return verdict.despite(f"{self._why_ended()} Its work was being verified.")
        how = "time limit" if self._cause else describe_signal(number) if number else f"exit code {code}"
        self._cause, self._verified = "verify", False
        return verdict.despite(f"The verification failed ({how}): {output.tail[-_VERIFY_TAIL:].strip()}")

    # --- the end

    def _finish(self, verdict: Verdict) -> bool:
        self._place.door.is_unwanted = lambda: False
        end = End(self._loop, self._run, self._place.directory, self._relief)
        saving = self._saving if self._streams is not None else None
        saved, failure = None, None
        if self._run.verify is not None and self._cause == "exit" and verdict.succeeded:
            saved, failure = end.save(saving, publish=False)
            verdict = verdict.despite(failure) if failure else self._verify(self._run.verify, verdict, saved)
        self._cause, verdict = self._cage.judge(self._cause, verdict, self._agent)
        ended = self._ended(verdict)
        publish = ended.cause == "exit" and verdict.succeeded
        untold = self._tell("ended", ended, patience=PATIENCE if publish else 0.0)
        if publish and untold is not None:  # a branch of an attempt that is lost then would be nobody's
            publish, verdict = False, verdict.despite(f"The branch was not set, since the success could not be written down: {untold}")
        if self._has_answer:
            end.keep_result(verdict.result or "", self._place.door.note)
        if saved is None:
            saved, failure = end.save(saving, publish=publish)
        elif publish:
            saved, failure = end.publish(saving, saved)
        if self._cell is not None:
            verdict = verdict._replace(warnings=(*verdict.warnings, *self._cell.take_back(verdict.session_id)))
        self._cage.remove(self._loop)
        out, error = (stream.total for stream in self._streams) if self._streams is not None else (0, 0)
        facts = Facts(
            ended.cause, self._started_at, ended.duration_ms, self._reports.last, ended.exit_code, ended.signal, out, error,
            ended.active_ms, ended.verified, self._isolation, self._traffic, self._cage.in_force,
        )  # fmt: skip
        written = end.write(facts, verdict.despite(failure), self._prepared, saved)
        self._pulse.leave()
        return written

    def _ended(self, verdict: Verdict) -> Ended:
        """What the attempt has come to so far."""
        duration = round((time.monotonic() - self._began) * 1000)
        code, number = decode_status(self._agent.status) if self._agent is not None else (None, None)
        return Ended(self._cause or "lost", duration, code, number, verdict, self._active_ms, self._verified)

    def _tell(self, kind: str, told: Ended | Unverified, *, patience: float = 0.0) -> str | None:
        """What an agent has come to stays true when this process dies over what follows; why it could not be told in so many seconds.

        The reserve is kept for the outcome, unless that one needs it told before: both have room in it.
        """
        return tell(self._reports, self._place, kind, told, patience)


def _failure(why: str) -> Verdict:
    return Verdict(succeeded=False, result=None, error_message=why)
