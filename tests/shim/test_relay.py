"""A socket that leads to one outside, which may come and go."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

import pytest

PATIENCE = 20.0


class Host:
    """The relay's process, and the address that it leads to."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root, self.outside = root, str(root / "outside")
        command = [sys.executable, "-m", "tests.shim.relay_host", str(root), self.outside]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.root / "api"))
        return connection

    def listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(PATIENCE)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.outside)
        listener.bind(self.outside)
        listener.listen(128)
        return listener

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE)


@pytest.fixture
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="relay-", dir="/tmp") as directory:  # an address is short
        made = Host(pathlib.Path(directory))
        yield made
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait()
        for pipe in (made.process.stdin, made.process.stdout):
            assert pipe is not None
            pipe.close()


def received(connection: socket.socket) -> bytes:
    """All of it, to its end."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def test_both_directions_come_through_whole_and_end_by_themselves(host: Host) -> None:
    content = os.urandom(3_000_000)
    with host.listen() as listener, host.connect() as inside:
        outside, _ = listener.accept()
        outside.settimeout(PATIENCE)

        def send(connection: socket.socket, said: bytes) -> None:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)

        senders = [threading.Thread(target=send, args=each) for each in ((inside, content), (outside, content[::-1]))]
        heard: list[bytes] = []
        senders.append(threading.Thread(target=lambda: heard.append(received(inside))))
        for sender in senders:
            sender.start()
        assert received(outside) == content
        for sender in senders:
            sender.join()
        outside.close()
    assert heard == [content[::-1]]


def test_who_comes_while_nobody_is_outside_waits(host: Host) -> None:
    with host.connect() as inside:
        inside.sendall(b"hello")
        with host.listen() as listener:
            assert host.process.stdin is not None
            host.process.stdin.write(b"somebody is there\n")
            host.process.stdin.flush()
            outside, _ = listener.accept()
            with outside:
                assert outside.recv(5) == b"hello"


def test_a_hangup_of_either_is_one_of_both_and_nothing_is_left(host: Host) -> None:
    with host.listen() as listener:
        before = host.descriptors()
        for _ in range(3):
            inside = host.connect()
            outside, _ = listener.accept()
            inside.close()
            with outside:
                outside.settimeout(PATIENCE)
                assert outside.recv(1) == b""
            with host.connect() as inside:
                outside, _ = listener.accept()
                outside.close()
                assert inside.recv(1) == b""
        with host.connect() as last:  # by the time that this one is led through, those before have been closed
            outside, _ = listener.accept()
            outside.sendall(b"x")
            assert last.recv(1) == b"x"
            assert host.descriptors() <= before + 6
            outside.close()


def test_many_at_a_time_each_get_their_own(host: Host) -> None:
    with host.listen() as listener, contextlib.ExitStack() as stack:
        inside = [stack.enter_context(host.connect()) for _ in range(100)]

        def answer() -> None:
            for _ in inside:
                outside, _ = listener.accept()
                with outside:
                    outside.settimeout(PATIENCE)
                    outside.sendall(outside.recv(10))

        server = threading.Thread(target=answer)
        server.start()
        for number, each in enumerate(inside):
            each.sendall(b"%d" % number)
        assert [received(each) for each in inside] == [b"%d" % number for number in range(100)]
        server.join()


def test_its_end_hangs_up_on_everybody(host: Host) -> None:
    with host.listen() as listener, host.connect() as led, host.connect() as other:
        outside, _ = listener.accept()
        assert host.end() == 0
        assert (led.recv(1), other.recv(1)) == (b"", b"")
        outside.close()
