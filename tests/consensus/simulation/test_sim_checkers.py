"""Every checker fires on a fault planted for it: none is a test that can not fail."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from consensus.agreement import intake, validators
from consensus.agreement.certificates import pack_group
from consensus.agreement.events import BlockValidated, ValidateBlock
from consensus.agreement.journal_records import JournalRecord
from consensus.agreement.messages import Certificate, CertificateType, Kind, Message, Vote, sign_bytes
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.thresholds import Mode, StakeThresholds, stake_thresholds
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import ZERO_HASH, Epoch, Hash, View
from consensus.simulation import scenario, world
from consensus.simulation.application import Application
from consensus.simulation.node import Node
from consensus.simulation.scenario import draw
from consensus.simulation.scheduler import SECOND_US
from consensus.simulation.world import World

SEEDS = range(200)  # I1 needs many: a node acts on finality once its own vote is durable, others by then too


def broken_by(
    seed: int,
    *,
    behaviour: str = "equivocator",
    make_gate: type[SigningGate] = SigningGate,
    node: type[Node] = Node,
) -> set[str]:
    """The invariants that one run with a planted fault breaks."""
    drawn = draw(seed, validators=4, target=8, mode=Mode.STRICT, behaviours=(behaviour,))
    report = World(drawn, make_gate=make_gate, node_class=node).run()
    return {violation.invariant for violation in report.violations}


def hunt(invariant: str, *, seeds: range = SEEDS, **planted: object) -> None:
    """Fail unless one of the seeds breaks `invariant`."""
    assert any(invariant in broken_by(seed, **planted) for seed in seeds), f"nothing broke {invariant}"  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A planted fault may stop the chain; do not wait long for it."""
    monkeypatch.setattr(world, "LIVENESS_US", 20 * SECOND_US)
    monkeypatch.setattr(world, "MAX_STEPS", 30_000)


@pytest.fixture
def low_quorum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that take half of the stake for a quorum; the checkers count for themselves."""

    def halved(total: int) -> StakeThresholds:
        return replace(stake_thresholds(total), quorum=total // 2)

    monkeypatch.setattr(validators, "stake_thresholds", halved)


def test_without_a_planted_fault_nothing_is_broken() -> None:
    for behaviour in ("equivocator", "invalid_blocks"):
        assert [broken_by(seed, behaviour=behaviour) for seed in range(4)] == [set()] * 4


@pytest.mark.usefixtures("low_quorum")
@pytest.mark.parametrize("invariant", ["I1", "I3", "I5"])
def test_a_quorum_of_half_forks_the_chain(invariant: str) -> None:
    # Nodes act on a final block once it is on disk, and most learn of the other side before: I1 is rare.
    hunt(invariant, seeds=range(145, 160) if invariant == "I1" else SEEDS)


def test_a_fork_that_convicts_the_honest_is_told() -> None:
    """Two certificates that exclude each other, signed by everybody: no honest node could have."""
    drawn = draw(0, validators=4, target=8, mode=Mode.STRICT, behaviours=("silent",))
    checked = World(drawn)
    rules = checked.checkers.rules_of(Epoch(1))
    assert rules is not None
    held = []
    for ctype, key in (
        (CertificateType.FINAL, (int(Kind.FINALIZE), Hash(b"b" * 32), ZERO_HASH)),
        (CertificateType.SKIP, (int(Kind.SKIP), ZERO_HASH, ZERO_HASH)),
    ):
        signed = sign_bytes(rules.chain_id_hash, key[0], 1, 1, key[1], key[2])
        sigs = {i: checked.oracle.signer(each)(signed) for i, each in enumerate(rules.validators.keys)}
        group = pack_group(*key, sigs, 4)
        held.append(
            Certificate(
                ctype=int(ctype),
                epoch=Epoch(1),
                view=View(1),
                block=key[1],
                groups=(group,),
                fault=None,
                leader_sigs=(),
            )
        )
    checked.checkers.held(0, held[0])
    assert not any(each.invariant in ("I3", "I8") for each in checked.checkers.violations)
    checked.checkers.held(0, held[1])
    assert {"I3", "I8"} <= {each.invariant for each in checked.checkers.violations}


def test_an_application_that_accepts_anything_finalises_invalid_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def accept(self: Application, request: ValidateBlock) -> None:
        self._execute(request.block_hash, request.header, request.payload)
        self._post(BlockValidated(request.block_hash, True))

    monkeypatch.setattr(Application, "_check", accept)
    hunt("I2", behaviour="invalid_blocks")


class ForgetfulGate(SigningGate):
    """Starts with an empty memory, whatever the journal says."""

    def restore(self, records: Iterable[JournalRecord]) -> None:
        """Forget."""


def test_a_gate_that_forgets_signs_twice() -> None:
    hunt("I4", make_gate=ForgetfulGate)


class HastyNode(Node):
    """Sends without waiting for the disk."""

    def _flush(self) -> None:
        self._groups_durable = self._groups_written
        super()._flush()


def test_a_driver_that_does_not_wait_for_the_disk_is_caught() -> None:
    hunt("I6", node=HastyNode)


class BodilessNode(Node):
    """Loses the bodies of blocks on their way to the journal."""

    def start(self) -> None:
        """Start over a journal that writes everything but bodies."""
        append = type(self.journal).append
        journal = self.journal
        journal.append = lambda records, then: append(  # type: ignore[method-assign]
            journal, [each for each in records if type(each).__name__ != "BlockRecord"], then
        )
        super().start()


def test_a_journal_without_bodies_is_caught() -> None:
    hunt("I6", node=BodilessNode)


class NeverSkips(Node):
    """Keeps its SKIP votes to itself."""

    def _send(self, message: Message, destinations: Iterable[int]) -> None:
        if not (isinstance(message, Vote) and message.kind == Kind.SKIP):
            super()._send(message, destinations)


def test_a_chain_that_stops_is_caught() -> None:
    hunt("LIVENESS", node=NeverSkips, behaviour="silent")


class Sluggish(Node):
    """Lets a message out long after it should."""

    def _send(self, message: Message, destinations: Iterable[int]) -> None:
        send = super()._send
        self._scheduler.after(SLUGGISH_US, self._if_alive(lambda: send(message, tuple(destinations))))


SLUGGISH_US = 2 * SECOND_US  # within MSGDELAY, so that proposals are still timely


def test_a_chain_that_goes_on_but_slowly_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """I7: nothing disturbs anybody, and every block takes seconds. Who waits long enough finds no fault."""
    monkeypatch.setattr(world, "LIVENESS_US", 900 * SECOND_US)
    drawn = draw(3, validators=4, target=8, mode=Mode.STRICT, behaviours=("silent",))
    calm = replace(
        drawn,
        crashes=(),
        byzantine=(),
        network=replace(drawn.network, gst_us=0, partitions=()),
        timers=replace(drawn.timers, start_us=50_000),
    )
    assert not World(calm).run().violations
    report = World(calm, node_class=Sluggish).run()
    assert {each.invariant for each in report.violations} == {"LIVENESS"}
    monkeypatch.setattr(scenario, "VIEWS_AT_REST", 10**6)
    assert not World(calm, node_class=Sluggish).run().violations


def test_an_engine_that_blames_the_innocent_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    check = intake._check_shape

    def stern(vote: Vote) -> None:
        if vote.kind == Kind.SKIP:
            raise PeerFault("a planted prejudice")
        check(vote)

    monkeypatch.setattr(intake, "_check_shape", stern)
    hunt("I8")


def test_an_engine_that_raises_on_what_a_peer_sends_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def fragile(vote: Vote) -> None:
        raise ZeroDivisionError("a planted bug")

    monkeypatch.setattr(intake, "_check_shape", fragile)
    hunt("TOTAL")
