"""Checking a node's answers by the light client's rules: the node need not be trusted."""

from dataclasses import replace
from typing import Final

from consensus.light.client import TrustedState, verify_light_proof
from consensus.light.proofs import EpochHop, LightProof, Question, ReceiptOf, Start, decode_proven_answer
from consensus.primitives.errors import DecodeError, PeerFault, UserError
from consensus.primitives.ids import Epoch, Hash
from node.api import StateReport
from node.cli.trust import Trust, TrustOptions, now_ms
from node.client import RpcClient, ask
from node.validator_set import genesis_start

LIAR: Final = "do not believe this node"


# --- fetching: nothing here is believed yet


async def fetch_start(client: RpcClient, trust: Trust) -> Start:
    """Header and set of the block that is trusted; of genesis they are in its file."""
    if trust.genesis is not None and trust.checkpoint.height == 0:
        return genesis_start(trust.genesis)
    return await client.light_start(trust.checkpoint.height)


async def fetch_hops(client: RpcClient, first: Epoch, last: Epoch) -> tuple[EpochHop, ...]:
    """Hops over the ends of the epochs `first` up to, not including, `last`. Raises UserError."""
    hops: list[EpochHop] = []
    while first + len(hops) < last:
        more = await client.light_hops(Epoch(first + len(hops)))
        if not more:
            raise UserError(
                f"{client.url} does not have the end of epoch {first + len(hops)}: ask another node, or trust"
                " a younger block with --trusted HEIGHT:HASH"
            )
        hops += more
    return tuple(hops[: last - first])


async def fetch_bundle(client: RpcClient, trust: Trust, question: Question, answer: bytes) -> LightProof:
    """What leads from the trusted block to a node's `answer` to `question`. Raises UserError."""
    try:
        proven = decode_proven_answer(answer)
    except DecodeError as error:
        raise UserError(f"the node's proof is none ({error}); {LIAR}") from None
    start = await fetch_start(client, trust)
    hops = await fetch_hops(client, start.header.epoch, proven.head.header.epoch)
    proven = replace(proven, answer=replace(proven.answer, question=question))
    return LightProof(chain=trust.parameters.chain, start=start, hops=hops, proven=proven)


# --- verifying


def check_bundle(bundle: LightProof, question: Question, trust: Trust) -> tuple[TrustedState, bytes | None]:
    """The final head and the value that a bundle shows. Raises UserError."""
    try:
        return verify_light_proof(bundle, question, trust.checkpoint, trust.parameters, now_ms())
    except PeerFault as error:
        raise UserError(f"the proof is wrong ({error}); {LIAR}") from None


def verify_state(url: str, report: StateReport, question: Question, trust: TrustOptions) -> str:
    """Check that a report is the answer to `question`; says what was shown. Raises UserError."""
    if report.proof is None:
        raise UserError("the node sent no proof; ask another node")
    head, value, named = _verify(url, report.proof, question, trust)
    if value != report.value:
        raise UserError(f"the node's proof is of another value; {LIAR}")
    return _shown(head, named)


def verify_receipt(url: str, proof: bytes, transaction: Hash, trust: TrustOptions) -> str:
    """Check a receipt's proof; says what was shown. Raises UserError."""
    head, receipt, named = _verify(url, proof, ReceiptOf(receipt=transaction), trust)
    if receipt is None:
        raise UserError(f"the node's proof shows that there is no such receipt in that block; {LIAR}")
    return _shown(head, named)


def _verify(
    url: str, proof: bytes, question: Question, options: TrustOptions
) -> tuple[TrustedState, bytes | None, str]:
    trust = options.resolve()
    bundle = ask(url, lambda client: fetch_bundle(client, trust, question, proof))
    return *check_bundle(bundle, question, trust), trust.named


def _shown(head: TrustedState, named: str) -> str:
    return (
        f"good: under final header {head.height} of epoch {head.header.epoch} at view {head.header.view}, "
        f"checked against {named}"
    )
