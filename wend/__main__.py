"""``python -m wend``."""

import sys

from wend.cli.parser import main

sys.exit(main())
