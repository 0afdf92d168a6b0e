"""Payment in a chain's own asset: held by nobody, then paid out to those who attested (DESIGN.md section 8).

For each chain and epoch there is a *holding account*: a name that is a hash, so that nobody has its key. A
chain that pays for its security in units of its own, be it a share of what it issues or of what it took in,
transfers them there on an instance of `assets`, by its own code or by anybody's hand, in the epoch or later.
Relay units do not change hands and no rate is fixed: what the asset is worth is for who holds it to find out.

Once the epoch is over anybody may have it paid out (`ReleasePayment`): the relay chain calls the instance in
the holding account's name with transfers to the operators of those who attested the chain's candidates in
that epoch, by weight as its attesters times attestations. They are for operators alone: delegators earn in
units of the relay chain. Whoever asks says how much; if the account has less, the call fails and pays its
fuel.

The parts are whole numbers in proportion, at most PRECISION together, and so much is paid out that each gets
a multiple of its own: any number of releases, of whatever amounts, shares out exactly alike, and the state
need remember none of them. What is less than one such round waits for more. Where the state does not tell any
more who attested, or nobody did, all goes to the chain's owner.
"""

import math
import struct
from collections.abc import Sequence
from typing import Final

from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ChainId, Epoch, Hash, PublicKey
from consensus.relay.epochs import current_set, find_epoch_members
from consensus.relay.registry import ChainRecord
from consensus.relay.rewards.attesting import chain_attesting
from consensus.relay.rewards.transactions import ReleasePayment
from consensus.relay.run import Run
from consensus.relay.security.attesters import attesters

PRECISION: Final = 1_000_000
_TRANSFER: Final = 3  # of a batch of operations of `assets`, which like all enclaves never changes

Parts = Sequence[tuple[PublicKey, int]]


def holding_account(chain: ChainId, epoch: Epoch) -> PublicKey:
    """Who holds what a chain pays in its own asset for an epoch."""
    name = hash_tagged(b"PHALANX/holding/1", chain.to_bytes(4, "big"), epoch.to_bytes(8, "big"))
    return PublicKey(name)


def release_parts(run: Run, action: ReleasePayment) -> Parts:
    """Who gets how many units, for an epoch that is over; empty if `amount` is below one round."""
    chain = run.registry.existing_chain(action.chain)
    # First, for it is known of few epochs: anybody may name any, and a set is dear to make.
    attested = chain_attesting(run.ledger, action.chain, action.epoch)
    members = None if attested is None else find_epoch_members(run.ledger, action.epoch)
    weights = () if attested is None or members is None else _weights(run, chain, action.epoch, attested)
    if members is None or not any(weights):
        return [(chain.owner, action.amount)] if action.amount else []
    parts = round_of(weights)
    rounds = action.amount // sum(parts)
    pairs = zip(members.members, parts, strict=True)
    return [(each.account, rounds * part) for each, part in pairs if rounds * part]


def _weights(run: Run, chain: ChainRecord, epoch: Epoch, attested: Sequence[int]) -> Sequence[int]:
    """What each member of an epoch did for a chain, having `attested` so many candidates; nothing where the
    state does not tell who was to."""
    validators = current_set(run.ledger, chain_id_hash=run.context.chain_id_hash, epoch=epoch)
    asked = attesters(run.ledger, chain, epoch, validators)
    if asked is None:
        return ()
    return [weight * count for weight, count in zip(asked.weights, attested, strict=True)]


def round_of(weights: Sequence[int]) -> list[int]:
    """Whole parts in proportion to weights, which are not all zero: the smallest, of at most PRECISION."""
    scaled = [each // math.gcd(*weights) for each in weights]
    total = sum(scaled)
    if total > PRECISION:
        scaled = [each * PRECISION // total for each in scaled]
    common = math.gcd(*scaled)
    return [each // common for each in scaled]


def transfers_input(asset: Hash, parts: Parts) -> bytes:
    """A batch of transfers, as `assets` takes it from a user: all or nothing."""
    operations = [bytes([_TRANSFER]) + asset + to + units.to_bytes(16, "little") for to, units in parts]
    return struct.pack("<I", len(operations)) + b"".join(operations)
