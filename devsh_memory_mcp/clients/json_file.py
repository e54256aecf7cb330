"""Our entry in a client's JSON file: put in once, recognised, taken out again as it came."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from devsh_memory_mcp.clients import json_text
from devsh_memory_mcp.clients.json_text import Json, Keys
from devsh_memory_mcp.clients.notes import Note, Notes, Plan, emptied, missing_above
from devsh_memory_mcp.clients.text import Splice, TextChange, read_text, spliced
from devsh_memory_mcp.errors import Conflict, InvalidRequest

EMPTY = "{}\n"


@dataclass(frozen=True, slots=True)
class JsonFile:
    """A client's file. `locks`: its owner takes a lock beside it when it writes."""

    path: Path
    is_private: bool = True
    locks: bool = False

    def with_member(self, keys: Keys, value: Json, notes: Notes, *, replace: bool) -> Plan:
        """The member set; Conflict where one of that name is not ours, unless it is to be replaced."""
        before, base, document = self._read(keys[:-1])
        there = json_text.find(document, keys)
        note = notes.of(self.path)
        if there == value:
            return Plan()
        if not json_text.has(document, keys):
            put = json_text.put_member(base, keys, value)
            return self._plan(before, base, put.splice, self._note(before, put.made))
        if note is None and not replace:
            raise Conflict(
                f"{self.path} has {'.'.join(keys)} already, which `devsh setup` did not write; nothing was changed.",
                next_step="--replace puts ours in its place, and --remove then puts that back.",
            )
        splice = json_text.replaced(base, keys, value)
        splice = splice if note else replace_fields(splice, foreign="old")
        kept = note or Note(replaced=base[splice.start : splice.end])
        said = "" if note else f"{self.path}: {'.'.join(keys)} of somebody else is replaced; --remove puts it back."
        return self._plan(before, base, splice, kept, said)

    def with_element(self, keys: Keys, item: str) -> Plan:
        """The item in the list; nothing where it is in it already."""
        before, base, document = self._read(keys[:-1])
        there = json_text.find(document, keys)
        if json_text.has(document, keys) and not isinstance(there, list):
            raise self._refusal(f"{'.'.join(keys)} is no list")
        if item in (there or ()):
            return Plan()
        put = json_text.put_element(base, keys, item)
        return self._plan(before, base, put.splice, self._note(before, put.made))

    def without_member(self, keys: Keys, ours: Json, notes: Notes) -> Plan:
        """Our member taken out, and what was made or replaced for it as it was before."""
        return self._without(
            keys,
            notes,
            is_there=lambda document: json_text.has(document, keys),
            is_ours=lambda document: json_text.find(document, keys) == ours,
            take=lambda text, made: json_text.taken_member(text, keys, made),
        )

    def without_element(self, keys: Keys, item: str, notes: Notes) -> Plan:
        """Our item taken out, if it was us who put it in."""
        return self._without(
            keys,
            notes,
            is_there=lambda document: isinstance(json_text.find(document, keys), list) and item in json_text.find(document, keys),
            is_ours=lambda _document: False,
            take=lambda text, made: json_text.taken_element(text, keys, item, made),
        )

    def _without(
        self,
        keys: Keys,
        notes: Notes,
        *,
        is_there: Callable[[Json], bool],
        is_ours: Callable[[Json], bool],
        take: Callable[[str, int], Splice],
    ) -> Plan:
        note = notes.of(self.path)
        before, base, document = self._read(keys[:-1])
        if not is_there(document):
            return Plan(notes={str(self.path): None} if note else {})
        if note is None and not is_ours(document):
            return Plan(said=[f"{self.path}: {'.'.join(keys)} was not written by `devsh setup`, so it stays."])
        note = note or Note()
        if note.replaced is not None:
            splice = json_text.replaced(base, keys, None)
            return self._plan(before, base, Splice(splice.start, splice.end, note.replaced, "new"), None)
        splice = take(base, note.made)
        plan = self._plan(before, base, splice, None)
        if note.is_new and not json_text.parse(spliced(base, [splice])):
            plan.changes = [TextChange(self.path, before, None, (Splice(0, len(base), ""),), self.is_private, self.locks), *emptied(note)]
        return plan

    def _read(self, containers: Keys) -> tuple[str | None, str, Json]:
        """The text as it is, the text to be changed, and what it says."""
        before = read_text(self.path)
        base = before if before is not None and before.strip() else EMPTY
        try:
            document = json_text.parse(base)
        except ValueError as error:
            raise self._refusal(str(error)) from error
        for depth in range(1, len(containers) + 1):
            place = containers[:depth]
            if json_text.has(document, place) and not isinstance(json_text.find(document, place), dict):
                raise self._refusal(f"{'.'.join(containers[:depth])} is no object")
        return before, base, document

    def _refusal(self, why: str) -> InvalidRequest:
        return InvalidRequest(f"{self.path} cannot be changed: {why}. It is as it was.", next_step="Mend it and repeat the command.")

    def _note(self, before: str | None, made: int) -> Note:
        return Note(is_new=before is None, directories=missing_above(Path(os.path.realpath(self.path))), made=made)

    def _plan(self, before: str | None, base: str, splice: Splice, note: Note | None, said: str = "") -> Plan:
        after = spliced(base, [splice])
        json_text.parse(after)
        shown = splice if before == base else Splice(0, len(before or ""), after)
        change = TextChange(self.path, before, after, (shown,), self.is_private, self.locks)
        return Plan([change], {str(self.path): note}, [said] if said else [])
