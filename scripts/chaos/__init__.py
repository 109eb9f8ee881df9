"""Kill it, fill it, corrupt it, replace it: disturb runs at random and prove that the next one is right.

    python -m scripts.chaos FOLDER --seed 1 --kills 200 --services 20 --replacements 40 --disks 40 --corruptions 500

Everything happens in FOLDER, on a miniature model and five short files. After each disturbance the next run must start
its first stage within ten seconds, and end either in the bytes of an undisturbed run or in one message.
"""
