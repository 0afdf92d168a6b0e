"""Who validates the next epoch, with how much power, and whose stake answers for it (DESIGN.md section 8).

    phragmen        sequential Phragmén: ballots and candidates → who is elected, in order, and by what stake
    balancing       moves a ballot's stake to those of its elected who have least
    thinning        the same supports from as few edges as possible
    caps            voting power from support: nobody above F
    seating         whom an election keeps if too few are electable
    concentration   how few could stop or rule the network
    records         what an election leaves in the state
    electing        an election, from the stake in the state to the next set
    turning         when there is one, and how an epoch ends
    reporting       the concentration of an epoch's set

All above `records` are functions of plain numbers and know no state.
"""
