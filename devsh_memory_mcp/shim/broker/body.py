"""Where the body of an HTTP message ends, found while it is passed on untouched. Pure."""

import re
import typing

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_PLAIN_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})")
_LONGEST_LINE = 4096


class BadBody(Exception):
    """Its framing is broken."""


class Body(typing.Protocol):
    """A body on its way."""

    @property
    def is_done(self) -> bool:
        """Whether all of it was seen."""
        ...

    @property
    def ends_with_connection(self) -> bool:
        """Whether only the connection's end is its end."""
        ...

    def take(self, content: bytes) -> int:
        """How many of these bytes, which come next, belong to it; BadBody."""
        ...


class Length:
    """So many bytes."""

    ends_with_connection = False

    def __init__(self, length: int) -> None:
        self._left = length

    @property
    def is_done(self) -> bool:
        """Whether all of it was seen."""
        return self._left == 0

    def take(self, content: bytes) -> int:
        """How many of these bytes belong to it."""
        taken = min(self._left, len(content))
        self._left -= taken
        return taken


class Rest:
    """Whatever comes until the connection ends."""

    ends_with_connection = True
    is_done = False

    def take(self, content: bytes) -> int:
        """All of it."""
        return len(content)


class Chunked:
    """Chunks, a line of their size before each. `strict` takes neither extensions nor trailers, which no agent sends."""

    ends_with_connection = False

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._line = bytearray()
        self._left = 0  # bytes of the chunk
        self._expects = "size"  # else its data, the end of its data, a trailer
        self.is_done = False

    def take(self, content: bytes) -> int:
        """How many of these bytes belong to it; BadBody."""
        at = 0
        while at < len(content) and not self.is_done:
            if self._expects == "data":
                taken = min(self._left, len(content) - at)
                self._left -= taken
                at += taken
                if not self._left:
                    self._expects = "end"
            else:
                at = self._take_line(content, at)
        return at

    def _take_line(self, content: bytes, at: int) -> int:
        end = content.find(b"\n", at)
        stop = len(content) if end < 0 else end + 1
        self._line += content[at:stop]
        if len(self._line) > _LONGEST_LINE:
            raise BadBody("a line between chunks is too long")
        if end >= 0:
            line, self._line = bytes(self._line), bytearray()
            if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
                raise BadBody("a line between chunks does not end as lines do")
            self._read_line(line[:-2])
        return stop

    def _read_line(self, line: bytes) -> None:
        if self._expects == "size":
            found = (_PLAIN_SIZE if self._strict else _CHUNK_SIZE).fullmatch(line)
            if found is None:
                raise BadBody("a chunk has no plain size")
            self._left = int(found[1], 16)
            self._expects = "data" if self._left else "trailer"
        elif self._expects == "end":
            if line:
                raise BadBody("a chunk is longer than it says")
            self._expects = "size"
        elif not line:
            self.is_done = True
        elif self._strict:
            raise BadBody("trailers are not passed on")
