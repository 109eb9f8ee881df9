"""One forward of the transformer as Lightricks' inference runs it: what training and sampling both call."""
