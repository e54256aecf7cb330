"""`just bench`: every measurement, one after the other. Figures of one run mean little on a shared machine; ratios mean more."""

import sys

from benchmarks import broker, processes, recovery, sandbox, server, stdio, tasks, worker

if __name__ == "__main__":
    sys.argv[1:] = []
    for part in (tasks, sandbox, worker, recovery, processes, stdio, server, broker):
        print(f"\n{(part.__doc__ or '').partition(chr(10))[0]}")
        part.main()
