"""From prompts to latents to pixels and sound: the schedule, guidance, the Euler loop, and the requests they serve."""
