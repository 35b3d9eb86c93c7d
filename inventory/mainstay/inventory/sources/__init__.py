"""Where hosts come from: the site's own YAML, and later other inventories. One file each, behind `contract.Source`."""
