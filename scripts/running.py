"""What scripts that try a server under load share: the server, and the good clients."""

import os
import pathlib
import signal
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SERVER, LOAD = ROOT / "target/release/tickcast", ROOT / "target/release/tickcast-loadtest"
FEED = "synthetic:symbols=200,rate=2000,names=numbered,zipf=0,only=trade"
DRILL = "a drill of the trials"


class Server:
    """A server on core 0, ended by `end`; its memory is watched."""

    def __init__(self, flags, feed=FEED, binary=SERVER):
        self.folder = tempfile.TemporaryDirectory()
        self.publishers = f"{self.folder.name}/publishers"
        flags = [flag.format(publishers=self.publishers) for flag in flags]
        if "--reactors" not in flags:
            flags += ["--reactors", "1"]
        command = ["taskset", "-c", "0", binary, "--listen", "127.0.0.1:0", "--listen-tls", "127.0.0.1:0", "--tls-self-signed"]
        self.log = open(f"{self.folder.name}/log", "w")
        self.process = subprocess.Popen(
            [*command, "--feed", feed, *map(str, flags)], stdout=subprocess.PIPE, stderr=self.log, text=True,
            env=os.environ | {"TICKCAST_DRILL": DRILL},
        )
        self.port, self.tls = (int(self.process.stdout.readline().rsplit(":", 1)[1]) for _ in range(2))
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        self.pid, self.rss = self.process.pid, 0
        threading.Thread(target=self.watch, daemon=True).start()

    def send_signal(self, number):
        self.process.send_signal(number)

    def watch(self):
        page = os.sysconf("SC_PAGE_SIZE")
        while self.process.poll() is None:
            try:
                self.rss = max(self.rss, int(pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * page)
            except (OSError, IndexError):
                return
            time.sleep(0.05)

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
        self.folder.cleanup()


def load(port, report, *more):
    """Good clients on core 1, with trades of 10 of 200 symbols each if nothing else is said; what they got is in the file in the end."""
    command = ["taskset", "-c", "1", LOAD, "-q", "--url", f"ws://127.0.0.1:{port}/v1/ws"]
    command += ["--symbols", "sim:S%-USD"]
    if "--symbol-count" not in more:
        command += ["--symbol-count", "200", "--per", "10"]
    return subprocess.Popen([*command, "--json", report, *map(str, more)], stdout=subprocess.DEVNULL)
