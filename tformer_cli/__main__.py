"""`python -m tformer_cli` is `tformer`."""

import sys

from tformer_cli.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
