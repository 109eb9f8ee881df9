"""From prompts to latents to pixels and audio: the schedule, guidance, the Euler loop, and the requests they serve."""
