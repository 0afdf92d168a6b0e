"""Governance: what those with stake decide, when it takes effect, and what it can not touch (DESIGN.md
section 8).

    transactions   what accounts may ask for: propose, vote, sit on the council
    proposals      opening one, with its deposit
    votes          members' ballots and the votes of those who stand behind them
    tally          who counts for how much, and what was decided: a function of plain numbers
    windows        which parameters may change, how long that takes, and which combinations are refused
    executing      what passed, when its time has come: done whole, or left undone with the reason
    council        a few who may pause one chain for a while
    versions       which version of the protocol an epoch runs
    ticking        all of it that a block does by itself, a bounded part of it at a time
"""
