"""Four validators and a collator around one relay state: the network and the driver are fakes, the guest
workers, the guests, the relay transition and the collator's disk are real."""

import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "consensus" / "relay"))

from relay_fakes import USERS, VALIDATORS, Network, make_genesis

from consensus.agreement.events import StatementSigned
from consensus.agreement.statements import Role, statement_sign_bytes
from consensus.candidates.receipts import decode_candidate_message, encode_candidate_message
from consensus.primitives import crypto
from consensus.primitives.errors import LocalFault
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import Epoch, Nonce, ValidatorIndex
from consensus.relay.genesis import GenesisChain
from consensus.relay.parameters import ChainTerms, Entry
from enclaves.guests import agora, assets
from node.chain_replica import chain_beginning
from node.collator import Collator
from node.validation import Validation

COLLATOR = 9
SECOND = 10
DOMAIN = agora.domain("market")
OWN = InstanceEndpoint(module=assets.module_id(), chain=1)


def market(terms: ChainTerms | None = None, wasm: bytes | None = None) -> GenesisChain:
    pairs = agora.genesis_pairs(DOMAIN, {user.public: 10**9 for user in USERS}, assets.module_id())
    return GenesisChain(
        name="market",
        owner=USERS[0].public,
        code=agora.wasm() if wasm is None else wasm,
        entries=tuple(Entry(key=name, value=value) for name, value in pairs),
        terms=terms or ChainTerms(),
        balance=10**9,
        opt_in=(assets.module_id(),),
    )


def make_network(pool, terms: ChainTerms | None = None) -> Network:
    network = Network(replace(make_genesis(), enclaves=(assets.wasm(),), chains=(market(terms),)))
    network.guests = pool
    network.block()
    return network


class MemoryPovs:
    """The store's part for PoVs."""

    def __init__(self) -> None:
        self.held: dict[bytes, bytes] = {}

    async def put_povs(self, povs) -> None:
        await trio.lowlevel.checkpoint()
        self.held.update((candidate, raw) for candidate, raw, _ in povs)

    def pov(self, candidate: bytes) -> bytes | None:
        return self.held.get(candidate)


class BrokenWorkers:
    """A machine that can not run guests."""

    def execute_stateless(self, call, pre_root, witness):
        raise LocalFault("no worker today")


class World:
    """`hold` says which messages (sender, receiver, message) are lost; `change` rewrites them."""

    def __init__(
        self, network: Network, pool, path: Path, *, broken: Sequence[int] = (), stores=None
    ) -> None:
        self.network = network
        self.pool = pool
        self.path = path
        self.wire: deque = deque()
        self.arrived = trio.Event()
        self.lose: Callable = lambda sender, receiver, message: False
        self.change: Callable = lambda sender, receiver, message: message
        self.blamed: list[tuple[int, int, str]] = []
        self.sent: list = []
        self.stores = stores or [MemoryPovs() for _ in range(4)]
        self.validators = [self._validator(index, index in broken) for index in range(4)]
        self.collator = self.make_collator()
        self.second: Collator | None = None
        self.nonces = [0] * len(USERS)

    def _validator(self, index: int, broken: bool) -> Validation:
        return Validation(
            own=ValidatorIndex(index),
            chain_id_hash=self.network.hash,
            epoch=Epoch(1),
            validators=self.network.validators,
            verify=crypto.verify,
            workers=BrokenWorkers() if broken else self.pool,
            store=self.stores[index],
            post=lambda request: self.post(lambda: self.sign(index, request.statement)),
            send=lambda peer, message: self.send(index, peer, message),
            broadcast=lambda message: [
                self.send(index, each, message) for each in (0, 1, 2, 3, COLLATOR) if each != index
            ],
            misbehaved=lambda peer, reason: self.blamed.append((index, peer, reason)),
            view=self.network.view,
        )

    def make_collator(self, peer: int = COLLATOR) -> Collator:
        return Collator(
            chain=1,
            beginning=chain_beginning(1, self.network.genesis.chains[0].entries),
            validators=lambda: range(4),
            workers=self.pool,
            path=self.path / f"chain-of-{peer}",
            send=lambda receiver, message: self.send(peer, receiver, message),
            view=self.network.view,
        )

    # --- the network and the drivers

    def post(self, action: Callable[[], None]) -> None:
        self.wire.append(action)
        self.arrived.set()

    def send(self, sender: int, receiver: int, message) -> bool:
        message = self.change(sender, receiver, message)
        if self.lose(sender, receiver, message):
            return False
        self.sent.append((sender, receiver, message))
        wire = encode_candidate_message(message)
        machine = {COLLATOR: self.collator, SECOND: self.second}.get(receiver) or self.validators[receiver]
        self.post(lambda: machine.receive(sender, decode_candidate_message(wire)))
        return True

    def sign(self, index: int, statement) -> None:
        message = statement_sign_bytes(
            self.network.hash,
            Epoch(1),
            Role.ATTEST,
            statement.relay_parent,
            statement.candidate,
            statement.verdict,
        )
        answer = StatementSigned(statement=statement, signature=VALIDATORS[index].sign(message))
        self.validators[index].on_statement(answer)

    async def pump(self) -> None:
        while True:
            while self.wire:
                self.wire.popleft()()
                await trio.lowlevel.checkpoint()
            self.arrived = trio.Event()
            await self.arrived.wait()

    @asynccontextmanager
    async def running(self, *, collating: bool = True):
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.pump)
                for each in self.validators:
                    nursery.start_soon(each.run)
                if collating:
                    nursery.start_soon(self.collator.run)
                yield nursery
                nursery.cancel_scope.cancel()

    # --- the relay chain

    def includable(self, leader: int = 0):
        return self.validators[leader].includable(self.network.view, 16)

    def block(self, raws=(), *, leader: int = 0, empty: bool = False):
        inclusions = [] if empty else self.includable(leader)
        result = self.network.block(raws, inclusions)
        enacted = [each for each in inclusions if each.header.hash in result.enacted]
        for each in self.validators:
            each.advance(self.network.view)
        for each in filter(None, (self.collator, self.second)):
            each.advance(self.network.view, enacted)
        return result

    @property
    def head(self):
        return self.network.view.head(1)

    # --- the chain

    def transfers(self, count: int, amount: int = 1) -> list[bytes]:
        """Signed transfers of user 0, each under its next nonce, to user 1."""
        return [self.signed(0, agora.Transfer(to=USERS[1].public, amount=amount)) for _ in range(count)]

    def signed(self, user: int, action) -> bytes:
        nonce = self.nonces[user]
        self.nonces[user] += 1
        return agora.sign_transaction(USERS[user], DOMAIN, Nonce(nonce), action)

    def account(self, user: int):
        value, _, _ = self.collator.state(agora.account_key(USERS[user].public))
        return agora.decode_account(value)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that the tasks will bring about."""
    while not condition():  # noqa: ASYNC110  many tasks may bring it about
        await trio.sleep(0.002)
