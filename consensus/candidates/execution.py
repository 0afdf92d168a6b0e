"""Re-execution of a candidate: what the guest is given, and what its outcome proves (DESIGN.md section 6).

Three verdicts: valid, invalid, and none when this machine could not tell. `prepare` and `judge` are pure;
between them a worker runs the call against the witness. Every honest validator that executes a candidate
comes to the same verdict: all that enters is in the header, the PoV or the relay state.

The guest's input, all integers little-endian:

    u32 messages, then each: u32 length ‖ u8 source kind ‖ module (32) ‖ u32 chain ‖ payload
    u32 transactions, then each: u32 length ‖ bytes

The source kind is the endpoint's wire tag; for the relay chain itself module and chain are zero. The length
covers all that follows it. What became of each message and transaction the guest may say in its output
(docs/guest-abi.md section 2), which binds nobody:

    u32 messages, then a byte for each;  u32 transactions, then a byte for each: 0 done, else its own reason
"""

from collections.abc import Sequence
from dataclasses import dataclass

from consensus.agreement.statements import Verdict
from consensus.candidates.receipts import CandidateHeader, body_hash, decode_pov
from consensus.primitives.errors import DecodeError, InvalidBlock
from consensus.primitives.guest import (
    MAX_INPUT_BYTES,
    GuestCall,
    GuestKind,
    GuestOutcome,
    InboxSource,
    RelayEndpoint,
    RelayOrigin,
    Status,
)
from consensus.primitives.ids import ZERO_HASH, ChainId, Fuel, Hash, Height, Milliseconds, ModuleId


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxMessage:
    """One message that a candidate consumes."""

    source: InboxSource
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateTask:
    """All that re-executing a candidate takes; self-contained, so that it can go to a thread or worker."""

    header: CandidateHeader
    pov: bytes  # its hash was checked against the header's
    code: bytes
    fuel_limit: Fuel
    max_pov_bytes: int
    messages: tuple[InboxMessage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A call for a worker: run it over the partial tree of `witness` at `pre_root`."""

    call: GuestCall
    pre_root: Hash
    witness: bytes


def frame_input(messages: Sequence[InboxMessage], transactions: Sequence[bytes]) -> bytes:
    """The guest's input for these messages and transactions."""
    parts = [len(messages).to_bytes(4, "little")]
    for message in messages:
        head = _source_head(message.source)
        parts += ((len(head) + len(message.payload)).to_bytes(4, "little"), head, message.payload)
    parts.append(len(transactions).to_bytes(4, "little"))
    for each in transactions:
        parts += (len(each).to_bytes(4, "little"), each)
    return b"".join(parts)


def _source_head(source: InboxSource) -> bytes:
    module, chain = (ZERO_HASH, 0) if isinstance(source, RelayEndpoint) else (source.module, source.chain)
    return bytes([source.WIRE_TAG]) + module + chain.to_bytes(4, "little")


def framed_bytes(messages: Sequence[InboxMessage], transactions: Sequence[bytes]) -> int:
    """How long `frame_input` would be, in bytes."""
    return 8 + sum(41 + len(each.payload) for each in messages) + sum(4 + len(each) for each in transactions)


def transaction_codes(output: bytes, messages: int, transactions: int) -> bytes | None:
    """A byte for each transaction of a block, from its guest's output; None if that is something else."""
    start = 4 + messages + 4
    if len(output) != start + transactions:
        return None
    counts = output[:4], output[start - 4 : start]
    said = tuple(int.from_bytes(each, "little") for each in counts)
    return output[start:] if said == (messages, transactions) else None


def chain_call(
    *,
    chain: ChainId,
    height: Height,
    time_ms: Milliseconds,
    code_hash: Hash,
    code: bytes,
    data: bytes,
    fuel_limit: Fuel,
) -> GuestCall:
    """The one call that runs a consumer block."""
    return GuestCall(
        kind=GuestKind.CHAIN,
        code_hash=code_hash,
        code=code,
        module=ModuleId(ZERO_HASH),
        chain=chain,
        origin=RelayOrigin(),
        height=height,
        time_ms=time_ms,
        input=data,
        fuel_limit=fuel_limit,
    )


def prepare(task: CandidateTask) -> Prepared:
    """The call that re-executes a candidate. Raises InvalidBlock: the candidate is invalid before it runs."""
    header = task.header
    try:
        pov = decode_pov(task.pov, task.max_pov_bytes)
    except DecodeError as error:
        raise InvalidBlock(f"its PoV is malformed: {error}") from None
    if body_hash(pov.transactions) != header.body_hash:
        raise InvalidBlock("its PoV holds another body than the header names")
    if framed_bytes(task.messages, pov.transactions) > MAX_INPUT_BYTES:
        raise InvalidBlock(f"its input is longer than {MAX_INPUT_BYTES} bytes")
    call = chain_call(
        chain=header.chain,
        height=header.height,
        time_ms=header.time_ms,
        code_hash=header.code_hash,
        code=task.code,
        data=frame_input(task.messages, pov.transactions),
        fuel_limit=task.fuel_limit,
    )
    return Prepared(call=call, pre_root=header.pre_root, witness=pov.witness)


def judge(
    header: CandidateHeader, outcome: GuestOutcome | None, post_root: Hash | None, refusal: str = ""
) -> tuple[Verdict, str]:
    """The verdict on a candidate that ran, and for INVALID why.

    `outcome` and `post_root` are None when the witness was bad; then `refusal` says how.
    """
    reason = _fault(header, outcome, post_root, refusal)
    return (Verdict.VALID, "") if reason is None else (Verdict.INVALID, reason)


def _fault(
    header: CandidateHeader, outcome: GuestOutcome | None, post_root: Hash | None, refusal: str
) -> str | None:
    if outcome is None or post_root is None:
        return f"its witness does not carry the execution: {refusal}"
    if outcome.status is not Status.OK:
        return f"its block fails: {outcome.status.name.lower()}"
    if post_root != header.post_root:
        return "it leads to another state than it claims"
    if outcome.outgoing != header.outgoing:
        return "it sends other messages than it claims"
    if outcome.fuel_used != header.fuel_used:
        return "it burns another amount of fuel than it claims"
    return None
