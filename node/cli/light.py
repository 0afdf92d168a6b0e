"""`phalanx light`: follow finality and check proofs without trusting a node (CONSENSUS.md section 16)."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from consensus.agreement.messages import block_hash
from consensus.light.answers import leaf_of
from consensus.light.client import (
    Checkpoint,
    Conflict,
    TrustedState,
    advance,
    advance_hops,
    begin,
    check_age,
    hold_against,
)
from consensus.light.proofs import (
    ChainKey,
    InstanceKey,
    LightProof,
    Question,
    ReceiptOf,
    decode_light_proof,
    encode_light_proof,
)
from consensus.primitives.errors import DecodeError, PeerFault, UserError
from node.cli.connect import collator_url, keys_option, rpc_option, rpc_url
from node.cli.output import Output, example, json_option, pass_output, table
from node.cli.questions import describe, question_from, question_options
from node.cli.trust import (
    Trust,
    TrustOptions,
    now_ms,
    read_state,
    state_path,
    trust_options,
    write_state,
)
from node.cli.verify import LIAR, check_bundle, fetch_bundle, fetch_start
from node.client import RpcClient, RpcError, ask
from node.files import read_file, write_file
from node.fork_proof import keep_fork

ATTEMPTS: Final = 3  # an epoch may end between two questions
MAX_PROOF_FILE_BYTES: Final = 64 * 1024 * 1024
state_option = click.option(
    "--state",
    "state_file",
    type=click.Path(path_type=Path),
    help="The file of `light sync`. Default for sync: ~/.phalanx/light/NETWORK.trusted",
)


@click.group(epilog=example("phalanx light prove account/alice --out alice.proof"))
def light() -> None:
    """Follow finality and check proofs without trusting a node."""


# --- sync


@light.command(epilog=example("phalanx light sync --witness http://10.0.0.2:7800"))
@state_option
@click.option("--witness", "witnesses", multiple=True, metavar="URL", help="Another node that must agree.")
@trust_options
@rpc_option
@json_option
@pass_output
def sync(
    output: Output,
    *,
    state_file: Path | None,
    witnesses: tuple[str, ...],
    trust: TrustOptions,
    rpc: str | None,
) -> None:
    """Follow a node to its newest final block, epoch by epoch, and keep what is trusted in a file.

    The file is where the next sync begins. Each --witness is asked for the same block. Two final blocks that
    no chain holds both of are proof of a fork: both proofs are written beside the file, and that stays as it
    was.
    """
    known = trust.resolve()
    path = state_path(state_file, known.parameters.chain)
    kept = read_state(path, known.parameters.chain)
    begun = kept if trust.trusted is None else None  # a block given now comes before what was kept
    try:
        state, hops = ask(rpc_url(rpc), lambda client: _follow(client, known, begun))
    except Conflict as conflict:
        raise keep_fork(conflict, path.parent) from None
    agreed = [_cross_check(url, state, known, path, begun) for url in witnesses]
    write_state(path, state)  # no witness showed a fork: then neither side would be believed
    rows = [
        ("height", state.height),
        ("hash", state.hash.hex()),
        ("epoch", f"{state.epoch}, {len(state.validators.validators)} validators"),
        ("from", f"{'the kept state' if begun else known.named}, over {hops} epoch boundaries"),
        ("kept in", path),
    ]
    rows += [("witness", each) for each in agreed]
    document = {
        "height": state.height,
        "hash": state.hash.hex(),
        "epoch": state.epoch,
        "time_ms": state.time_ms,
        "hops": hops,
        "state": str(path),
        "witnesses": len(agreed),
    }
    output.result(document, table(rows))


async def _follow(client: RpcClient, trust: Trust, kept: TrustedState | None) -> tuple[TrustedState, int]:
    """The state that trusts the node's newest block, and the hops on the way. Raises UserError, Conflict."""
    try:
        state = kept or begin(await fetch_start(client, trust), trust.checkpoint, trust.parameters)
        check_age(state, trust.parameters, now_ms())
        hops = 0
        for _ in range(ATTEMPTS):
            while more := await client.light_hops(state.epoch):
                state = advance_hops(state, more, trust.parameters, now_ms())
                hops += len(more)
            head = await client.light_head()
            if (head.header.height, block_hash(head.header)) == (state.height, state.hash):
                return state, hops
            if head.header.height < state.height:
                if head.header.epoch == state.epoch:
                    hold_against(state, head, trust.parameters)
                behind = f"it is at height {head.header.height}, below {state.height}, which is trusted"
                raise UserError(f"{client.url} can not be followed: {behind}; ask another node")
            if head.header.epoch == state.epoch:
                return advance(state, (), head, trust.parameters, now_ms()), hops
        raise UserError(f"{client.url} does not have the end of epoch {state.epoch}; ask another node")
    except Conflict:  # not the node's fault, but proof of a fork
        raise
    except PeerFault as error:
        raise UserError(f"what {client.url} says is wrong ({error}); {LIAR}") from None


def _cross_check(url: str, state: TrustedState, trust: Trust, path: Path, begun: TrustedState | None) -> str:
    """Ask a witness for the block that is trusted. Raises UserError if it has another one that is final.

    A witness that shows a block which is not final here may be on a fork of an earlier epoch: it is
    followed from where the sync began, and believed a liar only if it can not be.
    """
    try:
        head = ask(url, lambda client: client.light_head(state.height))
    except RpcError as error:
        return f"{url} can not say: {error}"
    if block_hash(head.header) == state.hash:
        return f"{url} agrees"
    try:
        advance(state, (), head, trust.parameters, now_ms())
    except Conflict as conflict:
        raise keep_fork(conflict, path.parent) from None
    except PeerFault as error:
        try:
            other, _ = ask(url, lambda client: _follow(client, trust, begun))
        except Conflict as conflict:
            raise keep_fork(conflict, path.parent) from None
        except UserError:
            return f"{url} shows another block {state.height}, which is not final ({error}); {LIAR}"
        raise UserError(
            f"{url} proves another history from the same trusted block, up to block {other.height}: more than"
            " a third of the stake is guilty, believe neither. To name them, compare the `light_hops` of"
            " both: of the first epoch whose ends differ have each side write a `phalanx evidence dossier`"
        ) from None
    raise UserError(f"{url} shows another block {state.height}; it can not be held against the trusted one")


# --- prove


@light.command(epilog=example("phalanx light prove text:d --chain agora --out d.proof"))
@question_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write the proof.")
@state_option
@trust_options
@rpc_option
@keys_option
@json_option
@pass_output
def prove(
    output: Output,
    *,
    what: str | None,
    chain: str | None,
    enclave: str | None,
    receipt: str | None,
    out: Path,
    state_file: Path | None,
    trust: TrustOptions,
    rpc: str | None,
    keys_dir: Path | None,
) -> None:
    """Export a proof of WHAT the final state holds, for somebody who can not or will not ask a node.

    WHAT is a path as in `phalanx query state`; with --chain or --enclave a key, hexadecimal or text:…
    The proof leads on from genesis, or from the block that --trusted or --state names; it is checked before
    it is written.
    """
    question = question_from(
        what=what, chain=chain, enclave=enclave, receipt=receipt, rpc=rpc, keys_dir=keys_dir
    )
    if question is None:
        raise UserError("what is to be proved? give a path such as account/alice, a key, or --receipt")
    known = _with_state(trust.resolve(), state_file)
    url = collator_url(rpc) if isinstance(question, ChainKey) else rpc_url(rpc)
    bundle = ask(url, _fetching(known, question))
    head, value = check_bundle(bundle, question, known)
    data = encode_light_proof(bundle)
    write_file(out, data)
    _say(output, bundle, head, value, known, [("written", f"{out}, {len(data)} bytes")])


def _fetching(trust: Trust, question: Question) -> Callable[[RpcClient], Awaitable[LightProof]]:
    async def fetch(client: RpcClient) -> LightProof:
        match question:
            case ReceiptOf():
                answer: bytes | None = await client.receipt_proof(question.receipt)
            case ChainKey():
                answer = (await client.chain_state(question.chain, question.key, prove=True)).proof
            case InstanceKey():
                state = await client.enclave_state(question.module, question.chain, question.key, prove=True)
                answer = state.proof
            case _:
                answer = (await client.state(leaf_of(question), prove=True)).proof
        if answer is None:
            raise UserError(f"{client.url} sent no proof; ask another node")
        return await fetch_bundle(client, trust, question, answer)

    return fetch


# --- verify


@light.command(epilog=example("phalanx light verify alice.proof account/alice --genesis genesis.json"))
@click.argument("file", type=click.Path(path_type=Path))
@question_options
@state_option
@trust_options
@keys_option
@json_option
@pass_output
def verify(
    output: Output,
    *,
    file: Path,
    what: str | None,
    chain: str | None,
    enclave: str | None,
    receipt: str | None,
    state_file: Path | None,
    trust: TrustOptions,
    keys_dir: Path | None,
) -> None:
    """Check the proof in FILE without asking anybody: say what it shows, or refuse it.

    With WHAT (and --chain, --enclave or --receipt) it must be an answer to that; without, it says to what
    question it is an answer.
    """
    known = _with_state(trust.resolve(), state_file)
    try:
        bundle = decode_light_proof(read_file(file, MAX_PROOF_FILE_BYTES, "more than any proof has"))
    except DecodeError as error:
        raise UserError(f"{file}: is no proof ({error})") from None
    asked = question_from(
        what=what, chain=chain, enclave=enclave, receipt=receipt, rpc=None, keys_dir=keys_dir
    )
    head, value = check_bundle(bundle, asked or bundle.proven.answer.question, known)
    _say(output, bundle, head, value, known, [])


def _with_state(trust: Trust, state_file: Path | None) -> Trust:
    """Trust the block in a sync's file instead. Raises UserError."""
    if state_file is None:
        return trust
    state = read_state(state_file, trust.parameters.chain)
    if state is None:
        raise UserError(f"{state_file}: there is no such file; make it with `phalanx light sync --state`")
    checkpoint = Checkpoint(height=state.height, hash=state.hash)
    return replace(trust, checkpoint=checkpoint, named=f"block {state.height} of {state_file}")


def _say(
    output: Output,
    bundle: LightProof,
    head: TrustedState,
    value: bytes | None,
    trust: Trust,
    more: list[tuple[str, str]],
) -> None:
    question = bundle.proven.answer.question
    age_s = max(0, now_ms() - head.time_ms) / 1_000
    shown = "absent" if value is None else value.hex() or "(empty)"
    rows = [
        ("proved", describe(question)),
        ("value", shown),
        ("under", f"final header {head.height} of epoch {head.header.epoch}, {age_s:.0f} s old"),
        ("from", f"{trust.named}, over {len(bundle.hops)} epoch boundaries"),
        *more,
    ]
    document = {
        "verified": True,
        "question": describe(question),
        "value": None if value is None else value.hex(),
        "height": head.height,
        "hash": head.hash.hex(),
        "epoch": head.header.epoch,
        "time_ms": head.time_ms,
        "hops": len(bundle.hops),
        "trusted_height": trust.checkpoint.height,
    }
    output.result(document, table(rows))
