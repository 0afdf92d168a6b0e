"""The fakes of candidates, of offences and of governance serve here too."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1] / "candidates"), str(HERE.parent / "governance")]
