"""A county service to be measured, as a process of its own: `python -m tests.benchmarks.county_peer FOLDER GATEWAYS`.

First line of stdout: its port and the gateways' credentials. Then it answers each line of stdin by one of
JSON: `cpu` (ns of the process, and of the threads in front of the acknowledgement), `settle` (waits until all
is in the interval store), `compute` (waits until the days are computed as well). It stops when stdin ends.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import structlog
import uvicorn

from api.app import create_app
from api.credentials import issue
from api.register.database import migrate, open_register
from api.server import listen
from api.settings import Settings

_BEHIND_THE_ANSWER = ("applier", "rollup")
"""Names of the threads that work after the acknowledgement."""


def _cpu() -> dict[str, int]:
    before_answer_ns = 0
    for thread in threading.enumerate():
        if not thread.name.startswith(_BEHIND_THE_ANSWER) and thread.ident is not None:
            before_answer_ns += time.clock_gettime_ns(time.pthread_getcpuclockid(thread.ident))
    return {"process_ns": time.process_time_ns(), "before_answer_ns": before_answer_ns}


def main(folder: Path, gateways: int) -> None:
    """Serve until stdin ends."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    settings = Settings(_env_file=None, data_dir=folder, log_level="error")
    engine = open_register(settings.register_address)
    migrate(engine)
    names = [f"gw-{i}" for i in range(gateways)]
    credentials = {name: issue(engine, name, time.time_ns()) for name in names}
    engine.dispose()
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_keep_alive=75))
    listener = listen("127.0.0.1", 0)

    def answer_orders() -> None:
        while not server.started:
            time.sleep(0.01)
        print(json.dumps({"port": listener.getsockname()[1], "credentials": credentials}), flush=True)
        county = app.state.county
        for line in sys.stdin:
            if line.strip() in ("settle", "compute"):
                assert county.applier.wait_applied(county.journal.position, 300.0)
            while line.strip() == "compute" and county.rollup.dirty():
                time.sleep(0.05)
            print(json.dumps(_cpu()), flush=True)

    def obey() -> None:
        try:
            answer_orders()
        finally:
            app.state.county.live.close()
            server.should_exit = True

    threading.Thread(target=obey, name="orders", daemon=True).start()
    server.run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
