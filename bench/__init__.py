"""What the platform costs, beside its peers and the machine's limits: `make bench`, docs/performance.md."""
