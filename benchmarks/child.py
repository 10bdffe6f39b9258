"""The process of one measurement: `python -m benchmarks.child PEER CASE SECONDS ANSWER_FILE`.

Nothing is imported at the top: a spawned worker of a process pool runs this module again, and
would pay in its memory and its start for what only the host needs.
"""

if __name__ == "__main__":
    from benchmarks.measure import main

    main()
