"""A proxy on loopback that counts what goes through it, and can delay or record it.

`proxy.py LISTEN TARGET REPORT [--delay SECONDS] [--record FILE]`: every second and at its end it writes the bytes each way and the
requests of HTTP it has seen to REPORT, as JSON. SIGTERM ends it.
"""

import argparse
import asyncio
import json
import os
import re
import signal
import time

REQUEST = re.compile(rb"^(GET|HEAD|PUT|POST|DELETE) [^\r\n]* HTTP/1\.1\r\n")
# What may be on its way in one direction of a connection, as a window of TCP bounds it.
WINDOW = 4 << 20


class Proxy:
    def __init__(self, options):
        self.options = options
        self.counts = {"sent": 0, "received": 0, "requests": {}}
        self.record = open(options.record, "wb") if options.record else None

    def write_report(self):
        with open(self.options.report + ".new", "w") as file:
            json.dump(self.counts, file)
        os.replace(self.options.report + ".new", self.options.report)

    async def serve(self, reader, writer):
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.options.target, limit=WINDOW)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(self.carry(reader, far_writer, "sent"), self.carry(far_reader, writer, "received"))

    async def carry(self, reader, writer, direction):
        """Reads and writes side by side: what waits for its time holds up nothing behind it."""
        waiting = asyncio.Queue()
        room = asyncio.Semaphore(WINDOW >> 16)

        async def deliver():
            while True:
                due, data = await waiting.get()
                if due > time.monotonic():
                    await asyncio.sleep(due - time.monotonic())
                if not data:
                    return
                writer.write(data)
                await writer.drain()
                room.release()

        task = asyncio.create_task(deliver())
        try:
            while data := await reader.read(1 << 16):
                self.count(data, direction)
                await room.acquire()
                waiting.put_nowait((time.monotonic() + self.options.delay, data))
                if task.done():
                    break
        except OSError:
            pass
        waiting.put_nowait((0, b""))
        await asyncio.gather(task, return_exceptions=True)
        writer.close()

    def count(self, data, direction):
        self.counts[direction] += len(data)
        if self.record:
            self.record.write(data)
        if direction == "sent" and (match := REQUEST.match(data)):
            method = match.group(1).decode()
            self.counts["requests"][method] = self.counts["requests"].get(method, 0) + 1

    async def run(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", self.options.listen, limit=WINDOW)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        async with server:
            while not ended.is_set():
                self.write_report()
                try:
                    await asyncio.wait_for(ended.wait(), 1)
                except asyncio.TimeoutError:
                    pass
        if self.record:
            self.record.flush()
        self.write_report()
        os._exit(0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("listen", type=int)
    parser.add_argument("target", type=int)
    parser.add_argument("report")
    parser.add_argument("--delay", type=float, default=0, help="seconds that everything takes each way")
    parser.add_argument("--record", help="a file for every byte that goes through")
    asyncio.run(Proxy(parser.parse_args()).run())


if __name__ == "__main__":
    main()
