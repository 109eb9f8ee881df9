"""Train the tiny LTX-2 from nothing on the small world: `python -m scripts.pretrain --out FOLDER`, on one GPU.

It goes through four phases: the video VAE, the audio VAE, the vocoder, and the transformer with its connectors and text
projection. Each keeps its state in the folder. A call ends after `--minutes`, in the middle of a phase if need be, and
the next call goes on from there. `--score` renders held-out captions and measures them with `tests.detectors`.
"""
