"""Parts that several stages are made of, such as decoding clips and planning memory; none of them is a stage."""
