"""Services that still run code which was replaced on disk: finding them, and starting them anew where that is safe."""
