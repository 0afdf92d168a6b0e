"""State sync: the relay state at a final height, fetched in pieces that each check against its root.

messages    what peers say to each other about snapshots (lane BULK)
offering    which heights this node serves, and for how long their states are kept
server      answers peers, within bounds
trust       what must be proven before a single piece is asked for
proving     asks one peer for that, step by step
watching    whether this node is so far behind that it should fetch a state
arriving    a state under way: durable progress, the same counts as a node that executed every block
fetching    which piece is asked of whom
session     one fetch from its beginning, or from where a kill left it, to its end
begin       a session in a node's directory, between two lives of the node
"""
