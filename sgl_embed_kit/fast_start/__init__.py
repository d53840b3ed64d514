"""Start SGLang with its child processes forked from one that has imported already.

Runs inside the server's processes, and imports nothing of the other rooms.

A plain `sglang serve` imports the same ten seconds of Python twice, one after the other:
in its main process, then in the scheduler and the detokenizer that it spawns. Here a fork
server (multiprocessing's own) imports them while the main process does, and the children
are forked from it.
"""
