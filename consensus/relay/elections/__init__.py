"""Who validates the next epoch, with how much power, and whose stake answers for it (DESIGN.md section 8).

    phragmen        sequential Phragmén: ballots and candidates → who is elected, in order, and by what stake
    balancing       moves a ballot's stake to those of its elected who have least
    thinning        the same supports from as few edges as possible
    caps            voting power from support: nobody above F
    concentration   how few could stop or rule the network
    records         what an election leaves in the state: exposures, those who stand by
    turning         the election itself, at the last block but one of an epoch, and the epoch's turn

The first five are functions of plain numbers and know no state.
"""
