"""`phalanx bench transition`: what executing a block costs, and how that grows with the state.

The real transition on a real store: accounts are written to a database on disk, as a validator has them, and
blocks of mixed transactions are executed on top of it. Signatures are checked ahead of the timed part (they
cost the same whatever the state is; `phalanx bench throughput` says what they allow). Times are of this
process's processor, because other work on the machine would otherwise be measured too.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

from bench.statistics import columns, percentile
from bench.workload import CALL_FUEL, RelayAccount, derived_key
from consensus.primitives import crypto
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.errors import LocalFault
from consensus.primitives.guest import GuestCall, GuestOutcome, InstanceEndpoint, ReadState
from consensus.primitives.ids import (
    RELAY_CHAIN,
    Amount,
    ChainId,
    Hash,
    Height,
    Milliseconds,
    PublicKey,
    Stake,
    View,
)
from consensus.primitives.tree import get
from consensus.relay.blocks import CheckedPayload, check_payload, encode_payload, limits_of
from consensus.relay.epochs import current_set, epoch_of
from consensus.relay.genesis import Genesis, GenesisAccount, GenesisChain, GenesisValidator, genesis_state
from consensus.relay.parameters import Entry, Parameters
from consensus.relay.receipts import Code, TransactionReceipt
from consensus.relay.run import BlockContext
from consensus.relay.stake.records import main_pool, nomination_name
from consensus.relay.stake.transactions import Claim, Delegate, Redelegate, Undelegate
from consensus.relay.transactions import Action, CallEnclave, TopUpChain, Transfer
from consensus.relay.transition import BlockResult, apply_block
from enclaves.execute import execute
from enclaves.guests import agora, assets
from node.state_nodes import NodeOverlay
from node.store import Store

VALIDATORS: Final = 20
KEYED: Final = 4_000  # accounts that sign; the others are only there, and are paid
FUNDS: Final = Amount(10**12)
STAKE: Final = Stake(10**9)
DELEGATION: Final = Amount(10**6)
UNITS: Final = Amount(10_000)  # of everything that moves in a timed block
CHAIN: Final = ChainId(1)
BLOCKS: Final = 5
BLOCK_MS: Final = 1_000
EPOCH_BLOCKS: Final = 40
MIX: Final = {  # of 1,000 transactions
    "transfer": 640,
    "transfer to a new account": 60,
    "enclave call": 50,
    "top up": 50,
    "delegate": 80,
    "undelegate": 40,
    "redelegate": 40,
    "claim": 40,
}
PURE: Final = 500  # transactions of one kind, in a block of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one block took: processor time of its execution, tree nodes that it made."""

    transactions: int
    cpu_s: float
    new_nodes: int


class _InProcess:
    """Guests in this process, so that their processor time is counted; a node has them in workers."""

    def admit(self, wasm: bytes) -> str | None:
        """Nothing is deployed in these blocks."""
        raise RuntimeError("no module is deployed here")

    def call(self, call: GuestCall, read: ReadState) -> GuestOutcome:
        """Run it to its end."""
        return execute(call, read)


class Ledgers:
    """A relay chain of one process on a store of its own, and accounts that sign for it."""

    def __init__(self, accounts: int, directory: Path) -> None:
        network = f"transition-{accounts}"
        self._senders = [derived_key(network, "sender", index) for index in range(KEYED)]
        self._idle = [
            PublicKey(hash_tagged(b"PHALANX/bench-idle", f"{network}/{index}".encode()))
            for index in range(accounts - KEYED)
        ]
        self._genesis = _genesis(network, [each.public for each in self._senders], self._idle)
        self.hash = self._genesis.hash
        self._root, nodes = genesis_state(self._genesis)
        self.store = Store(directory, sync=False)
        self.store.initialise(self.hash, self._root, nodes)
        self._nodes = NodeOverlay(self.store)
        self._height = 0
        self.accounts = [RelayAccount(each, self.hash) for each in self._senders]
        self.operators = [each.account for each in self._genesis.validators]
        self._receivers = _spread(self._idle or [each.public for each in self._senders])
        self._turn = count()
        self._claimant = count()

    def read(self, key: Hash) -> bytes | None:
        """The value under a tree key of the newest state."""
        return get(self._nodes, self._root, key)

    def execute(self, raws: Sequence[bytes]) -> Cost:
        """Execute one block and keep its state. Raises LocalFault if a transaction did not do its work."""
        checked = self._checked(raws)
        context = self._context()
        began = time.process_time()
        result = apply_block(self._root, context, checked, self._nodes, _InProcess())
        cpu_s = time.process_time() - began
        _expect_done(result, len(raws))
        self._nodes.hold(result.new_nodes)
        self._root = result.post_root
        self._height += 1
        return Cost(transactions=len(raws), cpu_s=cpu_s, new_nodes=len(result.new_nodes))

    def finish_epoch(self) -> tuple[Cost, Cost]:
        """Empty blocks to the end of the epoch; what the last two cost, which elect and turn."""
        left = EPOCH_BLOCKS - self._height % EPOCH_BLOCKS
        if left < 2:
            raise RuntimeError("the epoch's election is over already: make EPOCH_BLOCKS larger")
        *_, election, turn = (self.execute([]) for _ in range(left))
        return election, turn

    def _checked(self, raws: Sequence[bytes]) -> CheckedPayload:
        limits = limits_of(self._genesis.parameters, self.hash)
        return check_payload(encode_payload(raws, ()), limits, lambda _: None, lambda *_: True)

    def _context(self) -> BlockContext:
        height = self._height + 1
        epoch = epoch_of(height, EPOCH_BLOCKS)
        view = self._height % EPOCH_BLOCKS + 1
        validators = current_set(self, chain_id_hash=self.hash, epoch=epoch)
        return BlockContext(
            chain_id_hash=self.hash,
            height=Height(height),
            time_ms=Milliseconds(self._genesis.time_ms + height * BLOCK_MS),
            epoch=epoch,
            view=View(view),
            parent_hash=Hash(hash_tagged(b"PHALANX/bench-block", height.to_bytes(8, "big"))),
            parent_view=View(view - 1),
            proposer=validators.leader(View(view)),
            validators=validators,
            verify=crypto.verify,
        )

    # --- work

    def delegations(self) -> Iterator[list[bytes]]:
        """What comes before the timed part: every keyed account delegates, so that it has what to move."""
        for start in range(0, KEYED, 1_000):
            some = range(start, min(start + 1_000, KEYED))
            yield [self._sign(index, "delegate", DELEGATION) for index in some]

    def mixed(self) -> list[bytes]:
        """A block's worth of `MIX`, the kinds interleaved."""
        kinds = [kind for kind, times in MIX.items() for _ in range(times)]
        return [self._next(kind) for kind in _interleaved(kinds)]

    def pure(self, kind: str) -> list[bytes]:
        """`PURE` transactions of one kind."""
        return [self._next(kind) for _ in range(PURE)]

    def _next(self, kind: str) -> bytes:
        turn = self._claimant if kind == "claim" else self._turn  # who claimed has nothing to claim again
        return self._sign(next(turn) % KEYED, kind, UNITS)

    def _sign(self, index: int, kind: str, amount: Amount) -> bytes:
        return self.accounts[index].sign(self._action(index, kind, amount))

    def _action(self, index: int, kind: str, amount: Amount) -> Action:
        own = (self.operators[index % VALIDATORS],)
        match kind:
            case "transfer":
                return Transfer(to=next(self._receivers), amount=amount)
            case "transfer to a new account":
                fresh = hash_tagged(b"PHALANX/bench-new", self.hash, next(self._turn).to_bytes(8, "big"))
                return Transfer(to=PublicKey(fresh), amount=amount)
            case "enclave call":
                salt = next(self._turn)
                batch = assets.encode_operations(assets.Create(salt=salt, symbol="BENCH", decimals=0))
                shared = InstanceEndpoint(module=assets.module_id(), chain=RELAY_CHAIN)
                return CallEnclave(instance=shared, input=batch, fuel_limit=CALL_FUEL)
            case "top up":
                return TopUpChain(chain=CHAIN, amount=amount)
            case "delegate":
                return Delegate(validators=own, amount=amount)
            case "undelegate":
                return Undelegate(nomination=nomination_name(own), amount=amount)
            case "redelegate":
                other = (self.operators[(index + 1) % VALIDATORS],)
                return Redelegate(nomination=nomination_name(own), validators=other, amount=amount)
            case _:
                return Claim(pool=main_pool(nomination_name(own)))


def run(sizes: tuple[int, ...]) -> dict[str, Any]:
    """The report: for each number of accounts, mixed blocks and each kind alone; and how the cost grew."""
    rows = [_measure(size) for size in sizes]
    first, last = rows[0], rows[-1]
    return {
        "mix": dict(MIX),
        "rows": rows,
        "growth": {
            "accounts": round(last["accounts"] / first["accounts"], 1),
            "mixed": _ratio(last["mixed_us"], first["mixed_us"]),
            **{kind: _ratio(last["us"][kind], first["us"][kind]) for kind in MIX},
        },
    }


def report_table(report: dict[str, Any]) -> str:
    """The report for people: microseconds of one transaction by kind, a column for each size."""
    rows = report["rows"]
    head = ("us a transaction", *(f"{row['accounts']:,} accounts" for row in rows), "growth")
    lines: list[Sequence[object]] = [("mixed", *(row["mixed_us"] for row in rows), report["growth"]["mixed"])]
    lines += [(kind, *(row["us"][kind] for row in rows), report["growth"][kind]) for kind in report["mix"]]
    for what, name in (
        ("mixed, transactions a second", "tx_per_s"),
        ("a block that elects, ms", "election_ms"),
        ("a block that ends an epoch, ms", "turn_ms"),
    ):
        lines.append((what, *(row[name] for row in rows), ""))
    return columns(head, lines)


def _measure(accounts: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="phalanx-transition-") as scratch:
        ledgers = Ledgers(accounts, Path(scratch))
        try:
            for raws in ledgers.delegations():
                ledgers.execute(raws)
            ledgers.finish_epoch()  # with it the delegations count, and earn
            ledgers.finish_epoch()
            ledgers.execute(ledgers.mixed())  # modules compiled, code warm
            mixed = [ledgers.execute(ledgers.mixed()) for _ in range(BLOCKS)]
            pure = {kind: _us([ledgers.execute(ledgers.pure(kind)) for _ in range(2)]) for kind in MIX}
            election, turn = ledgers.finish_epoch()
        finally:
            ledgers.store.close()
    return {
        "accounts": accounts,
        "tx_per_s": round(1e6 / _us(mixed)),
        "mixed_us": _us(mixed),
        "new_nodes_per_tx": round(sum(each.new_nodes for each in mixed) / (BLOCKS * sum(MIX.values())), 1),
        "us": pure,
        "election_ms": round(1e3 * election.cpu_s, 1),
        "turn_ms": round(1e3 * turn.cpu_s, 1),
    }


def _us(costs: Sequence[Cost]) -> float:
    """Microseconds of one transaction, in the median block."""
    return round(percentile([1e6 * each.cpu_s / each.transactions for each in costs], 0.5), 1)


def _ratio(late: float, early: float) -> float:
    return round(late / early, 2)


def _spread(accounts: Sequence[PublicKey]) -> Iterator[PublicKey]:
    """All accounts again and again, far apart from one to the next."""
    stride = 7_919  # a prime that divides no size
    return (accounts[turn * stride % len(accounts)] for turn in count())


def _interleaved(kinds: Sequence[str]) -> Iterator[str]:
    """The same items, mixed evenly and always alike."""

    def order(index: int) -> bytes:
        return hash_tagged(b"PHALANX/bench-mix", index.to_bytes(4, "big"))

    return (kinds[index] for index in sorted(range(len(kinds)), key=order))


def _expect_done(result: BlockResult, transactions: int) -> None:
    codes = Counter(Code(each.code).name for each in result.receipts if isinstance(each, TransactionReceipt))
    if codes.pop(Code.OK.name, 0) != transactions or codes:
        why = next(iter(result.void.values()), "")
        raise LocalFault(
            f"of {transactions} transactions: {dict(codes)}, {len(result.void)} void {why}".strip()
        )


def _genesis(network: str, senders: Sequence[PublicKey], idle: Sequence[PublicKey]) -> Genesis:
    keys = [
        [derived_key(network, purpose, index).public for purpose in ("consensus", "identity", "operator")]
        for index in range(VALIDATORS)
    ]
    funded = [GenesisAccount(key=each, balance=FUNDS) for each in senders]
    pairs = agora.genesis_pairs(agora.domain(network), {}, assets.module_id())
    return Genesis(
        network=network,
        time_ms=Milliseconds(1),
        parameters=Parameters(max_block_weight=10**9, epoch_blocks=EPOCH_BLOCKS),
        validators=tuple(
            GenesisValidator(
                name=f"v{index}", consensus_key=consensus, identity_key=identity, account=account, stake=STAKE
            )
            for index, (consensus, identity, account) in enumerate(keys)
        ),
        accounts=(*funded, *(GenesisAccount(key=each, balance=Amount(1)) for each in idle)),
        enclaves=(assets.wasm(),),
        chains=(
            GenesisChain(
                name="bench",
                owner=senders[0],
                code=agora.wasm(),
                entries=tuple(Entry(key=key, value=value) for key, value in pairs),
                balance=FUNDS,
            ),
        ),
    )
