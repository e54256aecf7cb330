"""/openapi.json is true: whatever is sent by it, or against it, is answered as it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from devsh_memory_mcp.faces.http_catalogue import CATALOGUE_ROUTES
from devsh_memory_mcp.faces.http_compat import COMPATIBLE
from devsh_memory_mcp.faces.http_events import EVENT_ROUTES
from devsh_memory_mcp.faces.http_openapi import openapi, page
from devsh_memory_mcp.faces.operations import OPERATIONS, STREAMS
from tests.contract.conftest import Place, token
from tests.engine.house import House

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
USUAL = settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)


@contextmanager
def serving(house: House) -> Iterator[str]:
    """A server over TCP in a thread of its own: schemathesis asks with a client that blocks."""
    served = Place("tcp", house, house.directory).served()
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(served) as (address, _):
        yield address


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_is_sent_by_the_document_and_against_it_is_answered_as_it_says(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMUX_DEFAULT_CODING_AGENT", "nobody/nothing")  # so that no example hires anybody
    schema = schemathesis.openapi.from_dict(openapi())
    headers = {"Authorization": f"Bearer {token()}"}
    with serving(house) as address:
        for each in (*OPERATIONS, *COMPATIBLE, *STREAMS):
            for mode in GenerationMode:

                @USUAL
                @given(case=schema[each.path][each.method].as_strategy(mode))
                def check(case: Any) -> None:
                    case.call_and_validate(base_url=address, headers=headers, checks=CHECKS, timeout=30)

                check()


def test_it_names_every_operation_and_the_page_shows_them() -> None:
    document, shown = openapi(), page()
    for each in (*OPERATIONS, *COMPATIBLE, *STREAMS):
        entry = document["paths"][each.path][each.method.lower()]
        assert entry["operationId"] == each.name
        assert {"401", "403"} <= set(entry["responses"])
        assert each.path in shown
    for listed in (*EVENT_ROUTES, *CATALOGUE_ROUTES):
        assert document["paths"][listed.path]["get"]["operationId"] == listed.name
        assert listed.path in shown
    assert "<script" not in shown
    assert "http://" not in shown
