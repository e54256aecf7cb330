"""The skill `devsh-orchestrator`, copied to where an agent's CLI looks for it; nothing of anybody else is written over.

In a repository the copy lies in `.agents/skills`, which most CLIs read, and `.claude/skills` leads to it.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import devsh_memory_mcp
from devsh_memory_mcp.clients.notes import Note, Notes, Plan, emptied, missing_above
from devsh_memory_mcp.clients.text import LinkChange, TextChange, read_text
from devsh_memory_mcp.errors import Conflict, InvalidRequest
from devsh_memory_mcp.trust import digest_of

SKILL_NAME = "devsh-orchestrator"


def skill_source() -> Path:
    """Where this installation, or this checkout, has the skill."""
    package = Path(devsh_memory_mcp.__file__).parent
    places = (package / "skills" / SKILL_NAME, package.parent / ".agents" / "skills" / SKILL_NAME)
    found = next((place for place in places if (place / "SKILL.md").is_file()), None)
    if found is None:
        raise InvalidRequest("This installation has no skill in it.", next_step="Install devsh-memory-mcp again.")
    return found


@dataclass(frozen=True, slots=True)
class Skill:
    """A copy of the skill in `directory`; `link` leads to it where another CLI looks."""

    source: Path
    directory: Path
    link: Path | None = None
    is_private: bool = True

    @classmethod
    def of_user(cls, claude_home: Path, source: Path) -> "Skill":
        """For all projects of a user of Claude Code."""
        return cls(source, claude_home / "skills" / SKILL_NAME)

    @classmethod
    def of_project(cls, project: Path, source: Path) -> "Skill":
        """For everybody who works on a repository."""
        directory = project / ".agents" / "skills" / SKILL_NAME
        return cls(source, directory, project / ".claude" / "skills" / SKILL_NAME, is_private=False)

    def installing(self, notes: Notes, *, by: str | None = None) -> Plan:
        """What is missing or older, put there; Conflict where a file, or the place, is somebody else's."""
        plan = Plan()
        if os.path.realpath(self.directory) != os.path.realpath(self.source):
            for name in self._names():
                plan += self._file(name, notes, by)
        if self.link is not None and os.path.realpath(self.link) != os.path.realpath(self.directory):
            if os.path.lexists(self.link):
                raise self._conflict(self.link)
            target = os.path.relpath(self.directory, self.link.parent)
            note = Note(is_new=True, directories=missing_above(self.link), text=target, by=by)
            plan += Plan([LinkChange(self.link, target)], {str(self.link): note})
        return plan

    def removing(self, notes: Notes, *, by: str | None = None) -> Plan:
        """What was put there, by that command or by any, and is unchanged, taken away."""
        plan = Plan()
        notes = Notes(files={path: note for path, note in notes.files.items() if by in (None, note.by)})
        if self.link is not None and (note := notes.of(self.link)) is not None:
            is_ours = self.link.is_symlink() and os.readlink(self.link) == note.text
            plan += Plan([LinkChange(self.link, None), *emptied(note)] if is_ours else [], {str(self.link): None})
        for path, note in ((Path(name), note) for name, note in notes.files.items() if Path(name).is_relative_to(self.directory)):
            content = read_text(path)
            plan.notes[str(path)] = None
            if content is not None and digest_of(content.encode()) != note.digest:
                plan.said.append(f"{path} was changed since, so it stays.")
            elif content is not None:
                plan.changes += [TextChange(path, content, None, ()), *emptied(note)]
        return plan

    def _file(self, name: str, notes: Notes, by: str | None) -> Plan:
        path, new = self.directory / name, read_text(self.source / name) or ""
        content, note = read_text(path), notes.of(path)
        if content == new:
            return Plan()
        if content is not None and (note is None or digest_of(content.encode()) != note.digest):
            raise self._conflict(path)
        made = note or Note(is_new=content is None, directories=missing_above(path), by=by)
        change = TextChange(path, content, new, (), self.is_private)
        return Plan([change], {str(path): made.model_copy(update={"digest": digest_of(new.encode())})})

    def _names(self) -> list[str]:
        return sorted(str(path.relative_to(self.source)) for path in self.source.rglob("*") if path.is_file())

    def _conflict(self, path: Path) -> Conflict:
        return Conflict(
            f"{path} is there and is not what devsh put there; nothing was changed.",
            next_step="Move it away and repeat the command.",
        )
