"""`phalanx stake delegate`, `undelegate`, `redelegate`: stake behind validators that others operate."""

from typing import Any, Final

import click

from consensus.primitives.errors import UserError
from consensus.primitives.ids import Amount, PublicKey
from consensus.relay.stake.records import nomination_name
from consensus.relay.stake.transactions import MAX_APPROVALS, Delegate, Redelegate, Undelegate
from node.cli.connect import AMOUNT, find_account
from node.cli.output import Output, example, json_option, pass_output
from node.cli.sending import Sending, sending
from node.cli.submit import submit

WHO: Final = "Whose stake it is: a key's name or file."
VALIDATORS: Final = click.argument("validators", metavar="VALIDATOR...", nargs=-1, required=True)


@click.command(epilog=example("phalanx stake delegate alice bob --amount 5000 --from carol --wait"))
@VALIDATORS
@click.option("--amount", type=AMOUNT, required=True, help="Units to lock.")
@sending(who=WHO)
@json_option
@pass_output
def delegate(output: Output, *, validators: tuple[str, ...], amount: int, send: Sending) -> None:
    """Put stake behind one VALIDATOR, or several: each the key of its account, or a key's name or file.

    It counts from the next election, which spreads it over those of them that it elects. It earns a part of
    what they earn, and is cut as theirs is if one is convicted. To name several together for the first time
    takes at least the network's min_nomination.
    """
    accounts = _accounts(validators, send)
    extra = {"nomination": nomination_name(accounts).hex()}
    submit(output, send.submission(), Delegate(validators=accounts, amount=Amount(amount)), extra=extra)


@click.command(epilog=example("phalanx stake undelegate alice bob --amount 5000 --from carol --wait"))
@VALIDATORS
@click.option("--amount", type=AMOUNT, required=True, help="Units: at most all that is there.")
@sending(who=WHO)
@json_option
@pass_output
def undelegate(output: Output, *, validators: tuple[str, ...], amount: int, send: Sending) -> None:
    """Take stake from behind exactly these validators, to have it paid out later.

    It stays locked, and at risk for what they signed, until the network's unbonding time is over. Then take
    it with `phalanx stake withdraw`.
    """
    name = nomination_name(_accounts(validators, send))
    submit(
        output,
        send.submission(),
        Undelegate(nomination=name, amount=Amount(amount)),
        extra={"nomination": name.hex()},
        outcome=_last_epoch,
    )


@click.command(epilog=example("phalanx stake redelegate alice --to bob --amount 5000 --from carol --wait"))
@VALIDATORS
@click.option("--to", "to", multiple=True, required=True, help="Behind whom; several if given repeatedly.")
@click.option("--amount", type=AMOUNT, required=True, help="Units: at most all that is there.")
@sending(who=WHO)
@json_option
@pass_output
def redelegate(
    output: Output, *, validators: tuple[str, ...], to: tuple[str, ...], amount: int, send: Sending
) -> None:
    """Move stake from behind exactly these validators to behind others.

    It counts for the new ones from the next election, and answers for the old ones as long as if it had left:
    until then it can neither move on nor leave. `phalanx stake withdraw` ends that.
    """
    source, target = nomination_name(_accounts(validators, send)), _accounts(to, send)
    submit(
        output,
        send.submission(),
        Redelegate(nomination=source, validators=target, amount=Amount(amount)),
        extra={"from": source.hex(), "to": nomination_name(target).hex()},
    )


def _accounts(validators: tuple[str, ...], send: Sending) -> tuple[PublicKey, ...]:
    """Raises UserError for what is no account, for a repetition, and for too many."""
    found = tuple(sorted(find_account(each, send.keys_dir) for each in validators))
    if len(set(found)) < len(found):
        raise UserError("a validator is named twice")
    if len(found) > MAX_APPROVALS:
        raise UserError(f"stake stands behind at most {MAX_APPROVALS} validators at once")
    return found


def _last_epoch(raw: bytes) -> dict[str, Any]:
    return {"last_epoch": int.from_bytes(raw, "big")}
