"""The relay chain: what a block may hold, and what it does to the state.

genesis, parameters     what a network starts from
transactions, blocks    bytes become checked values here, once
transition              apply_block, in the order of its docstring, by way of
  slashing              evidence, and what it does to whom it convicts
  calls                 deliveries and calls to enclave instances
  inclusions            candidates enacted or rejected
  actions               transactions; those about stake in staking_actions
  elections             who validates the next epoch
ledger, registry        the state as a block sees it: money; chains, modules, instances;
staking, epochs           validators and their stake; the set of each epoch
fees                    what things cost
receipts                what a block leaves behind
views                   reading a state
"""
