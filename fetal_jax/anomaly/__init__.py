"""Is this brain unlike normal ones? With a reference (mismatch.py) and without (the other files)."""
