"""The distributed platform on one machine: every service in processes of its own."""
