"""A typed client of a node's JSON-RPC: for the command line, bench and anybody's scripts.

    async with RpcClient("http://127.0.0.1:7800") as client:
        status = await client.status()

Asking again is always safe: reads change nothing, and a transaction has the same bytes, hence the same hash
and nonce, however often it is submitted. So a request that met a broken connection is repeated until
`patience_s` is over. An answer of the node that says no is `RpcError`; no answer at all is `RpcUnreachable`.
"""

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx
import trio
import trio_websocket

from consensus.light.proofs import MAX_BUNDLE_BYTES, EpochHop, FinalHead, Hops, Start
from consensus.primitives.codec import decode
from consensus.primitives.errors import DecodeError, UserError
from consensus.primitives.ids import ChainId, Epoch, Hash, Height, ModuleId, PublicKey, View
from consensus.relay.elections.concentration import Concentration
from consensus.relay.governance.report import GovernanceReport, ProposalReport
from consensus.relay.offences.report import OffencesReport
from consensus.relay.rewards.economy import Economy
from consensus.relay.security.exposure import ExposureReport
from node.api import (
    AccountReport,
    BlockReport,
    BlockTrace,
    ChainReport,
    ChainTransactionReport,
    EnclaveReport,
    EvidenceReport,
    NodeStatus,
    Stage,
    StateReport,
    SubmitResult,
    TracePage,
    TransactionReport,
    ValidatorReport,
)
from node.rpc.json_form import from_json

T = TypeVar("T")
REQUEST_TIMEOUT_S: Final = 30.0
RETRY_INTERVAL_S: Final = 0.05
FINALITY_BUFFER: Final = 1024 * 1024  # bytes of one notification; far above any


class RpcError(UserError):
    """The node refused or could not answer; the text is its sentence. `code` is JSON-RPC's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code: Final = code


class RpcUnreachable(UserError):
    """Nobody answered at the address as a Phalanx node would."""


class RpcClient:
    """One node's JSON-RPC over a pool of kept connections. Use as an async context manager."""

    def __init__(self, url: str, *, timeout_s: float = REQUEST_TIMEOUT_S, patience_s: float = 0.0) -> None:
        """
        url: `http://host:port` (a path or trailing slash is not needed).
        timeout_s: for one answer, added to the time that a question itself may wait.
        patience_s: how long a request is repeated while the node can not be reached.
        """
        self.url: Final = _base_url(url)
        self._timeout_s: Final = timeout_s
        self.patience_s = patience_s
        self._numbers: Final = itertools.count(1)
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=256, keepalive_expiry=60)
        self._http: Final = httpx.AsyncClient(limits=limits, timeout=timeout_s, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    # --- the protocol

    async def call(self, method: str, params: dict[str, Any] | None = None, *, wait_s: float = 0.0) -> Any:
        """The raw JSON result of one call. `wait_s`: how long the node itself may take to answer."""
        number = next(self._numbers)
        request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params or {}}
        answer = await self._post(request, wait_s)
        if not isinstance(answer, dict) or answer.get("id") not in (number, None):
            raise self._stranger()
        return self._result(answer)

    async def batch(self, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
        """Raw results of many calls in one request, in order; an RpcError stands in a failed one's place."""
        numbers = [next(self._numbers) for _ in calls]
        requests = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in zip(numbers, calls, strict=True)
        ]
        answers = await self._post(requests, 0.0)
        if isinstance(answers, dict):
            self._result(answers)  # an error of the whole batch
        if not isinstance(answers, list):
            raise self._stranger()
        by_number = {each["id"]: each for each in answers if isinstance(each, dict) and _has_number(each)}
        results: list[Any] = []
        for number in numbers:
            try:
                results.append(self._result(by_number.get(number, {})))
            except RpcError as error:
                results.append(error)
        return results

    def _result(self, answer: dict[str, Any]) -> Any:
        error = answer.get("error")
        if isinstance(error, dict):
            code = error.get("code")
            known = code if isinstance(code, int) else 0
            raise RpcError(known, str(error.get("message", "the node gave no reason")))
        if "result" not in answer:
            raise self._stranger()
        return answer["result"]

    def _stranger(self) -> RpcUnreachable:
        return RpcUnreachable(f"{self.url} does not speak Phalanx JSON-RPC; check the address")

    async def _post(self, body: Any, wait_s: float) -> Any:
        content = json.dumps(body, separators=(",", ":")).encode()
        give_up = trio.current_time() + self.patience_s
        while True:
            try:
                response = await self._http.post(
                    f"{self.url}/rpc",
                    content=content,
                    headers={"content-type": "application/json"},
                    timeout=self._timeout_s + wait_s,
                )
                break
            except httpx.TimeoutException:
                raise RpcUnreachable(
                    f"{self.url} did not answer within {self._timeout_s + wait_s:g} s; is it overloaded?"
                ) from None
            except httpx.HTTPError as error:
                if trio.current_time() >= give_up:
                    raise RpcUnreachable(
                        f"no node answers at {self.url} ({error or type(error).__name__}); is it running?"
                    ) from None
                await trio.sleep(RETRY_INTERVAL_S)
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise RpcUnreachable(
                f"{self.url} answered with HTTP status {response.status_code} and no JSON; check the address"
            ) from None

    async def _ask(self, kind: type[T], method: str, **params: Any) -> T:
        return self._read(kind, await self.call(method, params))

    async def _ask_list(
        self, kind: type[T], method: str, *, count: int | None = None, **params: Any
    ) -> list[T]:
        """`count`: how many answers there must be, where each question has one."""
        raw = await self.call(method, params)
        if not isinstance(raw, list) or count not in (None, len(raw)):
            raise RpcUnreachable(f"{self.url} answered {method} in an unknown form; do the versions differ?")
        return [self._read(kind, each) for each in raw]

    def _read(self, kind: type[T], raw: Any) -> T:
        try:
            return from_json(kind, raw)
        except DecodeError as error:
            raise RpcUnreachable(
                f"{self.url} answered in an unknown form ({error}); do versions differ?"
            ) from None

    # --- the relay chain

    async def status(self) -> NodeStatus:
        """Where the node stands."""
        return await self._ask(NodeStatus, "status")

    async def submit(self, transactions: Sequence[bytes]) -> list[SubmitResult]:
        """Offer relay transactions to the mempool; one result each, in order."""
        raw = [each.hex() for each in transactions]
        return await self._ask_list(SubmitResult, "submit", count=len(raw), transactions=raw)

    async def receipt(
        self, tx_hash: Hash, *, wait: Stage | None = None, timeout_s: float = 0.0
    ) -> TransactionReport:
        """A transaction's report; with `wait`, once it reached that stage or `timeout_s` is over."""
        params = {
            "hash": tx_hash.hex(),
            "wait": None if wait is None else str(wait),
            "timeout_ms": round(timeout_s * 1000),
        }
        return self._read(TransactionReport, await self.call("receipt", params, wait_s=timeout_s))

    async def receipts(self, hashes: Sequence[Hash]) -> list[TransactionReport]:
        """Reports of many transactions, at once."""
        raw = [each.hex() for each in hashes]
        return await self._ask_list(TransactionReport, "receipts", count=len(raw), hashes=raw)

    async def receipt_proof(self, tx_hash: Hash) -> bytes:
        """The self-contained proof of a receipt."""
        return self._bytes(await self.call("receipt_proof", {"hash": tx_hash.hex()}), "proof")

    async def account(self, account: PublicKey) -> AccountReport:
        """Balance and next nonce in final state."""
        return await self._ask(AccountReport, "account", account=account.hex())

    async def state(self, key: Hash, *, prove: bool = False) -> StateReport:
        """One leaf of the relay chain's state, by tree key."""
        return await self._ask(StateReport, "state", key=key.hex(), prove=prove)

    async def block(self, *, height: Height | None = None, block_hash: Hash | None = None) -> BlockReport:
        """A final block by height or by hash."""
        if block_hash is not None:
            return await self._ask(BlockReport, "block", hash=block_hash.hex())
        return await self._ask(BlockReport, "block", height=height)

    async def validators(self, epoch: int | None = None) -> list[ValidatorReport]:
        """An epoch's validator set; by default that of the present one."""
        return await self._ask_list(ValidatorReport, "validators", epoch=epoch)

    async def concentration(self, epoch: int | None = None) -> Concentration:
        """How voting power is spread in an epoch; by default the present one."""
        return await self._ask(Concentration, "concentration", epoch=epoch)

    async def exposure(self, chain: int | None = None) -> ExposureReport:
        """What is at risk, by validator and chain, and what it would cost to corrupt a chain."""
        return await self._ask(ExposureReport, "exposure", chain=chain)

    async def economy(self) -> Economy:
        """What is issued, staked and waiting, and what came of the latest epochs."""
        return await self._ask(Economy, "economy")

    async def governance(self) -> GovernanceReport:
        """What is put to the vote, what came of it, who sits on the council, which version runs."""
        return await self._ask(GovernanceReport, "governance")

    async def proposal(self, number: int) -> ProposalReport:
        """One proposal, with its votes as they are now."""
        return await self._ask(ProposalReport, "proposal", number=number)

    async def offences(self) -> OffencesReport:
        """Who stands convicted, what can be vetoed, what waits to be burnt."""
        return await self._ask(OffencesReport, "offences")

    async def evidence(self) -> list[EvidenceReport]:
        """One piece of evidence for each offender that the node knows of."""
        return await self._ask_list(EvidenceReport, "evidence")

    async def submit_evidence(self, evidence: bytes) -> EvidenceReport:
        """Have evidence kept, flooded and included."""
        return await self._ask(EvidenceReport, "submit_evidence", evidence=evidence.hex())

    async def trace(self, after: Height, limit: int = 1000) -> TracePage:
        """Latency records of final blocks above `after`."""
        return await self._ask(TracePage, "trace", after=after, limit=limit)

    # --- for light clients: nothing of it is believed before it is verified

    async def light_head(self, height: Height | None = None) -> FinalHead:
        """A final block, by default the newest, with its finality proof."""
        answer = await self.call("light_head", {} if height is None else {"height": height})
        return self._decoded(FinalHead, answer, "proof")

    async def light_start(self, height: Height) -> Start:
        """A final block with its epoch's validator set."""
        return self._decoded(Start, await self.call("light_start", {"height": height}), "start")

    async def light_hops(self, epoch: Epoch) -> tuple[EpochHop, ...]:
        """Hops from `epoch` on, as many as come in one answer; none where it has not ended."""
        return self._decoded(Hops, await self.call("light_hops", {"epoch": epoch}), "hops").hops

    async def dossier(self, height: Height, view: View) -> bytes:
        """The file of what makes a block final, for `phalanx evidence blame`."""
        return self._bytes(await self.call("dossier", {"height": height, "view": view}), "dossier")

    def _decoded(self, kind: type[T], answer: Any, field: str) -> T:
        try:
            return decode(kind, self._bytes(answer, field), limit=MAX_BUNDLE_BYTES)
        except DecodeError as error:
            raise self._nonsense(error) from None

    def _bytes(self, answer: Any, field: str) -> bytes:
        try:
            return bytes.fromhex(answer[field])
        except (KeyError, TypeError, ValueError) as error:
            raise self._nonsense(error) from None

    def _nonsense(self, error: Exception) -> RpcUnreachable:
        return RpcUnreachable(f"{self.url} answers what no node answers ({error}); ask another")

    # --- consumer chains

    async def chains(self) -> list[ChainReport]:
        """Every consumer chain."""
        return await self._ask_list(ChainReport, "chains")

    async def chain(self, chain: ChainId) -> ChainReport:
        """One consumer chain."""
        return await self._ask(ChainReport, "chain", chain=chain)

    async def chain_submit(self, chain: ChainId, transactions: Sequence[bytes]) -> list[SubmitResult]:
        """Offer transactions to a consumer chain, at a node that collates it."""
        raw = [each.hex() for each in transactions]
        return await self._ask_list(
            SubmitResult, "chain_submit", count=len(raw), chain=chain, transactions=raw
        )

    async def chain_receipts(self, chain: ChainId, hashes: Sequence[Hash]) -> list[ChainTransactionReport]:
        """Stages of consumer-chain transactions, at a node that collates it."""
        raw = [each.hex() for each in hashes]
        return await self._ask_list(
            ChainTransactionReport, "chain_receipts", count=len(raw), chain=chain, hashes=raw
        )

    async def chain_state(self, chain: ChainId, key: bytes, *, prove: bool = False) -> StateReport:
        """A raw key of a consumer chain's state."""
        return await self._ask(StateReport, "chain_state", chain=chain, key=key.hex(), prove=prove)

    # --- enclaves

    async def enclaves(self) -> list[EnclaveReport]:
        """Every deployed module."""
        return await self._ask_list(EnclaveReport, "enclaves")

    async def enclave(self, module: ModuleId) -> EnclaveReport:
        """One module."""
        return await self._ask(EnclaveReport, "enclave", module=module.hex())

    async def enclave_state(
        self, module: ModuleId, chain: ChainId, key: bytes, *, prove: bool = False
    ) -> StateReport:
        """A raw key of the instance (module, chain)."""
        return await self._ask(
            StateReport, "enclave_state", module=module.hex(), chain=chain, key=key.hex(), prove=prove
        )

    # --- subscription

    @asynccontextmanager
    async def finality(self) -> AsyncIterator[AsyncIterator[BlockTrace]]:
        """Blocks as they become final, from now on.

        Iterating raises RpcUnreachable with the reason when the node ends the subscription, for one because
        this subscriber was too slow.
        """
        address = "ws" + self.url.removeprefix("http") + "/ws"
        try:
            async with trio_websocket.open_websocket_url(address, max_message_size=FINALITY_BUFFER) as socket:
                request = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"topic": "finality"}}
                await socket.send_message(json.dumps(request))
                try:
                    self._result(self._message(await socket.get_message()))
                except trio_websocket.ConnectionClosed as closed:
                    raise self._ended(closed) from None
                yield self._notifications(socket)
        except (OSError, trio_websocket.HandshakeError, trio_websocket.ConnectionRejected) as error:
            raise RpcUnreachable(f"no node answers at {address} ({error})") from None

    async def _notifications(self, socket: trio_websocket.WebSocketConnection) -> AsyncIterator[BlockTrace]:
        while True:
            try:
                message = self._message(await socket.get_message())
            except trio_websocket.ConnectionClosed as closed:
                raise self._ended(closed) from None
            yield self._read(BlockTrace, message.get("params"))

    def _message(self, text: str | bytes) -> dict[str, Any]:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise self._stranger()
        return message

    def _ended(self, closed: trio_websocket.ConnectionClosed) -> RpcUnreachable:
        reason = closed.reason.reason if closed.reason else "the connection broke"
        return RpcUnreachable(f"the subscription at {self.url} ended: {reason}")


def ask(url: str, question: Callable[[RpcClient], Awaitable[T]], *, patience_s: float = 0.0) -> T:
    """Run one question to its end, from code that is not async: `ask(url, lambda c: c.status())`."""

    async def run() -> T:
        async with RpcClient(url, patience_s=patience_s) as client:
            return await question(client)

    return trio.run(run)


def _has_number(answer: dict[str, Any]) -> bool:
    return isinstance(answer.get("id"), int)


def _base_url(url: str) -> str:
    text = url if "://" in url else f"http://{url}"
    return text.rstrip("/").removesuffix("/rpc")
