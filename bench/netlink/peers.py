"""pyroute2: peers.py dump-routes CASE N | dump-links CASE N | add CASE IFINDEX COUNT"""

import sys
import time

from pyroute2 import IPRoute


def measured(case, fun):
    start_cpu, start = time.process_time(), time.perf_counter()
    count = fun()
    wall, used = time.perf_counter() - start, time.process_time() - start_cpu
    print(f"{case}\tpyroute2\t{used * 1e6:.0f}\t{wall * 1e6:.0f}\t{count}", flush=True)


def routes(ip, command, ifindex, count):
    for n in range(count):
        dst = f"{21 + (n >> 16)}.{n >> 8 & 255}.{n & 255}.0/24"
        ip.route(command, dst=dst, oif=ifindex, table=201, proto=4, scope=253)
    return count


what, case = sys.argv[1:3]

with IPRoute() as ip:
    if what == "dump-routes":
        for _ in range(int(sys.argv[3])):
            measured(case, lambda: len(list(ip.get_routes())))
    elif what == "dump-links":
        for _ in range(int(sys.argv[3])):
            measured(case, lambda: len(list(ip.get_links())))
    elif what == "add":
        ifindex, count = int(sys.argv[3]), int(sys.argv[4])
        measured(case, lambda: routes(ip, "add", ifindex, count))
