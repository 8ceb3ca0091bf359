"""python -m ca_numpy"""

import sys

from ca_numpy.cli import main

sys.exit(main())
