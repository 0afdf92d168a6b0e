"""Offences: what is punished, how it is proved, what it costs, where the stake goes (DESIGN.md section 8).

table                    every offence in one table: grounds, fraction, standing, gravity
judging                  whom a piece of evidence convicts, in a state
convicting               a conviction takes effect: standing, and stake is cut
collecting               what is cut, in as many blocks as it takes; until then nothing gets away
records                  what the state keeps of that
correlation              (pure) offenders of one epoch pay more together than each alone
veto                     convictions that rest on a verdict can be undone for a while
meter                    (pure) how much of what was cut may be burnt by when
burning                  the queue behind the meter: burnt, to the reporter, to the treasury
verdicts                 what was judged of candidates, and who signed the contrary
submissions              evidence that anybody sends, with a bond
downtime                 members that took no part
"""
