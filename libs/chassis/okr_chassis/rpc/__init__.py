"""gRPC done once for all: the gate every call passes, fields, errors, pages, commands, channels to peers."""
