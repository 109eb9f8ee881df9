"""Models, maths, media and files. This is *not* Lightricks' package of that name.

The two share an import name and cannot live in one interpreter; nothing here depends on Lightricks' code. Knows nothing
of Prefect, MLflow, YAML, flows or tasks.
"""
