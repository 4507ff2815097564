"""What a person does to scenes, the same for the command line, jobs of the UI, and automation."""
