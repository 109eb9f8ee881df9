"""Train the tiny LTX-2 from nothing on the small world: `python -m scripts.pretrain --out FOLDER`, on one GPU.

It goes through five phases: the video VAE, the audio VAE, the vocoder, and the transformer with its connectors and text
projection, first with short texts and then with texts as long as the product pads them. Each phase keeps its state in
the folder. A call ends after `--minutes`, in the middle of a phase if need be, and the next call goes on from there. In
the end held-out captions are rendered and measured by `tests.detectors`.
"""
