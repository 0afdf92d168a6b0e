"""Relay blocks with accounts, code, and enclave instances that share parts of their trees, as a store gets
them, and what a store holds in the end, byte for byte."""

import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "consensus" / "relay"))

from relay_fakes import BANK_ID, USERS, VALIDATORS, Network, make_genesis

from consensus.agreement.messages import (
    Certificate,
    CertificateType,
    FinalityProof,
    Group,
    Header,
    Kind,
    block_hash,
    payload_root,
    sign_bytes,
)
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import ZERO_HASH, ChainId, Height, Milliseconds, View
from consensus.relay.blocks import encode_payload
from consensus.relay.genesis import GenesisAccount, genesis_state
from consensus.relay.transactions import CallEnclave, Transfer
from node.opening import genesis_block
from node.state_sync.messages import Snapshot
from node.store import FinalBlock, Store, StoredBlock, StoredReceipts
from node.store_states import COUNT, NODE
from node.validator_set import genesis_validators

ACCOUNTS = 60
ALIGNED_MS = 7_000_000  # a multiple of every snapshot period here: snapshots are at the same heights always


class History:
    """A network's blocks, each as `Store.persist_blocking` takes it."""

    def __init__(self, accounts: int = ACCOUNTS) -> None:
        now_ms = time.time_ns() // 1_000_000
        genesis = replace(make_genesis(), time_ms=Milliseconds(now_ms - now_ms % ALIGNED_MS - ALIGNED_MS))
        extra = tuple(
            GenesisAccount(key=bytes([7]) + number.to_bytes(31, "big"), balance=1)
            for number in range(accounts)
        )
        self.genesis = replace(genesis, accounts=genesis.accounts + extra)
        self.network = Network(genesis=self.genesis)
        self.validators = genesis_validators(self.genesis)
        keys = {key.public: key for key in VALIDATORS}
        self.signers = [keys[each] for each in self.validators.keys]
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
        parent = (
            self.blocks[-1].block.header if self.blocks else genesis_block(self.genesis, self.network.hash)
        )
        header = replace(
            parent,
            view=View(height),
            height=Height(height),
            parent_view=parent.view,
            time_ms=Milliseconds(self.genesis.time_ms + 10 * height),
            parent_hash=block_hash(parent),
            payload_root=payload_root(payload),
            payload_len=len(payload),
            state_root=before,
        )
        final = FinalBlock(
            height=header.height,
            hash=block_hash(header),
            block=StoredBlock(header=header, payload=payload, post_root=result.post_root),
            proof=FinalityProof(path=(), certificate=self.certificate(header)),
            receipts=StoredReceipts(receipts=result.receipts, void=(), enclave_calls=0, messages=0),
            transactions=(),
            new_nodes=result.new_nodes,
            reference_changes=result.reference_changes,
        )
        self.blocks.append(final)
        return final

    def certificate(self, header: Header) -> Certificate:
        """FINALIZE of the first three validators."""
        name = block_hash(header)
        message = sign_bytes(self.network.hash, Kind.FINALIZE, header.epoch, header.view, name, ZERO_HASH)
        group = Group(
            kind=int(Kind.FINALIZE),
            block=name,
            aux=ZERO_HASH,
            bitmap=b"\x07",
            sigs=tuple(signer.sign(message) for signer in self.signers[:3]),
        )
        return Certificate(
            ctype=int(CertificateType.FINAL),
            epoch=header.epoch,
            view=header.view,
            block=name,
            groups=(group,),
            fault=None,
            leader_sigs=(),
        )

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


def content(store: Store, database: str) -> dict[bytes, bytes]:
    """Everything in one database of a store; of nodes all but their birth, which is its own affair."""
    with store.reading() as txn, txn.cursor(db=store.databases[database]) as cursor:
        rows = {bytes(key): bytes(value) for key, value in cursor}
    if database == "nodes":
        return {key: value[: COUNT.size] + value[NODE.size :] for key, value in rows.items()}
    return rows
