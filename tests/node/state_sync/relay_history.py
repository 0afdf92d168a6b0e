"""Relay blocks with accounts, code, and enclave instances that share parts of their trees, as a store gets
them, and what a store holds in the end, byte for byte."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "consensus" / "relay"))

from relay_fakes import BANK_ID, USERS, Network, make_genesis

from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    FinalityProof,
    Header,
    block_hash,
    genesis_header,
    payload_root,
)
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import ZERO_HASH, ChainId, Epoch, Height, Milliseconds, View
from consensus.relay.blocks import encode_payload
from consensus.relay.genesis import GenesisAccount, genesis_state
from consensus.relay.transactions import CallEnclave, Transfer
from node.state_sync.messages import Snapshot
from node.store import FinalBlock, Store, StoredBlock, StoredReceipts

ACCOUNTS = 300


class History:
    """A network's blocks, each as `Store.persist_blocking` takes it."""

    def __init__(self, accounts: int = ACCOUNTS) -> None:
        genesis = make_genesis()
        extra = tuple(
            GenesisAccount(key=bytes([7]) + number.to_bytes(31, "big"), balance=1)
            for number in range(accounts)
        )
        self.genesis = replace(genesis, accounts=genesis.accounts + extra)
        self.network = Network(genesis=self.genesis)
        self.genesis_root = self.network.root
        self.blocks: list[FinalBlock] = []
        self.nonces = dict.fromkeys(range(len(USERS)), 0)

    def store(self, path: Path, **settings: int) -> Store:
        """A store of this network, at genesis."""
        store = Store(path, sync=False, **settings)
        store.initialise(self.genesis.hash, *genesis_state(self.genesis))
        return store

    def call(self, user: int, chain: int, value: bytes) -> bytes:
        """A signed call that writes into the instance of a chain, 0 for the shared one."""
        instance = InstanceEndpoint(module=BANK_ID, chain=ChainId(chain))
        return self._sign(user, CallEnclave(instance=instance, input=b"S" + value, fuel_limit=10_000))

    def pay(self, user: int, amount: int) -> bytes:
        """A signed transfer."""
        return self._sign(user, Transfer(to=USERS[(user + 1) % 6].public, amount=amount))

    def _sign(self, user: int, action: object) -> bytes:
        nonce = self.nonces[user]
        self.nonces[user] += 1
        return self.network.raw(USERS[user], action, nonce=nonce)

    def add(self, *transactions: bytes) -> FinalBlock:
        """Execute the next block."""
        before, payload = self.network.root, encode_payload(transactions, ())
        result = self.network.block(transactions)
        assert not result.void
        height = self.network.height
        header = genesis_header(
            chain_id_hash=self.genesis.hash, epoch=Epoch(1), time_ms=1_000, validators_hash=ZERO_HASH
        )
        header = replace(
            header,
            view=View(height),
            height=Height(height),
            time_ms=Milliseconds(1_000 + 10 * height),
            parent_hash=self.blocks[-1].hash if self.blocks else block_hash(header),
            payload_root=payload_root(payload),
            payload_len=len(payload),
            state_root=before,
        )
        final = FinalBlock(
            height=header.height,
            hash=block_hash(header),
            block=StoredBlock(header=header, payload=payload, post_root=result.post_root),
            proof=FinalityProof(path=(), certificate=certificate(header)),
            receipts=StoredReceipts(receipts=result.receipts, void=(), enclave_calls=0, messages=0),
            transactions=(),
            new_nodes=result.new_nodes,
            reference_changes=result.reference_changes,
        )
        self.blocks.append(final)
        return final

    def busy_blocks(self, count: int) -> list[FinalBlock]:
        """Blocks in which the shared and the chain's instance come to hold the same entries."""
        blocks = []
        for number in range(count):
            raws = [self.call(user, user % 2, b"%d=%d" % (number, number)) for user in (0, 1)]
            blocks.append(self.add(*raws, self.pay(2, 5 + number)))
        return blocks

    def snapshot(self, height: int) -> Snapshot:
        """What proves the state after a block that is not the newest."""
        block, above = self.blocks[height - 1].block, self.blocks[height]
        path = (above.block.header,)
        proof = FinalityProof(path=path, certificate=above.proof.certificate)
        return Snapshot(header=block.header, payload=block.payload, proof=proof)


def certificate(header: Header) -> Certificate:
    """Its shape alone: nothing here verifies it."""
    return Certificate(
        ctype=int(CertificateType.FINAL),
        epoch=header.epoch,
        view=header.view,
        block=block_hash(header),
        groups=(),
        fault=None,
        leader_sigs=(),
    )


def content(store: Store, database: str) -> dict[bytes, bytes]:
    """Everything in one database of a store."""
    with store.reading() as txn, txn.cursor(db=store.databases[database]) as cursor:
        return {bytes(key): bytes(value) for key, value in cursor}
