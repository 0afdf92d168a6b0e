"""What a running node answers: the one seam between the node and whatever serves people.

JSON-RPC, metrics and tests call `NodeApi` and nothing else of the node. Every method runs in the node's trio
loop, but for those that read much of what is final (`validators`, `concentration`, `exposure`, `proposal`,
`light_hops`, `dossier`): they may take seconds, and run in a thread. Answers are frozen values in the words
of DESIGN.md section 1, bytes as bytes and amounts as integers: their JSON form is the server's business. A
question that this node can not answer raises `UserError` with one sentence.
"""

import enum
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import trio

from consensus.primitives.guest import Endpoint
from consensus.primitives.ids import (
    Amount,
    ChainId,
    Epoch,
    Fuel,
    Hash,
    Height,
    Milliseconds,
    ModuleId,
    Nonce,
    PublicKey,
    Stake,
    ValidatorIndex,
    View,
)
from consensus.relay.elections.concentration import Concentration
from consensus.relay.governance.report import GovernanceReport, ProposalReport
from consensus.relay.offences.report import OffencesReport
from consensus.relay.rewards.economy import Economy
from consensus.relay.security.exposure import ExposureReport

NO_AMOUNT: Final = Amount(0)
MAX_CHAINS_REPORTED: Final = 100
NO_FUEL: Final = Fuel(0)


class Role(enum.StrEnum):
    """What this node does in the network (DESIGN.md section 9)."""

    VALIDATOR = "validator"
    FULL = "full"
    COLLATOR = "collator"


class Stage(enum.StrEnum):
    """How far a relay transaction has come. Each stage implies the ones before it."""

    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    NOTARISED = "notarised"
    FINAL = "final"
    PROVED = "proved"

    @property
    def rank(self) -> int:
        """Position in the order of stages, so that stages compare."""
        return list(Stage).index(self)


class ChainStage(enum.StrEnum):
    """How far a consumer chain's transaction has come, as its collator sees it."""

    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    COLLATED = "collated"
    ENACTED = "enacted"
    FINAL = "final"


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerStatus:
    """One peer of the full mesh. `rtt_ms` is None until the first round trip."""

    identity: PublicKey
    name: str
    connected: bool
    rtt_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """Where this node stands. Heights are of the relay chain."""

    network: str
    genesis_hash: Hash
    version: str
    role: Role
    name: str
    validator_index: ValidatorIndex | None
    epoch: Epoch
    view: View
    final_height: Height
    final_hash: Hash
    notarised_height: Height
    executed_height: Height
    persisted_height: Height
    syncing: bool
    amnesic: bool
    validators: int
    peers: tuple[PeerStatus, ...]
    mempool: int
    uptime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitResult:
    """What became of one submitted transaction; `error` is one sentence, empty when accepted."""

    hash: Hash
    accepted: bool
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionReport:
    """A transaction's stage and, once executed, its receipt.

    `times_ms` are this node's clock (Unix milliseconds) at each stage that it saw itself. `void` is true
    for a transaction that was included but could not be paid for: it has no receipt and changed nothing.
    """

    hash: Hash
    stage: Stage
    height: Height | None = None
    block: Hash | None = None
    status: str = ""  # "ok", "failed" or "void" once executed
    code: int = 0
    fee: Amount = NO_AMOUNT
    fuel_used: Fuel = NO_FUEL
    output: bytes = b""
    times_ms: tuple[tuple[Stage, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """An account in the newest final executed state.

    pending_nonce: for the next transaction: the nonce after those that wait in this node's mempool.
    """

    account: PublicKey
    balance: Amount
    nonce: Nonce
    pending_nonce: Nonce
    height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReport:
    """A key of an authenticated map, at the newest state that a final header proves.

    `proof` is a self-contained bundle for a light client (header, certificate, tree path), None unless it
    was asked for.
    """

    key: Hash
    value: bytes | None
    height: Height
    proof: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockReport:
    """A final relay block."""

    height: Height
    hash: Hash
    epoch: Epoch
    view: View
    parent_hash: Hash
    proposer: ValidatorIndex
    time_ms: Milliseconds
    state_root: Hash
    payload_root: Hash
    payload_bytes: int
    transactions: tuple[Hash, ...]
    candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorReport:
    """A member of the epoch's validator set."""

    index: ValidatorIndex
    name: str
    account: PublicKey
    consensus_key: PublicKey
    identity_key: PublicKey
    stake: Stake  # voting power: its support, capped so that nobody is above what may be faulty
    support: Amount = NO_AMOUNT  # all units behind it in that epoch, its own ones among them
    address: str = ""  # where it says that others reach it; empty where it says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainReport:
    """A consumer chain: its record on the relay chain and its enacted head."""

    chain: ChainId
    name: str
    owner: PublicKey
    code_hash: Hash
    state_root: Hash
    head: Hash
    head_height: Height
    balance: Amount
    policy: str
    enclaves: tuple[ModuleId, ...]
    enacted: int
    rejected: int
    stage: str  # launched, or stopped for good
    paused_until_ms: Milliseconds  # a pause that is over says when it was


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainTransactionReport:
    """A consumer-chain transaction as its collator sees it.

    `code` is what the chain's own code says of it, once a candidate carries it: 0 is done, anything else its
    reason for refusing it. None where it says nothing. `error`: why no candidate can carry it.
    """

    hash: Hash
    stage: ChainStage
    candidate: Hash | None = None
    height: Height | None = None
    code: int | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveReport:
    """An immutable module. `deployer` paid for it and has no power over it."""

    module: ModuleId
    size_bytes: int
    deployer: PublicKey
    height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReport:
    """Two signatures that convict a validator of an epoch; the first piece that this node saw against it.

    `height` is that of the final block that carries it, None while none does.
    """

    epoch: Epoch
    view: View
    signer: ValidatorIndex
    offence: str
    evidence: bytes
    height: Height | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTrace:
    """When one block passed this node, in CLOCK_MONOTONIC nanoseconds (joinable across one host)."""

    height: Height
    epoch: Epoch
    view: View
    hash: Hash
    proposer: ValidatorIndex
    proposed_ns: int | None  # at its leader only
    received_ns: int | None  # None when it came by catch-up
    notarised_ns: int | None
    finalized_ns: int
    one_round: bool
    transactions: int
    candidates: int
    enclave_calls: int
    messages: int
    time_ms: Milliseconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePage:
    """Traces of blocks above a height, oldest first; ask again with `after=next`."""

    next: Height
    blocks: tuple[BlockTrace, ...]


class NodeApi(Protocol):
    """A running node. Reads are of final executed state unless they say otherwise."""

    def status(self) -> NodeStatus:
        """Where the node stands."""
        ...

    def statistics(self) -> dict[str, Any]:
        """Counters and queue statistics for metrics: flat, `snake_case`, numbers only."""
        ...

    async def submit(self, transactions: Sequence[bytes]) -> list[SubmitResult]:
        """Admit relay transactions to the mempool and flood those accepted; each stands alone."""
        ...

    async def receipt(self, tx_hash: Hash, *, wait: Stage | None, timeout_s: float) -> TransactionReport:
        """A transaction's report; with `wait`, once it has reached that stage or the time is over."""
        ...

    def receipts(self, hashes: Sequence[Hash]) -> list[TransactionReport]:
        """Reports of many transactions, at once and without waiting."""
        ...

    def receipt_proof(self, tx_hash: Hash) -> bytes:
        """A self-contained proof of the receipt under the next final header. Raises UserError."""
        ...

    def account(self, account: PublicKey) -> AccountReport:
        """An account's balance and next nonce; zeros when it was never used."""
        ...

    def state(self, key: Hash, *, prove: bool) -> StateReport:
        """One leaf of the relay chain's state, by tree key."""
        ...

    def block(self, *, height: Height | None = None, block_hash: Hash | None = None) -> BlockReport:
        """A final block by height or by hash. Raises UserError when this node has none such."""
        ...

    def validators(self, epoch: Epoch | None = None) -> list[ValidatorReport]:
        """An epoch's validator set, by index, by default that of this one. Raises UserError if not known."""
        ...

    def concentration(self, epoch: Epoch | None = None) -> Concentration:
        """How voting power is spread in an epoch, by default this one. Raises UserError if not known."""
        ...

    def exposure(self, chain: ChainId | None = None) -> ExposureReport:
        """What validators have at risk in this epoch, and how secure one chain is, or each of the first
        MAX_CHAINS_REPORTED. Raises UserError if there is no such chain."""
        ...

    def economy(self) -> Economy:
        """What is issued, staked, waiting, and what came of the latest epochs."""
        ...

    def governance(self) -> GovernanceReport:
        """What is put to the vote, what came of it, who sits on the council, which version runs."""
        ...

    def proposal(self, number: int) -> ProposalReport:
        """One proposal, with its votes as they are now. Raises UserError if the state does not know it."""
        ...

    def offences(self) -> OffencesReport:
        """Who stands convicted, what can be vetoed, what waits to be burnt."""
        ...

    def evidence(self) -> list[EvidenceReport]:
        """One piece of evidence for each offender of an epoch, by epoch and index."""
        ...

    def submit_evidence(self, evidence: bytes) -> EvidenceReport:
        """Keep evidence, flood it, have it included. Raises UserError if it convicts nobody.

        Answers with the piece that is kept: of two against one offender that is the first.
        """
        ...

    def light_head(self, height: Height | None) -> bytes:
        """An encoded `FinalHead`: a final block, by default the newest, and its finality proof."""
        ...

    def light_start(self, height: Height) -> bytes:
        """An encoded `Start`: a final block and its epoch's set, for a client that trusts its hash."""
        ...

    def light_hops(self, epoch: Epoch) -> bytes:
        """Encoded `Hops` over the ends of `epoch` and later ones, as many as one answer holds."""
        ...

    def dossier(self, height: Height, view: View) -> bytes:
        """An encoded `Dossier` of the final block at `height`, its ancestry down to `view`."""
        ...

    def chains(self) -> list[ChainReport]:
        """Every registered consumer chain, by identifier."""
        ...

    def chain(self, chain: ChainId) -> ChainReport:
        """One consumer chain. Raises UserError when there is none such."""
        ...

    async def chain_submit(self, chain: ChainId, transactions: Sequence[bytes]) -> list[SubmitResult]:
        """Hand transactions to the chain's collator. Raises UserError where this node does not collate it."""
        ...

    def chain_receipts(self, chain: ChainId, hashes: Sequence[Hash]) -> list[ChainTransactionReport]:
        """Stages of consumer-chain transactions. Raises UserError where this node does not collate it."""
        ...

    def chain_state(self, chain: ChainId, key: bytes, *, prove: bool) -> StateReport:
        """A raw key of a consumer chain's state, at the head this node holds.

        With `prove`, at the enacted head. Raises UserError where this node keeps no replica of the chain.
        """
        ...

    def enclaves(self) -> list[EnclaveReport]:
        """Every deployed module, by identity."""
        ...

    def enclave(self, module: ModuleId) -> EnclaveReport:
        """One module. Raises UserError when there is none such."""
        ...

    def enclave_state(self, module: ModuleId, chain: ChainId, key: bytes, *, prove: bool) -> StateReport:
        """A raw key of the instance (module, chain); chain 0 is the shared tree."""
        ...

    def lane(self, source: Endpoint, destination: Endpoint) -> tuple[int, int]:
        """(messages ever sent, messages ever delivered) on one lane."""
        ...

    def trace(self, after: Height, limit: int) -> TracePage:
        """Latency records of final blocks above `after`, at most `limit`, from a bounded ring."""
        ...

    def finality(self) -> AbstractAsyncContextManager[trio.MemoryReceiveChannel[BlockTrace]]:
        """A bounded feed of blocks as they become final.

        A subscriber that falls behind its bound has its feed closed: the channel ends.
        """
        ...


Service = Callable[[NodeApi], Awaitable[None]]
"""Something served beside the node, such as RPC: runs until cancelled, stops before the node does."""
