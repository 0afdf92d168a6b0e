"""Shared security as each chain has it (DESIGN.md sections 6 and 8).

terms         what a `subset` chain asks of its attesters, what rails any chain has
allocations   who allocated how much stake to which chain, from which epoch on
weights       from what is allocated to what each attester weighs: pure
attesters     frozen for an epoch when its set is elected
exposure      what each validator and chain has at risk, overlap included
corruption    the stake that would provably be lost to enact a lie, against what the chain holds
rails         outflow limit, circuit breaker, caps that grow with a chain's age
"""
