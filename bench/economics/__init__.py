"""Economic simulation (DESIGN.md section 8): agents on the real state transition, and what they end up with.

keys        signatures that cost nothing, for keys that the simulation holds all of
world       the relay chain in memory, epochs of one day, conservation checked at every epoch's end
agents      an honest operator: what each attack departs from
conduct     agents that take what they can within the protocol: lazy, greedy, withholding, splitting
offending   agents that sign what convicts, run from it, or report
crowd       delegators who follow the best yield
cases       one agent of a given share against honest validators; its profit beside an honest one's
sweeps      the same over values of the decisive parameters
market      all of them on one chain, for hundreds of epochs
report      tables, SVG plots (`plots`), and the claims that the tables make
"""
