"""Final blocks, handed out once a height and in order; catching up with those that were missed.

CONSENSUS.md sections 10 (GET_CHAIN), 12, 15.1 and 16.
"""

from typing import Final

from consensus.agreement import pulling
from consensus.agreement.certificates import members, verify_certificate
from consensus.agreement.certifying import accept
from consensus.agreement.config import MAX_UNPERSISTED
from consensus.agreement.events import EpochEnding, Finalized, Peer
from consensus.agreement.messages import (
    MAX_CHAIN_BLOCKS,
    Certificate,
    CertificateType,
    Chain,
    FinalityProof,
    GetChain,
    Header,
    block_hash,
    payload_root,
)
from consensus.agreement.replica import Block, ChainRequest, Replica, is_finality
from consensus.primitives.errors import PeerFault
from consensus.primitives.ids import Epoch, Height

FETCHED_SINGLY: Final = 2  # missing ancestors of a final block, above which the chain is asked for
KEPT_RECENT: Final = FETCHED_SINGLY + 1  # final blocks that a peer may ask for singly: it lags a little


def advance(r: Replica) -> None:
    """Hand out what the highest finality certificate makes final, once every body is there."""
    certificate = r.final_certificate
    if certificate is None or r.final_hash == r.tip_hash or r.ended:
        return
    path: list[Block] = []
    wanted = r.final_hash
    while wanted != r.tip_hash:
        held = r.blocks.get(wanted)
        if held is None or held.payload is None:
            pulling.need_block(r, wanted, r.final_view, final=True)
            _expect_chain(r, certificate, path)
            return
        if held.header.height <= r.tip.height:
            raise RuntimeError("two final blocks are not on one chain: more than F stake is faulty")
        path.append(held)
        wanted = held.header.parent_hash
    path.reverse()
    room = MAX_UNPERSISTED - (r.tip.height - r.persisted_height)
    if room > 0:
        _hand_out(r, path[:room], certificate, tuple(each.header for each in path))


def _expect_chain(r: Replica, certificate: Certificate, path: list[Block]) -> None:
    """Far behind, by the headers that are known: the certificate's signers have the chain to ask for."""
    if not path or path[-1].header.height <= r.tip.height + FETCHED_SINGLY:
        return
    below = path[-1].header.height - 1
    for index in members(certificate.groups[0].bitmap, len(r.validators)):
        state = r.peers.get(Peer(index))
        if state is not None:
            state.final_height = max(state.final_height, below)


def _hand_out(r: Replica, blocks: list[Block], certificate: Certificate, headers: tuple[Header, ...]) -> None:
    """`headers` run from the first of `blocks` up to the certified one. Tails stay out of the ledger."""
    blocks = [block for block in blocks if block.header.height <= r.config.end_height]
    fast = certificate.ctype == CertificateType.FAST_FINAL
    for position, block in enumerate(blocks):
        if block.payload is None:
            raise RuntimeError("a final block without its body")
        path = headers[position + 1 :]
        proof = FinalityProof(path=path, certificate=certificate)
        r.effects.append(
            Finalized(block.hash, block.header, block.payload, proof, one_round=fast and not path)
        )
        r.handed_out.append(block)
    r.tip, r.tip_hash = blocks[-1].header, blocks[-1].hash
    r.recent = [*r.recent, *blocks][-KEPT_RECENT:]
    if r.tip.height == r.config.end_height:
        _end_epoch(r, proof)
    _forget_stale(r)
    for block in blocks:
        held = r.blocks.get(block.hash)
        if held is None or held.payload is None:  # else what is held has its sigL, and is journaled
            r.blocks[block.hash] = block
    r.dirty.update(r.views)


def _end_epoch(r: Replica, proof: FinalityProof) -> None:
    """The boundary block is final, by itself or by a tail: sign nothing more, fetch nothing more."""
    r.ended = True
    r.building = None
    r.pulls.clear()
    r.pending_probes.clear()
    r.probe = r.chain_request = None
    if r.gate is not None:
        r.gate.close()
    r.effects.append(EpochEnding(Epoch(r.config.epoch + 1), r.tip, r.tip_hash, proof))


def _forget_stale(r: Replica) -> None:
    """Drop what lost to finality, whatever height it claims, once no final block is missing any more."""
    caught_up = r.tip_hash == r.final_hash or r.ended
    keep = {block.hash for block in r.handed_out}
    for block in list(r.blocks.values()):
        overtaken = caught_up or block.header.height <= r.tip.height
        if overtaken and block.header.view <= r.final_view and block.hash not in keep:
            del r.blocks[block.hash]


def on_persisted(r: Replica, height: Height) -> None:
    """The store has the blocks up to `height`: free them, raise the floor, go on if we waited for room."""
    durable = [block for block in r.handed_out if block.header.height <= height]
    if not durable:
        return
    last = durable[-1]
    r.handed_out = r.handed_out[len(durable) :]
    for block in durable:
        r.blocks.pop(block.hash, None)
    r.persisted_height = last.header.height
    if r.gate is not None:
        record = r.gate.raise_floor(view=last.header.view, height=last.header.height, block=last.hash)
        r.note(record)


# --- catching up


def request_chain(r: Replica) -> None:
    """Ask one peer that is ahead for the next blocks, if there is room for them."""
    if r.ended:
        return
    outstanding = r.chain_request
    if outstanding is not None:
        if r.now.mono_us < outstanding.due_us and outstanding.first == r.tip.height + 1:
            return
        if r.now.mono_us >= outstanding.due_us and outstanding.peer in r.peers:
            r.peers[outstanding.peer].final_height = 0  # it did not answer: until its next Status
            r.chain_misses += 1
        r.chain_request = None
    first = Height(r.tip.height + 1)
    if first + MAX_CHAIN_BLOCKS - r.persisted_height > MAX_UNPERSISTED:
        return
    ahead = sorted(peer for peer, state in r.peers.items() if state.final_height >= first and state.up)
    if not ahead:
        return
    # Another one after each failure: whoever claims to be ahead and serves nothing is not asked for ever.
    peer = ahead[(first // MAX_CHAIN_BLOCKS + r.chain_misses) % len(ahead)]
    last = Height(first + MAX_CHAIN_BLOCKS - 1)
    due_us = r.now.mono_us + max(r.config.timers.chain_us, 4 * r.pacemaker.rtt_p90_us)
    r.chain_request = ChainRequest(peer=peer, first=first, due_us=due_us)
    r.send(peer, GetChain(first=first, last=last))


def on_chain(r: Replica, peer: Peer, chain: Chain) -> None:
    """Check a piece of the final chain against its proof and hand it out. Raises PeerFault if it is wrong.

    A piece that came too late, when somebody else had been asked, is as good as any if it is still the next
    one: to throw it away would cost a slow network its catching up.
    """
    request = r.chain_request
    awaited = request is not None and request.peer == peer and request.first == chain.first
    if chain.first != r.tip.height + 1 or not chain.blocks or chain.proof is None:
        if awaited:
            r.chain_request = None
            if chain.first == r.tip.height + 1:
                r.peer(peer).final_height = 0  # nothing is known of a stranger whose session is gone
                r.chain_misses += 1
        return
    if not awaited and r.tip.height + len(chain.blocks) - r.persisted_height > MAX_UNPERSISTED:
        return
    blocks = _check_links(r, chain)
    headers = (*(block.header for block in blocks), *chain.proof.path)
    _check_path(blocks[-1].header, blocks[-1].hash, chain.proof)
    certificate = chain.proof.certificate
    if certificate.epoch != r.config.epoch or not is_finality(certificate):
        raise PeerFault("a chain without proof of finality")
    if chain.blocks[-1].header.height > r.config.end_height:
        raise PeerFault("a chain that goes on above its epoch's boundary")
    top = headers[-1]
    if (certificate.view, certificate.block) != (top.view, block_hash(top)):
        raise PeerFault("a finality certificate for another block")
    verify_certificate(certificate, r.validators, r.check)
    r.chain_request = None
    if certificate.view > r.final_view:
        accept(r, certificate)
    _hand_out(r, blocks, certificate, headers)


def _check_links(r: Replica, chain: Chain) -> list[Block]:
    parent, parent_hash = r.tip, r.tip_hash
    blocks: list[Block] = []
    for each in chain.blocks:
        header = each.header
        if header.epoch != r.config.epoch or header.height != parent.height + 1:
            raise PeerFault("a chain whose heights do not follow")
        if header.parent_hash != parent_hash:
            raise PeerFault("a chain whose blocks do not link")
        if len(each.payload) != header.payload_len or payload_root(each.payload) != header.payload_root:
            raise PeerFault("a body that is not the one its header commits to")
        parent, parent_hash = header, block_hash(header)
        blocks.append(Block(parent_hash, header, payload=each.payload))
    return blocks


def _check_path(last: Header, last_hash: bytes, proof: FinalityProof) -> None:
    height, parent_hash = last.height, last_hash
    for header in proof.path:
        if header.parent_hash != parent_hash or header.height != height + 1:
            raise PeerFault("a finality proof whose headers do not link")
        height, parent_hash = header.height, block_hash(header)
