"""Running studies: who uses which device, where every run stands, what would stop a study, and what it costs."""
