"""``python -m adsr_hf`` is the ``adsr`` command."""

import sys

from adsr_hf.cli.main import main

sys.exit(main())
