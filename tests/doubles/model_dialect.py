"""Which API a scripted model speaks: how its requests are read, and how its turns and errors are written."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from tests.doubles import gemini_answer, model_answer, responses_answer
from tests.doubles.gemini_request import GeminiRequest
from tests.doubles.model_request import Request
from tests.doubles.model_script import Error, Turn
from tests.doubles.responses_request import ResponsesRequest


class Dialect(NamedTuple):
    """`beside` answers what is no request for a turn: a status and a body."""

    request: Callable[[str, str, dict[str, str], dict[str, Any]], Request]
    message: Callable[[Turn, Request], dict[str, Any]]
    frames: Callable[[dict[str, Any]], Iterator[bytes]]
    error_body: Callable[[Error], dict[str, Any]]
    refusal: Callable[[str], Error]
    beside: Callable[[Request], tuple[int, dict[str, Any]]]


MESSAGES = Dialect(Request, model_answer.message, model_answer.frames, model_answer.error_body, model_answer.refusal, model_answer.beside)
RESPONSES = Dialect(
    ResponsesRequest,
    responses_answer.message,
    responses_answer.frames,
    responses_answer.error_body,
    responses_answer.refusal,
    responses_answer.beside,
)
GEMINI = Dialect(
    GeminiRequest, gemini_answer.message, gemini_answer.frames, gemini_answer.error_body, gemini_answer.refusal, gemini_answer.beside
)
