"""Notices to consumer chains: whom the relay chain slashed, and who its validators are (DESIGN.md section 8).

Publish and attest: what is in a chain's inbox was put there by the relay chain's own transition, and a
candidate that consumes it is attested by validators who have that inbox in their state. A guest needs no
certificate for it.

    records      what the state keeps, and the fixed-width bytes that guests get
    publishing   at a block's end: what happened in it, numbered and chained by a digest
    feeding      from there into each chain's lane, as far as its credit goes
"""
