"""The Hugging Face hub: repositories, downloads and uploads, and what to do where they fail."""
