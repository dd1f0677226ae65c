"""The server of a soak, which tells what it holds: a line on standard input is answered with a line of JSON.

    python served.py CONFIG.ini     prints the port, then one line for each line that it gets, and ends when they end

Tasks cannot be seen from outside, so the program is embedded here; it is the same server, wired the same way.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import oaiserve
from protocol.service.log import Log


async def main() -> None:
    settings = oaiserve.load_settings(config=sys.argv[1])
    service = oaiserve.Service(settings, Log("off", lambda line: None))
    await service.listen()
    loop = asyncio.get_running_loop()
    print(service.port, flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        gc.collect()
        told = {
            "tasks": len(asyncio.all_tasks()),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "objects": len(gc.get_objects()),
            "resident": int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE"),
        }
        print(json.dumps(told), flush=True)
    await service.close()


asyncio.run(main())
