"""Files written whole or not at all, locks on folders, digests, strict readers of JSON, tables and safetensors."""
