"""A network in a variable for tests of the relay chain: keys, a scripted guest, a chain of blocks."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from consensus.agreement.evidence import Evidence
from consensus.agreement.statements import Role, Verdict, statement_sign_bytes
from consensus.agreement.validators import ValidatorSet
from consensus.candidates.receipts import Attestation, CandidateHeader, CandidateInclusion, bitmap_of
from consensus.primitives import crypto
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.guest import (
    ChainEndpoint,
    GuestCall,
    GuestKind,
    GuestOutcome,
    InstanceEndpoint,
    Outgoing,
    ReadState,
    Status,
    module_id,
)
from consensus.primitives.ids import (
    ChainId,
    Epoch,
    Fuel,
    Hash,
    Height,
    ModuleId,
    Nonce,
    Signature,
    ValidatorIndex,
    View,
)
from consensus.primitives.tree import MemoryStore
from consensus.relay.blocks import EMPTY_PAYLOAD, check_payload, encode_payload, limits_of
from consensus.relay.epochs import current_set, epoch_of
from consensus.relay.genesis import Genesis, GenesisAccount, GenesisChain, GenesisValidator, genesis_state
from consensus.relay.ledger import Pot
from consensus.relay.parameters import Entry, Parameters
from consensus.relay.rewards.votes import VoteInclusion
from consensus.relay.transactions import Action, TransactionBody, check_transaction, sign_transaction
from consensus.relay.transition import BlockContext, BlockResult, apply_block
from consensus.relay.views import StateView

BANK = b"\0asm-bank"  # the scripted enclave
CHAIN_CODE = b"\0asm-chain"
BANK_ID = module_id(BANK)


def key(name: str) -> SigningKey:
    return SigningKey(hash_tagged(b"test-key", name.encode()))


USERS = [key(f"user {index}") for index in range(6)]
VALIDATORS = [key(f"validator {index}") for index in range(4)]
OPERATORS = [key(f"operator {index}") for index in range(4)]  # the validators' accounts


def send_to_chain(chain: int, payload: bytes) -> bytes:
    """An input that makes the scripted enclave message a chain."""
    return b"C" + struct.pack("<I", chain) + payload


def send_to_instance(module: bytes, chain: int, payload: bytes) -> bytes:
    """An input that makes the scripted enclave message an instance."""
    return b"I" + module + struct.pack("<I", chain) + payload


class ScriptedGuests:
    """A deterministic executor whose guests are a few lines of Python.

    An input is a command: `S key=value` writes, `C…` and `I…` send, `F` fails, `T` traps, `B` burns all fuel,
    `E` answers a chain origin with its own payload. What the enclave has seen is counted under b"calls".
    """

    def admit(self, wasm: bytes) -> str | None:
        return None if wasm.startswith(b"\0asm") else "not a WebAssembly module"

    def call(self, call: GuestCall, read: ReadState) -> GuestOutcome:
        return run_chain(call, read) if call.kind is GuestKind.CHAIN else self._enclave(call, read)

    def _enclave(self, call: GuestCall, read: ReadState) -> GuestOutcome:
        (calls,) = read([b"calls"])
        seen = int.from_bytes(calls or b"", "big") + 1
        writes = {b"calls": seen.to_bytes(8, "big")}
        outgoing: list[Outgoing] = []
        command, rest = call.input[:1], call.input[1:]
        if command == b"F":
            return GuestOutcome(status=Status.FAILED, fuel_used=Fuel(50), reason="asked to")
        if command == b"T":
            return GuestOutcome(status=Status.TRAPPED, fuel_used=call.fuel_limit)
        if command == b"B":
            return GuestOutcome(status=Status.OUT_OF_FUEL, fuel_used=call.fuel_limit)
        if command == b"S":
            name, _, value = rest.partition(b"=")
            writes[name or b"x"] = value
        elif command == b"C":
            end = ChainEndpoint(chain=ChainId(struct.unpack("<I", rest[:4])[0]))
            outgoing.append(Outgoing(destination=end, payload=rest[4:]))
        elif command == b"I":
            end = InstanceEndpoint(module=ModuleId(rest[:32]), chain=struct.unpack("<I", rest[32:36])[0])
            outgoing.append(Outgoing(destination=end, payload=rest[36:]))
        elif command == b"E":
            end = ChainEndpoint(chain=call.chain)
            outgoing.append(Outgoing(destination=end, payload=b"echo " + rest))
        return GuestOutcome(
            status=Status.OK,
            fuel_used=Fuel(min(1_000, call.fuel_limit)),
            output=b"done",
            writes=tuple(sorted(writes.items())),
            outgoing=tuple(outgoing),
        )


def unframe(data: bytes) -> tuple[list[bytes], list[bytes]]:
    """The messages and transactions in a chain guest's input."""
    lists: list[list[bytes]] = []
    offset = 0
    for _ in range(2):
        (count,) = struct.unpack_from("<I", data, offset)
        offset += 4
        items = []
        for _ in range(count):
            (size,) = struct.unpack_from("<I", data, offset)
            items.append(data[offset + 4 : offset + 4 + size])
            offset += 4 + size
        lists.append(items)
    assert offset == len(data)
    return lists[0], lists[1]


def run_chain(call: GuestCall, read: ReadState) -> GuestOutcome:
    """A consumer chain in Python: appends what it got to a log; a transaction `!…` messages its instance."""
    messages, transactions = unframe(call.input)
    (log,) = read([b"log"])
    outgoing = []
    for each in transactions:
        if each == b"trap":
            return GuestOutcome(status=Status.TRAPPED, fuel_used=call.fuel_limit)
        if each[:1] == b"!":
            end = InstanceEndpoint(module=BANK_ID, chain=call.chain)
            outgoing.append(Outgoing(destination=end, payload=each[1:]))
    news = b"".join(b"<" + each[37:] + b">" for each in messages) + b"".join(transactions)
    return GuestOutcome(
        status=Status.OK,
        fuel_used=Fuel(100 + len(call.input)),
        writes=((b"log", (log or b"") + news),),
        outgoing=tuple(outgoing),
    )


def make_genesis(*, stake: int = 1, **parameters: object) -> Genesis:
    """Six users with money, four validators of one `stake`, the scripted enclave, and one chain that opted in
    to it."""
    return Genesis(
        network="test",
        time_ms=1_000,
        parameters=Parameters(**{"max_block_weight": 10_000_000, "min_stake": 1, **parameters}),
        validators=tuple(
            GenesisValidator(
                name=f"v{index}",
                consensus_key=each.public,
                identity_key=key(f"identity {index}").public,
                account=OPERATORS[index].public,
                stake=stake,
            )
            for index, each in enumerate(VALIDATORS)
        ),
        accounts=tuple(GenesisAccount(key=each.public, balance=10**9) for each in USERS + OPERATORS),
        enclaves=(BANK,),
        chains=(
            GenesisChain(
                name="one",
                owner=USERS[0].public,
                code=CHAIN_CODE,
                entries=(Entry(key=b"seed", value=b"1"),),
                balance=10**7,
                opt_in=(BANK_ID,),
            ),
        ),
    )


def block_hash(height: int) -> Hash:
    return hash_tagged(b"test-block", height.to_bytes(8, "big"))


@dataclass
class Network:
    """A relay chain that executes block after block in memory, every block twice."""

    genesis: Genesis = field(default_factory=make_genesis)

    def __post_init__(self) -> None:
        self.hash = self.genesis.hash
        self.root, nodes = genesis_state(self.genesis)
        self.store = MemoryStore(dict(nodes))
        self.references = dict.fromkeys(nodes, 1)
        self.height = 0
        self.halted_ms = 0  # time in which there were no blocks
        self.skipped = 0  # views that were let pass before the next block, in its epoch
        self.guests = ScriptedGuests()
        self.nonces: dict[bytes, int] = {}
        self.keys = {each.public: each for each in VALIDATORS}  # whoever may attest

    @property
    def epoch(self) -> Epoch:
        """Of the next block."""
        return epoch_of(self.height + 1, self.genesis.parameters.epoch_blocks)

    @property
    def validators(self) -> ValidatorSet:
        """Of the next block's epoch, as the state has them."""
        return current_set(self.view, chain_id_hash=self.hash, epoch=self.epoch)

    @property
    def limits(self):
        return limits_of(self.genesis.parameters, self.hash)

    @property
    def view(self) -> StateView:
        return StateView(
            nodes=self.store,
            root=self.root,
            height=Height(self.height),
            block=block_hash(self.height),
            time_ms=1_000 + 10 * self.height + self.halted_ms,
        )

    def raw(
        self, user: SigningKey, action: Action, *, nonce: int | None = None, max_fee: int = 10**6
    ) -> bytes:
        """A signed transaction; without a `nonce` it takes the user's next."""
        if nonce is None:
            nonce = self.nonces.get(user.public, 0)
            self.nonces[user.public] = nonce + 1
        body = TransactionBody(
            chain_id_hash=self.hash, sender=user.public, nonce=Nonce(nonce), max_fee=max_fee, action=action
        )
        return sign_transaction(user, body)

    def context(self) -> BlockContext:
        height = self.height + 1
        return BlockContext(
            chain_id_hash=self.hash,
            height=Height(height),
            time_ms=1_000 + 10 * height + self.halted_ms,
            epoch=self.epoch,
            view=View(height + self.skipped),
            parent_hash=block_hash(self.height),
            parent_view=View(height - 1),
            proposer=ValidatorIndex(height % len(self.validators)),
            validators=self.validators,
            verify=crypto.verify,
        )

    def execute(
        self,
        raws: Sequence[bytes] = (),
        inclusions: Sequence[CandidateInclusion] = (),
        evidence: Sequence[Evidence] = (),
        votes: VoteInclusion | None = None,
        statements: Sequence[Attestation] = (),
    ) -> BlockResult:
        """Execute a block without keeping its state."""
        empty = not (raws or inclusions or evidence or votes or statements)
        payload = EMPTY_PAYLOAD if empty else encode_payload(raws, inclusions, evidence, votes, statements)
        checked = check_payload(payload, self.limits, lambda _: None, lambda *_: True)
        return apply_block(self.root, self.context(), checked, self.store, self.guests)

    def block(
        self,
        raws: Sequence[bytes] = (),
        inclusions: Sequence[CandidateInclusion] = (),
        evidence: Sequence[Evidence] = (),
        votes: VoteInclusion | None = None,
        statements: Sequence[Attestation] = (),
    ) -> BlockResult:
        """Execute a block, keep its state, and prune the state before it by reference counts."""
        result = self.execute(raws, inclusions, evidence, votes, statements)
        assert self.execute(raws, inclusions, evidence, votes, statements) == result
        self.root = result.post_root
        self.store.apply(dict(result.new_nodes))
        for node, change in result.reference_changes.items():
            self.references[node] = self.references.get(node, 0) + change
            assert self.references[node] >= 0
            if not self.references[node]:
                del self.references[node]
                del self.store.nodes[node]
        self.height += 1
        return result

    def checked(self, raw: bytes):
        return check_transaction(raw, self.hash)

    def attest(
        self, header: CandidateHeader, who: Sequence[int] = (0, 1, 2), verdict: Verdict = Verdict.VALID
    ) -> CandidateInclusion:
        """The header with the signatures of some validators of the next block's epoch."""
        message = statement_sign_bytes(
            self.hash, self.epoch, Role.ATTEST, header.relay_parent, header.hash, verdict
        )
        signers = [self.keys[self.validators.keys[each]] for each in who]
        return CandidateInclusion(
            header=header,
            verdict=int(verdict),
            epoch=self.epoch,
            signers=bitmap_of([ValidatorIndex(each) for each in who]),
            signatures=tuple(each.sign(message) for each in signers),
        )

    def statement(
        self, header: CandidateHeader, index: int, verdict: Verdict, epoch: int | None = None
    ) -> Attestation:
        """What a member of an epoch, by default of the next block's, signs of a candidate."""
        about = self.epoch if epoch is None else Epoch(epoch)
        members = self.view.epoch_set(about)
        assert members is not None
        unsigned = Attestation(
            epoch=about,
            chain=header.chain,
            relay_parent=header.relay_parent,
            candidate=header.hash,
            verdict=int(verdict),
            validator=ValidatorIndex(index),
            signature=Signature(bytes(64)),
        )
        signer = self.keys[members.members[index].consensus_key]
        return replace(unsigned, signature=signer.sign(unsigned.sign_bytes(self.hash)))


def total_supply(view: StateView, accounts: Sequence[bytes]) -> int:
    """Everything that exists, found by looking: accounts, stake and its rewards, pots, chains' balances,
    deposits, what was burnt. (That the totals of stake are the sum of the pools has tests of its own.)"""
    total = view.supply().burnt + sum(view.account(each).balance for each in accounts)
    totals = view.stakes.totals()
    total += totals.bonded + totals.rewards + sum(view.stakes.ledger.pot(each) for each in Pot)
    for chain in view.chains():
        total += chain.balance + chain.deposit
        for module in view.modules():
            instance = view.instance(InstanceEndpoint(module=module.module, chain=ChainId(chain.chain)))
            total += 0 if instance is None else instance.deposit
    return total + sum(module.deposit for module in view.modules())


ALL_ACCOUNTS = [each.public for each in USERS + OPERATORS]
