"""Who speaks to a server: the only way to believe a token.

A token is a JWT, signed with HS256 and nothing else. On the wire its claims are those that existing clients know (`taskRunId`, `teamId`,
`userId`, `iat`, `exp`) with ours beside them (`orchestrationId`, `role`, `attempt`). No error here repeats a part of a token.
"""

from datetime import UTC, datetime, timedelta
from typing import get_args

import jwt

from devsh_memory_mcp.errors import Unauthenticated
from devsh_memory_mcp.faces.claims import ALGORITHM, MIN_KEY, NOBODY, TEAM, Claims, Role, mint

__all__ = ["LONGEST", "MIN_KEY", "NOBODY", "TEAM", "Claims", "Role", "mint", "verify"]

LONGEST = 4096  # characters of a token that is looked at
_SKEW = timedelta(seconds=5)  # between two machines' clocks
_DEMANDED = ("taskRunId", "teamId", "userId", "iat", "exp")


def verify(key: bytes, token: str, now: datetime) -> Claims:
    """The claims of a token that was signed with `key` and is good at `now`; Unauthenticated says why it is not."""
    if len(token) > LONGEST:
        raise Unauthenticated("The token is longer than any of ours.")
    try:
        found = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            # Instants are compared below, with the clock that the caller has; the library would ask its own.
            options={"require": list(_DEMANDED), "verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False},
        )
    except jwt.MissingRequiredClaimError as error:
        raise Unauthenticated(f"The token has no claim {error.claim}.") from None
    except jwt.InvalidSignatureError:
        raise Unauthenticated("The token was not signed by this server.") from None
    except jwt.PyJWTError:
        raise Unauthenticated(f"The token is not a JWT signed with {ALGORITHM}.") from None
    claims = _read(found)
    if now >= claims.exp:
        raise Unauthenticated("The token has expired.")
    if now + _SKEW < claims.iat:
        raise Unauthenticated("The token was made in the future: is a clock wrong?")
    return claims


def _read(found: dict[str, object]) -> Claims:
    role = found.get("role", "worker")
    if role not in get_args(Role):
        raise Unauthenticated("The token has a role that is not known.")
    claims = Claims(
        task_run_id=_text(found, "taskRunId"),
        team_id=_text(found, "teamId"),
        user_id=_text(found, "userId"),
        orchestration_id=_text(found, "orchestrationId") if "orchestrationId" in found else None,
        role="user" if role == "user" else "head" if role == "head" else "worker",
        iat=_instant(found, "iat"),
        exp=_instant(found, "exp"),
        attempt=_whole(found, "attempt") if "attempt" in found else None,
    )
    if claims.role == "head" and claims.orchestration_id is None:
        raise Unauthenticated("The token is a head's and names no orchestration.")
    return claims


def _text(found: dict[str, object], name: str) -> str:
    value = found[name]
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise Unauthenticated(f"The token's claim {name} is not a text.")
    return value


def _whole(found: dict[str, object], name: str) -> int:
    value = found[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unauthenticated(f"The token's claim {name} is not a number.")
    return value


def _instant(found: dict[str, object], name: str) -> datetime:
    value = found[name]
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unauthenticated(f"The token's claim {name} is not an instant.")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise Unauthenticated(f"The token's claim {name} is no instant that there is.") from None
