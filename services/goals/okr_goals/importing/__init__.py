"""Imports of whole spreadsheets: checked as a whole against what there is, then carried out to the end.

`sheet` reads cells, `names` tells what is the same, `world` says what there is, `plan` puts the three
together, all without I/O. `observatory` looks at the world, `reception` accepts a plan or refuses it,
`carrier` carries it out.
"""
