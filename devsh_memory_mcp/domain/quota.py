"""Limits of providers: which account's is used up, and until when nothing of it starts.

An account is a provider with the credential of whoever spawned; all tasks of it stand behind its limit, not only the one that hit it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from devsh_memory_mcp.domain.events import ProviderLimited
from devsh_memory_mcp.domain.instants import instant_text
from devsh_memory_mcp.domain.records import TaskSpec

UNKNOWN_RESET = timedelta(minutes=1)  # where the provider does not say when its limit is over
_STEP = timedelta(seconds=1)  # what a clock is adjusted by all the time


@dataclass(frozen=True, slots=True)
class Limited:
    """From when until when an account is not used."""

    since: datetime
    until: datetime


def account_of(spec: TaskSpec) -> str:
    """The provider, with the variable and fingerprint of a credential that is not the CLI's own login."""
    provider, credential = spec.agent_name.partition("/")[0], spec.credential
    if credential is None or credential.variable is None:
        return provider
    return f"{provider} {credential.variable} {credential.fingerprint}"


def limited_until(limits: Mapping[str, Limited], spec: TaskSpec, now: datetime) -> datetime | None:
    """Until when a task has to wait for its account; None where it has not, or where the clock was set back to before that began."""
    limit = limits.get(account_of(spec))
    return limit.until if limit is not None and limit.since - _STEP <= now < limit.until else None


def limited(spec: TaskSpec, now: datetime, wait: timedelta) -> ProviderLimited:
    """The event for a limit that a task has hit, which is over after `wait` as far as that is known."""
    return ProviderLimited(account=account_of(spec), until=instant_text(now + max(wait, UNKNOWN_RESET)))


def merged(known: Mapping[str, Limited], others: Mapping[str, Limited]) -> dict[str, Limited]:
    """Of each account the limit that lasts longer."""
    found = dict(known)
    for account, limit in others.items():
        if account not in found or found[account].until < limit.until:
            found[account] = limit
    return found


def noted(known: Limited | None, new: Limited) -> Limited:
    """What holds when an account is told to be limited once more: a shorter limit does not end a longer one, but for a clock set back."""
    return known if known is not None and known.since <= new.since + _STEP and new.until < known.until else new


def unheard(known: Mapping[str, Limited], own: Mapping[str, Limited], specs: Iterable[TaskSpec], now: datetime) -> list[ProviderLimited]:
    """What an orchestration with `own` limits has still to be told, before it starts these, of what others have run into."""
    waited = {account_of(spec): limited_until(known, spec, now) for spec in specs if limited_until(own, spec, now) is None}
    return [ProviderLimited(account=account, until=instant_text(until)) for account, until in waited.items() if until is not None]
