"""What the state says about a validator, fetched leaf by leaf and put into words."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from consensus.primitives.codec import decode
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Height, PublicKey
from consensus.relay.ledger import PARAMETERS_KEY, RECORD_LIMIT, decode_parameters
from consensus.relay.parameters import Parameters
from consensus.relay.stake.records import (
    ROSTER_KEY,
    PoolKind,
    PoolRecord,
    RosterEntry,
    RosterRecord,
    Standing,
    ValidatorRecord,
    main_pool,
    nomination_name,
    validator_key,
)
from node.cli.holdings import HoldingReport, fetch_holdings, leaf
from node.client import RpcClient


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorStanding:
    """A validator as of the next election: `bonded` are units of its own, `backing` all that is in its own
    nomination for good; `leaving` what its account has on the way out, of any nomination."""

    record: ValidatorRecord
    parameters: Parameters
    bonded: int
    backing: int
    leaving: list[HoldingReport]
    height: Height

    def document(self) -> dict[str, Any]:
        """For --json."""
        record = self.record
        return {
            "account": record.account.hex(),
            "name": record.name,
            "standing": Standing(record.standing).name.lower(),
            "jailed_until": record.jailed_until or None,
            "chilled": record.chilled,
            "bonded": str(self.bonded),
            "backing": str(self.backing),
            "commission_ppb": record.commission_ppb,
            "commission_max_ppb": record.commission_max_ppb,
            "commission_step_ppb": record.commission_step_ppb,
            "operator": record.operator,
            "region": record.region,
            "client": record.client,
            "consensus_key": record.consensus_key.hex(),
            "identity_key": record.identity_key.hex(),
            "address": record.address,
            "joined_height": record.joined_height,
            "unbonding": [
                {
                    "amount": str(each.units),
                    "from_epoch": each.from_epoch(self.parameters),
                    "from_ms": each.from_ms(self.parameters),
                }
                for each in self.leaving
            ],
            "height": self.height,
        }

    def rows(self) -> list[tuple[str, Any]]:
        """For people."""
        record = self.record
        standing = Standing(record.standing)
        note = ""
        if standing is Standing.JAILED:
            note = f"; may ask to come back from epoch {record.jailed_until}: phalanx stake unjail"
        elif standing is Standing.TOMBSTONED:
            note = "; signed twice and is never elected again"
        elif record.chilled:
            note = "; chilled: in no election until it asks to be: phalanx stake unchill"
        elif self.bonded < self.parameters.min_stake:
            note = f"; not elected below {self.parameters.min_stake} units of its own"
        rows: list[tuple[str, Any]] = [
            ("validator", f"{record.name}  {record.account.hex()}"),
            ("stake", f"{self.bonded} units of its own, {self.backing} with its delegators'"),
            ("commission", f"{record.commission_ppb} ppb, at most {record.commission_max_ppb}"),
            ("standing", f"{standing.name.lower()}{note}"),
            ("consensus key", f"{record.consensus_key.hex()}  (of the next set)"),
            ("identity", record.identity_key.hex()),
            ("address", record.address or "none"),
            ("since", f"height {record.joined_height}"),
        ]
        rows += [("unbonding", promise(each, self.parameters)) for each in self.leaving]
        return [*rows, ("as of", f"height {self.height}")]


def promise(holding: HoldingReport, parameters: Parameters) -> str:
    """When stake on its way out is paid out, for people."""
    from_ms = holding.from_ms(parameters)
    if from_ms is None:
        when = f"{parameters.unbonding_ms} ms after epoch {holding.last_epoch} ends"
    else:
        when = datetime.fromtimestamp(from_ms / 1_000, UTC).isoformat(timespec="seconds")
    return f"{holding.units} units, paid out from epoch {holding.from_epoch(parameters)} and {when} on"


async def fetch_standing(client: RpcClient, account: PublicKey) -> ValidatorStanding:
    """Ask a node. Raises UserError if the account never bonded."""
    report = await client.state(validator_key(account))
    if report.value is None:
        raise UserError(
            f"{account.hex()} is no validator's account: it never bonded; see `phalanx stake bond --help`"
        )
    record = decode(ValidatorRecord, report.value, limit=RECORD_LIMIT)
    own = main_pool(nomination_name((account,)))
    main = await leaf(client, own, PoolRecord)
    holdings = await fetch_holdings(client, account)
    return ValidatorStanding(
        record=record,
        parameters=await fetch_parameters(client),
        bonded=sum(each.units for each in holdings if each.pool == own),
        backing=0 if main is None else main.tokens,
        leaving=[each for each in holdings if each.kind is PoolKind.LEAVING],
        height=report.height,
    )


async def fetch_roster(client: RpcClient) -> tuple[RosterEntry, ...]:
    """Who may be elected, in order."""
    return (await leaf(client, ROSTER_KEY, RosterRecord) or RosterRecord()).entries


async def fetch_parameters(client: RpcClient) -> Parameters:
    """The network's parameters. Raises UserError."""
    raw = (await client.state(PARAMETERS_KEY)).value
    if raw is None:
        raise UserError("the node's state has no parameters: it is broken; ask another node")
    return decode_parameters(raw)
