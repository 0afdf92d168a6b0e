"""What the state says about a validator, fetched leaf by leaf and put into words."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from consensus.primitives.codec import decode
from consensus.primitives.errors import UserError
from consensus.primitives.ids import Epoch, Hash, Height, PublicKey
from consensus.relay.ledger import PARAMETERS_KEY, RECORD_LIMIT, decode_parameters
from consensus.relay.parameters import Parameters
from consensus.relay.staking import (
    ROSTER_KEY,
    LeavingRecord,
    RosterEntry,
    RosterRecord,
    Standing,
    UnbondingEntry,
    ValidatorRecord,
    leaving_key,
    validator_key,
)
from node.client import RpcClient

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatorStanding:
    """A validator as of the next election. `ended_ms` has the end of each entry's last epoch, 0 to come."""

    record: ValidatorRecord
    parameters: Parameters
    ended_ms: dict[Epoch, int]
    height: Height

    def document(self) -> dict[str, Any]:
        """For --json."""
        record = self.record
        return {
            "account": record.account.hex(),
            "name": record.name,
            "standing": Standing(record.standing).name.lower(),
            "jailed_until": record.jailed_until or None,
            "bonded": str(record.bonded),
            "consensus_key": record.consensus_key.hex(),
            "identity_key": record.identity_key.hex(),
            "address": record.address,
            "joined_height": record.joined_height,
            "unbonding": [
                {
                    "amount": str(each.amount),
                    "from_epoch": self._from_epoch(each),
                    "from_ms": self._from_ms(each),
                }
                for each in record.unbonding
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
        elif record.bonded < self.parameters.min_stake:
            note = f"; not elected below {self.parameters.min_stake} units"
        rows: list[tuple[str, Any]] = [
            ("validator", f"{record.name}  {record.account.hex()}"),
            ("stake", f"{record.bonded} units"),
            ("standing", f"{standing.name.lower()}{note}"),
            ("consensus key", f"{record.consensus_key.hex()}  (of the next set)"),
            ("identity", record.identity_key.hex()),
            ("address", record.address or "none"),
            ("since", f"height {record.joined_height}"),
        ]
        rows += [("unbonding", self._promise(each)) for each in record.unbonding]
        return [*rows, ("as of", f"height {self.height}")]

    def _from_epoch(self, entry: UnbondingEntry) -> int:
        return entry.last_epoch + self.parameters.unbonding_epochs + 1

    def _from_ms(self, entry: UnbondingEntry) -> int | None:
        ended = self.ended_ms.get(entry.last_epoch, 0)
        return ended + self.parameters.unbonding_ms if ended else None

    def _promise(self, entry: UnbondingEntry) -> str:
        from_ms = self._from_ms(entry)
        if from_ms is None:
            when = f"{self.parameters.unbonding_ms} ms after epoch {entry.last_epoch} ends"
        else:
            when = datetime.fromtimestamp(from_ms / 1_000, UTC).isoformat(timespec="seconds")
        return f"{entry.amount} units, paid out from epoch {self._from_epoch(entry)} and {when} on"


async def fetch_standing(client: RpcClient, account: PublicKey) -> ValidatorStanding:
    """Ask a node. Raises UserError if the account never bonded."""
    report = await client.state(validator_key(account))
    if report.value is None:
        raise UserError(
            f"{account.hex()} is no validator's account: it never bonded; see `phalanx stake bond --help`"
        )
    record = decode(ValidatorRecord, report.value, limit=RECORD_LIMIT)
    ended_ms = {}
    for each in record.unbonding:
        left = await _leaf(client, leaving_key(each.last_epoch), LeavingRecord)
        ended_ms[each.last_epoch] = 0 if left is None else left.ended_ms
    return ValidatorStanding(
        record=record, parameters=await _parameters(client), ended_ms=ended_ms, height=report.height
    )


async def fetch_roster(client: RpcClient) -> tuple[int, tuple[RosterEntry, ...]]:
    """The seats of a set, and who may be elected, in order."""
    record = await _leaf(client, ROSTER_KEY, RosterRecord) or RosterRecord()
    return (await _parameters(client)).max_validators, record.entries


async def _parameters(client: RpcClient) -> Parameters:
    raw = (await client.state(PARAMETERS_KEY)).value
    if raw is None:
        raise UserError("the node's state has no parameters: it is broken; ask another node")
    return decode_parameters(raw)


async def _leaf(client: RpcClient, key: Hash, kind: type[T]) -> T | None:
    raw = (await client.state(key)).value
    return None if raw is None else decode(kind, raw, limit=RECORD_LIMIT)
