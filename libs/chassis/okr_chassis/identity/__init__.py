"""Who calls: tokens believed, and tokens issued."""
