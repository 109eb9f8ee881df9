"""Earlier names of what is in `tasks.stages.render.conditioning`, for the modules that are not renamed yet."""

from tasks.stages.render.conditioning import ConditioningSource, conditioning_clips, conditioning_files

Given = ConditioningSource
given_clips = conditioning_clips
given_files = conditioning_files
