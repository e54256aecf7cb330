"""A page is held to what it shows."""

import pytest

from tests.claude.page import difference, steps

SEEN = "ns7l45di39v6  \x1b[36m● running\x1b[0m after 0:07\r\nFiles: /tmp/one/two\r\n"


def test_a_shown_block_belongs_to_what_was_typed_before_it() -> None:
    page = "Type\n\n```sh\nls\n```\n\n```sh\ndate\npwd\n```\n\n```text\n/home/user\n```\n\n```json\n{}\n```\n"
    assert steps(page) == [("ls\n", None), ("date\npwd\n", "/home/user\n")]


@pytest.mark.parametrize(
    "shown",
    ["ns0000000000 ● running after 12:34\nFiles: /home/user/x\n", "…\nFiles: ~/x\n", "ns0000000000 ● running after 0:01\n…\n"],
)
def test_ids_times_and_paths_may_be_others_and_lines_left_out(shown: str) -> None:
    assert difference(shown, SEEN) is None


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ("ns0000000000 ✓ completed after 0:07\n…\n", "shown, and not seen: ID ✓ completed after TIME"),
        ("ns0000000000 ● running after 0:07\n", "seen, and not shown: Files: PATH"),
        ("…\nFiles: /x\nmore\n", "shown, and not seen: more"),
    ],
)
def test_what_is_otherwise_is_told(shown: str, told: str) -> None:
    assert difference(shown, SEEN) == told


def test_what_was_drawn_over_is_not_seen() -> None:
    assert difference("done\n", "1 running\r\n\x1b[1A\x1b[Jdone\r\n\a") is None
