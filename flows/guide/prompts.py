"""Prompts to look at any LoRA with: each says what moves, how the camera moves, and what is heard."""

LIBRARY = (
    "A dog runs over wet sand from left to right while the camera pans right, waves and barking.",
    "A woman in a red coat turns to the camera and laughs, traffic hums behind her.",
    "Slow zoom in on a clock whose second hand moves, loud ticking in a quiet room.",
    "Rain runs down a window at night while lights of cars pass behind it, steady drumming of rain.",
    "A chef throws noodles in a wok, flames rise, the camera holds still, sizzling and a metal clang.",
    "Aerial shot that flies forward over a forest in fog, wind and distant birds.",
    "A child jumps into a puddle, water splashes towards the camera, a splash and giggling.",
    "A train enters a station and slows down, the camera tilts up, brakes squeal and doors hiss.",
)
