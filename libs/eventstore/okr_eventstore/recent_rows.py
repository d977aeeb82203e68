"""The rows that a consumer's last batches asked for, so that the next ones need not load them again.

Only the consumer writes them, and each of its batches compares the checkpoint of the shard that the
rows belong to: while it finds that as it left it, nobody has changed a row either. As soon as it does
not, all of this is forgotten.
"""

from okr_eventstore.folding import FoldedRows, Key
from okr_eventstore.projection import Row

RECENT_ROWS = 5_000
"""The most that one consumer keeps."""


class RecentRows:
    """Rows by kind and key, None where there is known to be none; what was asked for longest ago goes first."""

    def __init__(self, most: int = RECENT_ROWS) -> None:
        self._most = most
        self._rows: dict[tuple[type[Row], Key], Row | None] = {}

    def __contains__(self, kind_and_key: tuple[type[Row], Key]) -> bool:
        return kind_and_key in self._rows

    def __getitem__(self, kind_and_key: tuple[type[Row], Key]) -> Row | None:
        return self._rows[kind_and_key]

    def learn(self, folded: FoldedRows) -> None:
        """What a batch left behind: of the rows it asked for, and of those known from before."""
        rows = self._rows
        for kind, kept in folded.kept.items():
            for key, found in kept.loaded.items():
                rows.pop((kind, key), None)  # to stand last
                rows[kind, key] = found
            for row, _ in kept.final():
                if (kind, key := kept.key_of(row)) in rows:
                    rows[kind, key] = row
        for longest_ago in list(rows)[: max(0, len(rows) - self._most)]:
            del rows[longest_ago]

    def forget(self) -> None:
        self._rows.clear()
