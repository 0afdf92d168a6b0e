"""A relay chain with the example chain on it, whose collator consumes when it is told to."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from relay_fakes import USERS, Network, make_genesis
from staking_world import QUICK

from consensus.agreement.validators import ValidatorSet, ValidatorSetRecord
from consensus.candidates.collation import RelayParent, finish_candidate, plan_candidate
from consensus.candidates.receipts import CandidateHeader
from consensus.light.leaves import guest_key
from consensus.primitives.guest import ChainEndpoint, RelayEndpoint
from consensus.primitives.ids import ChainId, Epoch, Hash, PublicKey
from consensus.primitives.tree import MemoryStore, Recorder, get_many, update, witness_from
from consensus.relay.epochs import current_set
from consensus.relay.genesis import GenesisChain
from consensus.relay.notices.records import NoticeKind
from consensus.relay.offences.records import OffenceRecord, offence_key
from consensus.relay.offences.report import offences_report
from consensus.relay.parameters import Entry
from consensus.relay.registry import Registry, chain_genesis_state
from enclaves.execute import execute
from enclaves.guests import agora

CHAIN = ChainId(1)
DOMAIN = agora.domain("notices")
DISPUTE_MS = 100  # ten blocks
SLASH = struct.Struct("<BQ32s32sQBI16sQ32s32s")
SET = struct.Struct("<BQQ32sQ32sBH32sH")


@dataclass(frozen=True, slots=True)
class Slash:
    """A slash notice, read from its bytes as a guest has them."""

    kind: int
    number: int
    account: bytes
    key: bytes
    epoch: int
    offence: int
    fraction_ppb: int
    amount: int
    height: int
    fault: bytes
    digest: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Set:
    """A set notice, likewise."""

    epoch: int
    height: int
    root: bytes
    slashes: int
    digest: bytes
    members: tuple[tuple[bytes, int], ...]


def read(payload: bytes) -> Slash | Set:
    """A notice of its bytes, by the layout in docs/guest-abi.md section 9."""
    if payload[0] == NoticeKind.SET:
        _, epoch, height, root, slashes, digest, _, _, _, count = SET.unpack_from(payload)
        assert len(payload) == SET.size + 40 * count
        members = tuple(struct.iter_unpack("<32sQ", payload[SET.size :]))
        return Set(epoch, height, root, slashes, digest, members)
    kind, number, account, key, epoch, offence, fraction, amount, height, fault, digest = SLASH.unpack(
        payload
    )
    units = int.from_bytes(amount, "little")
    return Slash(
        kind, number, account, key, epoch, offence, fraction, units, height, fault, digest, payload[:142]
    )


def world(chains: int = 1, **parameters: object) -> "World":
    """Four validators with a stake of 100, and so many example chains."""
    pairs = agora.genesis_pairs(DOMAIN, {user.public: 1_000 for user in USERS}, None, DISPUTE_MS)
    entries = tuple(Entry(key=name, value=value) for name, value in pairs)
    genesis = make_genesis(stake=100, **(QUICK | parameters))
    consumers = tuple(
        GenesisChain(
            name=f"agora {index}", owner=USERS[0].public, code=agora.wasm(), entries=entries, balance=10**9
        )
        for index in range(chains)
    )
    return World(Network(replace(genesis, chains=consumers)))


@dataclass
class World:
    """The relay chain, and for each chain its tree and the notices that its candidates consumed."""

    network: Network
    received: dict[int, list[Slash | Set]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        entries = self.network.genesis.chains[0].entries
        self.nodes = MemoryStore(dict(chain_genesis_state(entries).added))

    def waiting(self, chain: ChainId = CHAIN) -> int:
        """Notices in a chain's lane."""
        lanes = Registry(self.network.view.stakes.ledger).lanes
        delivered, sent = lanes.cursors(RelayEndpoint(), ChainEndpoint(chain=chain))
        return sent - delivered

    def offer(
        self, transactions: Sequence[bytes] = (), chain: ChainId = CHAIN
    ) -> tuple[CandidateHeader, bytes]:
        """A candidate with all that waits in the inbox; what the guest said."""
        view = self.network.view
        record = view.chain(chain)
        assert record is not None
        parent = RelayParent(height=view.height, hash=view.block, time_ms=view.time_ms)
        plan = plan_candidate(view, record, record.tip, parent, transactions)
        recorder = Recorder(self.nodes)

        def values(keys):
            return get_many(recorder, plan.tip.state_root, [guest_key(each) for each in keys])

        outcome = execute(plan.call, values)
        changed = update(
            recorder, plan.tip.state_root, {guest_key(name): value for name, value in outcome.writes}
        )
        witness = witness_from(plan.tip.state_root, recorder)
        header, _ = finish_candidate(plan, outcome, changed.root, witness)
        self.nodes.apply(changed.added)
        return header, outcome.output

    def consume(self, transactions: Sequence[bytes] = (), chain: ChainId = CHAIN) -> bytes:
        """A candidate, and the block that enacts it; what the guest said."""
        view = self.network.view
        header, output = self.offer(transactions, chain)
        seen = self.received.setdefault(chain, [])
        for cursor in header.inbox:
            assert isinstance(cursor.source, RelayEndpoint)
            payloads = view.messages(chain, cursor.source, cursor.first, cursor.next)
            seen += [read(each) for each in payloads]
        who = range(len(self.network.validators))
        assert self.network.block(inclusions=[self.network.attest(header, who)]).enacted == (header.hash,)
        return output

    def consume_all(self, chain: ChainId = CHAIN) -> list[Slash | Set]:
        """Candidates until nothing waits; all that the chain ever received."""
        self.consume(chain=chain)
        while self.waiting(chain):
            self.consume(chain=chain)
        return self.received[chain]

    def state(self, key: bytes, chain: ChainId = CHAIN) -> bytes | None:
        """A key of a chain's enacted state."""
        root = self.network.view.head(chain).state_root
        return get_many(self.nodes, root, [guest_key(key)])[0]

    def taken(self, account: PublicKey, epoch: int) -> int:
        """Units that the relay chain has cut from a validator for an epoch."""
        record = self.network.view.stakes.ledger.record(OffenceRecord, offence_key(account, Epoch(epoch)))
        return 0 if record is None else record.taken

    def convictions(self) -> set[tuple[bytes, int]]:
        """Account and epoch of all convictions that stand."""
        report = offences_report(self.network.view.stakes.ledger)
        return {(each.account, each.epoch) for each in report.convicted}

    def set_record(self, epoch: int) -> ValidatorSetRecord:
        """What the root of an epoch's set commits to."""
        return self._set(epoch).record

    def set_root(self, epoch: int) -> Hash:
        """`validators_hash` of the headers of an epoch."""
        return self._set(epoch).validators_hash

    def _set(self, epoch: int) -> ValidatorSet:
        return current_set(self.network.view, chain_id_hash=self.network.hash, epoch=Epoch(epoch))
