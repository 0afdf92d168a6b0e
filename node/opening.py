"""What a node finds when it starts: its journal, whose keys it has, the block it continues from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from consensus.agreement.config import Parameters
from consensus.agreement.journal_records import AmnesiaRecord, BarRecord, JournalRecord, decode_record
from consensus.agreement.messages import FLAG_BOUNDARY, Header, block_hash, genesis_header
from consensus.primitives.errors import DecodeError, LocalFault, UserError
from consensus.primitives.ids import Hash
from consensus.primitives.tree import EMPTY_ROOT
from consensus.relay.genesis import Genesis, genesis_state
from consensus.relay.ledger import Ledger
from consensus.relay.registry import Registry
from node.config import NodeConfig
from node.epochs import Term
from node.executor import Executed, set_after
from node.files import keep_file
from node.journal import Journal, Origin, open_journal
from node.keys import NodeKeys
from node.lost_keys import note_loss
from node.mempool import MempoolLimits
from node.setup import journal_path
from node.store import Store
from node.validator_set import FIRST_EPOCH, genesis_validators

NETWORK_FILE: Final = "network"


def bind_to_network(data: Path, genesis_hash: Hash) -> None:
    """Let a data directory belong to one network for ever: its journal says what was signed *there*.

    Raises UserError if it belongs to another one; the store says so too, but a store can be deleted. Raises
    LocalFault if it is new and the disk refuses.
    """
    path = data / NETWORK_FILE
    try:
        held = path.read_text().strip()
    except FileNotFoundError:
        keep_file(path, f"{genesis_hash.hex()}\n".encode())
        return
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can not be read ({error}): is the disk whole?") from None
    if held != genesis_hash.hex():
        raise UserError(
            f"{data} belongs to network {held[:16]}…, but the genesis file is {genesis_hash.hex()[:16]}…:"
            " give each network a directory of its own"
        )


def open_signing_journal(
    config: NodeConfig, keys: NodeKeys, log: FilteringBoundLogger
) -> tuple[Journal, tuple[JournalRecord, ...] | None]:
    """The journal and what it held; None for the records of a journal that was lost.

    At a loss the keys that may have signed are written down first (`lost_keys`). Raises UserError if what was
    signed before is not known and the operator's policy is to refuse amnesia, LocalFault if the disk refuses
    or the records are of another version.
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
    if replay.loss or empty:
        try:
            note_loss(config.data_path, journal.name, [each.header.public for each in keys.consensus])
        except LocalFault:
            journal.close()
            raise
    if config.consensus.amnesia == "refuse":
        journal.close()
        raise UserError(
            f"{loss}: this validator must not sign. Only the very newest journal may be brought back, never a"
            " backup of it: an old one makes this key sign twice. To sign again with a fresh key, set"
            ' consensus.amnesia = "next_epoch", start, and rotate the key; to have the other validators say'
            ' from where this one may vote, set it to "probe"'
        )
    log.error("journal.lost", reason=loss, policy=config.consensus.amnesia)
    return journal, records or None


def _is_amnesic(records: Sequence[JournalRecord]) -> bool:
    """Whether a probe began and no bar was learnt yet: a crash between the two settles nothing."""
    marks = [each for each in records if isinstance(each, AmnesiaRecord | BarRecord)]
    return bool(marks) and isinstance(marks[-1], AmnesiaRecord)


def initialise(store: Store, genesis: Genesis) -> None:
    """Write the genesis state, if the store is new: to make it takes seconds where accounts are many.

    Raises UserError if the store belongs to another network.
    """
    root, nodes = (EMPTY_ROOT, {}) if store.initialised else genesis_state(genesis)
    store.initialise(genesis.hash, root, nodes)


def start(genesis: Genesis, genesis_hash: Hash, store: Store) -> Executed:
    """Where execution continues: the store's highest block, or genesis."""
    height = store.height()
    held = store.block(height) if height else None
    if held is not None:
        header, root = held.header, held.post_root
    else:
        header, root = genesis_block(genesis, genesis_hash), store.genesis_root()
    name, ledger = block_hash(header), Ledger(store, root)
    return Executed(
        hash=name,
        header=header,
        post_root=root,
        calls_waiting=Registry(ledger).lanes.deliveries_waiting(),
        next_set=set_after(ledger, genesis_hash, header, name, genesis.parameters.epoch_blocks),
    )


def genesis_block(genesis: Genesis, genesis_hash: Hash) -> Header:
    """The block of height 0, which everybody makes from the genesis and nobody signs."""
    return genesis_header(
        chain_id_hash=genesis_hash,
        epoch=FIRST_EPOCH,
        time_ms=genesis.time_ms,
        validators_hash=genesis_validators(genesis).validators_hash,
    )


def epoch_start(genesis: Genesis, genesis_hash: Hash, store: Store, newest: Header) -> Header:
    """The block that the epoch after the `newest` final block builds on: a boundary block, or genesis.

    Raises LocalFault if the store has lost it.
    """
    if newest.height == 0 or newest.flags & FLAG_BOUNDARY:
        return newest
    if newest.epoch == FIRST_EPOCH:
        return genesis_block(genesis, genesis_hash)
    held = store.boundary(newest.epoch - 1)
    if held is None:
        raise LocalFault(
            f"{store.path} is inconsistent: the block on which epoch {newest.epoch} began is missing"
        )
    return held.boundary.header


def check_keys(term: Term, keys: NodeKeys) -> None:
    """Raises UserError if the set names one of this node's keys for another node: nobody may sign then."""
    own = {each.header.public for each in keys.consensus}
    for each in term.members.members:
        if each.consensus_key in own and each.identity_key != keys.identity.header.public:
            raise UserError(
                f"the validator set names another identity key for {each.name}: use the identity.key made"
                " with this consensus.key"
            )


def agreement_parameters(genesis: Genesis) -> Parameters:
    """The genesis parameters that agreement needs."""
    parameters = genesis.parameters
    return Parameters(
        precision_ms=parameters.precision_ms,
        message_delay_ms=parameters.message_delay_ms,
        max_block_bytes=parameters.max_block_bytes,
        idle_interval_ms=parameters.idle_interval_ms,
        epoch_blocks=parameters.epoch_blocks,
    )


def mempool_limits(config: NodeConfig) -> MempoolLimits:
    """The operator's bounds of the mempool."""
    pool = config.mempool
    return MempoolLimits(
        transactions=pool.max_transactions, bytes=pool.max_bytes, per_account=pool.max_per_account
    )


def check_retention(config: NodeConfig, genesis: Genesis) -> None:
    """Raises UserError if fewer blocks are asked for than evidence is sure to need.

    It counts for `unbonding_ms` too, in which any number of blocks may come: no store lets these go.
    """
    parameters, kept = genesis.parameters, config.retention.blocks
    least = parameters.evidence_epochs * parameters.epoch_blocks
    if 0 < kept < least:
        raise UserError(
            f"retention.blocks is {kept}, but evidence counts for {parameters.evidence_epochs} epochs of"
            f" {parameters.epoch_blocks} blocks: keep at least {least}, or 0 for all"
        )
