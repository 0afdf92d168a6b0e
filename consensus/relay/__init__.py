"""The relay chain: what a block may hold, and what it does to the state.

genesis, parameters     what a network starts from
transactions, blocks    bytes become checked values here, once
transition              apply_block, in the order of its docstring, by way of
  calls                 deliveries and calls to enclave instances
  inclusions            candidates enacted or rejected
  actions               transactions
ledger, registry        the state as a block sees it: money; chains, modules, instances
fees                    what things cost
receipts, proofs        what a block leaves behind, and how that is proved
views                   reading a state
"""
