import sys

from fetal_jax.cli import main

sys.exit(main())
