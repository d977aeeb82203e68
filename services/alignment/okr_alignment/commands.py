"""What may be asked of the alignments of a cycle."""

from pydantic import BaseModel, ConfigDict

from okr_chassis.rpc.fields import Id
from okr_rules.parameters import DEFAULTS


class _Command(BaseModel):
    model_config = ConfigDict(frozen=True)


class Align(_Command):
    """`objective_id` contributes to `parent_objective_id` from now on, and to nobody else.

    `max_depth` is how many objectives a line of sight may pass, both ends included.
    """

    cycle_id: Id
    objective_id: Id
    parent_objective_id: Id
    max_depth: int = DEFAULTS.max_alignment_depth


class Unalign(_Command):
    """`objective_id` contributes to nobody any more."""

    cycle_id: Id
    objective_id: Id


Command = Align | Unalign
