"""JSON-RPC 2.0 without HTTP: bytes in, bytes out (jsonrpc.org/specification).

A table maps method names to functions; a method's parameters are declared by its signature and checked
strictly, all problems of a request reported in one sentence. Refusals that a person can act on have code
REFUSED and say how. Batches are answered in order, one after the other, so that a batch costs one task.
"""

import inspect
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic_core import ErrorDetails

from consensus.primitives.errors import LocalFault, UserError

C = TypeVar("C")
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REFUSED: Final = -32000
TOO_LARGE: Final = -32001
MAX_BATCH: Final = 1_000
MAX_SHOWN_PROBLEMS: Final = 5

Handler = Callable[..., Awaitable[Any]]


class JsonText(bytes):
    """A method's result that is JSON already; a long one is encoded by parts, so as not to hold the loop."""


class Refusal(Exception):
    """A call ends with this JSON-RPC error."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code: Final = code


class Methods:
    """The methods of one server, by name. `table.method` registers a function `async f(context, *, …)`."""

    def __init__(self) -> None:
        self._table: Final[dict[str, tuple[Handler, type[BaseModel]]]] = {}

    def method(self, handler: Handler) -> Handler:
        """Register `handler` under its own name; its keyword parameters are the method's."""
        self._table[handler.__name__] = (handler, _parameter_model(handler))
        return handler

    def names(self) -> list[str]:
        """Every method, sorted."""
        return sorted(self._table)

    async def call(self, context: Any, name: str, params: Any) -> Any:
        """The method's JSON result. Raises Refusal."""
        if name not in self._table:
            raise Refusal(METHOD_NOT_FOUND, f"no method {name!r}; there are {', '.join(self.names())}")
        handler, model = self._table[name]
        try:
            checked = model.model_validate(_by_name(name, model, params))
        except ValidationError as error:
            raise Refusal(INVALID_PARAMS, _sentence(name, error.errors())) from None
        try:
            return await handler(context, **{field: getattr(checked, field) for field in model.model_fields})
        except UserError as error:
            raise Refusal(REFUSED, str(error)) from None


class Dispatcher:
    """Answers JSON-RPC requests with the methods of a table in one context."""

    def __init__(self, methods: Methods, context: Any, log: Any) -> None:
        self._methods = methods
        self._context = context
        self._log = log

    async def answer(self, body: bytes) -> bytes | None:
        """The answer to a request or batch; None when there is nothing to answer (notifications)."""
        try:
            request = json.loads(body)
        except (ValueError, RecursionError) as error:
            return failure(PARSE_ERROR, f"the body is not JSON: {error}")
        if not isinstance(request, list):
            return await self._one(request)
        if not request:
            return failure(INVALID_REQUEST, "the batch is empty")
        if len(request) > MAX_BATCH:
            reason = f"a batch of {len(request)} calls; at most {MAX_BATCH} are answered, split it"
            return failure(INVALID_REQUEST, reason)
        answers = [await self._one(each) for each in request]
        answered = [each for each in answers if each is not None]
        return b"[" + b",".join(answered) + b"]" if answered else None

    async def _one(self, request: Any) -> bytes | None:
        problem = _invalid_request(request)
        if problem is not None:
            number = request.get("id") if isinstance(request, dict) else None
            return failure(INVALID_REQUEST, problem, number if _is_id(number) else None)
        is_notification = "id" not in request
        number = request.get("id")
        try:
            result = await self._methods.call(self._context, request["method"], request.get("params", {}))
            answer = _success(number, result)
        except Refusal as refusal:
            answer = failure(refusal.code, str(refusal), number)
        except LocalFault as fault:
            self._log.error("rpc.faulted", method=request["method"], reason=str(fault))
            answer = failure(INTERNAL_ERROR, f"this node has a local fault: {fault}", number)
        except Exception:  # a bug in a read must not stop a validator; the log has all of it
            self._log.exception("rpc.crashed", method=request["method"])
            answer = failure(INTERNAL_ERROR, "this node failed to answer; its log says why", number)
        return None if is_notification else answer


def _invalid_request(request: Any) -> str | None:
    if not isinstance(request, dict):
        return "a request is an object with jsonrpc, method, params and id"
    if request.get("jsonrpc") != "2.0":
        return 'the request lacks "jsonrpc": "2.0"'
    if not isinstance(request.get("method"), str):
        return "the request lacks a method name"
    if not isinstance(request.get("params", {}), dict | list):
        return "params must be an object or a list"
    if not _is_id(request.get("id")):
        return "id must be a number, a string or null"
    return None


def _is_id(value: Any) -> bool:
    return value is None or (isinstance(value, int | float | str) and not isinstance(value, bool))


def failure(code: int, message: str, number: Any = None) -> bytes:
    """The bytes of an error; without a number it concerns no call in particular."""
    return dump({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}})


def _success(number: Any, result: Any) -> bytes:
    encoded = result if isinstance(result, JsonText) else dump(result)
    return b'{"jsonrpc":"2.0","id":' + dump(number) + b',"result":' + encoded + b"}"


def dump(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _parameter_model(handler: Handler) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(handler, eval_str=True).parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            default = ... if parameter.default is inspect.Parameter.empty else parameter.default
            fields[parameter.name] = (parameter.annotation, default)
    config = ConfigDict(extra="forbid", strict=True, frozen=True)
    return create_model(f"{handler.__name__}_params", __config__=config, **fields)


def _by_name(method: str, model: type[BaseModel], params: Any) -> dict[str, Any]:
    """Positional parameters take the names in the order of the declaration."""
    if isinstance(params, dict):
        return params
    names = list(model.model_fields)
    if len(params) > len(names):
        raise Refusal(INVALID_PARAMS, f"{method} takes {len(names)} parameters, not {len(params)}")
    return dict(zip(names, params, strict=False))


def _sentence(method: str, errors: Sequence[ErrorDetails]) -> str:
    shown = [_problem(each) for each in errors[:MAX_SHOWN_PROBLEMS]]
    more = len(errors) - len(shown)
    return f"{method}: {'; '.join(shown)}" + (f"; and {more} more" if more else "")


def _problem(error: ErrorDetails) -> str:
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    match error["type"]:
        case "missing":
            return f"{where} is missing"
        case "extra_forbidden":
            return f"{where} is not a parameter of this method"
        case "phalanx":
            return f"{where} {error['ctx']['reason']}"
        case _:
            return f"{where}: {error['msg'][0].lower()}{error['msg'][1:]}"
