"""An account's hand: makes and signs relay transactions, offline or after asking the chain for its nonce."""

from collections.abc import Iterator, Sequence
from typing import Final, Self

from consensus.primitives.crypto import SigningKey
from consensus.primitives.ids import Amount, Hash, Nonce
from consensus.relay.transactions import Action, TransactionBody, sign_transaction
from node.client import RpcClient

DEFAULT_MAX_FEE: Final = Amount(50_000_000)


class Wallet:
    """One account on one network. Counts nonces itself: one wallet an account at a time."""

    def __init__(
        self, key: SigningKey, genesis_hash: Hash, nonce: Nonce, *, max_fee: Amount = DEFAULT_MAX_FEE
    ) -> None:
        """
        genesis_hash: the network's `chain_id_hash`.
        nonce: the account's next.
        max_fee: bounds what one transaction may cost, deposits not counted.
        """
        self.key: Final = key
        self.nonce = nonce
        self.max_fee = max_fee
        self._genesis_hash: Final = genesis_hash

    @classmethod
    async def connect(cls, client: RpcClient, key: SigningKey, *, max_fee: Amount = DEFAULT_MAX_FEE) -> Self:
        """A wallet with the network and the next nonce that `client`'s node knows, its mempool counted in."""
        status = await client.status()
        account = await client.account(key.public)
        return cls(key, status.genesis_hash, account.pending_nonce, max_fee=max_fee)

    def sign(self, action: Action) -> bytes:
        """The wire bytes of the account's next transaction; takes its nonce."""
        body = TransactionBody(
            chain_id_hash=self._genesis_hash,
            sender=self.key.public,
            nonce=self.nonce,
            max_fee=self.max_fee,
            action=action,
        )
        raw = sign_transaction(self.key, body)
        self.nonce = Nonce(self.nonce + 1)
        return raw

    def sign_all(self, actions: Sequence[Action]) -> Iterator[bytes]:
        """The wire bytes of many transactions, in order; 30 µs each."""
        return map(self.sign, actions)
