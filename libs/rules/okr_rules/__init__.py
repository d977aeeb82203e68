"""OKR rules as pure functions: whoever shows or judges a number uses these, so all agree on it.

Numbers are exact Decimals, moments aware UTC datetimes. Nothing here does I/O, reads a clock or
imports anything of ours. Every threshold is a field of `RuleParameters`, which carries a version.
"""
