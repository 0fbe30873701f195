# SPDX-License-Identifier: Apache-2.0
"""From samples to figures: medians, spread, ratios, goals; the JSON list and the table."""
import json
import os
import statistics

import benchload

OURS = "numavisor"
NO_PEER = "-"


class Figure:
    """One row: what is measured, in which unit, and which side of the peer is the better one.

    goal is "< peer" or "> peer" (ahead of the peer), "<= NUMBER" or ">= NUMBER" for our own value
    alone, "<= NUMBER x peer" for their ratio, or "stated" where it is enough to know. A figure
    without peers has the peer "-".
    emulated says that the number belongs to the emulated host: only ratios mean something. note is
    what a reader of the row should know.
    """

    def __init__(self, key, text, unit, goal, emulated=False, note=""):
        self.key = key
        self.text = text
        self.unit = unit
        self.goal = goal
        self.emulated = emulated
        self.note = note


class Samples:
    """Values by figure and machine, and the reason where there is none."""

    def __init__(self):
        self.values = {}
        self.reasons = {}

    def add(self, key, vmm, value):
        self.values.setdefault((key, vmm), []).append(value)

    def miss(self, key, vmm, reason):
        self.reasons[(key, vmm)] = str(reason)

    def merge(self, text):
        """Take over what another process's dump() printed."""
        for kind, key, vmm, what in json.loads(text):
            if kind == "value":
                self.values.setdefault((key, vmm), []).extend(what)
            else:
                self.miss(key, vmm, what)

    def dump(self):
        return json.dumps([("value", *k, v) for k, v in self.values.items()] +
                          [("reason", *k, v) for k, v in self.reasons.items()])

    def median(self, key, vmm):
        values = self.values.get((key, vmm))
        return statistics.median(values) if values else None

    def spread(self, key, vmm):
        """(largest - smallest) / median, or None."""
        values = self.values.get((key, vmm))
        middle = self.median(key, vmm)
        return (max(values) - min(values)) / abs(middle) if values and middle else None

    def runs(self, key, vmm):
        return len(self.values.get((key, vmm), []))


def met(goal, mine, peer, with_peer=True):
    if mine is None or (peer is None and goal == "stated" and with_peer):
        return None
    if goal == "stated":
        return True
    if goal.endswith(" x peer"):
        return None if peer is None else mine <= float(goal[3:-7]) * peer
    if goal.startswith("<= "):
        return mine <= float(goal[3:])
    if goal.startswith(">= "):
        return mine >= float(goal[3:])
    if peer is None:
        return None
    return mine < peer if goal == "< peer" else mine > peer


def rounded(value):
    return None if value is None else float(f"{value:.5g}")


def row(figure, samples, peer_name, goal):
    mine, peer = samples.median(figure.key, OURS), samples.median(figure.key, peer_name)
    out = {"figure": figure.text, "unit": figure.unit, "ours": rounded(mine),
           "peer": rounded(peer), "peer_name": peer_name,
           "ratio": rounded(mine / peer) if mine is not None and peer else None,
           "goal": goal, "met": met(goal, mine, peer, peer_name != NO_PEER),
           "runs": samples.runs(figure.key, OURS),
           "spread": rounded(samples.spread(figure.key, OURS)),
           "peer_runs": samples.runs(figure.key, peer_name),
           "peer_spread": rounded(samples.spread(figure.key, peer_name)),
           "emulated_host": figure.emulated}
    reasons = [f"{vmm}: {samples.reasons.get((figure.key, vmm), 'not reached')}"
               for vmm, value in ((OURS, mine), (peer_name, peer))
               if value is None and vmm != NO_PEER]
    reasons += [f"{vmm}, some runs: {samples.reasons[(figure.key, vmm)]}"
                for vmm, value in ((OURS, mine), (peer_name, peer))
                if value is not None and (figure.key, vmm) in samples.reasons]
    if reasons:
        out["reason"] = "; ".join(reasons)
    if figure.note:
        out["note"] = figure.note
    return out


def rows(figures, samples, peers_of):
    """Every figure with every peer, in order; nothing is left out. Each says what part of the CPUs'
    time was others' since this program began."""
    out, others = [], rounded(benchload.share())
    for figure in figures:
        for peer_name in peers_of(figure):
            for goal in figure.goal.split(" and "):
                out.append(row(figure, samples, peer_name, goal) | {"others_cpu": others})
    return out


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def write_json(path, objects):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "w", encoding="utf-8") as f:
        f.write("[\n" + ",\n".join("  " + json.dumps(o) for o in objects) + "\n]\n")
    os.rename(path + ".part", path)


def merge_json(path, objects):
    """Take OBJECTS into the list at PATH, where it speaks of the same figures, else at its end."""
    try:
        with open(path, encoding="utf-8") as f:
            old = json.load(f)
    except (OSError, ValueError):
        old = []
    new = {o["figure"]: [] for o in objects}
    for o in objects:
        new[o["figure"]].append(o)
    out = []
    for o in old:
        out += new.pop(o["figure"], []) if o["figure"] in new else []
        if o["figure"] not in {n["figure"] for n in objects}:
            out.append(o)
    write_json(path, out + [o for rest in new.values() for o in rest])


def print_table(objects):
    head = ("figure", "unit", "ours", "peer", "peer is", "ratio", "goal", "met", "runs", "spread")
    lines = [head]
    last = None
    for o in objects:
        again = o["figure"] == last
        last = o["figure"]
        star = "*" if o["emulated_host"] else ""
        lines.append((
            "" if again else o["figure"] + star, o["unit"], number(o["ours"]), number(o["peer"]),
            o["peer_name"], number(o["ratio"]), o["goal"],
            {True: "yes", False: "NO", None: "?"}[o["met"]], f"{o['runs']}/{o['peer_runs']}",
            "/".join("-" if s is None else f"{100 * s:.0f}%"
                     for s in (o["spread"], o["peer_spread"]))))
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for n, line in enumerate(lines):
        left = {0, 1, 4, 6, 7}
        print("  ".join(cell.ljust(w) if i in left else cell.rjust(w)
                        for i, (cell, w) in enumerate(zip(line, widths))).rstrip())
        if n == 0:
            print("-" * (sum(widths) + 2 * len(widths) - 2))
    print("\n* measured on an emulated host: only ratio and counts say something about hardware.\n"
          "ratio: ours/peer. runs, spread ((largest - smallest)/median): ours/peer.")
    loads = [o["others_cpu"] for o in objects if "others_cpu" in o]
    if loads:
        print(f"others took {100 * min(loads):.0f} to {100 * max(loads):.0f} % of the CPUs' time "
              "meanwhile.")
    for o in objects:
        for why in ("reason", "note"):
            if why in o:
                print(f"note: {o['figure']} ({o['peer_name']}): {o[why]}")
