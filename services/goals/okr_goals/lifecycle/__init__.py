"""The life of a cycle and its end: publishing, the clock, grades, the closing, and what goes on in the next one."""
