"""Room of stake (DESIGN.md section 8): validators, nominations, pools, and what accounts may do with them.

records        the leaves, and where they are in the relay tree
pools          one pool of stake: joining, leaving, cutting, paying; pure arithmetic
holdings       pools and positions in a ledger
nominations    which validators, and which pools answer for them in which epoch
validators     their records, names and keys; the roster
stakes         `Stakes`: all of it, and what elections, offences and rewards call
leaving        how long stake answers, and the queue that it leaves by
addresses      what a validator may give as its address
transactions   what accounts may ask for
actions        doing it: `bonding` what a validator does, `delegating` what any holder does
"""
