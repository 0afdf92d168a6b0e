"""Economic simulation (DESIGN.md section 8): agents on the real state transition, what they end up with.

keys        signatures that cost nothing, for keys that the simulation holds all of
world       the relay chain in memory, epochs of one day, conservation checked at every epoch's end
agents      honest operators: what each attack departs from
conduct     agents that take what they can within the protocol: lazy, greedy, withholding
offending   agents that sign what convicts, run from it, report it, or accuse falsely
crowd       delegators who follow the best net yield
play        all of them take their turns: what each block carries
stage       a scene: agents, honest validators, delegators, and their capital
cases       one agent of a given share; its profit beside an honest one's
sweeps      every agent at every share, and over values of the decisive parameters
market      all of them on one chain, for a year
report      all of it as numbers, and which attacks do not lose
page        the same for people, with SVG plots (`plots`)
"""
