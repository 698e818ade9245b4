"""``python -m wend``."""

import sys

from wend.cli import main

sys.exit(main())
