"""Amnesia across boundaries under adversarial replies (decision 023): a key that forgot, again and again, and
perhaps forgot an epoch that nobody else has seen begin, contradicts in no epoch what it signed before."""

from itertools import combinations
from random import Random

import pytest
from agreement_epochs import EpochNet
from agreement_loopback import CHAIN, fake_sign
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from consensus.agreement.events import Peer, Received
from consensus.agreement.evidence import offence
from consensus.agreement.journal_records import SignedRecord, decode_record
from consensus.agreement.messages import (
    AmnesiaProbe,
    AmnesiaReply,
    Certificate,
    CertificateType,
    Kind,
    amnesia_reply_hash,
    sign_bytes,
)
from consensus.primitives.ids import ZERO_HASH

VICTIM, LIAR = 0, 1


def reply_of(net, epoch, signer, nonce, certificate, *, beyond=False):
    index = next(i for i, (node, _, _) in enumerate(net.members(epoch)) if node == signer)
    view = 0 if certificate is None else certificate.view
    bound = amnesia_reply_hash(certificate, beyond)
    sig = fake_sign(signer)(sign_bytes(CHAIN, Kind.AMNESIA_REPLY, epoch, view, nonce, bound))
    return AmnesiaReply(
        epoch=epoch, nonce=nonce, certificate=certificate, beyond=beyond, signer=index, sig=sig
    )


class Lies:
    """Answers every probe of the victim in the liar's name: it voted for no boundary, and holds an old
    certificate or none."""

    def __init__(self, net, random):
        self.net, self.random, self.told = net, random, 0
        self.shown = {}  # real certificates by epoch

    def drop(self, source, target, message):
        if isinstance(message, Certificate):
            self.shown.setdefault(message.epoch, []).append(message)
        if isinstance(message, AmnesiaReply) and source == LIAR:
            return True
        if isinstance(message, AmnesiaProbe) and source == VICTIM and target == LIAR:
            real = self.shown.get(message.epoch, [])[:4]
            reply = reply_of(self.net, message.epoch, LIAR, message.nonce, self.random.choice([None, *real]))
            self.told += 1
            self.net.later(1_000, self.net.nodes[VICTIM], Received(Peer(LIAR), reply))
        return self.random.random() < 0.05


def signed_by(node, journals):
    """(epoch, view) → what a node ever signed there, over all its journals."""
    found = {}
    for record in (decode_record(each) for journal in (*journals, node.journal) for each in journal):
        if isinstance(record, SignedRecord):
            key = (record.kind, record.block, record.aux)
            found.setdefault((record.epoch, record.view), set()).add(key)
    return found


def check_no_lie(signed):
    for (epoch, view), keys in signed.items():
        for one, other in combinations(sorted(keys), 2):
            assert offence(one, other) is None, (epoch, view, one, other)


def lose(net, *, store):
    """The victim's journal is gone, and its store perhaps; what the journal held."""
    node = net.nodes[VICTIM]
    net.kill(VICTIM)
    lost = node.journal
    if store:
        node.chain = []
    node.boot(journal=False)
    return lost


@settings(max_examples=12, deadline=None, phases=set(Phase) - {Phase.explain})
@given(
    st.integers(0, 10_000),
    st.sampled_from([4, 7]),
    st.integers(2, 4),
    st.lists(st.tuples(st.integers(0, 120_000), st.booleans()), min_size=1, max_size=3),
)
def test_who_forgets_again_and_again_contradicts_itself_in_no_epoch(seed, count, epoch_blocks, losses):
    net = EpochNet([[(node, 1, 0) for node in range(count)]], epoch_blocks=epoch_blocks, delay_us=5_000)
    lies = Lies(net, Random(seed))
    net.drop = lies.drop
    net.start()
    net.run_to(1)
    journals = []
    for after_us, store in losses:
        end = net.now_us + after_us
        others = [node for node in net.nodes if node.index != VICTIM]
        height = max(node.height for node in others)
        net.run(lambda end=end, height=height: net.now_us >= end or others_at(net) >= height + 4)
        journals.append(lose(net, store=store))
    target = others_at(net) + 3 * epoch_blocks
    net.run_to(target, *range(count - 1, count))
    assert lies.told
    check_no_lie(signed_by(net.nodes[VICTIM], journals))


def others_at(net):
    return min(node.height for node in net.nodes if node.index != VICTIM)


def victim_alone_in_the_next_epoch():
    """The boundary of epoch 1 is final at the victim alone: votes for it reach nobody else."""
    net = EpochNet([[(node, 1, 0) for node in range(4)]], epoch_blocks=3)
    net.start()
    net.run_to(2)
    net.drop = lambda source, target, m: (
        source == VICTIM or (target != VICTIM and getattr(m, "kind", None) == Kind.NOTARIZE) or is_final(m)
    )
    victim = net.nodes[VICTIM]
    net.run(lambda: victim.engine.epoch == 2 and bool(victim.gates[-1].views()))
    return net, victim


def is_final(message):
    return isinstance(message, Certificate) and message.ctype in (
        CertificateType.FINAL,
        CertificateType.FAST_FINAL,
    )


@pytest.mark.parametrize("store", [False, True])
def test_who_alone_saw_an_epoch_begin_and_forgot_it_signs_nothing_in_it_unasked(store):
    """Everybody else is still in the epoch before, and one of them says that nobody voted for its end."""
    net, victim = victim_alone_in_the_next_epoch()
    assert [node.engine.epoch for node in net.nodes if node is not victim] == [1, 1, 1]
    before = signed_by(victim, [])
    assert any(epoch == 2 for epoch, _ in before)
    lies = Lies(net, Random(1))
    journal = lose(net, store=store)
    mark = len(victim.journal)
    net.drop = lambda source, target, m: (
        lies.drop(source, target, m) and (isinstance(m, AmnesiaReply) and source == LIAR)
    )
    net.run(lambda: all(node.engine.epoch >= 3 for node in net.nodes))
    check_no_lie(signed_by(victim, [journal]))
    if store:  # it asked in epoch 1, where it was put back, and had to ask again in epoch 2
        asked = {m.epoch for source, m in net.wire if source == VICTIM and isinstance(m, AmnesiaProbe)}
        assert asked >= {1, 2}
    again = [decode_record(each) for each in victim.journal[mark:]]
    assert any(isinstance(each, SignedRecord) for each in again), "in the end it takes part again"
    assert ZERO_HASH not in {m.nonce for _, m in net.wire if isinstance(m, AmnesiaProbe)}
