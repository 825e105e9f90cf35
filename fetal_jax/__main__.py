import sys

from fetal_jax.cli.main import main

sys.exit(main())
