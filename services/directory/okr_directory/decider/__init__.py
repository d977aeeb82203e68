"""The rules of directory: one decider for an organisation with its units, one for a person."""
