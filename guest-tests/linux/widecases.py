# SPDX-License-Identifier: Apache-2.0
"""The cases of test-wide alone: what hosts of many nodes have and small ones do not.

The others are those of test-memory, test-move and test-balance on other ground.
"""
import memorycases
import movecases
from ground import ids
from memorycases import MIB, agree, kinds, machine


def every(tap, kernel, ground, count):
    """Memory on every one of COUNT host nodes, by plan, kernel, count and ledger; then on the last."""
    hosts = range(count)
    last = ground.nodes[3]
    everywhere = f"host={ids(hosts)},prealloc,policy=interleave"
    memorycases.one(tap, kernel, "every node, small pages", f"memory=32M,{everywhere},pages=4K",
                    "pages_4k", dict.fromkeys(hosts, 8192 // count), {f"interleave:{ids(hosts)}"})
    memory = f"memory={2 * count}M,{everywhere}"
    planned = memorycases.plan("--node", memory)["nodes"][0]["host"]
    tap.same(planned, ids(hosts), "every node: the plan names them all")
    with machine(tap, kernel, "--node", memory) as vm:
        mine, words = agree(tap, vm, "every node")
        tap.same(mine[0], dict.fromkeys(hosts, kinds(huge=1)), "every node has a huge page")
        tap.same(words[0], {f"bind:{n}" for n in hosts}, "every node: each is bound to its own")
        node = movecases.ledger(vm)["nodes"][0]
        tap.same((node["home"], node["resident"], node["share"]),
                 (ids(hosts), 2 * count * MIB, 1.0), "every node: the ledger has all pages at home")
        code, end = movecases.move(vm, "vnode=0", f"host={last}")
        tap.same((code, end["state"], end["moved"], end["left"]),
                 (0, "arrived", 2 * (count - 1) * MIB, 0), "every node: all of it moves to one")
        mine, words = agree(tap, vm, "every node, moved")
        tap.same((mine[0], words[0]), ({last: kinds(huge=count)}, {f"bind:{last}"}),
                 "every node: there it is, huge as before")
        node = movecases.ledger(vm)["nodes"][0]
        tap.same((node["home"], node["share"]), (str(last), 1.0), "every node: the ledger knows")
