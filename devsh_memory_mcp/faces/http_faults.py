"""How a request fails: one table from error to HTTP status, and the body that says so."""

import logging

from starlette.responses import JSONResponse

from devsh_memory_mcp import errors
from devsh_memory_mcp.errors import DevshError
from devsh_memory_mcp.faces.http_shapes import Fault

STATUSES: dict[type[DevshError], int] = {
    errors.DevshError: 500,
    errors.InvalidRequest: 400,
    errors.InvalidId: 400,
    errors.UnknownAgent: 400,
    errors.UnknownDependency: 400,
    errors.DependencyCycle: 400,
    errors.RepositoryUnusable: 400,
    errors.BaseNotFound: 400,
    errors.SettingsInvalid: 400,
    errors.TooLarge: 413,
    errors.NotAvailable: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.IdempotencyConflict: 409,
    errors.TooDeep: 409,
    errors.TooManyTasks: 409,
    errors.Unavailable: 503,
    errors.JournalBusy: 503,
    errors.JournalDamaged: 503,
    errors.DiskFull: 507,
    errors.CommitUnknown: 503,
    errors.MemoryRootUnusable: 503,
    errors.RemoteFileSystem: 503,
    errors.NoSandbox: 503,
    errors.NoLimits: 503,
    errors.Unreachable: 503,
    errors.TooManyRequests: 429,
    errors.FormatTooNew: 503,
    errors.Refused: 403,
    errors.Unauthenticated: 401,
    errors.NotAllowed: 403,
}
DOCUMENTED = sorted(set(STATUSES.values()) | {404, 405})

_log = logging.getLogger(__name__)


def fault_of(error: DevshError) -> Fault:
    """What a client is told."""
    return Fault(error=str(error), code=error.code, message=error.message, next=error.next_step or None)


def response_of(error: DevshError) -> JSONResponse:
    """The answer that says why there is no other."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": "1"}}.get(STATUSES[type(error)])
    return JSONResponse(fault_of(error).model_dump(mode="json", by_alias=True), STATUSES[type(error)], headers)


def unexpected(error: Exception) -> JSONResponse:
    """The answer to what nobody expected; the log has the rest, which is nobody's business outside."""
    _log.error("A request failed with %s.", type(error).__name__, exc_info=error)
    return response_of(DevshError("This is a fault of the server itself; its log has the reason."))
