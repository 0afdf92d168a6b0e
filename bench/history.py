"""A long history for a local network, made ahead of time: real blocks, in the store of every validator.

Each block is executed by the relay chain's transition and made final by a certificate of the network's own
keys, as if the validators had voted; it takes a fraction of the time that agreeing on it would. What comes
after is theirs: they start from the end of it.
"""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from bench.directory import NetworkDirectory
from bench.no_guests import NoGuests
from bench.workload import RelayAccount, relay_transfers
from consensus.agreement.certificates import pack_group
from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    FinalityProof,
    Header,
    Kind,
    block_hash,
    payload_root,
    sign_bytes,
)
from consensus.agreement.validators import ValidatorSet
from consensus.primitives import crypto
from consensus.primitives.crypto import SigningKey
from consensus.primitives.ids import ZERO_HASH, Hash, Height, Milliseconds, View
from consensus.primitives.tree import MemoryStore
from consensus.relay.blocks import check_payload, encode_payload, limits_of
from consensus.relay.genesis import Genesis, genesis_state
from consensus.relay.transition import BlockContext, apply_block
from node.genesis_file import read_genesis
from node.keys import open_node_keys
from node.opening import genesis_block
from node.setup import GENESIS_FILE
from node.state_sync.arriving import STORE_DIRECTORY
from node.store import FinalBlock, Store, StoredBlock, StoredReceipts
from node.validator_set import FIRST_EPOCH, genesis_validators

DATA: Final = "data"
BATCH: Final = 250
BLOCKS_PER_MS: Final = 10  # of block time: the history must be over before it is now
STATE_RETENTION: Final = 16


def write_history(network: NetworkDirectory, *, blocks: int, transfers: int, accounts: range) -> None:
    """Give every validator of a network that never ran the same `blocks` final blocks in epoch 1.

    Each block has so many transfers between the bench accounts of those indices, whose nonces are used up.
    """
    genesis = read_genesis(network.root / GENESIS_FILE)
    first, *others = [home.directory / DATA / STORE_DIRECTORY for home in network.validators]
    keys = [key for home in network.validators for key in _consensus_keys(home.directory / "keys")]
    senders = [RelayAccount(network.plan.bench_key(index), genesis.hash) for index in accounts]
    store = Store(first, retention=STATE_RETENTION, sync=False)
    try:
        made = _History(genesis, store, keys).blocks(relay_transfers(senders), blocks, transfers)
        while batch := list(islice(made, BATCH)):
            store.persist_blocking(batch)
    finally:
        store.close()
    for each in others:
        shutil.copytree(first, each)


def _consensus_keys(directory: Path) -> list[SigningKey]:
    return [each.signing_key for each in open_node_keys(directory, None, validator=True).consensus]


class _History:
    """Blocks on top of genesis."""

    def __init__(self, genesis: Genesis, store: Store, keys: list[SigningKey]) -> None:
        self._genesis = genesis
        self._chain = genesis.hash
        self._validators: ValidatorSet = genesis_validators(genesis)
        by_key = {key.public: key for key in keys}
        self._signers = [by_key[key] for key in self._validators.keys]
        self._root, nodes = genesis_state(genesis)
        self._nodes = MemoryStore(dict(nodes))
        store.initialise(self._chain, self._root, nodes)

    def blocks(self, transactions: Iterator[bytes], count: int, each: int) -> Iterator[FinalBlock]:
        """The next `count` final blocks."""
        parent = genesis_block(self._genesis, self._chain)
        for _ in range(count):
            final = self._block(parent, list(islice(transactions, each)))
            yield final
            parent = final.block.header

    def _block(self, parent: Header, raws: list[bytes]) -> FinalBlock:
        payload = encode_payload(raws, ())
        limits = limits_of(self._genesis.parameters, self._chain)
        checked = check_payload(payload, limits, lambda _: None, crypto.verify)
        view = View(parent.view + 1)
        header = Header(
            epoch=FIRST_EPOCH,
            view=view,
            height=Height(parent.height + 1),
            parent_hash=block_hash(parent),
            parent_view=parent.view,
            proposer=self._validators.leader(view),
            time_ms=Milliseconds(self._genesis.time_ms + view // BLOCKS_PER_MS),
            payload_root=payload_root(payload),
            payload_len=len(payload),
            tx_count=len(raws),
            state_root=self._root,
            validators_hash=self._validators.validators_hash,
            next_validators_hash=ZERO_HASH,
            flags=0,
        )
        context = BlockContext(
            chain_id_hash=self._chain,
            height=header.height,
            time_ms=header.time_ms,
            epoch=header.epoch,
            view=header.view,
            parent_hash=header.parent_hash,
            parent_view=header.parent_view,
            proposer=header.proposer,
            validators=self._validators,
            verify=crypto.verify,
        )
        result = apply_block(self._root, context, checked, self._nodes, NoGuests())
        self._nodes.apply(dict(result.new_nodes))
        self._root = result.post_root
        name = block_hash(header)
        return FinalBlock(
            height=header.height,
            hash=name,
            block=StoredBlock(header=header, payload=payload, post_root=result.post_root),
            proof=FinalityProof(path=(), certificate=self._certificate(header, name)),
            receipts=StoredReceipts(
                receipts=result.receipts,
                void=(),
                enclave_calls=result.counters.enclave_calls,
                messages=result.counters.messages,
            ),
            transactions=tuple(each.hash for each in checked.transactions),
            new_nodes=result.new_nodes,
            reference_changes=result.reference_changes,
        )

    def _certificate(self, header: Header, name: Hash) -> Certificate:
        """FINALIZE of everybody."""
        message = sign_bytes(self._chain, Kind.FINALIZE, header.epoch, header.view, name, ZERO_HASH)
        votes = {index: signer.sign(message) for index, signer in enumerate(self._signers)}
        return Certificate(
            ctype=int(CertificateType.FINAL),
            epoch=header.epoch,
            view=header.view,
            block=name,
            groups=(pack_group(Kind.FINALIZE, name, ZERO_HASH, votes, len(votes)),),
            fault=None,
            leader_sigs=(),
        )
