# SPDX-License-Identifier: Apache-2.0
"""The figures of `make bench-placement`, by part, and what all of its parts do alike.

A part is a program of its own beside this file. It measures, most often inside an emulated host,
and puts its rows into build/bench/placement.json in place of what is there about its figures; rows
of what could not be measured say why. guest-tests/bench/all-placement runs one after the other.
"""
import argparse
import json
import os
import subprocess
import sys

import benchtable
from benchtable import Figure

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("BUILD", "build")
INSIDE = "NUMAVISOR_BENCH_INSIDE"
LEAST = "CPU time; every problem is planned in nine rounds, and the least of its times counts"
CLOCK = "the emulated clock goes on while this machine does something else: the accesses decide"

PLAIN = ["first fit", "least loaded"]
BEST, HASTY = "best of all", "no hysteresis"
POOL = "unpinned pool"
UNMANAGED, BY_HAND = "QEMU unmanaged", "QEMU bound by hand"
RAW = "move_pages()"  # for memory of a process that does nothing else
OF_GUEST = "same, guest's"  # for the memory of a machine, by a process beside it

PLANNER = [
    Figure("one-median", "plan one guest, 128 nodes, 1,024 CPUs: median", "us", "<= 100",
           note=LEAST),
    Figure("one-p99", "plan one guest, 128 nodes, 1,024 CPUs: 99 of 100", "us", "<= 1000",
           note=LEAST),
    Figure("one-gap", "plan one guest: cost above the proved least, mean", "%", "<= 1 and < peer"),
    Figure("broken", "plan one guest: plans that break a promise", "%", "< peer"),
    Figure("host-time", "plan a host, 300 virtual nodes", "ms", "<= 50", note=LEAST),
    Figure("host-gap", "plan several guests: cost above the proved least, mean", "%",
           "<= 0.5 and < peer"),
    Figure("balance-kept", "rebalance after a change: of the possible gain", "%", ">= 80"),
    Figure("balance-moved", "rebalance after a change: memory moved", "%", "<= 15 and < peer"),
    Figure("balance-kept-offline", "a node's CPUs all went: of the possible gain", "%", ">= 80"),
    Figure("balance-moved-offline", "a node's CPUs all went: memory moved", "%", "stated"),
    Figure("balance-steady", "rebalance in steady state, loads off by 20 %: moves", "", "<= 0"),
    Figure("balance-early", "loads off by 20 %, changes: moves within the residency time", "",
           "<= 0"),
    Figure("balance-noisy", "the same: all moves", "", "stated"),
    Figure("trace-steady", "recorded trace of a steady state: moves", "", "<= 0"),
    Figure("trace-busy", "recorded trace of a busy node: moves after the one away from it", "",
           "<= 0"),
]
LOCALITY = [
    Figure("local", "a guest's accesses that are local", "%", ">= 99.5", True),
    Figure("moved", "the same, from 10 s after its move on", "%", ">= 99", True),
]
GUESTS = {"rests": "a guest at rest", "busy": "a guest that writes"}
KINDS = {"4K": ("4 KiB", "for 2 MiB of small pages"), "thp": ("2 MiB", "for a huge page")}


def prefault(mib=1024):
    return [Figure("prefault-time", f"prefault of {mib} MiB on each node", "s", "< peer", True),
            Figure("prefault-home", "pieces touched on their own node", "of all", "> peer")]


def moving():
    out = []
    for kind, (page, unit) in KINDS.items():
        out += [
            Figure(f"work-{kind}", f"moving a page of {page}, memory accesses", "",
                   "<= 1.1 x peer"),
            Figure(f"time-{kind}", f"moving a page of {page}, CPU time", "us", "<= 1.1 x peer",
                   True, CLOCK),
            Figure(f"real-{kind}", f"moving pages of {page}, order to answer, per page", "us",
                   "stated", True)]
        for guest, text in GUESTS.items():
            out += [
                Figure(f"flush-{kind}-{guest}", f"flushes of remote TLBs {unit}, {text}", "",
                       "<= 1"),
                Figure(f"sample-{kind}-{guest}",
                       f"before it, finding what is in use: flushes {unit}, {text}", "",
                       "stated"),
                Figure(f"real-{kind}-{guest}",
                       f"moving pages of {page}, order to answer, per page, {text}", "us",
                       "stated", True)]
    out.append(Figure("tables", "second-level page tables that are on the new node then", "%",
                      "> peer"))
    return out


FIGURES = {"placement": PLANNER, "prefault": prefault(), "locality": LOCALITY, "moving": moving()}


def peers_of(figure):
    """The sides that a figure is held against."""
    key = figure.key
    if key in ("balance-steady", "balance-early", "balance-noisy"):
        return [HASTY]
    if key.startswith("balance"):
        return [BEST]
    if key.startswith(("trace", "sample")):
        return [benchtable.NO_PEER]
    if key.startswith(("one", "broken", "host")):
        return PLAIN
    if key.startswith("prefault"):
        return [POOL]
    if key in ("local", "moved"):
        return [BY_HAND] if key == "moved" else [UNMANAGED, BY_HAND]
    if key.startswith(("flush", "tables")) or key.endswith(tuple(GUESTS)):
        return [OF_GUEST]
    return [RAW, OF_GUEST]


def path():
    return os.path.join(BUILD, "bench", "placement.json")


def parser(doc, rounds, what):
    """Options that all parts have. --quick is one round."""
    name, text = doc.split(" - ", 1)
    ap = argparse.ArgumentParser(prog=f"guest-tests/bench/{name.strip()}", description=text,
                                 formatter_class=argparse.RawDescriptionHelpFormatter,
                                 allow_abbrev=False)
    ap.add_argument("--runs", type=count, default=rounds, metavar="N",
                    help=f"{what} (default {rounds})")
    ap.add_argument("--quick", dest="runs", action="store_const", const=1, help="the same as --runs 1")
    return ap


def count(word):
    n = int(word) if word.isdigit() else 0
    if not 1 <= n <= 40:
        raise argparse.ArgumentTypeError(f"{word} is not a number from 1 to 40")
    return n


def say(part, text):
    print(f"{part}: {text}", file=sys.stderr, flush=True)


def newest(text):
    """The last whole line of samples that a program printed, or None. Each one has all so far."""
    for line in reversed(text.splitlines()):
        try:
            samples = benchtable.Samples()
            samples.merge(line)
            return samples
        except (ValueError, TypeError):
            continue
    return None


def in_rig(part, figures, rig, seconds, args):
    """Samples of this part's program, run again as ARGS inside an emulated host. A host that was
    lost is started once more; what it had told by then counts if that is lost, too."""
    kept = None
    for attempt in (1, 2):
        say(part, f"on an emulated host, at most {seconds // 60} minutes"
            + (", once more" if attempt > 1 else ""))
        try:
            done = subprocess.run(
                ["guest-tests/rig/run", *rig, "--time-limit", str(seconds), "--env", f"{INSIDE}=1",
                 "--", f"guest-tests/bench/{part}", *args], stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL, text=True, check=False)
        except OSError as e:
            return lost(figures, None, f"guest-tests/rig/run: {e}")
        samples = newest(done.stdout)
        if done.returncode == 0 and samples is not None:
            return samples
        kept = samples if samples is not None else kept
        if done.returncode != 125:
            break
    return lost(figures, kept, f"the emulated host ended with status {done.returncode}")


def lost(figures, samples, why):
    """SAMPLES, or none, with a reason for every side that is missing."""
    samples = samples or benchtable.Samples()
    for figure in figures:
        for side in (benchtable.OURS, *peers_of(figure)):
            if samples.median(figure.key, side) is None and side != benchtable.NO_PEER:
                samples.reasons.setdefault((figure.key, side), why)
    return samples


def finish(figures, samples):
    """Merge the rows, print them. Return: the exit status."""
    objects = benchtable.rows(figures, samples, peers_of)
    benchtable.merge_json(path(), objects)
    benchtable.print_table(objects)
    print(f"written: {path()}", flush=True)
    return 0 if all(o["met"] is not None for o in objects) else 1


def guard(part, measure):
    """Run MEASURE, which returns samples; what it cannot do becomes the reason of its rows."""
    figures = FIGURES[part]
    try:
        samples = measure()
    except (OSError, subprocess.SubprocessError, ValueError) as e:
        say(part, e)
        samples = lost(figures, None, str(e))
    return finish(figures, samples)


def start():
    """Rows for every figure, none of them measured yet."""
    nothing = benchtable.Samples()
    benchtable.write_json(path(), [row for part in FIGURES.values()
                                   for row in benchtable.rows(part, nothing, peers_of)])


def result():
    with open(path(), encoding="utf-8") as f:
        return json.load(f)
