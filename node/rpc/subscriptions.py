"""`/ws`: final blocks as they happen, for subscribers that keep up.

    → {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"topic": "finality"}}
    ← {"jsonrpc": "2.0", "id": 1, "result": {"topic": "finality"}}
    ← {"jsonrpc": "2.0", "method": "finality", "params": {"height": …, …}}      one for each block

A subscriber costs one bounded channel. Who falls behind it, or does not take a message for `SEND_TIMEOUT_S`,
is disconnected with code 1013 and the reason; it can read what it missed with `trace` and subscribe anew.
"""

import json
from typing import Any, Final

import trio
from starlette.websockets import WebSocket, WebSocketDisconnect

from node.api import BlockTrace, NodeApi
from node.rpc.json_form import to_json
from node.rpc.jsonrpc import INVALID_REQUEST

SEND_TIMEOUT_S: Final = 10.0
SUBSCRIBE_TIMEOUT_S: Final = 30.0
MAX_REQUEST_BYTES: Final = 4 * 1024
TOO_SLOW: Final = "too slow: messages were not taken in time; read what you missed with `trace`"
POLICY_VIOLATION: Final = 1008
TRY_AGAIN_LATER: Final = 1013


class Subscriptions:
    """Serves WebSocket connections, at most `limit` at a time."""

    def __init__(self, api: NodeApi, *, limit: int, log: Any, send_timeout_s: float = SEND_TIMEOUT_S) -> None:
        self._api = api
        self._limit = limit
        self._log = log
        self._send_timeout_s = send_timeout_s
        self.active = 0

    async def serve(self, socket: WebSocket) -> None:
        """One connection, to its end. A client that vanishes is no error."""
        if self.active >= self._limit:
            await socket.accept()
            await socket.close(TRY_AGAIN_LATER, f"all {self._limit} subscriptions are taken; try later")
            return
        self.active += 1
        try:
            await socket.accept()
            if await self._subscribed(socket):
                await self._stream(socket)
        except WebSocketDisconnect:
            pass
        finally:
            self.active -= 1

    async def _subscribed(self, socket: WebSocket) -> bool:
        """Whether the first message is a subscription that we have; if not, says so and closes."""
        number: Any = None
        problem = f"nothing was asked for within {SUBSCRIBE_TIMEOUT_S:g} s"
        with trio.move_on_after(SUBSCRIBE_TIMEOUT_S):
            number, problem = _check_request(await socket.receive_text())
            if not problem:
                answer = {"jsonrpc": "2.0", "id": number, "result": {"topic": "finality"}}
                await socket.send_text(json.dumps(answer))
                return True
        with trio.move_on_after(self._send_timeout_s):
            error = {"code": INVALID_REQUEST, "message": problem}
            await socket.send_text(json.dumps({"jsonrpc": "2.0", "id": number, "error": error}))
            await socket.close(POLICY_VIOLATION, problem)
        return False

    async def _stream(self, socket: WebSocket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_for_end, socket, nursery.cancel_scope)
            async with self._api.finality() as feed:
                reason = await self._forward(socket, feed)
            with trio.move_on_after(self._send_timeout_s):
                await socket.close(TRY_AGAIN_LATER, reason)
            self._log.info("subscriber.dropped", reason=reason)
            nursery.cancel_scope.cancel()

    async def _forward(self, socket: WebSocket, feed: trio.MemoryReceiveChannel[BlockTrace]) -> str:
        """Send until the subscriber is too slow; returns the reason why it must go."""
        async for block in feed:
            notification = {"jsonrpc": "2.0", "method": "finality", "params": to_json(block)}
            with trio.move_on_after(self._send_timeout_s) as scope:
                await socket.send_text(json.dumps(notification, separators=(",", ":")))
            if scope.cancelled_caught:
                return TOO_SLOW
        return TOO_SLOW

    async def _watch_for_end(self, socket: WebSocket, scope: trio.CancelScope) -> None:
        """End the stream when the client leaves; anything else that it sends is ignored."""
        try:
            while True:
                await socket.receive_text()
        except (WebSocketDisconnect, KeyError):  # KeyError: starlette, on a binary frame
            scope.cancel()


def _check_request(text: str) -> tuple[Any, str]:
    """(id, problem) of a subscribe request; the problem is empty when there is none."""
    try:
        request = json.loads(text) if len(text) <= MAX_REQUEST_BYTES else None
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        return None, "the first message must be a JSON-RPC request"
    number = request.get("id")
    if not isinstance(number, int | str):
        number = None
    params = request.get("params")
    if request.get("method") != "subscribe" or not isinstance(params, dict):
        return number, 'the first message must call "subscribe" with params {"topic": "finality"}'
    if params.get("topic") != "finality":
        return number, 'there is one topic: "finality"'
    return number, ""
