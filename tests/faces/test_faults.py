"""Every error has a status, a document, and comes back from a server as what it was."""

from collections.abc import Iterator

import pytest

from devsh_memory_mcp.errors import DevshError, Unreachable
from devsh_memory_mcp.faces.http_address import parse_address
from devsh_memory_mcp.faces.http_faults import STATUSES, fault_of
from devsh_memory_mcp.faces.http_openapi import openapi
from devsh_memory_mcp.faces.http_wire import raised

HERE = parse_address("localhost:1")


def classes(kind: type[DevshError]) -> Iterator[type[DevshError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from classes(below)


EVERY = tuple(classes(DevshError))


def test_each_has_a_status_and_the_document_names_it() -> None:
    assert set(STATUSES) == set(EVERY)
    statuses = {str(status) for status in STATUSES.values()}
    for path in openapi()["paths"].values():
        for entry in path.values():
            assert entry["operationId"] == "health" or statuses <= set(entry["responses"])


@pytest.mark.parametrize("kind", EVERY)
def test_it_comes_back_as_what_it_was(kind: type[DevshError]) -> None:
    sent = kind("It was so.", next_step="Do this.")
    found = raised(fault_of(sent).model_dump(mode="json"), STATUSES[kind], HERE)
    assert (type(found), found.message, found.next_step) == (kind, sent.message, sent.next_step)


@pytest.mark.parametrize("fault", [{}, {"error": "nginx says no"}, {"code": "teapot", "message": "x"}, {"code": ["refused"]}])
def test_what_is_none_of_ours_is_no_server_of_ours(fault: dict[str, object]) -> None:
    assert type(raised(fault, 502, HERE)) is Unreachable
