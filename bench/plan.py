"""What a local network is made of: its genesis, its accounts, its consumer chain.

The nodes get fresh keys of their own, as `phalanx init` makes them. The accounts' keys are derived from the
network's random name, so that a plan is one small value: they are for networks that live on one machine for a
while, and must never hold real value.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from bench.workload import derived_key
from consensus.primitives.crypto import SigningKey, hash_tagged
from consensus.primitives.ids import Amount, ChainId, Milliseconds, ModuleId, PublicKey
from consensus.relay.genesis import Genesis, GenesisChain
from consensus.relay.parameters import BILLION, Entry, Parameters
from enclaves.guests import agora, assets
from node.setup import NodeDescriptor, build_genesis

PEOPLE: Final = ("alice", "bob", "carol")
AGORA_NAME: Final = "agora"
AGORA_CHAIN: Final = ChainId(1)
STAKE: Final = 100
FUNDS: Final = Amount(10**15)
CHAIN_FUNDS: Final = Amount(10**15)
AGORA_FUNDS: Final = Amount(10**12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A local network. `bench_accounts` are funded on the relay chain and on the consumer chain.

    `idle_accounts` more hold one unit each on the relay chain, which nobody has the keys to: a larger state.
    """

    network: str
    validators: int
    collator: bool = True
    idle_interval_ms: int = 1_000
    bench_accounts: int = 64
    journal_sync: str = "fsync"
    amnesia: str = "probe"
    epoch_blocks: int = 10_000
    idle_accounts: int = 0
    dispute_ms: int = agora.DISPUTE_MS  # for how long the consumer chain holds a slash
    parameters: Mapping[str, int] = field(default_factory=dict)  # of the genesis, where others than these

    def person(self, name: str) -> SigningKey:
        """One of `PEOPLE`."""
        return derived_key(self.network, "person", PEOPLE.index(name))

    def bench_key(self, index: int) -> SigningKey:
        """A funded account of the bench."""
        return derived_key(self.network, "bench", index)

    @property
    def module(self) -> ModuleId:
        """The `assets` enclave, which genesis deploys."""
        return assets.module_id()

    def agora_domain(self) -> bytes:
        """What signatures of the consumer chain bind."""
        return agora.domain(f"{self.network}/{AGORA_NAME}")

    def funded_keys(self) -> list[SigningKey]:
        """Everybody who has funds, on either chain."""
        people = [self.person(name) for name in PEOPLE]
        return people + [self.bench_key(index) for index in range(self.bench_accounts)]

    def genesis(self, time_ms: Milliseconds, validators: Sequence[NodeDescriptor]) -> Genesis:
        """The genesis record of the network, which begins at `time_ms`; all validators have one stake."""
        funded = sorted(key.public for key in self.funded_keys())
        accounts = [(key, FUNDS) for key in funded] + [(key, Amount(1)) for key in self._idle_keys()]
        return build_genesis(
            network=self.network,
            time_ms=time_ms,
            parameters=replace(
                Parameters(
                    idle_interval_ms=self.idle_interval_ms,
                    epoch_blocks=self.epoch_blocks,
                    exit_cap_ppb=BILLION,  # whoever leaves is gone with the epoch
                ),
                **self.parameters,  # type: ignore[arg-type]  # by name: `Parameters` checks them
            ),
            validators=[(each, STAKE) for each in validators],
            accounts=accounts,
            enclaves=[assets.wasm()],
            chains=[self._agora(funded)],
        )

    def _idle_keys(self) -> Iterator[PublicKey]:
        for index in range(self.idle_accounts):
            name = f"{self.network}/idle/{index}".encode()
            yield PublicKey(hash_tagged(b"PHALANX/bench-idle", name))

    def _agora(self, funded: list[PublicKey]) -> GenesisChain:
        balances = dict.fromkeys(funded, AGORA_FUNDS)
        pairs = agora.genesis_pairs(self.agora_domain(), balances, self.module, self.dispute_ms)
        return GenesisChain(
            name=AGORA_NAME,
            owner=self.person("alice").public,
            code=agora.wasm(),
            entries=tuple(Entry(key=key, value=value) for key, value in pairs),
            balance=CHAIN_FUNDS,
            opt_in=(self.module,),
        )
