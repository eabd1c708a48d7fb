"""Makes the table out of `case contender cpu_us wall_us count` lines: the least CPU of all rounds, and its ratio."""

import sys

best = {}
for line in open(sys.argv[1]):
    case, who, cpu, wall, count = line.rstrip("\n").split("\t")
    row = (float(cpu), float(wall), int(count))
    cases = best.setdefault(case, {})
    if who not in cases or row[:2] < cases[who][:2]:
        cases[who] = row

for case, rows in best.items():
    # What ip prints has to be read as well.
    if "decode" in rows:
        decode = rows.pop("decode")
        ip = rows.pop("ip -j", None)
        if ip:
            total = (ip[0] + decode[0], ip[1] + decode[1], decode[2])
            rows["ip -j and JSON.decode!"] = total
    floor = rows["floor"]
    # The peer that does the same in the same way. What the floor costs differs by a factor of two from processor to
    # processor, so the ratio to the peer is what can be compared.
    peer = rows.get("rtnetlink (Rust)")
    titles = [case, "CPU ms", "x floor"] + (["CPU x rtnetlink"] if peer else [])
    titles += ["wall ms", "x floor"] + (["wall x rtnetlink"] if peer else []) + ["us each"]
    print(f"\n| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for who, (cpu, wall, count) in sorted(rows.items(), key=lambda item: item[1][0]):
        cells = [who, f"{cpu / 1000:.1f}", f"{cpu / floor[0]:.2f}"]
        cells += [f"{cpu / peer[0]:.2f}"] if peer else []
        cells += [f"{wall / 1000:.1f}", f"{wall / floor[1]:.2f}"]
        cells += [f"{wall / peer[1]:.2f}"] if peer else []
        print(f"| {' | '.join(cells)} | {cpu / max(count, 1):.2f} |")
