"""What the services wrote down: one line per step, `event message-id order redelivered`."""

import collections

Line = collections.namedtuple("Line", "event message_id order redelivered")


class Book:
    """A service's file; it may be written to while it is read."""

    def __init__(self, path):
        self.path = path

    def lines(self, *events):
        """The whole lines with one of `events` so far, in order. A last line without its end is not there yet."""
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        split = [line.split(" ") for line in whole.splitlines()]
        parsed = [Line(event, message_id, order, flag == "1") for event, message_id, order, flag in split]
        return [line for line in parsed if line.event in events]


def repeats_without_flag(book):
    """Messages of which a run after the first was not flagged as redelivered."""
    seen = set()
    offending = set()
    for line in book.lines("placed", "paid"):
        if line.message_id in seen and not line.redelivered:
            offending.add(line.message_id)
        seen.add(line.message_id)
    return offending
