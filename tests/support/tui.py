"""The terminal client of the original in its own terminal: send keys, and read the screen."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.support import originals
from tests.support.wait import until

COLUMNS, ROWS = 160, 80
SECONDS = 60.0  # until an expected text appears: node starts the client, and the machine may be busy
AGAIN_SECONDS = 3.0  # after which a key is pressed again
READY = r"^  mock-model .* · \S*/workspaces/"  # the line below the prompt, once the thread is started or resumed
PROMPT = "\n›"
FOOTER = re.compile(r"^  .* · [/~…]", re.MULTILINE)  # model and folder, and later the first message of the thread
# The client must not take typed text for pasted text, in which Enter begins a new line.
CLIENT_CONFIG = (
    """\
disable_paste_burst = true
"""
    + originals.OFFLINE
    + """
[tui]
animations = false
screen_reader_detection_done = true
show_tooltips = false
"""
)


class Tui:
    """`codex ARGUMENTS` in a tmux server of its own; a context manager.

    codex:   the program
    home:    its HOME, and its working folder
    config:  more lines of its config.toml
    """

    def __init__(self, codex: Path, home: Path, *arguments: str, config: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="tui-")  # a short path: the path of a socket is limited
        self._exit_code = Path(self._folder.name, "exit-code")
        (home / ".codex").mkdir(exist_ok=True)
        (home / ".codex" / "config.toml").write_text(CLIENT_CONFIG + config)
        environ = originals.environ(home) | {"TERM": "tmux-256color"}
        # `cat` keeps the pane open after the client ends: tmux may lose the last output and exit code of a closed pane.
        shell = ["sh", "-c", '"$@"; echo $? > "$0"; exec cat', str(self._exit_code), str(codex), *arguments]
        command = ["env", "-i", *(f"{name}={value}" for name, value in environ.items()), *shell]
        self._tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", str(home), "--", *command)

    def __enter__(self) -> Tui:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the client and its terminal, like closing the window."""
        self._tmux("kill-server")
        self._folder.cleanup()

    def screen(self) -> str:
        """Return the visible text, without trailing white space and with runs of empty lines reduced to one."""
        lines = self._tmux("capture-pane", "-p").splitlines()
        return re.sub("\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines))

    def composer(self) -> str:
        """Return the visible text from the prompt to the line with the folder below it."""
        return FOOTER.split(self.screen().rpartition(PROMPT)[2])[0]

    def wait_for(self, pattern: str, *, seconds: float = SECONDS) -> None:
        """Wait until the screen matches the regular expression. Errors: AssertionError with the screen."""
        self._until(
            lambda: re.search(pattern, self.screen(), re.MULTILINE), f"{pattern!r} is not on the screen", seconds
        )

    def wait_until_gone(self, pattern: str, *, seconds: float = SECONDS) -> None:
        self._until(lambda: self._shows_else(pattern), f"{pattern!r} is still on the screen", seconds)

    def wait_until(self, holds: Callable[[str], object], otherwise: str) -> None:
        """Wait until this holds of the screen: one look may see it half drawn. otherwise: what to say if it does not"""
        self._until(lambda: holds(self.screen()), otherwise, SECONDS)

    def wait_until_ready(self) -> None:
        """Wait until the prompt accepts text; the client drops earlier input."""
        self.wait_for(READY)

    def wait_until_ended(self, *, seconds: float = SECONDS) -> int:
        """Wait until the client has ended. Return its exit code."""
        self._until(lambda: self._exit_code.exists() and self._exit_code.read_text(), "the client still runs", seconds)
        return int(self._exit_code.read_text())

    def press(self, *keys: str) -> None:
        """Press keys by their tmux names: Enter, Escape, C-c, Up, y."""
        self._tmux("send-keys", *keys)

    def answer(self, question: str, key: str) -> None:
        """Press a key at a question until the question is gone: the client drops keys just after it has asked."""
        self.wait_for(question)

        def is_gone() -> bool:
            self.press(key)
            try:
                until(lambda: self._shows_else(question), seconds=AGAIN_SECONDS)
            except AssertionError:
                return False
            return True

        self._until(is_gone, f"{question!r} is still on the screen", SECONDS)

    def submit_until(self, text: str, pattern: str) -> None:
        """Submit this again and again, until the screen matches: the client shows only what it has received so far."""

        def is_shown() -> bool:
            self.submit(text)
            try:
                until(lambda: re.search(pattern, self.screen(), re.MULTILINE), seconds=AGAIN_SECONDS)
            except AssertionError:
                return False
            return True

        self._until(is_shown, f"{pattern!r} is not on the screen", SECONDS)

    def _shows_else(self, question: str) -> bool:
        """Return whether the screen shows something, and not this. It is blank for a moment while it is drawn again."""
        screen = self.screen()
        return bool(screen.strip()) and not re.search(question, screen, re.MULTILINE)

    def submit(self, text: str) -> None:
        """Type the text, press Enter once the prompt shows it, and wait until it has left the prompt."""
        self.press("C-u")  # a second key of `answer` may stand there, if the first one was only slow
        self._tmux("send-keys", "-l", "--", text)
        typed = _squeezed(text)
        self._until(lambda: typed in _squeezed(self.composer()), f"{text!r} is not at the prompt", SECONDS)
        self.press("Enter")

        def has_left() -> bool:
            below = self.screen().rpartition(PROMPT)[2]
            # A question in place of the prompt has no footer, and above it is the text that was sent.
            is_question = not text.startswith("/") and not FOOTER.search(below)
            return is_question or not _squeezed(below).startswith(typed)

        self._until(has_left, f"{text!r} is still at the prompt", SECONDS)

    def _until(self, condition: Callable[[], object], otherwise: str, seconds: float) -> None:
        try:
            until(condition, seconds=seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}: {otherwise}; the screen:\n{self.screen()}") from None

    def _tmux(self, *arguments: str) -> str:
        command = ["tmux", "-S", f"{self._folder.name}/socket", "-f", "/dev/null", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS).stdout


def _squeezed(text: str) -> str:
    """Remove all white space: the terminal may wrap a line anywhere."""
    return "".join(text.split())
