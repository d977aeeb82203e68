"""The garbage collector, told what kind of process it works for."""

import gc

YOUNG_OBJECTS = 50_000
YOUNG_ROUNDS = 20
MIDDLE_ROUNDS = 20


def settle_memory() -> None:
    """Call it once in a process that serves, when its modules are imported.

    Events, rows and messages come by the million and refer to nothing in a circle: counting references
    frees them. With its usual thresholds the collector walks through everything alive after every few
    thousand of them, which costs a rebuild more than reading and folding together. So what is there now
    is never walked through again, and the rest more seldom.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, YOUNG_ROUNDS, MIDDLE_ROUNDS)
