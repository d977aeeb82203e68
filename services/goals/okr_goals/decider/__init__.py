"""The rules of goals: one decider for a cycle, one for an objective with its key results, one for an import."""
