"""What simulated organisations strive for: a small library of objectives with measurable key results."""

from typing import NamedTuple


class Measure(NamedTuple):
    """A key result of a template. Each organisation gets numbers of its own nearby, with `places` after the point."""

    title: str
    unit: str
    start: float
    commit: float
    target: float
    places: int = 0


class Aim(NamedTuple):
    title: str
    measures: tuple[Measure, ...]


class Area(NamedTuple):
    """A kind of department: what it is called, its teams, what it strives for."""

    name: str
    teams: tuple[str, ...]
    aims: tuple[Aim, ...]


COMPANY = (
    Aim(
        "Customers stay and grow with us",
        (
            Measure("Net retention", "%", 101, 106, 112),
            Measure("Accounts with a joint success plan", "%", 15, 45, 70),
            Measure("Churned revenue", "%", 4, 3, 2, 1),
        ),
    ),
    Aim(
        "Healthy growth that we can predict",
        (
            Measure("Net new recurring revenue", "k€", 0, 400, 550),
            Measure("Win rate", "%", 21, 25, 30, 1),
            Measure("Cash buffer", "weeks", 3, 6, 9, 1),
        ),
    ),
    Aim(
        "A company people recommend",
        (
            Measure("Repeat purchases", "%", 28, 35, 45, 1),
            Measure("Public rating", "stars", 4.2, 4.5, 4.7, 2),
            Measure("Regretted exits", "% a year", 14, 10, 7, 1),
        ),
    ),
)

AREAS = (
    Area(
        "Product",
        ("Platform", "Onboarding", "Mobile", "Search"),
        (
            Aim(
                "Releases customers can rely on",
                (
                    Measure("Change failure rate", "%", 18, 12, 8, 1),
                    Measure("Lead time", "days", 9, 6, 3, 1),
                    Measure("Escaped defects", "a month", 40, 25, 12),
                ),
            ),
            Aim(
                "New users see value in their first week",
                (
                    Measure("Activation", "%", 41, 50, 60, 1),
                    Measure("Median time to first result", "days", 3, 2, 1, 1),
                    Measure("Onboarding tickets per 100 users", "tickets", 22, 15, 10, 1),
                ),
            ),
            Aim(
                "A platform teams choose to build on",
                (
                    Measure("Services on the standard path", "%", 30, 55, 75),
                    Measure("Developer satisfaction", "of 10", 6.1, 7, 8, 1),
                ),
            ),
        ),
    ),
    Area(
        "Marketing",
        ("Campaigns", "Content", "Events"),
        (
            Aim(
                "Demand that turns into revenue",
                (
                    Measure("Campaign-sourced pipeline", "M€", 1.2, 1.8, 2.5, 2),
                    Measure("Visitors who qualify", "%", 1.8, 2.3, 3, 2),
                    Measure("Cost per qualified lead", "€", 190, 160, 140),
                ),
            ),
            Aim(
                "Known as the trusted voice in our niche",
                (
                    Measure("Unaided recall", "%", 9, 13, 18, 1),
                    Measure("Returning readers", "%", 22, 28, 35, 1),
                    Measure("Referral sign-ups", "a month", 60, 90, 140),
                ),
            ),
        ),
    ),
    Area(
        "Sales",
        ("New business", "Accounts", "Partners"),
        (
            Aim(
                "Shorter, clearer buying journeys",
                (
                    Measure("Sales cycle", "days", 74, 62, 50),
                    Measure("Proposals answered in 48 hours", "%", 55, 80, 95),
                    Measure("Depth of discount", "%", 18, 14, 10, 1),
                ),
            ),
            Aim(
                "Existing customers grow with us",
                (
                    Measure("Expansion revenue", "k€", 120, 200, 300),
                    Measure("Quarterly reviews held", "%", 40, 70, 90),
                ),
            ),
        ),
    ),
    Area(
        "Operations",
        ("Site North", "Site South", "Supply"),
        (
            Aim(
                "Hand over when we said we would",
                (
                    Measure("Milestones met on the planned day", "%", 62, 80, 92),
                    Measure("Weekly plan tasks done", "%", 58, 72, 85),
                ),
            ),
            Aim(
                "Everyone goes home well, every day",
                (
                    Measure("Recordable incident rate", "per 200,000 h", 2.4, 1.8, 1.6, 2),
                    Measure("Near-miss reports closed in 48 hours", "%", 45, 75, 90),
                    Measure("Weekly site walks by leaders", "%", 20, 70, 95),
                ),
            ),
            Aim(
                "Steady flow, less waste",
                (
                    Measure("Line effectiveness", "%", 61, 68, 75, 1),
                    Measure("Scrap", "%", 4.8, 3.6, 2.5, 1),
                    Measure("Changeover", "minutes", 55, 40, 28),
                ),
            ),
        ),
    ),
    Area(
        "People",
        ("Hiring", "Learning"),
        (
            Aim(
                "People stay and grow here",
                (
                    Measure("Internal fill rate", "%", 22, 32, 45),
                    Measure("Growth talks held", "%", 40, 80, 95),
                ),
            ),
            Aim(
                "Hiring that finds the right people fast",
                (
                    Measure("Time to accept", "days", 52, 40, 30),
                    Measure("Retention of hires after six months", "%", 82, 90, 95),
                ),
            ),
        ),
    ),
    Area(
        "Finance",
        ("Billing", "Control"),
        (
            Aim(
                "Cash we can count on",
                (
                    Measure("Invoices paid on time", "%", 61, 75, 88),
                    Measure("Quotes followed up in three days", "%", 40, 80, 95),
                    Measure("Month-end close", "days", 12, 8, 5),
                ),
            ),
            Aim(
                "Numbers people trust",
                (
                    Measure("Forecast error", "%", 24, 15, 10, 1),
                    Measure("Manual bookings", "a month", 340, 200, 90),
                ),
            ),
        ),
    ),
)

FIRST_NAMES = tuple(
    """Ada Amir Ana Ben Bruno Carla Chen Dana Dario Elif Emil Eva Farid Fiona Greta Hana Hugo Ines Ivan Jana Jonas Kai
    Lara Leo Lina Luis Maja Malik Mara Milan Mina Nadia Nils Nora Omar Paula Petra Rafael Rosa Samir Sara Sofia Tariq
    Tomas Uma Vera Viktor Yara Yusuf Zoe""".split()  # noqa: SIM905 - names read better so
)
LAST_NAMES = tuple(
    """Abel Alvarez Bauer Bianchi Brandt Castro Dahl Demir Duarte Eriksen Farkas Fischer Garcia Haddad Horvat Ito Jansen
    Kaya Keller Kovacs Larsen Lindner Marques Meyer Moreau Nowak Okafor Olsen Petrov Quinn Ribeiro Rossi Roth Santos
    Schmid Silva Stein Tanaka Vega Vogel Weber Yilmaz Zeman""".split()  # noqa: SIM905 - likewise
)
FIRST_WORDS = tuple(
    """Amber Birch Cedar Coral Copper Delta Elm Fern Harbor Hazel Indigo Juniper Lark Linden Maple Meadow Northwind
    Olive Pine River Saffron Silver Slate Summit Willow""".split()  # noqa: SIM905 - likewise
)
SECOND_WORDS = tuple(
    """Foods Freight Health Homes Labs Logistics Mills Partners Press Software Studios Systems Tools
    Works""".split()  # noqa: SIM905 - likewise
)

NOTES = (
    "As planned.",
    "Slower than hoped; we try a smaller step next.",
    "The new routine begins to show.",
    "A good fortnight: two teams joined in.",
    "Held up by a supplier, moving again now.",
    "Numbers from the dashboard, checked by hand.",
    "We learned that the first week matters most.",
    "Flat. We change one thing and look again in two weeks.",
)
CORRECTIONS = (
    "typed a digit too many",
    "the dashboard counted test accounts",
    "a late booking belongs to this fortnight",
    "was read from the wrong month",
)
REVISIONS = (
    "a large customer left: the old target rests on them",
    "the first half went faster than anybody thought",
    "the budget was cut in half",
    "a second site takes part from now on",
)
