"""Stake, epochs and offences for tests: actions with real proofs, evidence with real signatures."""

from collections.abc import Sequence

from relay_fakes import Network, key, make_genesis

from consensus.agreement.evidence import Evidence, SignedStatement, evidence_from
from consensus.agreement.messages import Kind, sign_bytes
from consensus.primitives import crypto
from consensus.primitives.crypto import SigningKey
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, ValidatorIndex, View
from consensus.relay.epochs import current_set
from consensus.relay.offences.judging import Bench
from consensus.relay.receipts import Code, TransactionReceipt
from consensus.relay.stake.records import possession_bytes
from consensus.relay.stake.transactions import Bond, RotateKey
from consensus.relay.transactions import Action

BLOCK_A, BLOCK_B = bytes([1]) * 32, bytes([2]) * 32


def bond(network: Network, sender: SigningKey, name: str, amount: int = 1, address: str = "") -> Bond:
    """A bond of `sender` with the keys of `name`."""
    message = possession_bytes(network.hash, sender.public)
    consensus, identity = key(f"{name} consensus"), key(f"{name} identity")
    network.keys[consensus.public] = consensus
    return Bond(
        name=name,
        consensus_key=consensus.public,
        identity_key=identity.public,
        address=address,
        amount=amount,
        consensus_proof=consensus.sign(message),
        identity_proof=identity.sign(message),
    )


def rotation(network: Network, sender: SigningKey, name: str) -> RotateKey:
    """A rotation of `sender` to the consensus key of `name`."""
    fresh = key(f"{name} consensus")
    network.keys[fresh.public] = fresh
    return RotateKey(
        consensus_key=fresh.public, proof=fresh.sign(possession_bytes(network.hash, sender.public))
    )


QUICK = {
    "epoch_blocks": 4,
    "min_stake": 10,
    "evidence_epochs": 2,
    "unbonding_epochs": 2,
    "unbonding_ms": 100,
    "trusting_ms": 50,
    "jail_epochs": 2,
    "min_nomination": 20,
    "exit_cap_ppb": 10**9,
    "veto_ms": 1,
    "verdict_epochs": 1,
    "gov_vote_ms": 1,
    "downtime_epochs": 1,
}  # epochs of four blocks, 10 ms each, and windows to match


def quick(**parameters: object) -> Network:
    """A network with epochs of four blocks, 10 ms each, and windows to match; every stake is 100,
    and all of it may leave at once."""
    return Network(make_genesis(stake=100, **(QUICK | parameters)))


def do(network: Network, sender: SigningKey, action: Action) -> TransactionReceipt:
    """Execute one transaction in a block of its own."""
    receipt = network.block([network.raw(sender, action)]).receipts[-1]
    assert isinstance(receipt, TransactionReceipt)
    return receipt


def code(network: Network, sender: SigningKey, action: Action) -> Code:
    """What became of one transaction in a block of its own."""
    return Code(do(network, sender, action).code)


def to_epoch(network: Network, epoch: int) -> None:
    """Execute empty blocks until the next one is the first of `epoch`."""
    while network.epoch < epoch:
        network.block()


def accounts(network: Network, epoch: int | None = None) -> list[bytes]:
    """The accounts of an epoch's members, in order."""
    record = network.view.epoch_set(Epoch(epoch or network.epoch))
    assert record is not None
    return [each.account for each in record.members]


def statement(
    network: Network,
    signer: SigningKey,
    epoch: int,
    view: int,
    kind: Kind,
    block: Hash,
    aux: Hash = ZERO_HASH,
) -> SignedStatement:
    """A vote that `signer` signs."""
    signature = signer.sign(sign_bytes(network.hash, kind, epoch, view, block, aux))
    return SignedStatement(kind=int(kind), block=block, aux=aux, sig=signature)


DOUBLE = ((Kind.NOTARIZE, BLOCK_A), (Kind.NOTARIZE, BLOCK_B))  # tombstones
CONTRADICTION = ((Kind.NOTARIZE, BLOCK_A), (Kind.SKIP, ZERO_HASH))  # jails


def evidence(
    network: Network,
    index: int,
    *,
    epoch: int = 1,
    view: int = 3,
    votes: Sequence[tuple[Kind, Hash]] = DOUBLE,
) -> Evidence:
    """What convicts member `index` of `epoch`, with the key that it had then."""
    members = current_set(network.view, chain_id_hash=network.hash, epoch=Epoch(epoch))
    signer = network.keys[members.keys[index]]
    first, second = (statement(network, signer, epoch, view, *each) for each in votes)
    return evidence_from(epoch=Epoch(epoch), view=View(view), signer=ValidatorIndex(index), a=first, b=second)


def bench(network: Network) -> Bench:
    """Where the next block's leader judges."""
    return Bench(
        state=network.view,
        chain_id_hash=network.hash,
        epoch=network.epoch,
        time_ms=network.context().time_ms,
        verify=crypto.verify,
    )
