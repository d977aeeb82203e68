"""What every process serves beside its own service: commands in bulk, the log, operations."""
