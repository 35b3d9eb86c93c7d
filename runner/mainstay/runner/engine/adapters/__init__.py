"""The engines that run for real. The fake is `mainstay.runner.engine.memory`."""
