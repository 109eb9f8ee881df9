"""Names and shapes of the tensors that a model must have, by arithmetic from its configuration. No torch.

Each function takes the arguments of the class that is built, with the same names and defaults, and gives what that
class's state dict would have. Tests build the classes on the meta device and compare, for every generation and for
sizes that no release has; so nothing here is believed because it is written here.
"""
