"""What tests of stake do over and over: who there is, and acts that must succeed or be refused."""

from relay_fakes import OPERATORS, USERS, key
from stake_world import StakeWorld

from consensus.relay.receipts import Code
from consensus.relay.stake.records import nomination_name
from consensus.relay.stake.stakes import Stakes
from consensus.relay.stake.transactions import Bond, Delegate, Redelegate

ALICE, BOB, CAROL = (each.public for each in USERS[:3])
V = [each.public for each in OPERATORS]
OWN = [Stakes.own(each) for each in V]
PAIR = nomination_name(V[:2])
TRIO = nomination_name(V[:3])
LAST = nomination_name(V[2:])


def done(world: StakeWorld, sender: bytes, action) -> bytes:
    code, output = world.do(sender, action)
    assert code is Code.OK, code
    return output


def refused(world: StakeWorld, sender: bytes, action) -> Code:
    code, output = world.do(sender, action)
    assert output == b""
    return code


def delegated(world: StakeWorld, who: bytes, validators, amount: int) -> bytes:
    return done(world, who, Delegate(validators=tuple(validators), amount=amount))


def moved(world: StakeWorld) -> StakeWorld:
    """Alice has 300 units behind the pair, and moves 200 of them behind the last two in epoch 1."""
    delegated(world, ALICE, V[:2], 300)
    action = Redelegate(nomination=PAIR, validators=tuple(V[2:]), amount=200)
    assert done(world, ALICE, action) == nomination_name(V[2:])
    return world


def bond(name: str, amount: int, **changes) -> Bond:
    return Bond(
        name=name,
        consensus_key=key(f"{name} consensus").public,
        identity_key=key(f"{name} identity").public,
        address="",
        amount=amount,
        consensus_proof=bytes(64),
        identity_proof=bytes(64),
        **changes,
    )
