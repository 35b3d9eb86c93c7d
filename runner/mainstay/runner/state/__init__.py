"""What a site knows beside the ledger: runs, hosts' parts, undo data, first sightings, the fence's counter."""
