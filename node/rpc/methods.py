"""What can be asked over JSON-RPC: the table of methods, each a few lines onto `NodeApi`.

A method's keyword parameters are its JSON parameters; `docs/` and `parameters` give their forms. Answers are
the reports of `node.api` in the form of `json_form`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import trio

from consensus.primitives.errors import UserError
from consensus.primitives.ids import ChainId, Epoch, Hash, Height, ModuleId, PublicKey, View
from node.api import NodeApi
from node.rpc.json_form import to_json
from node.rpc.jsonrpc import JsonText, Methods, dump
from node.rpc.parameters import (
    ChainNumber,
    HashItems,
    HeightNumber,
    HexBytes,
    HexHash,
    HexItems,
    HexRawKey,
    PageSize,
    WaitMilliseconds,
    WaitStage,
    state_key,
)

T = TypeVar("T")
METHODS: Final = Methods()
_LONG_READS: Final = trio.CapacityLimiter(1)
SLICE: Final = 100  # items answered between two turns of the loop: under a millisecond


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every method is given."""

    api: NodeApi
    url: str  # of this server


async def _by_slices(items: Sequence[Any], answer: Callable[[Any], Sequence[Any]]) -> JsonText:
    """A long list's answers, with the loop let go between slices: votes must not wait for statistics."""
    parts: list[bytes] = []
    for start in range(0, len(items), SLICE):
        if start:
            await trio.lowlevel.checkpoint()
        parts.append(dump(to_json(answer(items[start : start + SLICE])))[1:-1])
    return JsonText(b"[" + b",".join(parts) + b"]")


async def _off_the_loop(answer: Callable[[], T]) -> T:
    """An answer of many blocks, epochs, votes or members' exposures, read in a thread, one at a time: it may
    take seconds."""
    return await trio.to_thread.run_sync(answer, limiter=_LONG_READS, abandon_on_cancel=False)


@METHODS.method
async def status(context: Context) -> Any:
    """Where the node stands."""
    return to_json(context.api.status()) | {"rpc": [context.url]}


@METHODS.method
async def submit(context: Context, *, transactions: HexItems) -> Any:
    """Offer relay transactions; each stands alone."""
    results = await context.api.submit(transactions)
    return await _by_slices(results, lambda part: part)


@METHODS.method
async def receipt(
    context: Context, *, hash: HexHash, wait: WaitStage = None, timeout_ms: WaitMilliseconds = 30_000
) -> Any:
    """A transaction's report; with `wait`, as soon as it reached that stage."""
    return to_json(await context.api.receipt(Hash(hash), wait=wait, timeout_s=timeout_ms / 1000))


@METHODS.method
async def receipts(context: Context, *, hashes: HashItems) -> Any:
    """Reports of many transactions, without waiting."""
    return await _by_slices([Hash(each) for each in hashes], context.api.receipts)


@METHODS.method
async def receipt_proof(context: Context, *, hash: HexHash) -> Any:
    """A self-contained proof of a receipt."""
    return {"hash": hash.hex(), "proof": context.api.receipt_proof(Hash(hash)).hex()}


@METHODS.method
async def account(context: Context, *, account: HexHash) -> Any:
    """Balance and next nonce."""
    return to_json(context.api.account(PublicKey(account)))


@METHODS.method
async def state(
    context: Context, *, key: HexHash | None = None, path: str | None = None, prove: bool = False
) -> Any:
    """One leaf of the relay state, by tree key or by readable path."""
    if (key is None) == (path is None):
        raise UserError("state: give either key or path")
    tree_key = Hash(key) if key is not None else state_key(str(path))
    return to_json(context.api.state(tree_key, prove=prove))


@METHODS.method
async def block(context: Context, *, height: HeightNumber | None = None, hash: HexHash | None = None) -> Any:
    """A final block, by height or by hash."""
    if (height is None) == (hash is None):
        raise UserError("block: give either height or hash")
    if hash is not None:
        return to_json(context.api.block(block_hash=Hash(hash)))
    return to_json(context.api.block(height=Height(height or 0)))


@METHODS.method
async def validators(context: Context, *, epoch: HeightNumber | None = None) -> Any:
    """An epoch's validator set; by default that of the present one."""
    wanted = None if epoch is None else Epoch(epoch)
    return await _off_the_loop(lambda: to_json(context.api.validators(wanted)))


@METHODS.method
async def concentration(context: Context, *, epoch: HeightNumber | None = None) -> Any:
    """How voting power is spread in an epoch; by default the present one."""
    wanted = None if epoch is None else Epoch(epoch)
    return await _off_the_loop(lambda: to_json(context.api.concentration(wanted)))


@METHODS.method
async def exposure(context: Context, *, chain: HeightNumber | None = None) -> Any:
    """What is at risk, by validator and chain, and what it would cost to corrupt a chain."""
    wanted = None if chain is None else ChainId(chain)
    return await _off_the_loop(lambda: to_json(context.api.exposure(wanted)))


@METHODS.method
async def economy(context: Context) -> Any:
    """What is issued, staked and waiting, and what came of the latest epochs."""
    return to_json(context.api.economy())


@METHODS.method
async def governance(context: Context) -> Any:
    """What is put to the vote, what came of it, who sits on the council, which version runs."""
    return to_json(context.api.governance())


@METHODS.method
async def proposal(context: Context, *, number: HeightNumber) -> Any:
    """One proposal, with its votes as they are now."""
    return to_json(await _off_the_loop(lambda: context.api.proposal(number)))


@METHODS.method
async def offences(context: Context) -> Any:
    """Who stands convicted, what can be vetoed, what waits to be burnt."""
    return to_json(context.api.offences())


@METHODS.method
async def evidence(context: Context) -> Any:
    """One piece of evidence for each offender."""
    return to_json(context.api.evidence())


@METHODS.method
async def submit_evidence(context: Context, *, evidence: HexBytes) -> Any:
    """Have evidence kept, flooded and included."""
    return to_json(context.api.submit_evidence(evidence))


@METHODS.method
async def light_head(context: Context, *, height: HeightNumber | None = None) -> Any:
    """A final block with its finality proof."""
    wanted = None if height is None else Height(height)
    return {"proof": context.api.light_head(wanted).hex()}


@METHODS.method
async def light_start(context: Context, *, height: HeightNumber) -> Any:
    """A final block with the validator set of its epoch."""
    return {"start": context.api.light_start(Height(height)).hex()}


@METHODS.method
async def light_hops(context: Context, *, epoch: HeightNumber) -> Any:
    """The ends of `epoch` and later ones, with the sets that follow."""
    return {"hops": await _off_the_loop(lambda: context.api.light_hops(Epoch(epoch)).hex())}


@METHODS.method
async def dossier(context: Context, *, height: HeightNumber, view: HeightNumber = 0) -> Any:
    """What the node holds that makes a block final, down to a view: for blame."""
    return {"dossier": await _off_the_loop(lambda: context.api.dossier(Height(height), View(view)).hex())}


@METHODS.method
async def chains(context: Context) -> Any:
    """Every consumer chain."""
    return to_json(context.api.chains())


@METHODS.method
async def chain(context: Context, *, chain: ChainNumber) -> Any:
    """One consumer chain: its record and head."""
    return to_json(context.api.chain(ChainId(chain)))


@METHODS.method
async def chain_submit(context: Context, *, chain: ChainNumber, transactions: HexItems) -> Any:
    """Offer transactions to a consumer chain's collator."""
    return to_json(await context.api.chain_submit(ChainId(chain), transactions))


@METHODS.method
async def chain_receipts(context: Context, *, chain: ChainNumber, hashes: HashItems) -> Any:
    """Stages of consumer-chain transactions."""
    names = [Hash(each) for each in hashes]
    return await _by_slices(names, lambda part: context.api.chain_receipts(ChainId(chain), part))


@METHODS.method
async def chain_state(context: Context, *, chain: ChainNumber, key: HexRawKey, prove: bool = False) -> Any:
    """A raw key of a consumer chain's state."""
    return to_json(context.api.chain_state(ChainId(chain), key, prove=prove))


@METHODS.method
async def enclaves(context: Context) -> Any:
    """Every deployed module."""
    return to_json(context.api.enclaves())


@METHODS.method
async def enclave(context: Context, *, module: HexHash) -> Any:
    """One module."""
    return to_json(context.api.enclave(ModuleId(module)))


@METHODS.method
async def enclave_state(
    context: Context, *, module: HexHash, chain: ChainNumber, key: HexRawKey, prove: bool = False
) -> Any:
    """A raw key of an instance's state."""
    return to_json(context.api.enclave_state(ModuleId(module), ChainId(chain), key, prove=prove))


@METHODS.method
async def trace(context: Context, *, after: HeightNumber = 0, limit: PageSize = 1_000) -> Any:
    """Latency records of final blocks above `after`."""
    page = context.api.trace(Height(after), limit)
    blocks = await _by_slices(page.blocks, lambda part: part)
    return JsonText(b'{"next":' + dump(page.next) + b',"blocks":' + blocks + b"}")
