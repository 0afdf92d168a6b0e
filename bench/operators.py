"""What the operators of a local network's validators do: bond, unbond, change stake, rotate a key.

An operator signs with its node's `account.key` and sends to whichever node answers, again and again, until
the transaction is final: a chaos run kills nodes while it waits.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from bench.directory import NodeHome
from bench.workload import RelayAccount
from consensus.primitives.crypto import SigningKey
from consensus.primitives.errors import LocalFault
from consensus.primitives.ids import Amount, Hash, Height, Signature
from consensus.relay.stake.records import possession_bytes
from consensus.relay.stake.transactions import Bond, BondMore, RotateKey, Unbond
from consensus.relay.transactions import Action, transaction_hash
from node.api import Stage
from node.client import RpcClient, RpcError, RpcUnreachable
from node.config import CONFIG_FILE, load_config
from node.keys import KEY_SUFFIX, new_seed, open_node_keys, read_key, write_key
from node.setup import ACCOUNT_FILE

ATTEMPT_S: Final = 2.0  # with one node, before the next is asked
RETRY_S: Final = 0.1


class Sender:
    """An account that has its transactions final, one after the other, whoever is killed meanwhile."""

    def __init__(
        self, key: SigningKey, chain_id_hash: Hash, clients: Callable[[], Sequence[RpcClient]]
    ) -> None:
        """`clients` are those of the nodes that are up."""
        self.public: Final = key.public
        self._account = RelayAccount(key, chain_id_hash)
        self._clients = clients

    async def send(self, action: Action) -> Height:
        """The height of the final block in which it was done. Raises LocalFault if it failed."""
        raw = self._account.sign(action)
        while True:
            for client in self._clients():
                try:
                    await client.submit([raw])
                    report = await client.receipt(
                        transaction_hash(raw), wait=Stage.FINAL, timeout_s=ATTEMPT_S
                    )
                except (RpcError, RpcUnreachable):
                    continue
                if report.status == "ok" and report.height is not None:
                    return report.height
                if report.status:
                    raise LocalFault(f"{type(action).__name__} is {report.status}, with code {report.code}")
            await trio.sleep(RETRY_S)


class Operator:
    """Whoever runs one node. What it does returns the height of the final block that did it."""

    def __init__(
        self, home: NodeHome, chain_id_hash: Hash, clients: Callable[[], Sequence[RpcClient]]
    ) -> None:
        """`clients` as in `Sender`."""
        self.home: Final = home
        self._keys: Final = load_config(home.directory / CONFIG_FILE).keys_path
        self._chain_id_hash = chain_id_hash
        self.account: Final = read_key(self._keys / ACCOUNT_FILE, None).signing_key
        self._send: Final = Sender(self.account, chain_id_hash, clients).send

    async def bond(self, amount: int) -> Height:
        """Become a validator with this stake, under the node's own keys and address."""
        keys = open_node_keys(self._keys, None, validator=True)
        consensus, identity = keys.consensus[0].signing_key, keys.identity.signing_key
        return await self._send(
            Bond(
                name=self.home.name,
                consensus_key=consensus.public,
                identity_key=identity.public,
                address=f"127.0.0.1:{self.home.peer_port}",
                amount=Amount(amount),
                consensus_proof=self._possession(consensus),
                identity_proof=self._possession(identity),
            )
        )

    async def bond_more(self, amount: int) -> Height:
        """Add stake."""
        return await self._send(BondMore(amount=Amount(amount)))

    async def unbond(self, amount: int) -> Height:
        """Take stake away; all of it to leave."""
        return await self._send(Unbond(amount=Amount(amount)))

    def make_key(self, name: str) -> SigningKey:
        """A fresh consensus key beside the node's own, as `phalanx stake rotate-key` makes it."""
        path: Path = self._keys / f"consensus-{name}{KEY_SUFFIX}"
        seed = new_seed()
        write_key(path, seed=seed, name=self.home.name, purpose="consensus", passphrase=None)
        return SigningKey(seed)

    async def rotate(self, key: SigningKey) -> Height:
        """Vote with `key` from the next election on."""
        return await self._send(RotateKey(consensus_key=key.public, proof=self._possession(key)))

    def _possession(self, key: SigningKey) -> Signature:
        return key.sign(possession_bytes(self._chain_id_hash, self.account.public))
