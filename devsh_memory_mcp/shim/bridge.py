"""Copies between stdin, stdout and the socket named in the arguments, which leads from a sandbox to our MCP server outside.

It is shown inside as a file of its own, so it imports nothing of ours.
"""

import os
import socket
import sys
import threading

_CHUNK = 64 * 1024  # bytes


def main(path: str) -> None:
    """Until the server hangs up. OSError where nobody listens."""
    directory, name = os.path.split(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        os.chdir(directory)  # an address is short, and where nothing can be mounted the directory is not
        connection.connect(name)
        threading.Thread(target=_send, args=(connection,), daemon=True).start()
        while content := connection.recv(_CHUNK):
            _write(content)


def _send(connection: socket.socket) -> None:
    try:
        while content := os.read(0, _CHUNK):
            connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)
    except OSError:  # it has hung up, which the other direction sees
        return


def _write(content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main(sys.argv[1])
