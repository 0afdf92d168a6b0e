"""Guest ABI version 1: the functions a guest may import, their limits and their prices (docs/guest-abi.md).

Crossing between Wasm and Python costs tens of microseconds, so every function that could be asked often
takes a batch: one crossing reads, writes, hashes or verifies as many items as a guest likes.

A guest is never trusted: each pointer and length is checked against its memory, each batch against its
length, each price charged before the work is done. A wrong pointer traps; a passed cap is OVERSIZE. Prices
are part of fuel schedule 0 and never change under that id.
"""
