"""A child process whose output goes to a file, and that can be waited for by what it prints.

It never polls: a thread reads the output, and waiting means waiting for that thread's word.
"""

import os
import signal
import subprocess
import threading

END_TIMEOUT_S = 30


class LoggedProcess:
    """One process, leader of a process group of its own."""

    def __init__(self, arguments, log_path, environment=None):
        self.log_path = log_path
        self._lines = []
        self._news = threading.Condition()
        self._ended = False
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for_line(self, text, timeout_s):
        """Wait until the process prints a line that contains `text`; raise if it ends or is late."""
        with self._news:
            found = self._news.wait_for(lambda: self._ended or self.has_printed(text), timeout_s)
            if not found or not self.has_printed(text):
                raise RuntimeError(f"no line with '{text}' in {timeout_s} s; the end of the log:\n{self.log_end()}")

    def has_printed(self, text):
        """Whether a line so far contains `text`."""
        return any(text in line for line in self._lines)

    def log_end(self):
        """The last lines printed."""
        return "".join(self._lines[-50:])

    def is_running(self):
        """Whether the process is alive."""
        return self._process.poll() is None

    def kill(self):
        """Kill the process and its children as a power cut would."""
        self._signal_group(signal.SIGKILL)
        self._process.wait(END_TIMEOUT_S)

    def hang_up(self):
        """Ask the process to read its configuration again."""
        self._process.send_signal(signal.SIGHUP)

    def terminate(self):
        """Ask the process to stop."""
        if self.is_running():
            self._process.send_signal(signal.SIGTERM)

    def stop(self):
        """Ask the process to stop and return its exit status; kill what is left of its group."""
        self.terminate()
        try:
            return self._process.wait(END_TIMEOUT_S)
        finally:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, number):
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def _read(self):
        with self.log_path.open("a") as log, self._process.stdout as output:
            for line in output:
                text = line.decode(errors="replace")
                log.write(text)
                log.flush()
                with self._news:
                    self._lines.append(text)
                    self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()
