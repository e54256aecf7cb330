"""What a person sees of what a program writes to its terminal: the few control sequences that ours may use, and no other."""

import re
import unicodedata

_TOKEN = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|(.)", re.DOTALL)


class Glass:
    """A screen of cells. `frames` are the whole pictures that were drawn."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.row = self.column = self.frames = 0
        self.has_cursor, self.colours, self.bells = True, 0, 0
        self.cells = [[" "] * columns for _ in range(lines)]

    @property
    def shown(self) -> list[str]:
        """The lines that are not empty at the end."""
        lines = ["".join(row).rstrip() for row in self.cells]
        return lines[: max((number for number, line in enumerate(lines, 1) if line), default=0)]

    def resize(self, columns: int, lines: int) -> None:
        """With rubbish on it: real terminals wrap anew what they show, each in its own way."""
        self.columns, self.lines, self.row, self.column = columns, lines, lines // 2, 0
        self.cells = [["?"] * columns for _ in range(lines)]

    def feed(self, text: str) -> None:
        for numbers, command, character in _TOKEN.findall(text):
            if command:
                self._command(numbers, command)
            else:
                self._character(character)

    def _character(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._feed_line()
        elif character == "\a":
            self.bells += 1
        else:
            assert character.isprintable() or unicodedata.combining(character), f"{character!r} reached the terminal"
            taken = 2 if unicodedata.east_asian_width(character) in "WF" else 0 if unicodedata.combining(character) else 1
            if self.column + taken > self.columns:
                self.column = 0
                self._feed_line()
            if taken:
                self.cells[self.row][self.column : self.column + taken] = [character, ""][:taken]
                self.column += taken

    def _feed_line(self) -> None:
        self.row += 1
        if self.row == self.lines:
            self.cells = [*self.cells[1:], [" "] * self.columns]
            self.row -= 1

    def _command(self, numbers: str, command: str) -> None:
        match command, numbers:
            case "A", _:
                self.row = max(0, self.row - int(numbers))
            case "H", "":
                self.row = self.column = 0
            case "K", "":
                self.cells[self.row][self.column :] = [" "] * (self.columns - self.column)
            case "J", "2":
                self.cells = [[" "] * self.columns for _ in range(self.lines)]
            case "J", "":
                self._command("", "K")
                self.cells[self.row + 1 :] = [[" "] * self.columns for _ in range(self.lines - self.row - 1)]
            case "h" | "l", "?25":
                self.has_cursor = command == "h"
            case "h" | "l", "?2026":
                self.frames += command == "l"
            case "m", _:
                self.colours += numbers != "0"
            case _:
                raise AssertionError(f"the terminal was sent {numbers!r} {command!r}")
