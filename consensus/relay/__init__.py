"""The relay chain: what a block may hold, and what it does to the state.

genesis, parameters     what a network starts from
transactions, blocks    bytes become checked values here, once
transition              apply_block, in the order of its docstring, by way of
  offences              evidence and verdicts, and what they cost
  calls                 deliveries and calls to enclave instances
  inclusions            candidates enacted or rejected
  actions               transactions; those of a room in the room's own `actions`
  rewards               who took part, and what an epoch earns
  elections             who validates the next epoch, and whose stake answers
ledger, registry        the state as a block sees it: money; chains, modules, instances;
stake, epochs             validators and what stands behind them; the set of each epoch
fees                    what things cost
receipts                what a block leaves behind
views                   reading a state
"""
