"""An engine's state as a value: copied, digested, or written as a fresh journal."""

import copy
from collections.abc import Iterator
from dataclasses import astuple, replace
from typing import Any

import msgpack

from consensus.agreement.journal_records import (
    CertificateRecord,
    FaultRecord,
    JournalRecord,
    ReasonRecord,
    encode_record,
)
from consensus.agreement.messages import Certificate, certificate_hash, encode_message
from consensus.agreement.replica import Probe, Replica, ViewState
from consensus.agreement.voting import block_records
from consensus.primitives.crypto import hash_tagged
from consensus.primitives.ids import Hash


def fork(r: Replica) -> Replica:
    """An independent copy: every mutable container is new, every frozen value shared."""
    twin = copy.copy(r)
    twin.gate = None if r.gate is None else r.gate.fork()
    twin.effects, twin.dirty = [], set(r.dirty)
    twin.views = {view: state.copy() for view, state in r.views.items()}
    twin.own_votes = {view: list(votes) for view, votes in r.own_votes.items()}
    twin.blocks = {block: replace(held) for block, held in r.blocks.items()}
    twin.handed_out = [twin.blocks.get(each.hash) or replace(each) for each in r.handed_out]
    twin.recent = [twin.blocks.get(each.hash) or replace(each) for each in r.recent]
    twin.unjournaled = list(r.unjournaled)
    twin.pulls = {key: replace(request) for key, request in r.pulls.items()}
    twin.peers = {peer: replace(state) for peer, state in r.peers.items()}
    twin.chain_request = None if r.chain_request is None else replace(r.chain_request)
    if r.probe is not None:
        twin.probe = replace(r.probe, replies=dict(r.probe.replies), within=set(r.probe.within))
    twin.pending_probes = dict(r.pending_probes)
    twin.pacemaker = r.pacemaker.copy()
    twin.watch = r.watch.copy()
    return twin


def digest(r: Replica) -> Hash:
    """A hash over everything that decides how the engine behaves from here on.

    Left out: the signature cache, which only saves time, the clock of the last turn, and what the watch has
    seen: it decides who is accused, and no vote.
    """
    gate = r.gate
    state = [
        [r.config.epoch, r.cur_view, r.entry_us, r.resend_us, r.stalls, r.started, r.ended],
        [r.final_view, r.final_hash, r.tip_hash],
        [r.persisted_height, certificate_hash(r.final_certificate), [each.hash for each in r.handed_out]],
        [[each.hash, each.leader_sig] for each in r.recent],
        [certificate_hash(each) for each in r.entry_certificates],
        [[view, _view(state)] for view, state in sorted(r.views.items())],
        [[view, [encode_message(vote) for vote in votes]] for view, votes in sorted(r.own_votes.items())],
        [
            [block, held.leader_sig, held.payload is not None, held.valid, held.asked, held.journaled]
            for block, held in sorted(r.blocks.items())
        ],
        [encode_record(record) for record in r.unjournaled],
        r.building,
        [[key, list(astuple(request))] for key, request in sorted(r.pulls.items())],
        [[peer, list(astuple(state))] for peer, state in sorted(r.peers.items())],
        [r.chain_misses, None if r.chain_request is None else list(astuple(r.chain_request))],
        None if r.probe is None else _probe(r.probe),
        sorted(r.pending_probes.items()),
        [r.pacemaker.delay_us, r.pacemaker.deviation_us, r.pacemaker.last_seen],
        [r.pacemaker.quorum_views, r.pacemaker.rtt_p90_us],
        [] if gate is None else [gate.amnesic, gate.closed, [encode_record(each) for each in gate.records()]],
    ]
    return hash_tagged(b"TALLY/state/1", msgpack.packb(state, use_bin_type=True))


def journal(r: Replica) -> Iterator[JournalRecord]:
    """Every record that is still needed: what votes rely on first, then what was signed."""
    if r.gate is None:
        return
    if r.final_certificate is not None:
        yield CertificateRecord(certificate=r.final_certificate)
    for _, held in sorted(r.blocks.items()):
        if held.journaled:
            yield from block_records(replace(held, journaled=False))
    for view, state in sorted(r.views.items()):
        for certificate in state.certificates():
            yield CertificateRecord(certificate=certificate)
        if state.tally.fault is not None:
            yield FaultRecord(epoch=r.config.epoch, view=view, fault=state.tally.fault)
        for vote in r.own_votes.get(view, ()):
            if vote.justification is not None:
                yield ReasonRecord(
                    epoch=vote.epoch, view=view, kind=vote.kind, block=vote.block, reason=vote.justification
                )
    yield from r.gate.records()


def _view(state: ViewState) -> list[Any]:
    tally = state.tally
    certificates: list[Certificate] = state.certificates()
    return [
        [[signer, sorted(votes.items())] for signer, votes in sorted(tally.held.items())],
        sorted(tally.first.items()),
        [[block, sorted(votes.items())] for block, votes in sorted(tally.nfall.items())],
        sorted(tally.sfall.items()),
        [[block, sorted(votes)] for block, votes in sorted(tally.fin.items())],
        sorted(tally.leader_sigs.items()),
        None if tally.fault is None else list(astuple(tally.fault)),
        [certificate_hash(each) for each in certificates],
        state.proposals,
        [state.skipped_us, state.gossiped_fault, state.fault_journaled],
    ]


def _probe(probe: Probe) -> list[Any]:
    return [probe.nonce, probe.again_us, sorted(probe.replies.items()), sorted(probe.within)]
