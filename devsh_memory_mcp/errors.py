"""Every error of this program, in one tree; each has a stable `code` that all faces show.

DevshError
├── InvalidRequest            invalid_request        the request itself is wrong; repeating it changes nothing
│   ├── InvalidId             invalid_id
│   ├── UnknownAgent          unknown_agent
│   ├── UnknownDependency     unknown_dependency
│   ├── DependencyCycle       dependency_cycle
│   ├── RepositoryUnusable    repository_unusable
│   ├── BaseNotFound          base_not_found
│   ├── SettingsInvalid       settings_invalid       a file or variable of settings is wrong
│   ├── TooLarge              too_large              more bytes than a server takes
│   └── NotAvailable          not_available          a feature that this release does not have
├── NotFound                  not_found
├── Conflict                  conflict               the state forbids it
│   ├── IdempotencyConflict   idempotency_conflict
│   ├── TooDeep               too_deep               an agent of an agent of …
│   └── TooManyTasks          too_many_tasks
├── Unavailable               unavailable            nothing was done; it may be repeated
│   ├── JournalBusy           journal_busy
│   ├── JournalDamaged        journal_damaged
│   ├── DiskFull              disk_full
│   ├── CommitUnknown         commit_unknown         may have been done; repeat with the same idempotency key
│   ├── MemoryRootUnusable    memory_root_unusable
│   ├── RemoteFileSystem      remote_file_system
│   ├── NoSandbox             no_sandbox             this machine has none, and one is required
│   ├── NoLimits              no_limits              this machine cannot keep an agent to the limits asked for
│   ├── Unreachable           unreachable            no server answers there
│   ├── TooManyRequests       too_many_requests      of this token, at a server, just now
│   └── FormatTooNew          format_too_new
└── Refused                   refused                credentials or permissions are missing
    ├── Unauthenticated       unauthenticated        no token, or one that is not, or no longer, good
    └── NotAllowed            not_allowed            only the head may do that
"""


class DevshError(Exception):
    """Something of ours could not be done.

    `message` says what was tried and on what, `next_step` what to do now (one sentence, may be empty).
    """

    code = "error"
    next_step = ""

    def __init__(self, message: str = "", *, next_step: str = "") -> None:
        self.message = message or (self.__doc__ or self.code).strip()
        self.next_step = next_step or self.next_step
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message} {self.next_step}".strip()


class InvalidRequest(DevshError):
    """The request cannot be understood."""

    code = "invalid_request"


class InvalidId(InvalidRequest):
    """An id has a form that no id has."""

    code = "invalid_id"
    next_step = "Ids are 1 to 64 letters, digits, '-' or '_'; `devsh orchestrate list` shows yours."


class UnknownAgent(InvalidRequest):
    """No agent of that name is known."""

    code = "unknown_agent"


class UnknownDependency(InvalidRequest):
    """A task depends on one that does not exist."""

    code = "unknown_dependency"
    next_step = "Spawn the dependency first, or take its id from `devsh orchestrate list`."


class DependencyCycle(InvalidRequest):
    """The tasks of a batch depend on each other in a circle."""

    code = "dependency_cycle"


class RepositoryUnusable(InvalidRequest):
    """The repository cannot be worked on."""

    code = "repository_unusable"


class BaseNotFound(InvalidRequest):
    """The base branch does not exist."""

    code = "base_not_found"


class SettingsInvalid(InvalidRequest):
    """A file or a variable of settings is wrong."""

    code = "settings_invalid"


class TooLarge(InvalidRequest):
    """The request has more bytes than the server takes."""

    code = "too_large"


class NotAvailable(InvalidRequest):
    """This release cannot do that."""

    code = "not_available"


class NotFound(DevshError):
    """Nothing has that id."""

    code = "not_found"
    next_step = "`devsh orchestrate list --all` shows every task."


class Conflict(DevshError):
    """The state of things forbids it."""

    code = "conflict"


class IdempotencyConflict(Conflict):
    """The same idempotency key was used for another request."""

    code = "idempotency_conflict"
    next_step = "Use a new key for a new request."


class TooDeep(Conflict):
    """An agent that was itself spawned by agents cannot spawn one."""

    code = "too_deep"
    next_step = "Do the work yourself, or tell the head what is missing."


class TooManyTasks(Conflict):
    """The orchestration has as many unfinished tasks as it may have."""

    code = "too_many_tasks"


class Unavailable(DevshError):
    """It cannot be done now; nothing was changed."""

    code = "unavailable"


class JournalBusy(Unavailable):
    """Another process holds the journal's lock."""

    code = "journal_busy"


class JournalDamaged(Unavailable):
    """The journal has a gap or a repeat in its numbers."""

    code = "journal_damaged"
    next_step = "If you have a backup of it, put that back first. Else run `devsh fsck --repair`; it keeps the original."


class DiskFull(Unavailable):
    """There is no room on the disk; nothing was written."""

    code = "disk_full"
    next_step = "Free some space (`devsh gc` removes old checkouts) and repeat."


class CommitUnknown(Unavailable):
    """The disk failed while a commit was made durable; it may or may not have been done."""

    code = "commit_unknown"
    next_step = "Repeat with the same idempotency key."


class MemoryRootUnusable(Unavailable):
    """The memory root cannot be written."""

    code = "memory_root_unusable"
    next_step = "Name another with --dir or DEVSH_MEMORY_DIR."


class RemoteFileSystem(MemoryRootUnusable):
    """The memory root lies on a network file system, whose locks cannot be relied on."""

    code = "remote_file_system"
    next_step = "Put it on a local disk (--dir), or set DEVSH_ALLOW_REMOTE_FS=1 if only one machine uses it."


class NoSandbox(Unavailable):
    """This machine has no sandbox, and one is required."""

    code = "no_sandbox"


class NoLimits(Unavailable):
    """This machine cannot keep an agent to the limits that are asked for."""

    code = "no_limits"


class Unreachable(Unavailable):
    """The server cannot be reached."""

    code = "unreachable"
    next_step = "Is `devsh serve` running there, and is the address (--remote, CMUX_API_BASE_URL) right?"


class TooManyRequests(Unavailable):
    """This token has asked too often just now."""

    code = "too_many_requests"
    next_step = "Wait a second and repeat; follow the events instead of asking again and again."


class FormatTooNew(Unavailable):
    """The files were written by a newer release."""

    code = "format_too_new"
    next_step = "Update devsh-memory-mcp."


class Refused(DevshError):
    """Credentials or permissions are missing."""

    code = "refused"


class Unauthenticated(Refused):
    """A token is needed, and there is none that is good."""

    code = "unauthenticated"
    next_step = "Where the server runs `devsh token` makes one; give it as CMUX_TASK_RUN_JWT, or in the header `Authorization: Bearer`."


class NotAllowed(Refused):
    """Only the head may do that."""

    code = "not_allowed"
    next_step = "Tell the head what is needed: send_message with to `head`."
