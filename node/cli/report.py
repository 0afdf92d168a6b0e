"""`phalanx evidence report`: evidence by transaction, with a bond, for whoever is no validator's peer."""

import click

from consensus.agreement.evidence import Evidence
from consensus.agreement.statements import Verdict
from consensus.candidates.receipts import Attestation
from consensus.primitives.codec import decode
from consensus.primitives.errors import DecodeError, UserError
from consensus.relay.offences.transactions import (
    OffenceAction,
    ReportContradiction,
    ReportStatement,
    SubmitEvidence,
)
from node.cli.connect import BYTES
from node.cli.output import Output, example, json_option, pass_output
from node.cli.sending import Sending, sending
from node.cli.submit import submit
from node.evidence_pool import MAX_EVIDENCE_BYTES


@click.command(epilog=example("phalanx evidence report @0.evidence --from alice --wait"))
@click.argument("pieces", type=BYTES, nargs=-1, required=True)
@sending(who="Who reports it: a key's name or file; risks the bond, gets the reward.")
@json_option
@pass_output
def report(output: Output, *, pieces: tuple[bytes, ...], send: Sending) -> None:
    """Report PIECES by transaction, each hexadecimal or @FILE: evidence, or one statement of a validator on a
    candidate that was judged otherwise, or two contrary ones of its own.

    Whoever reports what convicts somebody gets part of what is slashed. What is false costs the bond,
    `evidence_bond`; what is true but not news costs the fee. `phalanx evidence submit` costs nothing, and
    brings nothing.
    """
    action = action_of(pieces)
    submission = send.submission()
    submit(output, submission, action, outcome=lambda raw: {"slashed": str(int.from_bytes(raw, "big"))})


def action_of(pieces: tuple[bytes, ...]) -> OffenceAction:
    """What these bytes report. Raises UserError if it is nothing that can be reported."""
    if len(pieces) > 2:
        raise UserError("report one piece of evidence, one statement, or two contrary statements at a time")
    statements = [_statement(each) for each in pieces]
    if len(pieces) == 1:
        only = statements[0]
        return _evidence(pieces[0]) if only is None else ReportStatement(statement=only)
    found = {each.verdict: each for each in statements if each is not None}
    if set(found) != set(Verdict):
        raise UserError('two pieces are reported together only if one is "valid" and the other "invalid"')
    return ReportContradiction(valid=found[Verdict.VALID], invalid=found[Verdict.INVALID])


def _statement(raw: bytes) -> Attestation | None:
    try:
        return decode(Attestation, raw, limit=MAX_EVIDENCE_BYTES)
    except DecodeError:
        return None


def _evidence(raw: bytes) -> SubmitEvidence:
    try:
        return SubmitEvidence(evidence=decode(Evidence, raw, limit=MAX_EVIDENCE_BYTES))
    except DecodeError as error:
        raise UserError(
            f"this is neither evidence nor a statement ({error}): give the bytes that"
            " `phalanx query evidence` shows"
        ) from None
