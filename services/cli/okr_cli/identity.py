"""Who runs a command, and for which organisation.

`OKR_TOKEN` says both. Without it the development issuer in the data directory vouches for `--as`
(`OKR_AS`) of `--organization` (`OKR_ORGANIZATION`): the embedded platform has no identity provider.
"""

import re
import unicodedata
from uuid import UUID, uuid5

ORGANIZATIONS = UUID("6c1f2f0e-64ba-5a0c-9a55-0d1d3f0c7b11")
"""The namespace of organisation ids: the same name is the same organisation, wherever the command runs."""

SAMPLE_ORGANIZATION = "brightwater-software"
SAMPLE_PERSON = "mara"
"""Whom commands act for when nobody says: the sample software company and its leader."""


def slug(name: str) -> str:
    """A name as an identifier: `Crust & Crumb Bakery` becomes `crust-and-crumb-bakery`."""
    text = unicodedata.normalize("NFKD", name.replace("&", " and ").casefold())
    text = "".join(char for char in text if not unicodedata.combining(char))
    return "-".join(re.findall(r"[^\W_]+", text))


def organization_id(name: str) -> UUID:
    """The id of the organisation with this name, slug or id."""
    try:
        return UUID(name) if len(name) == 36 else uuid5(ORGANIZATIONS, slug(name))
    except ValueError:
        return uuid5(ORGANIZATIONS, slug(name))


def person_id(organization: UUID, handle: str) -> UUID:
    """The id of a person whom this command registers itself."""
    return uuid5(organization, f"person:{handle.casefold()}")
