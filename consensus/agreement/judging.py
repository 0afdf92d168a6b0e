"""Whether a block may be voted for: body, gap_ok, valid (CONSENSUS.md section 5); what lacks is fetched."""

from consensus.agreement import pulling
from consensus.agreement.events import ValidateBlock
from consensus.agreement.messages import FLAG_BOUNDARY, FLAG_TAIL, Header
from consensus.agreement.replica import Block, Replica, ViewState
from consensus.primitives.ids import ZERO_HASH, Hash, Height


def usable(r: Replica, state: ViewState, block: Hash) -> Header | None:
    """The parent's header if body present, gap_ok and valid all hold; else None, what lacks is fetched."""
    held = r.blocks.get(block)
    if held is None or held.payload is None:
        pulling.need_block(r, block, state.tally.view)
        return None
    missing = r.gap_missing(held.header)
    if missing is not None:
        view, skip = missing
        pulling.need_certificate(r, view, ZERO_HASH if skip else held.header.parent_hash)
        return None
    if held.valid is None and not introduce(r, block):
        return None
    return r.header_of(held.header.parent_hash) if held.valid else None


def introduce(r: Replica, block: Hash) -> bool:
    """Hand a block and its ancestors down to the newest final one to the application, each once, in order.

    False while a body on the way is missing; it is fetched. The ancestors are certified: only the verdict on
    the block itself matters, but the application must know them to execute or extend it.
    """
    path: list[tuple[Block, bytes]] = []
    while block != r.tip_hash:
        held = r.blocks.get(block)
        if held is None or held.payload is None:
            view = r.final_view if held is None else held.header.view
            if path:
                view = path[-1][0].header.parent_view
            pulling.need_block(r, block, view, final=view == r.final_view)
            return False
        if held.header.height <= r.tip.height:
            return False  # a fork that finality has overtaken
        path.append((held, held.payload))
        block = held.header.parent_hash
    parent = r.tip
    for held, payload in reversed(path):
        if not held.asked:
            held.asked = True
            if held.valid is None and not _extends(r, held.header, parent):
                held.valid = False
            else:
                r.effects.append(ValidateBlock(held.hash, held.header, payload))
        parent = held.header
    return True


def _extends(r: Replica, header: Header, parent: Header) -> bool:
    """The header rules of valid(B), those of section 14 included; the application judges the rest."""
    flags = r.flags_at(header.height)
    return (
        header.height == Height(parent.height + 1)
        and header.parent_view == r.view_of(parent)
        and header.time_ms >= parent.time_ms
        and header.validators_hash == r.validators.validators_hash
        and (header.next_validators_hash != ZERO_HASH) == (flags == FLAG_BOUNDARY)
        and header.flags == flags
        and (flags != FLAG_TAIL or header.payload_len == header.tx_count == 0)
    )
