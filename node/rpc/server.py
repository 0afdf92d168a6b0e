"""The HTTP port: routes, limits, and hypercorn on the node's own trio loop (DESIGN.md section 9).

`RpcServer.bind` takes the port before the node joins its network, so that an occupied port is an error at
the command line and not a validator that nobody can ask.
"""

import socket
from typing import Any, Final, Self

import trio
from hypercorn.config import Config, Sockets
from hypercorn.trio.run import worker_serve
from hypercorn.typing import ResponseSummary, WWWScope
from hypercorn.utils import wrap_app
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from consensus.primitives.errors import UserError
from node.api import NodeApi
from node.config import Address, RpcConfig
from node.metrics import CONTENT_TYPE, Metrics
from node.rpc.jsonrpc import INVALID_REQUEST, TOO_LARGE, Dispatcher, failure
from node.rpc.methods import METHODS, Context
from node.rpc.subscriptions import Subscriptions

KEEP_ALIVE_REQUESTS: Final = (
    1_000_000_000  # hypercorn closes after 1,000; a bench or dashboard stays for hours
)
KEEP_ALIVE_S: Final = 120.0
BACKLOG: Final = 512
GRACE_S: Final = 0.2
MAX_DISCARDED_BYTES: Final = 64 * 1024 * 1024  # of a body that is too long, before we hang up


class RpcServer:
    """One bound HTTP port; `serve` it beside the node (a `node.api.Service`)."""

    def __init__(self, listener: socket.socket, config: RpcConfig, log: Any) -> None:
        self._listener: Final = listener
        self._config: Final = config
        self._log: Final = log

    @classmethod
    def bind(cls, config: RpcConfig, log: Any) -> Self:
        """Take the port of `config.listen`. Raises UserError when that can not be had."""
        if config.listen is None:
            raise ValueError("this node serves no RPC")
        host, port = config.listen
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, kind, protocol)
        except OSError as error:
            raise UserError(f"rpc.listen: {config.listen} is not an address here: {error}") from None
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise UserError(
                f"rpc.listen: can not listen on {config.listen}: {error.strerror}; is a node running there?"
            ) from None
        listener.setblocking(False)
        return cls(listener, config, log)

    @property
    def url(self) -> str:
        """Where clients on this machine reach the server, with the actual port."""
        host, port = self._listener.getsockname()[:2]
        wildcard = {"0.0.0.0": "127.0.0.1", "::": "::1"}
        return f"http://{Address(wildcard.get(host, host), port)}"

    async def serve(
        self, api: NodeApi, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer until cancelled; closes the port."""
        metrics = Metrics(api)
        app = _application(api, metrics, self._config, self.url, self._log)
        hypercorn = _hypercorn_config(self._config, self._log)
        wrapped = wrap_app(app, hypercorn.wsgi_max_body_size, "asgi")  # type: ignore[arg-type]
        with self._listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(metrics.run)
                self._log.info("rpc.listening", url=self.url)
                task_status.started()
                await worker_serve(wrapped, hypercorn, sockets=Sockets([], [self._listener], []))


def _application(api: NodeApi, metrics: Metrics, config: RpcConfig, url: str, log: Any) -> Starlette:
    dispatcher = Dispatcher(METHODS, Context(api=api, url=url), log)
    subscriptions = Subscriptions(api, limit=config.max_subscribers, log=log)

    async def rpc(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # also keeps foreign web pages from submitting through a browser
            reason = "send JSON-RPC with the header content-type: application/json"
            return _json(failure(INVALID_REQUEST, reason), 415)
        try:
            body = await _bounded_body(request, config.max_body_bytes)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            reason = f"the body has more than {config.max_body_bytes} bytes; split it into several requests"
            return _json(failure(TOO_LARGE, reason), 413)
        answer = await dispatcher.answer(body)
        return Response(status_code=204) if answer is None else _json(answer, 200)

    async def scrape(_request: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    async def live(_request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_request: Request) -> Response:
        status = api.status()
        reasons = [name for name in ("syncing", "amnesic") if getattr(status, name)]
        height = status.final_height
        answer = {"ready": not reasons, "reasons": reasons, "final_height": height}
        return JSONResponse(answer, status_code=503 if reasons else 200)

    return Starlette(
        routes=[
            Route("/rpc", rpc, methods=["POST"]),
            Route("/metrics", scrape, methods=["GET"]),
            Route("/health/live", live, methods=["GET"]),
            Route("/health/ready", ready, methods=["GET"]),
            WebSocketRoute("/ws", subscriptions.serve),
        ]
    )


async def _bounded_body(request: Request, limit: int) -> bytes | None:
    """The body, or None if it is longer than `limit` bytes.

    The rest of one that is too long is read and thrown away, within bounds: most clients look at the answer
    only when they have sent everything, and would see a broken connection in place of the reason.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= limit:
            parts.append(part)
            continue
        parts.clear()
        if size > limit + MAX_DISCARDED_BYTES:
            break
    return b"".join(parts) if size <= limit else None


def _json(body: bytes, status: int) -> Response:
    return Response(body, status_code=status, media_type="application/json")


def _hypercorn_config(config: RpcConfig, log: Any) -> Config:
    settings = Config()
    settings.accesslog = None
    settings.errorlog = None
    settings.logger_class = _logger_class(log)
    settings.keep_alive_max_requests = KEEP_ALIVE_REQUESTS
    settings.keep_alive_timeout = KEEP_ALIVE_S
    settings.graceful_timeout = GRACE_S
    settings.websocket_max_message_size = 64 * 1024
    settings.websocket_ping_interval = 20.0
    settings.include_server_header = False
    settings.alpn_protocols = ["http/1.1"]
    return settings


def _logger_class(log: Any) -> Any:
    """Hypercorn's logger, into ours: its chatter to debug, its errors as events."""

    class HypercornLog:
        def __init__(self, _config: Config) -> None:
            pass

        async def access(self, request: WWWScope, response: ResponseSummary, request_time: float) -> None:
            pass

        async def debug(self, message: str, *args: Any, **_kwargs: Any) -> None:
            log.debug("http.noted", message=message % args)

        info = debug

        async def warning(self, message: str, *args: Any, **_kwargs: Any) -> None:
            log.warning("http.warned", message=message % args)

        async def error(self, message: str, *args: Any, **_kwargs: Any) -> None:
            log.error("http.failed", message=message % args)

        critical = error

        async def exception(self, message: str, *args: Any, **_kwargs: Any) -> None:
            log.exception("http.crashed", message=message % args)

    return HypercornLog
