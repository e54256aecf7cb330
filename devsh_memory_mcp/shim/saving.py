"""Saving an attempt's work once its tree is still: the agent's commits, then what it left uncommitted, then refs that hold them.

Every step may be repeated, since recovery does so. Ignored and included files are not saved.
"""

import os
import time
import typing

from devsh_memory_mcp.shim import difference, history, publication, stray
from devsh_memory_mcp.shim.difference import Difference
from devsh_memory_mcp.shim.git import Git
from devsh_memory_mcp.shim.history import Bundler
from devsh_memory_mcp.shim.process import CommandFailed
from devsh_memory_mcp.shim.rundir import Run
from devsh_memory_mcp.shim.workspace import Prepared

_MOST_NESTING = 10
_ZONE = " +0000"
_UNBORN = "error: '", "/' does not have a commit checked out"


class Saved(typing.NamedTuple):
    """Where the work is. Without a change there is no ref, and `tip` is the base."""

    tip: str | None = None
    salvage_ref: str | None = None
    branch: str | None = None
    commits: int = 0
    difference: Difference = Difference()
    warnings: tuple[str, ...] = ()
    unsaved: bool = False  # whether something is in the checkout alone


class Saving:
    """One attempt's. `look` may be called while the agent runs, `save` and `publish` when nothing runs any more."""

    def __init__(self, tool: Git, run: Run, prepared: Prepared, bundler: Bundler) -> None:
        self._tool = tool
        self._run = run
        self._prepared = prepared
        self._bundler = bundler
        self._start_tree: str | None = None
        self._warnings: list[str] = []
        self._unsaved = False

    def look(self) -> None:
        """Finds out beforehand what the end will need, and hides submodules from it: their commits could not be saved."""
        start_tree = self._tool.own("rev-parse", f"{self._prepared.head}^{{tree}}").text
        listed = self._tool.own("ls-files", "-s", "-z").stdout
        links = [line.partition(b"\t")[2].decode(errors="surrogateescape") for line in listed.split(b"\0") if line.startswith(b"160000")]
        if links:
            self._tool.own("update-index", "--skip-worktree", "--", *links)
        self._start_tree = start_tree  # last, so that a look that was broken off is repeated

    def save(self, *, publish: bool) -> Saved:
        """Commits what is left and sets the refs, the branch only if `publish`. CommandFailed or OSError where it cannot be done."""
        tool, base = self._tool, self._tool.checkout.base_commit
        self._warnings, self._unsaved = [], False
        salvage_name = f"refs/devsh/salvage/{self._run.task_run_id}/{self._run.attempt}"
        self._unlock()
        if self._start_tree is None:
            self.look()
        if not os.path.isdir(tool.workspace):
            self._warnings.append("The agent removed its checkout; there is nothing to save.")
            return self._unchanged(base, publish=publish)
        parent, parent_tree, has_commits = self._take_commits()
        tree, changes = self._take_files()
        tip = parent if tree == parent_tree else self._commit(tree, parent)
        self._take_strays(salvage_name, parent)
        if tip == base:
            return self._unchanged(base, publish=publish)
        salvage_ref = publication.salvage(tool, tip, salvage_name)
        count = int(tool.own("rev-list", "--count", f"{self._prepared.head}..{tip}").text) if has_commits else int(tip != parent)
        saved = self._saved(Saved(tip, salvage_ref, None, count, changes))
        if publish:
            return self.publish(saved)
        publication.verify(tool, tip, salvage_ref)
        return saved

    def publish(self, saved: Saved) -> Saved:
        """Sets the branch to what was saved before, whatever has been written in the checkout since; errors as of `save`."""
        self._warnings, self._unsaved = list(saved.warnings), saved.unsaved
        if saved.tip is None or saved.salvage_ref is None:
            return self._unchanged(self._tool.checkout.base_commit, publish=True)
        branch = self._publish(saved.tip)
        touched = publication.verify(self._tool, saved.tip, saved.salvage_ref, branch)
        if touched is not None:
            self._warnings.append(f"{branch} {touched}; the work is in {saved.salvage_ref} as well.")
        return self._saved(saved._replace(branch=branch))

    def _unchanged(self, base: str, *, publish: bool) -> Saved:
        """Whoever goes on from a branch and finds nothing to change there still has it, so that the next one can go on from it."""
        checkout = self._tool.checkout
        keeps = publish and checkout.continues and publication.find(self._tool, checkout.branch) is not None
        return self._saved(Saved(base, branch=checkout.branch if keeps else None))

    def _publish(self, tip: str) -> str:
        checkout = self._tool.checkout
        if checkout.continues:
            why = publication.move(self._tool, tip, checkout.branch, checkout.base_commit)
            if why is None:
                return checkout.branch
            self._warnings.append(f"{checkout.branch} {why}, so the work is on a branch of its own.")
        return publication.publish(self._tool, tip, checkout.branch)

    def _saved(self, saved: Saved) -> Saved:
        return saved._replace(warnings=tuple(self._warnings), unsaved=self._unsaved)

    def _warn_unsaved(self, warning: str) -> None:
        self._warnings.append(warning)
        self._unsaved = True

    def _unlock(self) -> None:
        """A git of ours that was killed leaves its lock behind; no other can be running now."""
        for name in ("index.lock", "HEAD.lock"):
            try:
                os.unlink(f"{self._tool.own_directory}/{name}")
            except FileNotFoundError:
                continue

    def _take_commits(self) -> tuple[str, str, bool]:
        """The commit to build on, its tree, and whether it is one of the agent's."""
        try:
            taken = history.take_over(self._tool, self._bundler, self._prepared.head)
        except CommandFailed as error:
            self._tool.note(str(error))
            self._warn_unsaved(f"The agent's own commits could not be taken over, its files were: {error}")
            taken = None
        if taken is not None:
            return *taken, True
        assert self._start_tree is not None
        return self._prepared.head, self._start_tree, False

    def _take_strays(self, salvage_name: str, parent: str) -> None:
        """What the agent's HEAD does not lead to, under refs of its own beside the salvage ref: nothing of it is published."""
        tool = self._tool
        kept: list[str] = []
        try:
            found = stray.find(tool, {parent, self._prepared.head})
            without = (parent, self._prepared.head, tool.checkout.base_commit)
            strays, lost = stray.take_over(tool, self._bundler, found, without) if found else ([], [])
            for one in strays:
                try:
                    ref = publication.salvage(tool, one.tip, f"{salvage_name}.{one.name}")
                    publication.verify(tool, one.tip, ref)
                    kept.append(ref)
                except CommandFailed as error:
                    tool.note(str(error))
                    lost.append(one)
            if lost:
                self._warn_unsaved(f"Other refs of the agent's could not be saved: {', '.join(one.name for one in lost)[:500]}")
        except CommandFailed as error:
            tool.note(str(error))
            self._warn_unsaved(f"Other refs of the agent's could not be saved: {error}")
        if kept:
            self._warnings.append(f"Commits that the agent's HEAD does not lead to were saved as well: {', '.join(kept)[:2000]}")

    def _take_files(self) -> tuple[str, Difference]:
        """The workspace as a tree, and how it differs from what the agent began on: what was merged before is others' work."""
        excluded = [f":(top,exclude,literal){os.path.normpath(name)}" for name in self._tool.checkout.include]
        for path in self._add("--", ".", *excluded):
            self._absorb(path)
        tree = self._tool.own("write-tree").text
        if tree == self._start_tree:
            return tree, Difference()
        changes = difference.compare(self._tool, self._prepared.head, tree)
        for _ in range(_MOST_NESTING):
            if not changes.nested:
                return tree, changes
            for path in changes.nested:
                self._absorb(path)
            tree = self._tool.own("write-tree").text
            changes = difference.compare(self._tool, self._prepared.head, tree)
        self._warn_unsaved(f"Repositories are nested too deeply to be saved: {', '.join(changes.nested[:5])}")
        return tree, changes

    def _add(self, *arguments: str, work_tree: str | None = None, index: str | None = None) -> list[str]:
        """Adds what can be read; the nested repositories that could not even be added by name, having no commit."""
        added = self._tool.add_all(*arguments, work_tree=work_tree, index=index)
        if added.code not in (0, 1):
            # An attribute that cannot be obeyed (a file in another encoding than it promises) stops git altogether.
            with open(f"{self._tool.own_directory}/info/attributes", "w", encoding="ascii") as file:
                file.write("* !working-tree-encoding\n")
            added = self._tool.add_all(*arguments, work_tree=work_tree, index=index)
        if added.code not in (0, 1):
            raise CommandFailed(f"the work cannot be collected: {added.stderr.strip()[-2000:]}")
        complaints = [line for line in added.stderr.splitlines() if line.startswith("error: ")]
        unborn = [
            line[len(_UNBORN[0]) : -len(_UNBORN[1])] for line in complaints if line.startswith(_UNBORN[0]) and line.endswith(_UNBORN[1])
        ]
        others = [line[7:] for line in complaints if not line.endswith(_UNBORN[1])]
        if others:
            self._warn_unsaved(f"Some files could not be saved: {'; '.join(others)[:500]}")
        return unborn

    def _absorb(self, path: str) -> None:
        """The files of a repository that the agent made inside the checkout: as such, git would keep its name and lose them.

        Seen as a work tree of ours its own `.git` is only a directory that is passed over.
        """
        index = f"{self._tool.own_directory}/nested-index"
        self._tool.own("read-tree", "--empty", index=index)
        inner = self._add("--", ".", work_tree=f"{self._tool.workspace}/{path}", index=index)
        tree = self._tool.own("write-tree", index=index).text
        self._tool.own("update-index", "--force-remove", "--", path)
        if self._tool.own("ls-tree", tree).stdout:
            self._tool.own("read-tree", f"--prefix={path}/", tree)
        for name in inner:
            self._absorb(f"{path}/{name}")
        self._warn_unsaved(f"{path} is a repository of its own; its files were saved, its history was not.")

    def _commit(self, tree: str, parent: str) -> str:
        name = self._run.agent_name
        message = f"Work of {name} ({self._run.orchestration_task_id})\n\nAgent: {name}\n"
        return self._tool.own("commit-tree", "-p", parent, "-m", message, tree, date=self._date()).text

    def _date(self) -> str:
        """When the work was first saved: with the same date a repeat makes the same commit."""
        path = f"{self._tool.own_directory}/saved-at"
        try:
            with open(path, encoding="ascii") as file:
                date = file.read()
        except FileNotFoundError:
            date = ""
        if not date.endswith(_ZONE):  # or it was cut off, before anything was made with it
            date = f"@{int(time.time())}{_ZONE}"
            with open(path, "w", encoding="ascii") as file:
                file.write(date)
        return date
