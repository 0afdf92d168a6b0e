"""Fetching what is missing (CONSENSUS.md section 10), and answering those who do.

At most two peers are asked for an item at a time; then two others, ever later. What is not needed any more
is forgotten.
"""

from typing import Final

from consensus.agreement.events import Peer, ServeChain
from consensus.agreement.messages import (
    MAX_CHAIN_BLOCKS,
    Certificate,
    Chain,
    GetBlock,
    GetCertificate,
    GetChain,
    NotFound,
    Proposal,
    Want,
)
from consensus.agreement.replica import PullKey, PullRequest, Replica
from consensus.primitives.ids import ZERO_HASH, Hash, Height, View

ASKED_AT_ONCE: Final = 2
MAX_PULLS: Final = 256
MAX_PULL_DELAY_US: Final = 5_000_000


def need_block(r: Replica, block: Hash, view: View, *, final: bool = False) -> None:
    """Have a block's header and body fetched, unless it turns up by itself within moments."""
    held = r.blocks.get(block)
    if held is None or held.payload is None:
        _need(r, ("block", 0, block), view, final=final)


def need_certificate(r: Replica, view: View, block: Hash) -> None:
    """Have a certificate for `block` in `view` fetched; a SkipCert for a zero `block`."""
    if view > r.final_view:
        _need(r, ("certificate", view, block), view, final=False)


def _need(r: Replica, key: PullKey, view: View, *, final: bool) -> None:
    request = r.pulls.get(key)
    if r.ended:
        return
    if request is not None:
        request.final = request.final or final
    elif len(r.pulls) < MAX_PULLS:
        due_us = r.now.mono_us + r.pacemaker.patience_us
        r.pulls[key] = PullRequest(view=view, due_us=due_us, final=final)


def wanted(r: Replica, block: Hash) -> bool:
    """Whether this block is being fetched."""
    return ("block", 0, block) in r.pulls


def pump(r: Replica) -> None:
    """Forget what came or is moot; ask for what is due."""
    for key, request in list(r.pulls.items()):
        if _settled(r, key, request):
            del r.pulls[key]
        elif request.due_us <= r.now.mono_us:
            _ask(r, key, request)


def _settled(r: Replica, key: PullKey, request: PullRequest) -> bool:
    kind, view, block = key
    if request.view <= r.final_view and not request.final:
        return True
    if kind == "block":
        held = r.blocks.get(block)
        return block == r.tip_hash or (held is not None and held.payload is not None)
    return r.skipped(View(view)) if block == ZERO_HASH else r.certified(View(view), block)


def _ask(r: Replica, key: PullKey, request: PullRequest) -> None:
    kind, view, block = key
    sources = _sources(r, request.view, block)
    epoch = r.config.epoch
    if kind == "block":
        message: GetBlock | GetCertificate = GetBlock(epoch=epoch, block=block)
    else:
        want = Want.SKIP if block == ZERO_HASH else Want.BLOCK
        message = GetCertificate(epoch=epoch, view=View(view), want=int(want), block=block)
    start = request.attempt * ASKED_AT_ONCE
    for step in range(min(ASKED_AT_ONCE, len(sources))):
        r.send(sources[(start + step) % len(sources)], message)
    delay_us = max(r.config.timers.resend_min_us, 2 * r.pacemaker.rtt_p90_us) << min(request.attempt, 8)
    request.due_us = r.now.mono_us + min(delay_us, MAX_PULL_DELAY_US)
    request.attempt += 1


def _sources(r: Replica, view: View, block: Hash) -> list[Peer]:
    """Connected validators: the view's leader, those whose votes imply possession, then the others."""
    state = r.views.get(view)
    order: list[int] = [int(r.validators.leader(view))] if view > 0 else []
    if state is not None:
        order += state.tally.voters_for(block)
    elif r.final_certificate is not None and r.final_certificate.block == block:
        order += _signers(r.final_certificate)
    order += range(len(r.validators))
    up = [Peer(index) for index in dict.fromkeys(order) if index != r.index]
    return [peer for peer in up if peer in r.peers and r.peers[peer].up]


def _signers(certificate: Certificate) -> list[int]:
    bits = int.from_bytes(certificate.groups[0].bitmap, "little")
    return [index for index in range(bits.bit_length()) if bits >> index & 1]


# --- answering


def on_get_certificate(r: Replica, peer: Peer, request: GetCertificate) -> None:
    """Answer with what fits the question, or any certificate of the view, or the finality above it."""
    answers: list[Certificate] = []
    state = r.views.get(request.view)
    if state is not None:
        answers = state.certificates()
        if request.want == Want.SKIP and state.skip is not None:
            answers = [state.skip]
        elif request.want == Want.BLOCK:
            answers = [each for each in answers if each.block == request.block] or answers
    elif request.view <= r.final_view and r.final_certificate is not None:
        answers = [r.final_certificate]
    for certificate in answers[:1]:
        r.send(peer, certificate)
    if not answers:
        r.send(peer, NotFound(view=request.view, key=request.block))


def on_get_block(r: Replica, peer: Peer, request: GetBlock) -> None:
    """Answer with header, sigL and body of an unfinalised or recently final block.

    Some final ones are kept for that although the store has them: who lags a little learns of finality before
    a body comes, and would otherwise be sent to ask for the chain, a round trip more.
    """
    held = r.blocks.get(request.block)
    if held is None:
        held = next((block for block in r.recent if block.hash == request.block), None)
    if held is None or held.payload is None or held.leader_sig is None:
        r.send(peer, NotFound(view=View(0), key=request.block))
        return
    r.send(
        peer,
        Proposal(header=held.header, leader_sig=held.leader_sig, payload=held.payload, support=(), vote=None),
    )


def on_get_chain(r: Replica, peer: Peer, request: GetChain) -> None:
    """Final blocks are the store's to serve, at most to the end of an epoch: one set proves each piece."""
    last = min(request.last, request.first + MAX_CHAIN_BLOCKS - 1, r.tip.height)
    if not 1 <= request.first <= last:
        r.send(peer, Chain(first=request.first, blocks=(), proof=None))
        return
    end, length = r.config.end_height, r.config.parameters.epoch_blocks
    last = min(last, end - (end - request.first) // length * length)
    r.effects.append(ServeChain(peer, request.first, Height(last)))


def on_not_found(r: Replica, peer: Peer, answer: NotFound) -> None:
    """Ask the next ones sooner. Whoever has no final block by hash has it in its store: ask for the chain."""
    request = r.pulls.get(("block", 0, answer.key))
    if request is None:
        return
    sooner_us = r.pacemaker.patience_us << min(request.attempt, 8)
    request.due_us = min(request.due_us, r.now.mono_us + sooner_us)
    state = r.peers.get(peer)
    if request.final and state is not None:
        state.final_height = max(state.final_height, r.tip.height + 1)
