"""What the state says of an epoch, as one node reads it: whom to let in, whom to dial, which key signs."""

import pytest
import trio
from node_world import World, stored_key
from relay_fakes import USERS, VALIDATORS

from consensus.agreement.events import Peer
from consensus.primitives.ids import Amount, Hash
from consensus.relay.stake.records import possession_bytes
from consensus.relay.stake.transactions import Bond, BondMore, Unbond
from net.identity import PeerId
from node.config import Address, NetworkConfig, PeerConfig
from node.epochs import Epochs, _address
from node.keys import NodeKeys

NEWCOMER = 5
WHERE = Address("192.0.2.9", 7_700)
ELSEWHERE = Address("192.0.2.10", 7_700)
STRANGER = PeerId(VALIDATORS[0].public)  # a good key, and nobody's identity


def epochs_of(world: World, index: int, *, keys: NodeKeys | None = None, network=None, lost=None) -> Epochs:
    """As the node would make it, were it started now."""
    core = world.node(index)
    found = Epochs(
        network=network or NetworkConfig(),
        keys=keys or world.keys(index),
        chain_id_hash=world.hash,
        start=core.executor.tip.header,
        state=core.final_chain.view,
        lost_keys=lost,
        log=core.log,  # type: ignore[arg-type]
    )
    found.follow(lambda: core.final_chain.view)
    return found


def bond(world: World) -> bytes:
    """A user becomes a validator, with keys and an address of its own."""
    consensus, identity = stored_key("new consensus", "consensus"), stored_key("new identity", "identity")
    statement = possession_bytes(world.hash, USERS[NEWCOMER].public)
    return world.raw(
        NEWCOMER,
        Bond(
            name="newcomer",
            consensus_key=consensus.header.public,
            identity_key=identity.header.public,
            address=str(WHERE),
            amount=Amount(100),
            consensus_proof=consensus.signing_key.sign(statement),
            identity_proof=identity.signing_key.sign(statement),
        ),
    )


async def final(world: World, *raws: bytes) -> None:
    world.node(0).submit(raws)
    await world.final(raws)


def test_stake_opens_the_door_and_the_set_says_whom_to_dial(tmp_path) -> None:
    world = World(tmp_path, epoch_blocks=6)
    newcomer = PeerId(stored_key("new identity", "identity").header.public)
    world.identities.append(newcomer)

    async def run() -> None:
        async with world.running(60.0):
            epochs = world.node(0).epochs
            assert all(map(epochs.is_welcome, world.identities[:4]))
            assert not epochs.is_welcome(newcomer)
            assert not epochs.is_welcome(STRANGER)
            assert epochs.addresses() == {}  # this genesis names none
            await final(world, bond(world))
            assert epochs.is_welcome(newcomer)  # it follows before it is elected
            while newcomer not in epochs.current.names:  # noqa: ASYNC110
                await trio.sleep(0.005)
            joined = epochs.current.epoch
            assert epochs.addresses() == {newcomer: WHERE}
            assert epochs.names()[newcomer] == "newcomer"
            peers = (
                PeerConfig(name="mine", identity=newcomer, address=ELSEWHERE),
                PeerConfig(identity=STRANGER),
            )
            configured = epochs_of(world, 0, network=NetworkConfig(peers=peers))
            assert configured.addresses() == {newcomer: ELSEWHERE}  # the operator knows better
            assert configured.names()[newcomer] == "mine"
            assert configured.is_welcome(STRANGER)
            await final(world, world.raw(NEWCOMER, Unbond(amount=Amount(100))))
            while newcomer in epochs.current.names:  # noqa: ASYNC110
                await trio.sleep(0.005)
            assert epochs.is_welcome(
                newcomer
            )  # still one of the set before: it may be asked for the end of it
            assert epochs_of(world, 0).is_welcome(newcomer)  # also if this node has just started
            left = epochs.current.epoch
            while epochs.current.epoch == left:  # noqa: ASYNC110
                await trio.sleep(0.005)
            assert not epochs.is_welcome(newcomer)
            old = epochs.validators(joined)
            assert old is not None
            assert len(old) == 5  # what it signed then still convicts it
            assert len(epochs.current.validators) == 4
            assert epochs.validators(epochs.current.epoch + 1) is None

    trio.run(run)


@pytest.mark.parametrize("dialled", ["192.0.2.9:7700", "[2001:db8::1]:7700"])
def test_an_address_from_the_state_is_dialled(dialled) -> None:
    assert str(_address(dialled)) == dialled


@pytest.mark.parametrize(
    "nowhere",
    ["", "node.example.org:7700", "localhost:1", "127.1:1", "0x7f000001:1", "0.0.0.0:1", "[::]:1", "a:b"],
)
def test_a_name_from_the_state_is_never_looked_up(nowhere) -> None:
    assert _address(nowhere) is None


def test_the_line_at_the_door_is_bounded_and_stake_decides_who_stands_in_it(tmp_path, monkeypatch) -> None:
    world = World(tmp_path, epoch_blocks=6, max_validators=4)
    newcomer = PeerId(stored_key("new identity", "identity").header.public)
    world.identities.append(newcomer)

    async def run() -> None:
        async with world.running(60.0):
            epochs = world.node(0).epochs
            await final(world, bond(world))  # no more stake than who has a seat, and later than they
            assert newcomer not in epochs.current.names
            assert epochs.is_welcome(newcomer)
            monkeypatch.setattr("node.epochs.WAITING", 0)
            assert not epochs.is_welcome(newcomer)
            await final(world, world.raw(NEWCOMER, BondMore(amount=Amount(1))))
            assert epochs.is_welcome(newcomer)  # first in line for a seat

    trio.run(run)


def test_the_key_that_the_set_names_signs_and_no_other(tmp_path) -> None:
    world = World(tmp_path)

    async def run() -> None:
        async with world.running():
            other = stored_key("another", "consensus")
            own = world.keys(2).consensus[0]
            identity = world.keys(2).identity
            both = epochs_of(world, 2, keys=NodeKeys(identity=identity, consensus=(other, own)))
            assert (both.current.own, both.current.key) == (2, own)
            before = world.node(2).log.count("key.missing")
            neither = epochs_of(world, 2, keys=NodeKeys(identity=identity, consensus=(other,)))
            assert (neither.current.own, neither.current.key) == (None, None)
            assert world.node(2).log.count("key.missing") == before + 1
            observer = epochs_of(world, 2, keys=NodeKeys(identity=identity))
            assert observer.current.own is None
            assert world.node(2).log.count("key.missing") == before + 1  # it does not want to vote

            for lost, fresh in ((None, False), ({own.header.public}, False), ({other.header.public}, True)):
                epochs = epochs_of(world, 2, lost=lost)
                setup = epochs.setup(epochs.current, world.node(2).executor.tip.header, world.number)
                assert setup.members == tuple(map(Peer, range(4)))
                assert setup.gate is not None
                assert setup.gate.fresh is fresh
            assert Hash(own.header.public) == epochs.current.validators.keys[2]

    trio.run(run)
