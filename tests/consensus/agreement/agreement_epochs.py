"""The loopback network over several epochs: nodes run `Agreement`, and sets change as the test says."""

from agreement_loopback import CHAIN, GENESIS_MS, Net, Node, fake_sign, fake_verify, key_of, make_config

from consensus.agreement.config import LAN, AmnesiaPolicy, Parameters, Restored
from consensus.agreement.epochs import Agreement, EpochBegins, EpochSetup
from consensus.agreement.events import (
    BuildPayload,
    EpochEnding,
    Finalized,
    PayloadBuilt,
    Peer,
    Persisted,
    Start,
)
from consensus.agreement.journal_records import decode_record
from consensus.agreement.messages import FLAG_BOUNDARY, FLAG_TAIL, Proposal, Vote, genesis_header
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.validators import Validator, ValidatorSet
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import ZERO_HASH

KEYS_APART = 100  # key `version` of node i is loopback key i + 100 * version


class EpochNode(Node):
    """One `Agreement` with its application, store and journal."""

    ending = None  # the EpochEnding that was not answered

    def boot(self, *, journal=True):
        net = self.net
        stored = self.chain[-1] if self.chain else None
        tip = net.genesis if stored is None else stored.header
        epoch = net.epoch_on(tip)
        self.gates = []
        restored = Restored(
            final=tip,
            proof=None if stored is None else stored.proof,
            records=tuple(decode_record(each) for each in self.journal) if journal else None,
        )
        if not journal:
            self.journal = []
        self.engine = Agreement(
            self.setup(self.start_of(epoch)),
            restored,
            chain_id_hash=CHAIN,
            verify=fake_verify,
            parameters=net.parameters,
            timers=net.timers,
            amnesia=net.amnesia,
            before=None if epoch == 1 else net.validators_on(self.start_of(epoch - 1)),
        )
        self.up = True
        for other in net.nodes:
            if other is not self and other.up:
                net.link(self, other)
        self.give(Start(hash_tagged(b"test/nonce", repr((self.index, net.now_us)).encode())))

    def start_of(self, epoch):
        height = (epoch - 1) * self.net.parameters.epoch_blocks
        return self.chain[height - 1].header if height else self.net.genesis

    def setup(self, start):
        net, epoch = self.net, self.net.epoch_on(start)
        members = net.members(epoch)
        gate = None
        for index, (node, _, version) in enumerate(members):
            if node == self.index:
                sign = fake_sign(node + KEYS_APART * version)
                fresh = (self.index, version) in net.fresh
                gate = SigningGate(index=index, chain_id_hash=CHAIN, epoch=epoch, sign=sign, fresh=fresh)
                self.gates.append(gate)
        return EpochSetup(
            epoch=epoch,
            validators=net.validators_on(start),
            members=tuple(Peer(node) for node, _, _ in members),
            gate=gate,
            start=start,
        )


class EpochNet(Net):
    """`sets` by epoch: lists of (node, stake, key version) in the order of validator indices."""

    def __init__(self, sets, *, epoch_blocks=3, delay_us=1_000, amnesia=AmnesiaPolicy.PROBE, nodes=None):
        self.sets = sets
        self.parameters = Parameters(epoch_blocks=epoch_blocks)
        self.timers = make_config([1]).timers or LAN
        self.amnesia = amnesia
        self.fresh = set()  # (node, key version) made after a journal was lost
        self.begins = True  # whether applications answer EpochEnding
        count = nodes or 1 + max(node for members in sets for node, _, _ in members)
        super().__init__([1] * count, delay_us=delay_us)
        self.nodes = [EpochNode(self, i) for i in range(count)]
        self.genesis = genesis_header(
            chain_id_hash=CHAIN,
            epoch=1,
            time_ms=GENESIS_MS,
            validators_hash=self.validators(1, ZERO_HASH).validators_hash,
        )

    def members(self, epoch):
        return self.sets[min(epoch, len(self.sets)) - 1]

    def validators(self, epoch, seed):
        return ValidatorSet(
            [
                Validator(key=key_of(node + KEYS_APART * v), stake=stake)
                for node, stake, v in self.members(epoch)
            ],
            chain_id_hash=CHAIN,
            epoch=epoch,
            leader_seed=seed,
        )

    @staticmethod
    def epoch_on(header):
        return header.epoch + bool(header.flags & FLAG_BOUNDARY)

    def validators_on(self, start):
        return self.validators(self.epoch_on(start), start.parent_hash if start.height else ZERO_HASH)

    def check_journaled(self, node, message):
        vote = message.vote if isinstance(message, Proposal) else message
        assert not isinstance(vote, Vote) or vote.sig in node.recorded, "sent before it was durable"

    def local(self, node, effect):
        if isinstance(effect, BuildPayload) and (effect.boundary or effect.tail):
            epoch = self.epoch_on(effect.parent)
            following = self.validators(epoch + 1, effect.parent_hash).validators_hash
            built = PayloadBuilt(
                effect.view,
                effect.parent_hash,
                b"" if effect.tail else b"boundary of epoch %d" % epoch,
                0 if effect.tail else 1,
                hash_tagged(b"test/state", effect.parent_hash),
                following if effect.boundary else ZERO_HASH,
            )
            self.later(0, node, built)
        elif isinstance(effect, EpochEnding):
            node.ending = effect
            if self.begins:
                self.begin(node)
        else:
            assert not (isinstance(effect, Finalized) and effect.header.flags & FLAG_TAIL), "a tail is final"
            super().local(node, effect)

    def begin(self, node):
        """The application of `node` answers the EpochEnding that it got."""
        ending, node.ending = node.ending, None
        self.later(0, node, Persisted(ending.boundary.height))
        self.later(0, node, EpochBegins(node.setup(ending.boundary)))

    def run_to_epoch(self, epoch, *indices):
        """Until the nodes named, or all that run, are in `epoch`."""
        nodes = [self.nodes[i] for i in indices] if indices else [n for n in self.nodes if n.up]
        self.run(lambda: all(n.engine.epoch >= epoch for n in nodes))
