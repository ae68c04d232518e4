//! What the suites stand on: a repository that signs attacks in memory, a world around a device, the real programs.
