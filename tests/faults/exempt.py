"""What no scenario meets, each by its whole name, and why it need not be met."""

_REASONS: dict[str, tuple[str, ...]] = {
    "gc: every step is repeated by the next one, and a checkout is moved aside before it is touched": (
        "engine.removal._make_writable os.chmod", "engine.removal._make_writable os.open", "engine.removal._move os.rename",
        "engine.removal._open os.open", "engine.removal._remove_entry os.rmdir", "engine.removal._remove_tree os.rmdir",
        "engine.removal._unlink os.unlink", "engine.removal.open_run os.open", "engine.removal.remove os.rename",
    ),
    "a person's fsck --repair, which can be given again": (
        "store.repair.Repair._mend_all os.unlink", "store.repair.Repair._mend_journal os.unlink",
        "shim.doorbell.ask_to_leave socket.sendall", "store.repair.Repair._put_aside os.rename", "store.repair._unlock os.chmod",
        "store.repair._unlock os.open", "store.repair.repair_root os.unlink", "store.repair.set_aside os.rename",
        "store.repair.Repair._give_access os.fchmod",
    ),
    "a person's fsck, which only looks": ("store.leftovers._is_running os.kill", "store.leftovers.stale_socket socket.connect"),
    "a person's export: the archive has its name when it is whole": (
        "store.parcel._Packer._add os.open", "store.parcel._Packer.write open",
        "store.parcel._entries os.open", "store.parcel.pack open", "store.parcel.pack os.fsync", "store.parcel.pack os.open",
        "store.parcel.pack os.replace", "store.parcel.pack os.unlink",
    ),
    "imports a root of the existing implementation, once; its own tests break it off at each step": (
        "store.adoption._second_name os.link", "store.adoption.adopt os.rename", "store.adoption.adopt os.unlink",
        "store.root.MemoryRoot._move_finished os.rename",
    ),
    "locks of commands of a person's, who are told when they are taken": (
        "store.lock.alone os.unlink", "store.lock.try_lock fcntl.flock", "store.lock.try_lock os.open",
        "store.lock._taken fcntl.flock", "store.lock._taken os.open",
    ),
    "asks whether a lock is held, and changes nothing": ("store.lock.is_held fcntl.flock", "store.lock.is_held os.open"),
    "in a sandbox, which no scenario has yet": (
        "shim.cell.Cell.empty_out os.unlink", "shim.cell.Cell.furnish open", "shim.cell.Cell.furnish os.chmod",
        "shim.cell.Cell.furnish os.mkdir", "shim.cell.Cell._give os.chown",
        "shim.history.Bundler.make os.rename", "shim.probe._run os.kill", "shim.wall._laid_out open",
    ),
    "for an attempt that nobody can start": ("backends.local._forestall os.open",),
    "the runner's log, for people: what it cannot take is left out": ("engine.runner.Runner._log os.write",),
    "a developer's command": ("store.schemas.write open", "store.schemas.write os.mkdir"),
    "reads what agents printed": ("engine.evidence._text os.open",),
    "for a run.json that somebody spoilt": ("engine.attempts.Attempts._known_run os.rename",),
    "for what a killed face has half made, after an hour": ("store.root.MemoryRoot.tidy os.rmdir",),
    "for a directory that somebody has opened to others": ("store.root._make_private os.chmod",),
    "where files can have no second name": (
        "store.views.Views._not_taken_in os.unlink", "store.views.Views._second_name os.rename", "store.views.Views._keep_books os.rename",
        "store.files.give_name os.rename",
    ),
    "only after a refused call": (
        "store.files._take_back os.ftruncate", "store.files.keep_aside os.unlink", "store.files.replace_file os.unlink",
        "shim.report.Reports._append os.ftruncate",
    ),
    "only after a write that was cut off": ("backends.local._send os.ftruncate",),
    "only after a git that was killed": ("shim.git.Git._unlock os.unlink", "store.reference.Repository._unlock os.unlink"),
    "only for a process that is given up": ("shim.process._Running.end os.killpg",),
    "only after a killed writer": ("shim.rundir.sweep os.unlink",),
    "only after a bundle that was cut off": ("shim.history.Bundler.make os.unlink",),
    "a person's start of a shim: says on stderr why it refuses, or takes a lock that nobody handed over": (
        "shim.__main__._hold fcntl.flock", "shim.__main__._hold os.open", "shim.__main__.main os.write",
    ),
    "says on stderr why there is no runner": ("shim.doorbell.main os.write",),
    "for a log of 5 MB": ("shim.doorbell._rotate os.replace",),
    "where there are no pidfds": ("shim.doorbell.kill_process os.kill", "shim.census.end os.kill"),
    "for a runner that is silent: storms stop some": ("shim.doorbell.kill_process signal.pidfd_send_signal",),
    "for a guard that was killed between stopping its tree and killing it": ("backends.local._end_guards socket.send",),
    "for a runner that was stopped over a launch for good": ("backends.local._end_starters socket.send",),
    "for what outlived its shim, and behind pidfd_open, which is met": ("shim.census.end signal.pidfd_send_signal",),
    "a command of git's that is stuck": ("shim.loop.Loop.reap os.kill",),
    "repositories by URL: every step is repeated, under a lock that goes with its holder": (
        "shim.mirror._bring os.rename", "shim.mirror._take fcntl.flock", "shim.mirror.refresh os.mkdir", "shim.mirror.refresh os.open",
    ),
    "for files in another encoding than they promise": ("shim.saving.Saving._add open",),
    "ignored files that a user has included": ("shim.workspace._copy_all os.symlink", "shim.workspace._copy_all os.mkdir"),
    "made in a thread of anyio's, on whose stack nothing of ours is": ("engine.runner._listening socket.bind",),
    "scratch for a question to git, of a face that is asked again": ("engine.radar.look os.mkdir", "engine.repository._snapshot os.mkdir"),
    "doctor asks a program for its version": ("engine.checkup.answer_of fork_exec", "engine.checkup.answer_of os.killpg"),
    "a pull request, which is behind the task's end and is told as failed": (
        "engine.pull_request.run fork_exec", "engine.pull_request.run os.killpg", "engine.pull_request._say socket.send",
    ),
    "no socket, but a function of ours whose calls have names": (
        "engine.attempts.Attempts._ask_to_end socket.send", "engine.attempts.Attempts.deliver socket.send",
        "shim.attempt.Attempt.conduct socket.connect", "shim.pulse.Pulse._started socket.connect",
        "shim.recovery.recover socket.connect",
    ),
}  # fmt: skip
EXEMPT = {site: reason for reason, found in _REASONS.items() for site in found}
