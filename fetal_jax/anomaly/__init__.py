"""Anomaly detection: how unlike normal brains one is, with a reference (mismatch.py) and without (the other files)."""
