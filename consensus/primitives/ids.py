"""Identifiers as distinct types, so that a height can not be passed where a view is meant.

Each is an `int` or `bytes` at run time; `codec` knows the width of each on the wire.
"""

from typing import Final, NewType

# --- agreement (CONSENSUS.md section 1 to 3)
View = NewType("View", int)
Height = NewType("Height", int)
Epoch = NewType("Epoch", int)
ValidatorIndex = NewType("ValidatorIndex", int)  # position in the epoch's validator list
Stake = NewType("Stake", int)

# --- hashes and keys
Hash = NewType("Hash", bytes)  # 32 bytes, BLAKE3-256 under a domain tag
PublicKey = NewType("PublicKey", bytes)  # 32 bytes, Ed25519
Signature = NewType("Signature", bytes)  # 64 bytes, Ed25519
SecretSeed = NewType("SecretSeed", bytes)  # 32 bytes, RFC 8032 private key

# --- ledger
Amount = NewType("Amount", int)  # unsigned 128-bit, smallest unit
Nonce = NewType("Nonce", int)  # unsigned 64-bit, next expected value
Fuel = NewType("Fuel", int)  # unsigned 64-bit, units of the fuel schedule
ChainId = NewType("ChainId", int)  # unsigned 32-bit, assigned by the relay chain; 0 is the relay chain
ModuleId = NewType("ModuleId", bytes)  # 32 bytes, content hash of an enclave module

# --- time
Milliseconds = NewType("Milliseconds", int)  # since the Unix epoch when a point, else a span

ZERO_HASH: Final = Hash(bytes(32))
RELAY_CHAIN: Final = ChainId(0)
