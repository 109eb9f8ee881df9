"""Features of single frames from a vision encoder, for methods that draw hidden states towards them."""
