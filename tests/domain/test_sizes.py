"""Sizes of memory and disk, as people type them."""

import pytest

from devsh_memory_mcp.domain.requests import SpawnRequest
from devsh_memory_mcp.domain.sizes import parse_size, size_text


@pytest.mark.parametrize(
    ("text", "size", "plain"),
    [
        ("4G", 4 << 30, "4G"),
        ("512m", 512 << 20, "512M"),
        ("1.5 GiB", 3 << 29, "1536M"),
        ("2gb", 2 << 30, "2G"),
        ("16777216", 16 << 20, "16M"),
        ("20000000", 20_000_000, "20000000"),
        ("1T", 1 << 40, "1T"),
    ],
)
def test_a_size_is_what_it_says_and_can_be_typed_again(text: str, size: int, plain: str) -> None:
    assert (parse_size(text), size_text(size), parse_size(size_text(size))) == (size, plain, size)


@pytest.mark.parametrize("text", ["", "much", "4X", "-4G", "15M", "4", "0", "9999999999T", "4G4G", "1e9"])
def test_what_is_no_size_or_no_sensible_one_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size|less than 16M|more than any machine has"):
        parse_size(text)


@pytest.mark.parametrize("field", ["memory", "disk"])
def test_a_request_takes_text_and_bytes(field: str) -> None:
    asked = [getattr(SpawnRequest.model_validate({"prompt": "p", field: size}), field) for size in ("64M", 64 << 20)]
    assert asked == [64 << 20, 64 << 20]
    for size in ("much", "1M", 5, True, 1.5):
        with pytest.raises(ValueError, match=field):
            SpawnRequest.model_validate({"prompt": "p", field: size})
