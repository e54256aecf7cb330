"""Of what is to be mounted, what an agent has put a link before is left out."""

import pathlib

import pytest

from devsh_memory_mcp.shim.mountpoint import reachable
from devsh_memory_mcp.shim.sandbox import Bind


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tool").write_text("")
    return tmp_path / "home"


def shown(home: pathlib.Path, target: str, *, writable: bool = True, source: str = "elsewhere") -> bool:
    """Whether something is shown there, in a home that is seen as /inside."""
    bind = Bind(str(home.parent / source), target)
    return bind in reachable([bind, Bind("/usr", "/usr"), Bind(str(home), "/inside", writable)])


def test_what_is_not_there_yet_can_be_made(home: pathlib.Path) -> None:
    (home / "a").mkdir()
    assert shown(home, "/inside/.local/bin")
    assert shown(home, "/inside/a/bin")
    assert shown(home, "/elsewhere/bin")


@pytest.mark.parametrize("link", [".local", ".local/share", ".local/share/uv", ".local/share/uv/bin"])
@pytest.mark.parametrize("to", ["/oldroot/etc", "../elsewhere", "nowhere"])
def test_a_link_anywhere_on_the_way_leaves_it_out(home: pathlib.Path, link: str, to: str) -> None:
    (home / link).parent.mkdir(parents=True, exist_ok=True)
    (home / link).symlink_to(to)
    assert not shown(home, "/inside/.local/share/uv/bin")
    assert shown(home, "/inside/.local/share/uv/bin", writable=False)


def test_a_file_in_the_way_or_another_kind_at_the_end_leaves_it_out(home: pathlib.Path) -> None:
    (home / "a").write_text("")
    (home / "b").mkdir()
    assert not shown(home, "/inside/a/bin")
    assert not shown(home, "/inside/a")
    assert not shown(home, "/inside/b", source="tool")
    assert shown(home, "/inside/b")
    assert shown(home, "/inside/a", source="tool")


def test_what_is_within_something_that_is_left_out_is_judged_by_what_holds_that(home: pathlib.Path) -> None:
    (home / ".local").symlink_to("/oldroot/etc")
    binds = [Bind(str(home), "/inside", writable=True), *(Bind("/usr", f"/inside/.local{name}") for name in ("", "/bin", "/bin/x"))]
    assert reachable(binds) == (binds[0],)
