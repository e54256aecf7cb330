"""What a provider's answers say of its limits, and what that makes of a verdict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devsh_memory_mcp.agents.adapter import Verdict
from devsh_memory_mcp.shim.broker.limit import Limit, heeded, limit_of
from devsh_memory_mcp.shim.broker.reset import limit_told

NOW = 1767323045.0  # 2026-01-02T03:04:05Z
HOUR = 3600.0
NAMES = (
    "retry-after", "retry-after-ms", "anthropic-ratelimit-tokens-reset", "anthropic-ratelimit-unified-reset", "x-ratelimit-reset",
    "x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens",
)  # fmt: skip


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3600"}, HOUR),
        ({"retry-after": "0"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after": "Fri, 02 Jan 2026 04:04:05 GMT"}, HOUR),
        ({"retry-after": "Fri, 02 Jan 2026 02:04:05 GMT"}, 0),
        ({"retry-after": "60", "anthropic-ratelimit-unified-reset": "1767326645"}, 60),
        ({"anthropic-ratelimit-unified-reset": "1767326645"}, HOUR),
        ({"anthropic-ratelimit-tokens-reset": "2026-01-02T04:04:05Z"}, HOUR),
        ({"anthropic-ratelimit-tokens-reset": "2026-01-02T05:04:05+01:00"}, HOUR),
        ({"x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "1h0m0.5s"}, HOUR + 0.5),
        ({"x-ratelimit-reset-requests": "20ms"}, 0.02),
        ({"x-ratelimit-reset": "1767326645000"}, HOUR),
        # of several windows the last that is used up, else the next
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, 360),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}, 1),
        ({"anthropic-ratelimit-5h-status": "rejected", "anthropic-ratelimit-5h-reset": "60", "anthropic-ratelimit-7d-reset": "9"}, 60),
    ],
)
def test_a_refusal_tells_until_when_it_holds(headers: dict[str, str], seconds: float) -> None:
    limit = limit_told(429, tuple(headers.items()), NOW)
    assert limit is not None
    assert limit.resets_at == pytest.approx(NOW + seconds, abs=0.001)


@pytest.mark.parametrize(
    "value",
    ["", "soon", "-5", "nan", "inf", "1e9", "99999999", "9999-12-31T23:59:59Z", "4102444800", "99999999d", "٣", "2026-13-01T00:00:00Z"],
)
def test_what_is_absurd_or_unreadable_is_no_instant_and_still_a_limit(value: str) -> None:
    assert limit_told(429, (("retry-after", value), ("x-ratelimit-reset", value)), NOW) == Limit(429, None)


def test_a_provider_that_is_busy_has_a_limit_only_where_it_says_until_when() -> None:
    assert limit_told(529, (), NOW) is None
    assert limit_told(503, (("retry-after", "30"),), NOW) == Limit(503, NOW + 30)
    assert limit_told(200, (("retry-after", "30"),), NOW) is None


@given(
    st.sampled_from((429, 503, 529)),
    st.lists(
        st.tuples(
            st.sampled_from(NAMES),
            st.one_of(
                st.text(max_size=70), st.integers().map(str), st.floats().map(str), st.datetimes().map(str),
                st.from_regex(r"(\d{1,12}(\.\d{1,3})?(ms|h|m|s)){1,3}", fullmatch=True),
                st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d([+-]\d\d:\d\d|Z)", fullmatch=True),
            ),
        )
    ),
)  # fmt: skip
def test_whatever_stands_in_its_headers_an_instant_lies_within_eight_days(status: int, headers: list[tuple[str, str]]) -> None:
    limit = limit_told(status, tuple(headers), NOW)
    if limit is not None and limit.resets_at is not None:
        assert math.isfinite(limit.resets_at)
        assert NOW <= limit.resets_at <= NOW + 8 * 86400


FAILED = Verdict(succeeded=False, result=None, error_message="It failed.")
SOON = Limit(429, NOW)


@pytest.mark.parametrize(
    ("failure", "limit", "cause", "becomes"),
    [
        ("rate_limit", SOON, "exit", ("rate_limit", NOW)),
        ("api", SOON, "exit", ("rate_limit", NOW)),
        ("crash", Limit(429, None), "exit", ("rate_limit", None)),
        (None, SOON, "stalled", ("rate_limit", NOW)),
        (None, SOON, "timeout", ("rate_limit", NOW)),
        ("overload", Limit(529, NOW), "exit", ("overload", NOW)),
        ("auth", SOON, "exit", ("auth", None)),
        ("turns", SOON, "exit", ("turns", None)),
        (None, SOON, "cancelled", (None, None)),
        ("rate_limit", None, "exit", ("rate_limit", None)),
    ],
)
def test_what_an_agent_did_not_tell_of_its_limit_is_told_for_it(
    failure: str | None, limit: Limit | None, cause: str, becomes: tuple[str | None, float | None]
) -> None:
    verdict = heeded(FAILED._replace(failure=failure), limit, cause)
    assert (verdict.failure, verdict.retry_at) == becomes


def test_what_an_agent_told_itself_is_kept_and_a_success_is_one() -> None:
    told = FAILED._replace(failure="rate_limit", retry_at=NOW + 5)
    assert heeded(told, SOON, "exit") == told
    done = Verdict(succeeded=True, result="done")
    assert heeded(done, SOON, "exit") == done
    assert heeded(FAILED, SOON, "exit").error_message == "It failed. Its provider refused its requests (429) until 2026-01-02 03:04:05 UTC."


@pytest.mark.parametrize("told", [None, [], {}, {"status": "429"}, {"resetsAt": 1.0}])
def test_a_broker_that_tells_of_none_has_none(told: object) -> None:
    assert limit_of(told) is None
