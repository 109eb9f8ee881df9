"""The commands of `ltx2-lora`, by subject. `app` lists them; the module of a command is imported when it is given."""
