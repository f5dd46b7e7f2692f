"""Where tasks report what they do: a socket in the test process.

Every task waits for an answer; most get it at once, but one that says `hold` waits until `release`.
"""

import collections
import socketserver
import threading

DEADLINE_S = 30


class Journal:
    """All reports so far, to be waited for."""

    def __init__(self):
        self._reports = collections.defaultdict(list)
        self._held = collections.defaultdict(list)
        self._news = threading.Condition()
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._server.request_queue_size = 128
        self._server.journal = self
        self._server.server_bind()
        self._server.server_activate()
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self):
        """Host and port for the tasks."""
        return "{}:{}".format(*self._server.server_address)

    def wait(self, kind, labels, count=1):
        """Wait until each label has `count` reports of the kind; return the reports by label."""
        with self._news:
            arrived = self._news.wait_for(
                lambda: all(len(self._reports[kind, label]) >= count for label in labels), DEADLINE_S
            )
            came = {label: len(self._reports[kind, label]) for label in labels}
            assert arrived, f"not every '{kind}' came {count} times: {came}"
            return {label: list(self._reports[kind, label]) for label in labels}

    def reports(self, kind, label):
        """The reports so far, each a list of words."""
        with self._news:
            return list(self._reports[kind, label])

    def release(self, label):
        """Let every task with that label go on that waits now."""
        with self._news:
            for go_on in self._held.pop(label, []):
                go_on.set()

    def close(self):
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def add(self, kind, label, words):
        """Note a report; return the event to wait for before it is answered."""
        go_on = threading.Event()
        with self._news:
            if kind == "hold":
                self._held[label].append(go_on)
            else:
                go_on.set()
            self._reports[kind, label].append(words)
            self._news.notify_all()
        return go_on


class Handler(socketserver.StreamRequestHandler):
    """One report: a line with kind, label and more words, answered by one byte."""

    def handle(self):
        kind, label, *words = self.rfile.readline().decode().split()
        self.server.journal.add(kind, label, words).wait()
        try:
            self.wfile.write(b".")
        except OSError:
            # The worker was killed while its task waited.
            return
