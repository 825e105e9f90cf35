"""What a set of scores can show: intervals by subject, paired tests, agreement, and the gain that could be seen."""
