"""What pydantic found wrong, as the platform tells it."""

from pydantic import ValidationError

from okr_contracts.errors import Violation


def violations_of(error: ValidationError) -> list[Violation]:
    """What pydantic found, in the platform's own words. The input itself is never repeated."""
    violations = []
    for fault in error.errors(include_url=False):
        context = fault.get("ctx", {})
        location = [str(part) for part in fault["loc"]]
        if isinstance(context.get("field"), str):
            location.append(context["field"])
        message, reason = fault["msg"], fault["type"].upper()
        if fault["type"] == "missing" or fault["input"] is None:
            message, reason = "is required", "REQUIRED"
        elif fault["type"] in ("value_error", "assertion_error"):
            message, reason = message.partition(", ")[2], "INVALID"
        violations.append(Violation(".".join(location) or "request", message, reason))
    return violations
