"""Times functions on request, so that two programs can take turns on one machine.

Each line of standard input, "system quantity repeats", is answered by one line of JSON with the seconds of wall clock
and of this process's processors for every call. The first call of a function is the one that compiles it.
"""

import json
import sys
import time


def serve(prepared):
    """`prepared` holds for each (system, quantity) a function of no arguments that waits for its own result."""
    for line in sys.stdin:
        system, quantity, repeats = line.split()
        wall, cpu = [], []
        for _ in range(int(repeats)):
            begun, busy = time.perf_counter(), time.process_time()
            prepared[system, quantity]()
            wall.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - busy)
        answer({"wall": wall, "cpu": cpu})


def answer(values):
    print(json.dumps(values), flush=True)
