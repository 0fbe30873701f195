# SPDX-License-Identifier: Apache-2.0
"""What a host does to its machines and to the host service, at random; the same by the same seed."""
import collections
import random
import re
import time

# What a machine may answer to an order that comes while another one is at work.
REFUSALS = re.compile(
    "the machine is paused|is being evicted|is being moved|has no room for more|store of virtual node"
    r" \d+ is full")
WHY = re.compile(r'"why": *"([^"]+)"')
PATIENCE = 240


class Driver:
    """Orders overlap: only a pause and its end are waited for, the others are looked at afterwards.
    A machine has one order to evict or move under way, the next one waits for its end.

    A machine has nodes (numbers), hosts (numbers of host nodes to move to), sizes (targets) and
    begin(*words), which starts numavisor ctl with these words and returns the process, with text
    pipes. A service has kill() and start().
    """

    def __init__(self, seed, machines, service, weights, longest_wait):
        self.dice, self.machines, self.service = random.Random(seed), list(machines), service
        self.weights, self.longest_wait = dict(sorted(weights.items())), longest_wait
        self.done = collections.Counter()
        self.refused = collections.Counter()
        self.reasons = collections.Counter()
        self.resets = collections.Counter()  # by machine's name
        self.trouble = []
        self.paused = []
        self.under_way = []

    def run(self, kills):
        """Each kind of action at least once, then by their weights until so many kills are done."""
        first = self.dice.sample(list(self.weights), len(self.weights))
        while first or self.done["kill"] < kills:
            name = first.pop() if first else self.dice.choices(*zip(*self.weights.items()))[0]
            if name == "kill":
                self.kill()
            else:
                getattr(self, name)(self.dice.choice(self.machines))
            self.done[name] += 1
            time.sleep(self.dice.random() * self.longest_wait)
            self.reap()
        self.settle()

    def order(self, machine, *words):
        self.under_way.append((machine.begin(*words), machine.name, words))

    def reap(self, all_of_them=False):
        """Look at what the orders that are over say."""
        left = []
        for child, name, words in self.under_way:
            if child.poll() is None and not all_of_them:
                left.append((child, name, words))
                continue
            out, err = child.communicate(timeout=PATIENCE)
            why = WHY.search(out)
            if child.returncode == 0 and not why:
                continue
            said = why[1] if why else (err or out).strip()
            if REFUSALS.search(said):
                self.refused[words[0]] += 1
                self.reasons[REFUSALS.search(said)[0]] += 1
            else:
                self.trouble.append((name, words, child.returncode, said))
        self.under_way = left

    def begin_to(self, machine, *words):
        """Evict or move, when the last one is over; what is paused comes to no end."""
        if machine in self.paused:
            self.resume(machine)
        for child, name, before in self.under_way:
            if name == machine.name and before[0] in ("evict", "move"):
                child.wait(timeout=PATIENCE)
        self.order(machine, *words)

    def evict(self, machine):
        self.begin_to(machine, "evict", f"node={self.dice.choice(machine.nodes)}", "by=1G")

    def target(self, machine):
        self.order(machine, "target", f"node={self.dice.choice(machine.nodes)}",
                   f"size={self.dice.choice(machine.sizes)}")

    def move(self, machine):
        self.begin_to(machine, "move", f"vnode={self.dice.choice(machine.nodes)}",
                      f"host={self.dice.choice(machine.hosts)}", "--force")

    def reset(self, machine):
        self.resets[machine.name] += 1
        self.order(machine, "reset")

    def pause(self, machine):
        """Or its end, where one is paused, with whatever comes in between."""
        if self.paused:
            self.resume(self.paused[0])
            return
        self.order(machine, "pause")
        self.under_way[-1][0].wait(timeout=PATIENCE)
        self.paused.append(machine)

    def resume(self, machine):
        self.order(machine, "resume")
        self.under_way[-1][0].wait(timeout=PATIENCE)
        self.paused.remove(machine)

    def kill(self):
        self.service.kill()
        time.sleep(self.dice.random() * self.longest_wait / 2)
        self.service.start()

    def settle(self):
        """All machines run, have no target, and nothing is under way."""
        for machine in list(self.paused):
            self.resume(machine)
        self.reap(all_of_them=True)
        for machine in self.machines:
            for node in machine.nodes:
                self.order(machine, "target", f"node={node}", "size=all")
        self.reap(all_of_them=True)

    def told(self):
        """Counts, in words."""
        done = (f"{n} {name}" + (f" ({self.refused[name]} refused)" if self.refused[name] else "")
                for name, n in sorted(self.done.items()))
        return ", ".join(done) + "".join(f"; {n} because {why}" for why, n in self.reasons.items())
