"""Signed work for a network: relay transfers, enclave calls, consumer-chain transactions.

Signing costs 30 µs a transaction, so a bench signs ahead of its timed phase. Sources are plain iterators of
wire bytes: whoever sends them keeps count. Each uses accounts of its own, so that two kinds of load never
race for a nonce.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.guest import InstanceEndpoint
from consensus.primitives.ids import Amount, ChainId, Fuel, Hash, ModuleId, Nonce, SecretSeed
from consensus.relay.transactions import Action, CallEnclave, TransactionBody, Transfer, sign_transaction
from enclaves.guests import agora, assets

MAX_FEE: Final = Amount(1_000_000)
CALL_FUEL: Final = Fuel(300_000)  # create and mint burn some 86,000


def derived_key(network: str, purpose: str, index: int) -> SigningKey:
    """A throw-away key of a local network: anybody can derive it, so it must never hold real value."""
    return SigningKey(derived_seed(network, purpose, index))


def derived_seed(network: str, purpose: str, index: int) -> SecretSeed:
    """The seed behind `derived_key`."""
    return SecretSeed(hash_tagged(b"PHALANX/bench-key", f"{network}/{purpose}/{index}".encode()))


class RelayAccount:
    """A relay-chain account that counts its own nonces, so that it can sign without asking the chain."""

    def __init__(self, key: SigningKey, genesis_hash: Hash, nonce: int = 0) -> None:
        self.key: Final = key
        self._genesis_hash: Final = genesis_hash
        self.nonce = nonce  # of the next transaction

    def sign(self, action: Action) -> bytes:
        """The wire bytes of the account's next transaction."""
        body = TransactionBody(
            chain_id_hash=self._genesis_hash,
            sender=self.key.public,
            nonce=Nonce(self.nonce),
            max_fee=MAX_FEE,
            action=action,
        )
        self.nonce += 1
        return sign_transaction(self.key, body)


def relay_transfers(accounts: Sequence[RelayAccount]) -> Iterator[bytes]:
    """Endless transfers of one unit, each account in turn to the next."""
    for turn in itertools.count():
        sender = accounts[turn % len(accounts)]
        receiver = accounts[(turn + 1) % len(accounts)]
        yield sender.sign(Transfer(to=receiver.key.public, amount=Amount(1)))


def enclave_calls(account: RelayAccount, module: ModuleId, chain: ChainId) -> Iterator[bytes]:
    """Endless user calls on an `assets` instance: create and mint once, then transfer."""
    issuer = account.key.public
    asset = assets.user_asset_id(chain, issuer, salt=1)
    instance = InstanceEndpoint(module=module, chain=chain)
    opening = assets.encode_operations(
        assets.Create(salt=1, symbol="TEST", decimals=0),
        assets.Mint(asset=asset, to=issuer, amount=Amount(1 << 40)),
    )
    yield account.sign(CallEnclave(instance=instance, input=opening, fuel_limit=CALL_FUEL))
    for turn in itertools.count(1):
        holder = hash_tagged(b"PHALANX/bench-holder", (turn % 1_000).to_bytes(8, "big"))
        move = assets.encode_operations(assets.Transfer(asset=asset, to=holder, amount=Amount(1)))
        yield account.sign(CallEnclave(instance=instance, input=move, fuel_limit=CALL_FUEL))


class AgoraAccount:
    """An account of the example consumer chain that counts its own nonces."""

    def __init__(self, key: SigningKey, domain: bytes, nonce: int = 0) -> None:
        self.key: Final = key
        self._domain: Final = domain
        self.nonce = nonce  # of the next transaction

    def sign(self, action: agora.Action) -> bytes:
        """The wire bytes of the account's next transaction."""
        raw = agora.sign_transaction(self.key, self._domain, Nonce(self.nonce), action)
        self.nonce += 1
        return raw


def agora_transfers(accounts: Sequence[AgoraAccount]) -> Iterator[bytes]:
    """Endless transfers of one unit, each account in turn to the next."""
    for turn in itertools.count():
        sender = accounts[turn % len(accounts)]
        receiver = accounts[(turn + 1) % len(accounts)]
        yield sender.sign(agora.Transfer(to=receiver.key.public, amount=Amount(1)))


def agora_exports(account: AgoraAccount) -> Iterator[bytes]:
    """Endless exports into the chain's `assets` instance; each is a message there and a reply back."""
    while True:
        yield account.sign(agora.Export(holder=account.key.public, amount=Amount(1)))
