"""What a node finds when it starts: its journal, its place in the set, the block it continues from."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from consensus.agreement.config import Parameters
from consensus.agreement.journal_records import AmnesiaRecord, BarRecord, JournalRecord, decode_record
from consensus.agreement.messages import block_hash, genesis_header
from consensus.agreement.signing_rules import SigningGate
from consensus.agreement.validators import ValidatorSet
from consensus.primitives.errors import DecodeError, LocalFault, UserError
from consensus.primitives.ids import Hash, ValidatorIndex
from consensus.relay.genesis import Genesis
from consensus.relay.ledger import Ledger
from consensus.relay.registry import Registry
from net.identity import PeerId
from node.api import Role
from node.config import NodeConfig
from node.executor import Executed
from node.journal import Journal, Origin, open_journal
from node.keys import NodeKeys
from node.mempool import MempoolLimits
from node.setup import journal_path
from node.store import Store
from node.validator_set import FIRST_EPOCH

NETWORK_FILE: Final = "network"


def bind_to_network(data: Path, genesis_hash: Hash) -> None:
    """Let a data directory belong to one network for ever: its journal says what was signed *there*.

    Raises UserError if it belongs to another one; the store says so too, but a store can be deleted.
    """
    path = data / NETWORK_FILE
    try:
        held = path.read_text().strip()
    except FileNotFoundError:
        with path.open("w") as file:
            file.write(f"{genesis_hash.hex()}\n")
            file.flush()
            os.fsync(file.fileno())
        return
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can not be read ({error}): is the disk whole?") from None
    if held != genesis_hash.hex():
        raise UserError(
            f"{data} belongs to network {held[:16]}…, but the genesis file is {genesis_hash.hex()[:16]}…:"
            " give each network a directory of its own"
        )


def open_signing_journal(
    config: NodeConfig, log: FilteringBoundLogger
) -> tuple[Journal, tuple[JournalRecord, ...] | None]:
    """The journal and what it held; None for the records of a journal that was lost.

    Raises UserError if what was signed before is not known and the operator's policy is to refuse amnesia,
    LocalFault if the disk refuses or the records are of another version.
    """
    journal, replay = open_journal(journal_path(config), sync=config.journal.sync == "fsync")
    if replay.dropped_bytes:
        log.warning("journal.torn_tail_dropped", bytes=replay.dropped_bytes)
    try:
        records = tuple(decode_record(each) for each in replay.records)
    except DecodeError as error:
        journal.close()
        raise LocalFault(
            f"{journal.path} holds a record that this version can not read ({error}):"
            " run the version that wrote it"
        ) from None
    empty = replay.origin is Origin.RECREATED and not records
    if not (replay.loss or empty or _is_amnesic(records)):
        return journal, records
    loss = replay.loss or f"{journal.path} replaces a journal that was lost"
    if config.consensus.amnesia == "refuse":
        journal.close()
        raise UserError(
            f"{loss}: this validator must not sign. Only the very newest journal may be brought back, never a"
            " backup of it: an old one makes this key sign twice. To have the other validators say from where"
            ' it may vote, set consensus.amnesia = "probe" and start again'
        )
    log.error("journal.lost", reason=loss, policy="probe")
    return journal, records or None


def _is_amnesic(records: Sequence[JournalRecord]) -> bool:
    """Whether a probe began and no bar was learnt yet: a crash between the two settles nothing."""
    marks = [each for each in records if isinstance(each, AmnesiaRecord | BarRecord)]
    return bool(marks) and isinstance(marks[-1], AmnesiaRecord)


def start(genesis: Genesis, genesis_hash: Hash, validators: ValidatorSet, store: Store) -> Executed:
    """Where execution continues: the store's highest block, or genesis."""
    height = store.height()
    held = store.block(height) if height else None
    if held is not None:
        header, root = held.header, held.post_root
    else:
        header = genesis_header(
            chain_id_hash=genesis_hash,
            epoch=FIRST_EPOCH,
            time_ms=genesis.time_ms,
            validators_hash=validators.validators_hash,
        )
        root = store.genesis_root()
    waiting = Registry(Ledger(store, root)).lanes.deliveries_waiting()
    return Executed(hash=block_hash(header), header=header, post_root=root, calls_waiting=waiting)


def own_index(config: NodeConfig, genesis: Genesis, keys: NodeKeys) -> ValidatorIndex | None:
    """This validator's place in the set; None for an observer. Raises UserError if genesis disagrees."""
    if config.role is not Role.VALIDATOR or keys.consensus is None:
        return None
    public = keys.consensus.header.public
    for index, each in enumerate(genesis.validators):
        if each.consensus_key == public:
            if each.identity_key != keys.identity.header.public:
                raise UserError(
                    f"genesis names another identity key for {each.name}: use the identity.key made with this"
                    " consensus.key"
                )
            return ValidatorIndex(index)
    raise UserError(
        f"the consensus key {public.hex()[:16]}… is not in the genesis: have it added before the network"
        ' starts, or write role = "full"'
    )


def gate(own: ValidatorIndex | None, genesis_hash: Hash, keys: NodeKeys) -> SigningGate | None:
    """The choke point in front of the key; None for an observer, which never signs."""
    if own is None or keys.consensus is None:
        return None
    sign = keys.consensus.signing_key.sign
    return SigningGate(index=own, chain_id_hash=genesis_hash, epoch=FIRST_EPOCH, sign=sign)


def agreement_parameters(genesis: Genesis) -> Parameters:
    """The genesis parameters that agreement needs."""
    parameters = genesis.parameters
    return Parameters(
        precision_ms=parameters.precision_ms,
        message_delay_ms=parameters.message_delay_ms,
        max_block_bytes=parameters.max_block_bytes,
        idle_interval_ms=parameters.idle_interval_ms,
    )


def mempool_limits(config: NodeConfig) -> MempoolLimits:
    """The operator's bounds of the mempool."""
    pool = config.mempool
    return MempoolLimits(
        transactions=pool.max_transactions, bytes=pool.max_bytes, per_account=pool.max_per_account
    )


def known_peers(config: NodeConfig, genesis: Genesis) -> frozenset[PeerId]:
    """Validators of the genesis, and whoever the operator lists."""
    return frozenset(
        [PeerId(each.identity_key) for each in genesis.validators]
        + [PeerId(each.identity) for each in config.network.peers]
    )
