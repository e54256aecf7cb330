"""Opening the pull request of a task that has completed: the branch is pushed, and `gh` is asked, both as the user, by the runner.

What is asked for stands in the journal (`TaskSpec.open_pr`), and so does the outcome; in between everything may be repeated, since a
pull request that is there already is looked for first.
"""

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream

from devsh_memory_mcp.domain.events import Event, PullRequestFailed, PullRequestOpened
from devsh_memory_mcp.domain.records import Repository
from devsh_memory_mcp.domain.state import State, Task
from devsh_memory_mcp.engine.desk import Desk
from devsh_memory_mcp.engine.repository import is_hosted
from devsh_memory_mcp.errors import CommitUnknown, JournalDamaged, Unavailable
from devsh_memory_mcp.ports import Decision
from devsh_memory_mcp.shim.address import without_secrets
from devsh_memory_mcp.store.scrubber import Scrubber, without_secrets_in_names

_ASKS_NOBODY = {"GIT_TERMINAL_PROMPT": "0", "GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1", "LC_ALL": "C"}
_SSH = {"GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
_BODY_LENGTH = 4000
_TITLE_LENGTH = 100
_DRAIN_SECONDS = 2.0
_MOST = 64 * 1024
_URL = re.compile(r"https?://\S+")


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be proposed: all that is needed of a task, taken before anything is waited for."""

    task_id: str
    repository: Repository
    branch: str
    title: str
    body: str
    environment: Mapping[str, str]


class Finished(NamedTuple):
    """How a command of ours ended; its code is None where it did not in time, or could not be started."""

    code: int | None
    out: str
    error: str


def proposal_of(task: Task) -> Proposal | None:
    """None where nothing of it could be proposed."""
    repository = task.spec.repository
    if repository is None or task.branch is None or not is_hosted(repository):
        return None
    prompt = without_secrets_in_names(task.spec.prompt, task.spec.environment)
    first = next((" ".join(line.split()) for line in prompt.splitlines() if line.strip()), "Work of an agent")
    said = Scrubber(task.spec.environment).text(task.result or "").strip()[-_BODY_LENGTH:]
    body = f"{said}\n\n{task.spec.agent_name}, task {task.orchestration_task_id}\n".lstrip()
    title = task.spec.pr_title or first[:_TITLE_LENGTH]
    return Proposal(task.orchestration_task_id, repository, task.branch, title, body, dict(task.spec.environment))


async def open_pull_request(desk: Desk, task_id: str, *, seconds: float, again: float) -> None:
    """Opens it, and commits what came of that; a disk that is full is waited for."""
    proposal = proposal_of((await desk.journal.read()).tasks[task_id])
    event = await _propose(proposal, seconds) if proposal else PullRequestFailed(orchestration_task_id=task_id, error_message="no branch")

    def decide(state: State, _now: datetime) -> Decision[None]:
        return Decision((event,) if task_id in state.unopened else (), None)

    while True:
        try:
            await desk.transact(decide)
            break
        except JournalDamaged:
            raise
        except (Unavailable, CommitUnknown):
            await anyio.sleep(again)
    desk.opening.discard(task_id)
    desk.wake()


async def _propose(proposal: Proposal, seconds: float) -> Event:
    try:
        url = await _url_of(proposal, seconds)
        return PullRequestOpened(orchestration_task_id=proposal.task_id, url=url)
    except _Failed as error:
        return PullRequestFailed(orchestration_task_id=proposal.task_id, error_message=str(error))


class _Failed(Exception):
    """Why there is no pull request."""


async def _url_of(proposal: Proposal, seconds: float) -> str:
    """The address of the pull request. Pushed first: it may be there from an earlier task whose branch this one moved on."""
    repository, ref = proposal.repository, f"refs/heads/{proposal.branch}"
    push = ["git", f"--git-dir={repository.git_directory}", "push", "-q", repository.url or "origin", f"{ref}:{ref}"]
    await _checked(push, proposal, seconds, "the branch could not be pushed")
    there = await _find(proposal, seconds)
    if there is not None:
        return there
    create = ["gh", "pr", "create", *_place(proposal), "--title", proposal.title, "--body-file", "-"]
    if repository.base_branch:
        create += ["--base", repository.base_branch]
    try:
        said = await _checked(create, proposal, seconds, "gh could not open it", proposal.body)
    except _Failed:
        if (there := await _find(proposal, seconds)) is not None:  # a runner that was killed had asked for it
            return there
        raise
    found = _URL.findall(said)
    if not found:
        raise _Failed(f"gh named no pull request: {without_secrets(said)[:300]}")
    return str(found[-1])


async def _find(proposal: Proposal, seconds: float) -> str | None:
    question = ["gh", "pr", "list", *_place(proposal), "--state", "open", "--limit", "1", "--json", "url", "--jq", ".[].url"]
    found = _URL.findall(await _checked(question, proposal, seconds, "gh could not be asked"))
    return found[0] if found else None


def _place(proposal: Proposal) -> tuple[str, ...]:
    return "--repo", repository_name(proposal.repository.name), "--head", proposal.branch


def repository_name(name: str) -> str:
    """As gh takes it: `owner/repo`, with its host where it was named by a URL."""
    if "://" not in name and "@" not in name:
        return name
    plain = name if "://" in name else f"ssh://{name.replace(':', '/', 1)}"
    parts = urlsplit(plain)
    return f"{parts.hostname}/{parts.path.strip('/').removesuffix('.git')}"


async def _checked(command: Sequence[str], proposal: Proposal, seconds: float, what: str, said: str = "") -> str:
    environment = {**_SSH, **proposal.environment, **_ASKS_NOBODY}
    finished = await run(command, environment, seconds, said)
    if finished.code == 0:
        return finished.out
    why = without_secrets(" ".join((finished.error or finished.out).split()))[:500]
    raise _Failed(f"{what}: {why or f'exit code {finished.code}'}")


async def run(command: Sequence[str], environment: Mapping[str, str], seconds: float, said: str = "") -> Finished:
    """A command to its end, or to that of its time; then nothing of its whole tree is left."""
    try:
        process = await anyio.open_process(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(environment), cwd="/", start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        return Finished(None, "", f"{command[0]} cannot be started: {error.strerror}")
    except ValueError as error:  # a NUL in a word
        return Finished(None, "", f"{command[0]} cannot be started: {error}")
    output, errors = _Heard(), _Heard()
    try:
        async with anyio.create_task_group() as hearing:
            hearing.start_soon(output.take, process.stdout)
            hearing.start_soon(errors.take, process.stderr)
            with anyio.move_on_after(seconds) as bound:
                await _say(process.stdin, said)
                await process.wait()
            with anyio.move_on_after(_DRAIN_SECONDS):  # whoever it left behind, a shared connection perhaps, may hold its pipes
                await output.is_over.wait()
                await errors.is_over.wait()
            hearing.cancel_scope.cancel()
        if bound.cancelled_caught:
            return Finished(None, "", f"{command[0]} did not end within {seconds:g} s")
        return Finished(process.returncode, output.text, errors.text)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def _say(stream: ByteSendStream | None, text: str) -> None:
    if stream is not None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await stream.send(text.encode(errors="replace"))
        await stream.aclose()


class _Heard:
    """The end of what a process prints."""

    def __init__(self) -> None:
        self.is_over = anyio.Event()
        self._content = b""

    @property
    def text(self) -> str:
        return self._content.decode(errors="replace")

    async def take(self, stream: ByteReceiveStream | None) -> None:
        if stream is not None:
            async for piece in stream:
                self._content = (self._content + piece)[-_MOST:]
        self.is_over.set()
